//! Probes of the compatibility of BullMQ's libraries.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// Jobs that one BullMQ library adds and another one processes, for every ordered pair of libraries. Yields the errors,
/// one line for each pair that disagrees.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InteropProbe {
    /// The jobs, in the order in which they are added.
    pub jobs: Vec<InteropJob>,
    /// Options of the worker, by BullMQ's names.
    #[serde(default)]
    pub work: BTreeMap<String, Value>,
    /// The worker waits for jobs before they are added; otherwise it starts afterwards.
    #[serde(default)]
    pub waiting: bool,
    /// The producer pauses the queue before it adds the jobs, and the worker resumes it.
    #[serde(default)]
    pub paused: bool,
    /// The worker is killed as soon as it has taken a job, and the producer processes the jobs.
    #[serde(default)]
    pub killed: bool,
    /// What must be observed.
    pub want: InteropWant,
}

/// A job; its name says what it does: `echo`, `fail-N` (fails N times), `unrecoverable`, `progress`, `hang-once`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InteropJob {
    /// Its name.
    pub name: String,
    /// Its data.
    #[serde(default)]
    pub data: BTreeMap<String, Value>,
    /// Its options, by BullMQ's names.
    #[serde(default)]
    pub opts: BTreeMap<String, Value>,
}

/// What must be observed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InteropWant {
    /// The order in which the worker takes the jobs, by their places in the list.
    #[serde(default)]
    pub taken: Option<Vec<usize>>,
    /// Bounds, in milliseconds, of the time until the first start and between every two that follow.
    #[serde(default)]
    pub waits_ms: Vec<[i64; 2]>,
    /// Fields of each job, as both libraries read them (`state`, `data`, `returnvalue`, `failedReason`, `progress`,
    /// `attemptsMade`, `opts.…`), and as Redis stores them (`atm`, `ats`, `stc`, `kept`).
    #[serde(default)]
    pub jobs: Vec<BTreeMap<String, Value>>,
    /// The number of jobs: fewer than were added if some have the same id.
    #[serde(default)]
    pub distinct: Option<usize>,
    /// The events of each job, as both libraries receive them.
    #[serde(default)]
    pub events: Vec<Vec<String>>,
}
