//! What the mock was asked.

use std::sync::Arc;

/// One request for embeddings, as the mock saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of the request that a case judges by itself")]
pub struct JinaRequest {
    /// When it arrived, in milliseconds since the mock started.
    pub at_ms: u64,
    /// The texts to embed, in the order of the request; empty when the body could not be read.
    pub texts: Arc<[String]>,
    /// The status it was answered with; 0 when it was left hanging.
    pub status: u16,
    /// Tokens of all texts together; 0 unless the answer was good.
    pub tokens: u64,
    /// How many requests were being answered when it arrived, itself included. One left hanging is not counted.
    pub in_flight: u32,
    /// Whether the key was the right one.
    pub authorised: bool,
    /// `model` of the request.
    pub model: Option<String>,
    /// `task` of the request.
    pub task: Option<String>,
    /// `dimensions` of the request.
    pub dimensions: Option<u32>,
    /// `embedding_type` of the request.
    pub embedding_type: Option<String>,
    /// `late_chunking` of the request: all texts are embedded as one.
    pub late_chunking: bool,
    /// `truncate` of the request: what is too long for the model is cut without a word.
    pub truncate: bool,
    /// How long the client was told to wait before it asks again (`Retry-After`), in milliseconds.
    pub wait_ms: Option<u64>,
    /// How long the answer took, in milliseconds.
    pub took_ms: u64,
    /// Whether the answer was bent or replaced by a behaviour, or refused by a limit.
    pub disturbed: bool,
}
