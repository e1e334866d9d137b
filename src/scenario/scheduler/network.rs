//! Faults of the connections between the worker and some services.
//!
//! Evidence: the connections and bytes that the proxies counted. Every service of the fault must have been affected.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};

use super::super::harness::ScenarioError;
use super::driver::{FaultDriver, Phase, RunContext};
use super::record::Evidence;
use crate::faults::{Applied, Direction, Effect, NetworkFault};
use crate::spec::Target;

/// How long a cut waits for a connection on which a request is in progress: one that resets idle connections alone has
/// hardly an effect. After that any connection counts.
const TARGET_WAIT: Duration = Duration::from_millis(100);

pub(super) struct NetworkDriver {
    on: Vec<Target>,
    fault: NetworkFault,
    direction: Direction,
    /// Whether it is a cut that happens once.
    is_single_cut: bool,
    applied: Vec<(Target, Applied)>,
    effects: Vec<(Target, Arc<Effect>)>,
}

impl NetworkDriver {
    pub(super) fn new(on: &[Target], fault: NetworkFault, direction: Option<Direction>, is_endless: bool) -> Self {
        Self {
            on: on.to_vec(),
            fault,
            direction: direction.unwrap_or(fault.usual_direction()),
            is_single_cut: fault == NetworkFault::Cut && is_endless,
            applied: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// Connections to `target` that it affected.
    fn connections(&self, target: Target) -> u64 {
        self.effects.iter().filter(|(of, _)| *of == target).map(|(_, effect)| effect.connections()).sum()
    }
}

impl FaultDriver for NetworkDriver {
    fn targets(&self) -> Vec<Target> {
        self.on.clone()
    }

    fn is_immediate(&self) -> bool {
        true
    }

    /// Between two requests there may be no connection that a cut would reset.
    fn has_target<'a>(&'a self, context: &'a mut RunContext, waited: Duration) -> BoxFuture<'a, bool> {
        let awaiting = waited < TARGET_WAIT;
        let mut proxies = self.on.iter().flat_map(|target| context.proxies.to(*target));
        ready(!self.is_single_cut || proxies.any(|proxy| proxy.has_target(awaiting))).boxed()
    }

    fn inject<'a>(&'a mut self, context: &'a mut RunContext) -> BoxFuture<'a, Result<(), ScenarioError>> {
        for target in &self.on {
            for proxy in context.proxies.to(*target) {
                if self.is_single_cut {
                    self.effects.push((*target, proxy.cut()));
                } else {
                    let applied = proxy.apply(self.fault, self.direction);
                    self.effects.push((*target, Arc::clone(&applied.effect)));
                    self.applied.push((*target, applied));
                }
            }
        }
        ready(Ok(())).boxed()
    }

    fn is_over_at_once(&self) -> bool {
        self.applied.is_empty()
    }

    fn ends_with_work(&self) -> bool {
        self.fault.times().is_some()
    }

    fn phase<'a>(&'a mut self, _context: &'a mut RunContext) -> BoxFuture<'a, Phase> {
        let has_met = |times| self.on.iter().all(|target| self.connections(*target) >= times);
        let is_done = self.fault.times().is_some_and(has_met);
        ready(if is_done { Phase::Done } else { Phase::InForce }).boxed()
    }

    fn revert<'a>(&'a mut self, context: &'a mut RunContext) -> BoxFuture<'a, Result<(), ScenarioError>> {
        for (target, applied) in self.applied.drain(..) {
            context.proxies.revert(target, applied);
        }
        ready(Ok(())).boxed()
    }

    fn evidence(&self, _context: &RunContext, _lasted: Option<(Duration, Duration)>) -> Evidence {
        let connections: u64 = self.effects.iter().map(|(_, effect)| effect.connections()).sum();
        let bytes: u64 = self.effects.iter().map(|(_, effect)| effect.bytes()).sum();
        let missed: Vec<&str> =
            self.on.iter().filter(|target| self.connections(**target) == 0).map(|target| target.word()).collect();
        let but = if missed.is_empty() { String::new() } else { format!(", none to {}", missed.join(", ")) };
        let affected = if self.fault.meets_requests() {
            format!("{connections} requests{but}")
        } else {
            format!("{connections} connections, {bytes} bytes{but}")
        };
        let others = self.effects.iter().map(|(_, effect)| effect.others()).sum();
        Evidence { others, ..Evidence::new(affected, missed.is_empty()) }
    }
}
