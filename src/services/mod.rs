//! Thin typed clients of the services: what to say and how to read the answer, no judgement.

mod error;
pub mod http;
pub mod jina;
pub mod migrations;
pub mod postgres;
pub mod postgres_session;
pub mod queue;
pub mod redis;

pub use error::ServiceError;
