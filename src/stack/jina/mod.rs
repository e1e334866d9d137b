//! A mock of Jina's embeddings API, with behaviours that a scenario defines.
//!
//! Vectors are a function of model, task, dimensions and text, so the vector that a worker must store for a text can be
//! computed. Every request is recorded in a log that only the harness reads.

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
pub use mock::{JinaConfig, JinaMock, vector_for};
pub use model::{context_of, max_dimensions_of};
