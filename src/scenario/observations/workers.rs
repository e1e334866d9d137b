//! What was observed of the worker processes.

use std::time::Duration;

use super::super::scheduler::{Exit, Output, WorkerEvent};
use crate::worker::Ended;

/// The worker processes of a scenario run.
#[derive(Debug, Clone, Default)]
pub struct WorkerObservations {
    /// How the worker ended after the final SIGTERM; `None` if it had to be killed.
    pub ended: Option<Ended>,
    /// How a worker ended without being told to, if one did.
    pub died: Option<String>,
    /// How workers ended that were told to end during the run.
    pub exits: Vec<Exit>,
    /// The shutdown grace of the worker.
    pub grace: Duration,
    /// The output by worker, with the times at which it was seen.
    pub outputs: Vec<Output>,
    /// The output of all workers, one after the other.
    pub log: String,
    /// What happened to which worker, in the order of time.
    pub events: Vec<WorkerEvent>,
    /// The highest peak resident memory of a single worker process or descendant, in MiB; `None` if it cannot be read.
    pub peak_memory_mib: Option<f64>,
}
