//! What a fault did, as reports have it.

use std::time::Duration;

use super::super::evidence::StoredCounts;
use crate::spec::{Target, WorkerFault};

/// By how much a fault may outlast its time beside half of it.
const LATE: Duration = Duration::from_millis(300);

/// What a fault did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultRecord {
    /// What was broken, such as `cut of redis`.
    pub what: String,
    /// The services that it broke; none for a fault of the worker.
    pub targets: Vec<Target>,
    /// What it did to a worker; `None` for a fault of a service.
    pub worker: Option<WorkerFault>,
    /// How long it was to last; `None` for one that is over at once.
    pub lasts: Option<Duration>,
    /// When it began, since the scenario run began; `None` if it never did.
    pub began: Option<Duration>,
    /// When it ended, since the scenario run began; `None` if it never did.
    pub ended: Option<Duration>,
    /// What it affected, such as `3 connections, 120 bytes`.
    pub affected: String,
    /// Whether it affected anything: a fault that affected nothing proves nothing.
    pub took_effect: bool,
    /// Requests that reached the broken service because the fault is meant for others.
    pub others: u64,
    /// What was stored right after it began; `None` where that was not read, or could not be.
    pub stored: Option<StoredCounts>,
}

impl FaultRecord {
    /// Whether it lasted much longer than it was to: a harness without a CPU ends faults late.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        let lasted = self.began.zip(self.ended).map(|(began, ended)| ended.saturating_sub(began));
        self.lasts.zip(lasted).is_some_and(|(planned, lasted)| lasted > planned.mul_f64(1.5) + LATE)
    }
}

/// The evidence that a fault took effect, as far as it has been measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Evidence {
    /// See [`FaultRecord::affected`].
    pub(super) affected: String,
    /// See [`FaultRecord::took_effect`].
    pub(super) took_effect: bool,
    /// See [`FaultRecord::others`].
    pub(super) others: u64,
}

impl Evidence {
    pub(super) fn new(affected: impl Into<String>, took_effect: bool) -> Self {
        Self { affected: affected.into(), took_effect, others: 0 }
    }

    /// Nothing was measured yet.
    pub(super) fn nothing() -> Self {
        Self::new("nothing", false)
    }
}
