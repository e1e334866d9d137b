//! What was observed of one step.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::documents::Document;
use super::super::evidence::Snapshot;
use crate::services::queue::JobHash;
use crate::spec::Step;

/// One step of a scenario, and the state after its jobs ended.
#[derive(Debug, Clone)]
pub struct StepRecord {
    /// What the step did.
    pub step: Step,
    /// Its number in the scenario, from 0.
    pub number: usize,
    /// The documents in the version that this step enqueued.
    pub documents: Vec<Document>,
    /// The job of each document: its state and its hash.
    pub jobs: BTreeMap<String, (JobState, JobHash)>,
    /// Points and rows after the step; after all of them, where steps overlap.
    pub snapshot: Snapshot,
    /// Whether all jobs ended before the deadline.
    pub settled: bool,
    /// The lowest number of points that the collection held during the step; `None` in the first step.
    pub least_points: Option<u64>,
    /// Documents whose row was seen as done during the step, with an error text if points were missing then. Recorded
    /// in the first step only, and only with few documents and no fault on a service.
    pub seen_done: BTreeMap<String, Option<String>>,
    /// Time from the end of the last fault until all jobs had ended; `None` without a fault, or if they never did.
    pub recovered: Option<Duration>,
}

/// The final state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// In `completed`.
    Completed,
    /// In `failed`.
    Failed,
    /// Not ended when the step ended.
    Unfinished,
    /// Not in Redis any more, and no event says how it ended.
    Missing,
}

impl JobState {
    /// Its word in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Unfinished => "unfinished",
            Self::Missing => "missing",
        }
    }
}
