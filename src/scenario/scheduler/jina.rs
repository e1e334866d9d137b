//! Faults of the embeddings API: answers beside those of the scenario.
//!
//! Evidence: the requests that the mock did not answer as it should while the fault was in force.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};

use super::super::harness::ScenarioError;
use super::driver::{FaultDriver, RunContext};
use super::record::Evidence;
use crate::spec::Target;
use crate::spec::jina::Behaviour;

pub(super) struct JinaDriver {
    behaviours: Vec<Behaviour>,
    /// Disturbed requests before the fault.
    before: usize,
    /// Disturbed requests since it began; `None` until measured.
    disturbed: Option<usize>,
}

impl JinaDriver {
    pub(super) fn new(behaviours: &[Behaviour]) -> Self {
        Self { behaviours: behaviours.to_vec(), before: 0, disturbed: None }
    }
}

impl FaultDriver for JinaDriver {
    fn targets(&self) -> Vec<Target> {
        vec![Target::Jina]
    }

    fn is_immediate(&self) -> bool {
        true
    }

    fn inject<'a>(&'a mut self, context: &'a mut RunContext) -> BoxFuture<'a, Result<(), ScenarioError>> {
        self.before = context.clients.disturbed();
        context.clients.behave(&self.behaviours);
        ready(Ok(())).boxed()
    }

    fn measure<'a>(&'a mut self, context: &'a RunContext) -> BoxFuture<'a, ()> {
        self.disturbed = Some(context.clients.disturbed().saturating_sub(self.before));
        ready(()).boxed()
    }

    fn revert<'a>(&'a mut self, context: &'a mut RunContext) -> BoxFuture<'a, Result<(), ScenarioError>> {
        context.clients.behave(&[]);
        ready(Ok(())).boxed()
    }

    fn evidence(&self, _context: &RunContext, _lasted: Option<(Duration, Duration)>) -> Evidence {
        self.disturbed
            .map_or_else(Evidence::nothing, |requests| Evidence::new(format!("{requests} requests"), requests > 0))
    }
}
