//! What is observed of the workers, the proxies and the faults of a scenario run.

use std::collections::BTreeMap;

use super::FaultScheduler;
use super::planned::Planned;
use super::pool::{Exit, Output, WorkerEvent};
use super::proxies::ProxiedConnection;
use super::record::{Evidence, FaultRecord};
use crate::faults::{Answered, Writes};
use crate::spec::{Lasts, Target};

impl FaultScheduler {
    /// What each fault did.
    pub(in crate::scenario) fn faults(&self) -> Vec<FaultRecord> {
        let record = |planned: &Planned| {
            let Evidence { affected, took_effect, others } = planned.evidence(&self.context);
            FaultRecord {
                what: planned.fault.to_string(),
                targets: planned.driver.targets(),
                worker: planned.worker_fault(),
                lasts: planned.fault.lasts.and_then(Lasts::time),
                began: planned.began,
                ended: planned.ended,
                affected,
                took_effect,
                others,
                stored: planned.stored.clone(),
            }
        };
        self.planned.iter().map(record).collect()
    }

    /// The changes of points that passed on their way to Qdrant.
    pub(in crate::scenario) fn writes(&self) -> Option<Writes> {
        self.context.proxies.writes()
    }

    /// Every request that a proxy answered in place of its service.
    pub(in crate::scenario) fn answered(&self) -> BTreeMap<Target, Vec<Answered>> {
        self.context.proxies.answered(self.context.clock)
    }

    /// Every connection that was made through a proxy.
    pub(in crate::scenario) fn proxied_connections(&self) -> BTreeMap<Target, Vec<ProxiedConnection>> {
        self.context.proxies.proxied_connections(self.context.clock)
    }

    /// How workers ended that faults terminated during the scenario run.
    pub(in crate::scenario) fn exits(&self) -> Vec<Exit> {
        self.context.pool.exits.clone()
    }

    /// The output of every worker.
    pub(in crate::scenario) fn outputs(&self) -> Vec<Output> {
        self.context.pool.outputs()
    }

    /// What happened to which worker.
    pub(in crate::scenario) fn worker_events(&self) -> Vec<WorkerEvent> {
        self.context.pool.worker_events()
    }
}
