//! What was observed of the embeddings API, which is the mock.

use std::time::Duration;

use crate::settings::JinaEndpoint;
use crate::stack::jina::{JinaRequest, vector_for};

/// The embeddings API of a scenario run.
#[derive(Debug, Clone)]
pub struct EmbeddingsObservations {
    /// Every request since the run began, in the order of arrival; their times are on the clock of the mock.
    pub requests: Vec<JinaRequest>,
    /// The endpoint of the mock.
    pub endpoint: JinaEndpoint,
    /// When the run began, on the clock of the mock.
    pub mock_offset: Duration,
    /// What the scenario configured the mock to do wrong from the beginning; `None` if nothing.
    pub api_fault: Option<ApiFault>,
}

/// A behaviour or a limit that the scenario configured for the embeddings mock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiFault {
    /// What it is, such as `rate limit of the embeddings API`.
    pub what: &'static str,
    /// Whether it affected a request.
    pub took_effect: bool,
}

impl EmbeddingsObservations {
    /// The vector that the mock returned for `text` in a request with this task, or without one: of length 1, with the
    /// dimensions of the endpoint.
    #[must_use]
    pub fn vector_for_task(&self, task: Option<&str>, text: &str) -> Vec<f32> {
        vector_for(&self.endpoint.model, self.endpoint.dimensions, task, text)
    }
}
