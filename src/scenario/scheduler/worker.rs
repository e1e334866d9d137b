//! Faults of the worker's process: of the worker that has run longest, where there are several.
//!
//! Evidence: that a worker ran when the fault began; for one that joins, that it took jobs; for one that is terminated while
//! it starts, that it took none yet.

use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::super::harness::ScenarioError;
use super::driver::{FaultDriver, Phase, RunContext};
use super::record::Evidence;
use crate::spec::{Target, WorkerFault};

pub(super) struct WorkerDriver {
    fault: WorkerFault,
    /// The number of the worker that must be continued, awaited or ended when the fault is over.
    number: Option<usize>,
    has_met: bool,
    /// How many workers were registered before this one was started; one may be registered more than once.
    registered: Option<usize>,
    /// Until when a paused worker stays so, whatever the duration of the fault.
    locked_until: Option<Instant>,
}

/// How much longer than the locks of its jobs a worker is paused.
const LOCK_MARGIN: Duration = Duration::from_millis(500);

impl WorkerDriver {
    pub(super) const fn new(fault: WorkerFault) -> Self {
        Self { fault, number: None, has_met: false, registered: None, locked_until: None }
    }
}

impl WorkerDriver {
    /// Whether a worker takes jobs, or may take some.
    async fn has_begun(&self, context: &RunContext, number: usize) -> bool {
        let Some(handle) = context.pool.handle(number) else { return true };
        match handle.worker.is_ready().await {
            Some(is_ready) => is_ready,
            None => context.registered().await.zip(self.registered).is_none_or(|(now, before)| now > before),
        }
    }
}

impl FaultDriver for WorkerDriver {
    fn targets(&self) -> Vec<Target> {
        Vec::new()
    }

    fn waits_for_effect(&self) -> bool {
        false
    }

    /// A worker that is about to leave does not count, nor one that was just started and handles no signals yet.
    fn has_target<'a>(&'a self, context: &'a mut RunContext, _waited: Duration) -> BoxFuture<'a, bool> {
        async {
            if context.pool.are_leaving() || context.pool.running.is_empty() {
                return false;
            }
            if context.pool.any_starting() {
                if !context.are_ready().await {
                    return false;
                }
                context.pool.mark_ready();
            }
            true
        }
        .boxed()
    }

    fn inject<'a>(&'a mut self, context: &'a mut RunContext) -> BoxFuture<'a, Result<(), ScenarioError>> {
        async {
            let oldest = context.pool.oldest().map(|handle| (handle.number, handle.worker.ended().is_none()));
            // A worker that joins counts once it takes jobs, and one that starts when it is terminated.
            let starts_one = matches!(self.fault, WorkerFault::Join | WorkerFault::TerminateStarting);
            self.has_met = !starts_one && oldest.is_some_and(|(_, runs)| runs);
            let oldest = oldest.map(|(number, _)| number);
            self.number = match (self.fault, oldest) {
                (WorkerFault::Join | WorkerFault::TerminateStarting, _) => {
                    self.registered = context.registered().await;
                    Some(context.pool.start()?)
                }
                (WorkerFault::Pause | WorkerFault::PauseBeyondLocks, _) => {
                    context.pool.oldest().iter().for_each(|handle| handle.worker.pause());
                    if self.fault == WorkerFault::PauseBeyondLocks {
                        // It renews no lock any more. Those of another worker's jobs count too, which does no harm.
                        let lock = context.clients.lock_times().await.ok().and_then(|times| times.lock);
                        self.locked_until = lock.map(|lock| Instant::now() + lock + LOCK_MARGIN);
                    }
                    oldest
                }
                (WorkerFault::Kill, Some(number)) => {
                    context.pool.kill(number);
                    None
                }
                (WorkerFault::Terminate | WorkerFault::TerminateTwice, Some(number)) => {
                    // A job that cannot be seen now counts as taken later: rather a false alarm than a missed fault.
                    let active = context.clients.active().await.unwrap_or_default();
                    context.pool.terminate(number, active, self.fault == WorkerFault::TerminateTwice);
                    Some(number)
                }
                (_, None) => None,
            };
            Ok(())
        }
        .boxed()
    }

    /// A worker that was terminated is waited for, and so is the end of the locks of one that is paused beyond them. The time of one that joins begins when it takes jobs.
    fn phase<'a>(&'a mut self, context: &'a mut RunContext) -> BoxFuture<'a, Phase> {
        async {
            if self.fault == WorkerFault::Join && context.pool.any_starting() {
                if !context.are_ready().await {
                    return Phase::Busy;
                }
                context.pool.mark_ready();
                self.has_met = true;
                return Phase::Begins;
            }
            let is_leaving = self.number.is_some_and(|number| context.pool.is_leaving(number));
            let is_locked = self.locked_until.is_some_and(|until| Instant::now() < until);
            if is_leaving || is_locked { Phase::Busy } else { Phase::InForce }
        }
        .boxed()
    }

    fn revert<'a>(&'a mut self, context: &'a mut RunContext) -> BoxFuture<'a, Result<(), ScenarioError>> {
        async {
            match (self.fault, self.number) {
                (WorkerFault::Pause | WorkerFault::PauseBeyondLocks, Some(number)) => {
                    context.pool.handle(number).iter().for_each(|handle| handle.worker.resume());
                }
                (WorkerFault::Join | WorkerFault::TerminateStarting, Some(number))
                    if context.pool.handle(number).is_some_and(|handle| handle.worker.ended().is_none()) =>
                {
                    if self.fault == WorkerFault::TerminateStarting {
                        self.has_met = !self.has_begun(context, number).await;
                    }
                    let active = context.clients.active().await.unwrap_or_default();
                    context.pool.terminate(number, active, false);
                }
                (
                    WorkerFault::Pause
                    | WorkerFault::PauseBeyondLocks
                    | WorkerFault::Join
                    | WorkerFault::TerminateStarting,
                    _,
                ) => {}
                (WorkerFault::Kill | WorkerFault::Terminate | WorkerFault::TerminateTwice, number) => {
                    // Out of time: a terminated worker that still runs must not work beside its successor.
                    if let Some(number) = number {
                        context.pool.kill(number);
                    }
                    context.pool.start()?;
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn evidence(&self, _context: &RunContext, _lasted: Option<(Duration, Duration)>) -> Evidence {
        match (self.has_met, self.fault) {
            (true, WorkerFault::TerminateStarting) => Evidence::new("a worker that took no job yet", true),
            (false, WorkerFault::TerminateStarting) => Evidence::new("no worker that was starting", false),
            (true, WorkerFault::Join) => Evidence::new("a worker that took jobs", true),
            (true, _) => Evidence::new("a running worker", true),
            (false, _) => Evidence::new("no running worker", false),
        }
    }
}
