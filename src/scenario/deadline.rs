//! Deadlines that count time in which the worker could have run.

use std::time::Duration;

use super::pressure::Pressure;
use crate::services::queue_watch::LockTimes;
use crate::settings::JobContract;

/// Suites assume that BullMQ gives the job of a killed worker to another one within this time.
const ASSUMED_RECOVERY: Duration = Duration::from_secs(5);
/// Twice the time that BullMQ's defaults lead to: a lock of 30 s, and two checks 30 s apart. For a worker whose jobs are
/// lost for longer, nothing is waited: that it is too long is the finding.
const MAX_RECOVERY: Duration = Duration::from_secs(180);

/// A deadline.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    /// How busy the machine was until it was set.
    pub(super) began: Pressure,
    /// The time in which the worker could run.
    pub(super) limit: Duration,
}

impl Deadline {
    /// Whether it has passed by the time that `now` was measured, with `allowance` for what the limit does not include.
    pub(super) fn is_over(&self, now: &Pressure, allowance: Duration) -> bool {
        now.is_over(&self.began, self.limit + allowance)
    }

    /// Whether it has passed although the worker could not run for the limit: it proves nothing.
    pub(super) fn is_short(&self, now: &Pressure) -> bool {
        now.is_short_of(&self.began, self.limit)
    }
}

/// By how much longer than suites assume the job of a killed worker may stay with it: until its lock has expired, and two
/// checks for stalled jobs have found that. Zero if no lock was seen.
pub(super) fn stall_allowance(seen: LockTimes) -> Duration {
    let recovery = seen.recovery().filter(|recovery| *recovery <= MAX_RECOVERY);
    recovery.unwrap_or_default().saturating_sub(ASSUMED_RECOVERY)
}

/// How long a job that fails waits between its attempts in total, by the contract; zero if that is too long to wait for.
pub(super) fn retry_allowance(job: &JobContract) -> Duration {
    Some(job.retry_waits()).filter(|waits| *waits <= MAX_RECOVERY).unwrap_or_default()
}

/// Whether a job that is refused each time is not waited for until it has failed for good.
pub(super) fn outlasts_runs(retry_waits: Duration) -> bool {
    retry_waits > MAX_RECOVERY
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Backoff, BackoffKind};

    fn locks(lock_ms: u64, check_ms: u64) -> LockTimes {
        LockTimes { lock: Some(Duration::from_millis(lock_ms)), stalled_check: Some(Duration::from_millis(check_ms)) }
    }

    #[test]
    fn deadlines_follow_from_the_locks_that_were_seen() {
        assert_eq!(stall_allowance(locks(30_000, 30_000)), Duration::from_secs(85));
        assert_eq!(stall_allowance(locks(1_000, 500)), Duration::ZERO, "as suites assume");
        assert_eq!(stall_allowance(locks(600_000, 500)), Duration::ZERO, "too long to wait for");
        assert_eq!(stall_allowance(LockTimes::default()), Duration::ZERO);
    }

    #[test]
    fn refused_jobs_are_waited_for_until_their_attempts_are_used_up() {
        let job = |attempts, kind, delay| JobContract {
            attempts: Some(attempts),
            backoff: Some(Backoff { kind, delay, jitter: 0.5 }),
            ..JobContract::default()
        };
        let allowed = |attempts, kind| retry_allowance(&job(attempts, kind, 1000)).as_secs();
        assert_eq!((allowed(3, BackoffKind::Exponential), allowed(3, BackoffKind::Fixed)), (3, 2));
        assert_eq!((allowed(8, BackoffKind::Exponential), allowed(9, BackoffKind::Exponential)), (127, 0));
        assert_eq!(retry_allowance(&JobContract { backoff: None, ..job(3, BackoffKind::Fixed, 0) }), Duration::ZERO);
        assert!(outlasts_runs(job(40, BackoffKind::Exponential, 1000).retry_waits()), "no overflow");
    }

    #[test]
    fn a_deadline_includes_what_is_allowed() {
        let deadline = Deadline { began: Pressure::default(), limit: Duration::from_secs(60) };
        let now = Pressure { elapsed: Duration::from_secs(100), ..Pressure::default() };
        assert!(deadline.is_over(&now, Duration::ZERO));
        assert!(!deadline.is_over(&now, stall_allowance(locks(30_000, 30_000))));
    }
}
