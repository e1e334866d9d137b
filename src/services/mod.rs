//! Typed clients of the services: they send requests and parse responses, without any verdict.

mod client_list;
mod error;
pub mod http;
pub mod http_client;
pub mod jina;
pub mod migrations;
pub mod postgres;
pub mod postgres_session;
pub mod queue;
pub mod queue_watch;
pub mod redis;

pub use error::ServiceError;
