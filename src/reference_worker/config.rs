//! The configuration of the worker.

use std::path::PathBuf;
use std::time::Duration;

use super::chunk::ChunkOptions;
use super::defect::Defect;
use super::guard::{Breakers, Policy};
use crate::outcome::Trace;
use crate::services::jina::Encoding;
use crate::settings::Endpoints;

/// The configuration of the worker.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Endpoints of the stack.
    pub endpoints: Endpoints,
    /// Maximum of active jobs.
    pub concurrency: usize,
    /// Lifetime of a job's lock without renewal.
    pub lock: Duration,
    /// Interval of the search for stalled jobs.
    pub stalled: Duration,
    /// Number of times a job may stall before it fails.
    pub max_stalled: u32,
    /// Time for active jobs after SIGTERM.
    pub grace: Duration,
    /// Time to wait for the services at start.
    pub startup: Duration,
    /// Texts per request.
    pub embed_batch: usize,
    /// Maximum of concurrent requests.
    pub embed_concurrency: usize,
    /// Encoding of vectors in responses.
    pub encoding: Encoding,
    /// Retries and circuit breakers.
    pub policy: Policy,
    /// Points per upsert.
    pub upsert_batch: usize,
    /// Size and overlap of chunks.
    pub chunks: ChunkOptions,
    /// The model's own `tokenizer.json`; `cl100k_base` without one.
    pub tokenizer: Option<PathBuf>,
    /// A defect to plant; only with the feature `defects`.
    pub defect: Option<Defect>,
    /// Receives the worker's phase.
    pub phase: tokio::sync::watch::Sender<WorkerPhase>,
    /// Receives the states of the circuit breakers.
    pub breakers: Breakers,
    /// Parent of the worker's spans.
    pub trace: Trace,
}

/// The phase of the worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WorkerPhase {
    /// Waiting for its services.
    #[default]
    Starting,
    /// Taking jobs.
    Ready,
    /// Finishing its jobs, without taking new ones.
    Ending,
}
