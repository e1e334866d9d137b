//! The request log of the mock.

use std::sync::Arc;

/// A request for embeddings, as the mock received it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of the request that some case evaluates")]
pub struct JinaRequest {
    /// When it arrived, in milliseconds since the mock started.
    pub at_ms: u64,
    /// The texts to embed, in the order of the request; empty when the body could not be read.
    pub texts: Arc<[String]>,
    /// The status of the answer; 0 if the request was left hanging.
    pub status: u16,
    /// The tokens of all texts; 0 unless the answer was a success.
    pub tokens: u64,
    /// The number of requests in flight when it arrived, including itself and excluding requests left hanging.
    pub in_flight: u32,
    /// Whether the key was valid.
    pub authorised: bool,
    /// `model` of the request.
    pub model: Option<String>,
    /// `task` of the request.
    pub task: Option<String>,
    /// `dimensions` of the request.
    pub dimensions: Option<u32>,
    /// `embedding_type` of the request, or `encoding_format`, as clients of OpenAI call it.
    pub embedding_type: Option<String>,
    /// `late_chunking` of the request: all texts are embedded as one text.
    pub late_chunking: bool,
    /// `truncate` of the request: a text that is too long for the model is cut silently.
    pub truncate: bool,
    /// The wait before the next attempt that the answer asked for (`Retry-After`), in milliseconds.
    pub wait_ms: Option<u64>,
    /// How long the answer took, in milliseconds.
    pub took_ms: u64,
    /// Why its body is not JSON, if it is not.
    pub unreadable: Option<String>,
    /// Whether a behaviour altered or replaced the answer, or a limit refused the request.
    pub disturbed: bool,
}
