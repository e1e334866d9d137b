//! The locks of jobs: until a lock has expired, no other worker takes the job.

use std::time::{Duration, Instant};

use super::super::clients::ServiceClients;
use super::super::deadline::stall_allowance;
use crate::services::queue_watch::LockTimes;
use crate::spec::{Fault, FaultKind, Target, WorkerFault};

/// Time between two looks at the locks.
const INTERVAL: Duration = Duration::from_millis(100);

/// The longest remaining times of locks that were seen.
#[derive(Debug)]
pub(super) struct LockWatch {
    /// How many faults may leave jobs with a worker that does not work on them.
    faults: u32,
    seen: LockTimes,
    looked: Option<Instant>,
}

impl LockWatch {
    pub(super) fn new(faults: &[Fault]) -> Self {
        let leaves_jobs = |fault: &&Fault| match &fault.kind {
            FaultKind::Worker(fault) => !matches!(fault, WorkerFault::Join | WorkerFault::TerminateStarting),
            // A job whose end Redis did not confirm stays locked.
            FaultKind::Network { on, .. } => on.contains(&Target::Redis),
            FaultKind::Service { on, .. } => *on == Target::Redis,
            FaultKind::Jina(_) => false,
        };
        let faults = u32::try_from(faults.iter().filter(leaves_jobs).count()).unwrap_or(u32::MAX);
        Self { faults, seen: LockTimes::default(), looked: None }
    }

    /// Looks at the locks of the active jobs, unless that was done a moment ago, or would delay a fault on which no lock
    /// depends.
    pub(super) async fn see(&mut self, clients: &ServiceClients, delays_a_fault: bool) {
        if (self.faults == 0 && delays_a_fault) || self.looked.is_some_and(|looked| looked.elapsed() < INTERVAL) {
            return;
        }
        self.looked = Some(Instant::now());
        // While Redis does not answer there is nothing to see.
        if let Ok(seen) = clients.lock_times().await {
            self.seen = self.seen.max(seen);
        }
    }

    pub(super) const fn seen(&self) -> LockTimes {
        self.seen
    }

    /// By how much longer than suites assume the recovery after the last fault may take; zero without a fault that leaves
    /// jobs with a worker.
    pub(super) fn after_fault(&self) -> Duration {
        if self.faults == 0 { Duration::ZERO } else { stall_allowance(self.seen) }
    }

    /// By how much the deadline of the scenario run is extended.
    pub(super) fn allowance(&self) -> Duration {
        self.after_fault() * self.faults
    }
}
