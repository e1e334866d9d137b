//! What the worker knows about `BullMQ`: names, texts, and how long things take.

use std::time::Duration;

/// The name of jobs that remove a document; all other jobs ingest one.
pub(super) const DELETE: &str = "delete-document";
/// Pause between two attempts to reach Redis.
pub(super) const REDIS_RETRY_DELAY: Duration = Duration::from_millis(250);
/// A fetched job is on the library's list of active jobs after this time at the latest.
pub(super) const LISTING_DELAY: Duration = Duration::from_millis(50);
/// `BullMQ`'s reason when it fails a stalled job by itself (`moveStalledJobsToWait`).
pub(super) const STALLED_TOO_OFTEN: &str = "job stalled more than allowable limit";

/// The unit of `BullMQ`.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
