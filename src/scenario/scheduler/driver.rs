//! What the scheduler does with a fault, whatever it breaks. One file per kind of target implements [`FaultDriver`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};

use super::super::clients::ServiceClients;
use super::super::documents::Document;
use super::super::harness::ScenarioError;
use super::pool::WorkerPool;
use super::proxies::Proxies;
use super::record::Evidence;
use crate::services::queue::Attached;
use crate::spec::Target;

/// How long Redis may take to report its workers.
const WORKERS_TIMEOUT: Duration = Duration::from_millis(500);

/// What drivers act on.
pub(super) struct RunContext {
    pub(super) clients: Arc<ServiceClients>,
    pub(super) pool: WorkerPool,
    pub(super) proxies: Proxies,
    /// When the scenario run began.
    pub(super) clock: Instant,
    /// The documents of the step, in its version.
    pub(super) documents: Vec<Document>,
}

impl RunContext {
    /// Whether all workers that run take jobs.
    pub(super) async fn are_ready(&self) -> bool {
        self.pool.are_ready(|| self.registered()).await
    }

    /// How many workers are registered on the queue; `None` if Redis does not say so in time.
    pub(super) async fn registered(&self) -> Option<usize> {
        let count = tokio::time::timeout(WORKERS_TIMEOUT, self.clients.queue.workers()).await;
        count.ok().and_then(Result::ok).map(Attached::all)
    }
}

/// Whether a fault in force may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It ends when its time is over.
    InForce,
    /// Its time begins at this moment.
    Begins,
    /// It must not end yet, whatever its time.
    Busy,
    /// It has met all that it was meant for, and ends at this moment.
    Done,
}

/// One planned fault: how it is injected, measured and reverted.
pub(super) trait FaultDriver: Send + Sync {
    /// The services that it breaks.
    fn targets(&self) -> Vec<Target>;

    /// Whether it may be injected as a step begins, before the scheduler first looks at the services.
    fn is_immediate(&self) -> bool {
        false
    }

    /// Whether it stops a service itself, so that the service need not answer the harness either.
    fn disturbs_service(&self) -> bool {
        false
    }

    /// Whether it waits, once its time is over, until it has affected something.
    fn waits_for_effect(&self) -> bool {
        true
    }

    /// Whether it ends with the work, because it waits for requests of which there will be none.
    fn ends_with_work(&self) -> bool {
        false
    }

    /// Whether there is something that it would meet; it has been due for `waited`.
    fn has_target<'a>(&'a self, _context: &'a mut RunContext, _waited: Duration) -> BoxFuture<'a, bool> {
        ready(true).boxed()
    }

    /// Breaks the target.
    fn inject<'a>(&'a mut self, context: &'a mut RunContext) -> BoxFuture<'a, Result<(), ScenarioError>>;

    /// Whether it was over as soon as it was injected.
    fn is_over_at_once(&self) -> bool {
        false
    }

    /// Whether it may end.
    fn phase<'a>(&'a mut self, _context: &'a mut RunContext) -> BoxFuture<'a, Phase> {
        ready(Phase::InForce).boxed()
    }

    /// Records what it has affected so far, where that is not counted by itself.
    fn measure<'a>(&'a mut self, _context: &'a RunContext) -> BoxFuture<'a, ()> {
        ready(()).boxed()
    }

    /// Repairs the target.
    fn revert<'a>(&'a mut self, context: &'a mut RunContext) -> BoxFuture<'a, Result<(), ScenarioError>>;

    /// What it has affected, as far as it was measured. `lasted`: when it began and ended, since the scenario run began.
    fn evidence(&self, context: &RunContext, lasted: Option<(Duration, Duration)>) -> Evidence;
}
