//! What was observed of the queue as a whole; the jobs are in the steps.

use std::collections::BTreeMap;

use crate::services::queue::{Attached, Counts, QueueEvent};

/// The queue of a scenario run.
#[derive(Debug, Clone, Default)]
pub struct QueueObservations {
    /// The number of jobs by state at the end.
    pub counts: Counts,
    /// The contract's further queues, by name.
    pub others: BTreeMap<String, OtherQueue>,
    /// Connections of workers to the queue when the run began.
    pub attached: Attached,
    /// The entries of the queue's event stream, with the time in milliseconds since the run began.
    pub events: Vec<(i64, QueueEvent)>,
    /// The longest time that the lock of a job was seen to last, in milliseconds; `None` if none was seen.
    pub lock_ms: Option<u64>,
    /// The longest time until the job of a worker that does nothing is taken by another one, in milliseconds, from the locks
    /// and the checks for stalled jobs that were seen; `None` if no lock was.
    pub recovery_ms: Option<u64>,
}

/// A queue beside the worker's own, such as one of child jobs.
#[derive(Debug, Clone, Default)]
pub struct OtherQueue {
    /// The number of its jobs by state at the end.
    pub counts: Counts,
    /// The entries of its event stream, with the time in milliseconds since the run began.
    pub events: Vec<(i64, QueueEvent)>,
    /// Its failed jobs, with their reasons.
    pub failed: BTreeMap<String, String>,
}
