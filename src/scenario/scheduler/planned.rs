//! The faults of a scenario run: when each is due, and when it began and ended.

use std::time::{Duration, Instant};

use super::super::evidence::StoredCounts;
use super::driver::{FaultDriver, RunContext};
use super::jina::JinaDriver;
use super::moment::Moment;
use super::network::NetworkDriver;
use super::record::Evidence;
use super::service::ServiceDriver;
use super::worker::WorkerDriver;
use crate::spec::{Fault, FaultKind, Lasts, Milestone, When, WorkerFault};

/// The driver of a fault: the one place that knows every kind of target.
fn driver(fault: &Fault) -> Box<dyn FaultDriver> {
    match &fault.kind {
        FaultKind::Network { on, fault: what, direction } => {
            Box::new(NetworkDriver::new(on, *what, *direction, fault.lasts.is_none()))
        }
        FaultKind::Service { on, fault } => Box::new(ServiceDriver::new(*on, *fault)),
        FaultKind::Jina(behaviours) => Box::new(JinaDriver::new(behaviours)),
        FaultKind::Worker(fault) => Box::new(WorkerDriver::new(*fault)),
    }
}

/// How far the jobs of a step are, as shares from 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::scenario) struct Shares {
    /// Of the jobs that have completed or failed for good.
    pub(in crate::scenario) ended: f64,
    /// Of the jobs that have ended an attempt.
    pub(in crate::scenario) attempted: f64,
}

/// Where a fault is between its plan and its end.
pub(super) enum State {
    Pending,
    Active { until: Instant },
    Over,
}

/// A fault of this scenario run.
pub(super) struct Planned {
    pub(super) fault: Fault,
    pub(super) driver: Box<dyn FaultDriver>,
    pub(super) state: State,
    /// When it begins.
    pub(super) moment: Moment,
    /// Since when it is due.
    pub(super) due: Option<Instant>,
    /// When it began and ended, since the scenario run began.
    pub(super) began: Option<Duration>,
    pub(super) ended: Option<Duration>,
    /// Since when its time has been over without an effect.
    pub(super) without_effect: Option<Instant>,
    /// What was stored right after it began.
    pub(super) stored: Option<StoredCounts>,
}

impl Planned {
    pub(super) fn new(fault: &Fault) -> Self {
        Self {
            fault: fault.clone(),
            driver: driver(fault),
            state: State::Pending,
            moment: Moment::new(fault.at),
            due: None,
            began: None,
            ended: None,
            without_effect: None,
            stored: None,
        }
    }

    /// What it does to a worker, if it is a fault of one.
    pub(super) const fn worker_fault(&self) -> Option<WorkerFault> {
        match self.fault.kind {
            FaultKind::Worker(fault) => Some(fault),
            _ => None,
        }
    }

    /// Whether it matters what is stored when it begins.
    pub(super) const fn needs_stored_counts(&self) -> bool {
        let ends_worker = matches!(
            self.fault.kind,
            FaultKind::Worker(WorkerFault::Kill | WorkerFault::Terminate | WorkerFault::TerminateTwice)
        );
        ends_worker || matches!(self.fault.at, When::Count(_, Milestone::Points | Milestone::Rows, _))
    }

    pub(super) const fn is_pending(&self) -> bool {
        matches!(self.state, State::Pending)
    }

    pub(super) const fn is_active(&self) -> bool {
        matches!(self.state, State::Active { .. })
    }

    /// Whether it belongs to this step, counted from 1.
    pub(super) fn is_in_step(&self, step: usize) -> bool {
        self.fault.step.unwrap_or(1) == step
    }

    /// Lets the fault, which is in force, last its whole time from `now` on.
    pub(super) fn restart_time(&mut self, now: Instant) {
        let ends = now + self.time();
        if let State::Active { until } = &mut self.state {
            *until = ends;
        }
    }

    /// How long it lasts; zero if that depends on the jobs, or if it is over at once.
    pub(super) fn time(&self) -> Duration {
        self.fault.lasts.and_then(Lasts::time).unwrap_or_default()
    }

    /// Whether jobs keep it in force, whatever its time.
    pub(super) fn is_kept_by_jobs(&self, progress: Shares) -> bool {
        match self.fault.lasts {
            Some(Lasts::Step) => progress.ended < 1.0,
            Some(Lasts::Attempt) => progress.attempted < 1.0,
            Some(Lasts::Time(_)) | None => false,
        }
    }

    pub(super) fn evidence(&self, context: &RunContext) -> Evidence {
        self.driver.evidence(context, self.began.zip(self.ended))
    }
}
