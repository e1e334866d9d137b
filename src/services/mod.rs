//! Thin typed clients of the services: what to say and how to read the answer, no judgement.

mod error;
pub mod http;
pub mod jina;
pub mod postgres;
pub mod queue;
pub mod redis;

pub use error::ServiceError;
