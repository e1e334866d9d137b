//! Probes of BullMQ queues.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// What a canary does on its private queue. A canary is a job of the probe's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QueueCanary {
    /// Add a job, take it, complete it; yields its state.
    Complete,
    /// Fail a job with exponential backoff; yields by how many per cent the worst delay is off.
    Backoff,
    /// Let a job's lock expire; yields the job's state after BullMQ's check for stalled jobs.
    Stalled,
    /// Add a job delayed by 300 ms; yields how many milliseconds late it started, negative if too early.
    Delayed,
    /// Add one job id twice; yields the number of jobs.
    Duplicate,
    /// Yields the commands that BullMQ needs and this user may not run.
    Commands,
    /// Yields how many other prefixes have a queue of this name: producers with a wrong prefix.
    OtherPrefixes,
    /// In a cluster all keys of a queue must hash to one slot; yields what prevents it.
    OneSlot,
}

/// Which fact about a queue that is in use is the value. Jobs are sampled: at most 50 of each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QueueFact {
    /// Waiting jobs.
    Waiting,
    /// Workers, counted by the names of their connections.
    Workers,
    /// Waiting jobs while no worker is connected.
    WaitingWithoutWorker,
    /// Delayed jobs that were due more than a minute ago.
    Overdue,
    /// Active jobs without a lock: their worker is dead or has lost them.
    ActiveWithoutLock,
    /// Ids in lists that have no job.
    WithoutJob,
    /// Jobs whose data is larger than 64 KiB.
    LargeData,
    /// Waiting or failed jobs with fewer than three attempts, or without backoff.
    WithoutRetries,
    /// Jobs with backoff and without jitter: jobs that failed together are retried together.
    WithoutJitter,
    /// Jobs that failed because they stalled too often, with attempts left.
    StalledOut,
    /// Failed jobs.
    Failed,
    /// Repeatable jobs of the old kind, which BullMQ 6 refuses.
    LegacyRepeatables,
    /// The size of the event stream in bytes.
    EventBytes,
    /// Age of the oldest waiting job, in minutes.
    OldestWaitingMinutes,
    /// Hours since the end of the oldest finished job.
    OldestFinishedHours,
    /// Waiting jobs in a paused queue.
    PausedWithJobs,
    /// Reasons, without the numbers in them, for which at least ten of the sampled jobs failed, each with its count.
    CommonFailures,
    /// Delayed jobs that are due in more than a year.
    DelayedOverAYear,
    /// Jobs with a lock that have been active for more than an hour.
    LongActive,
}

/// The state of a BullMQ queue that is in use. Only reads; never `KEYS`, never more than a sample.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueStateProbe {
    /// Which fact is the value.
    pub yields: QueueFact,
}

/// A BullMQ canary: private jobs on a private queue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueProbe {
    /// What to do.
    pub canary: QueueCanary,
}

impl fmt::Display for QueueCanary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Complete => "the state of a job that was added, taken and completed",
            Self::Backoff => "the error of the worst retry delay in per cent",
            Self::Stalled => "the state of a job whose lock expired",
            Self::Delayed => "the lateness of a delayed job in ms",
            Self::Duplicate => "the number of jobs after one id was added twice",
            Self::Commands => "the commands that BullMQ needs and this user may not run",
            Self::OtherPrefixes => "the number of other prefixes with a queue of this name",
            Self::OneSlot => "what prevents one hash slot for all keys of the queue",
        })
    }
}

impl fmt::Display for QueueFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting jobs",
            Self::Workers => "connected workers",
            Self::WaitingWithoutWorker => "waiting jobs while no worker is connected",
            Self::Overdue => "delayed jobs that are overdue by more than a minute",
            Self::ActiveWithoutLock => "active jobs without a lock",
            Self::WithoutJob => "ids in lists without a job",
            Self::LargeData => "jobs with more than 64 KiB of data",
            Self::WithoutRetries => "jobs with fewer than three attempts or without backoff",
            Self::WithoutJitter => "jobs with backoff and without jitter",
            Self::StalledOut => "jobs that failed because they stalled too often",
            Self::Failed => "failed jobs",
            Self::LegacyRepeatables => "repeatable jobs of the old kind",
            Self::EventBytes => "the size of the event stream in bytes",
            Self::OldestWaitingMinutes => "the age of the oldest waiting job in minutes",
            Self::OldestFinishedHours => "hours since the end of the oldest finished job",
            Self::PausedWithJobs => "waiting jobs in a paused queue",
            Self::CommonFailures => "reasons for which many jobs failed",
            Self::DelayedOverAYear => "delayed jobs that are due in more than a year",
            Self::LongActive => "jobs that have been active for more than an hour",
        })
    }
}
