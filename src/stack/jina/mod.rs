//! A mock of Jina's embeddings API that behaves as a scenario tells it to.
//!
//! Vectors are a function of model, task, dimensions and text, so whoever knows a text knows the vector
//! that a worker must have stored for it. Every request is written to a log that only the harness reads.

mod answer;
mod behaviour;
mod limits;
mod log;
mod mock;
mod model;
mod request;
#[cfg(test)]
mod tests;
mod vector;

pub use crate::spec::jina::{Answer, Behaviour, Body, Limits, RetryAfter, When};
pub use log::JinaRequest;
pub use mock::{JinaConfig, JinaMock};
