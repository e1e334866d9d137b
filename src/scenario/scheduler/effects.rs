//! What faults have met, and how long they wait for something to meet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{FaultScheduler, InjectedFault, Planned, ProxiedConnection, State};
use crate::faults::{ClosedBy, Effect};
use crate::spec::{Fault, FaultKind, ServiceFault, Target, When, WorkerFault};

/// What a fault did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultRecord {
    /// What was broken, such as `cut of redis`.
    pub what: String,
    /// The services that were struck.
    pub targets: Vec<Target>,
    /// When it began and ended, since the scenario run began; `None` when it never did.
    pub began: Option<Duration>,
    /// See [`FaultRecord::began`].
    pub ended: Option<Duration>,
    /// What it met, such as `3 connections, 120 bytes`.
    pub met: String,
    /// Whether it met anything: a fault that did not proves nothing.
    pub took_effect: bool,
}

/// A connection that a service ends is seen to end within so much time.
const NOTICED: Duration = Duration::from_secs(1);

/// A fault whose time is over and that has met nothing yet stays for so much longer, as long as there is work left: on a
/// busy machine a worker may not have got so far. Once it meets something it has its whole time.
const LINGER: Duration = Duration::from_secs(10);

/// What a fault met, told in [`FaultRecord::met`].
#[derive(Default)]
pub(super) struct Met {
    pub(super) effects: Vec<(Target, Arc<Effect>)>,
    /// Whether a signal met a process that ran.
    pub(super) process: bool,
    /// Bytes and connections to the service before; and during the fault.
    pub(super) traffic: (u64, usize),
    pub(super) during: Option<(u64, usize)>,
    /// What the service refused, where that can be counted.
    pub(super) refused: Option<u64>,
    /// The same of Postgres before the fault.
    pub(super) sql_errors: Option<u64>,
    /// Requests that the embeddings API had answered badly before; and during the fault.
    pub(super) disturbed: usize,
    pub(super) answered: Option<usize>,
}

impl FaultScheduler {
    /// Whether a fault whose time is over stays in injected all the same; see [`LINGER`].
    pub(super) async fn lingers(&mut self, place: usize, share: f64) -> bool {
        let planned = &self.planned[place];
        if planned.fault.lasts.is_none() || matches!(planned.fault.kind, FaultKind::Worker(_)) {
            return false;
        }
        self.measure(place).await;
        let took_effect = self.effect(&self.planned[place]).1;
        let planned = &mut self.planned[place];
        let now = Instant::now();
        if took_effect {
            let late = planned.in_vain.take().is_some();
            if late {
                planned.stay(now);
            }
            return late;
        }
        share < 1.0 && now.duration_since(*planned.in_vain.get_or_insert(now)) < LINGER
    }

    /// Whether a fault whose time was over at `until` stays because another is to begin within it and has not: on a busy
    /// machine both events may have passed before anybody looked.
    pub(super) fn is_awaited(&self, place: usize, until: Instant, share: f64) -> bool {
        let Some(lasts) = self.planned[place].fault.lasts else { return false };
        let within = |fault: &Fault| {
            let of_this_step = fault.step.unwrap_or(1) == self.step;
            of_this_step && matches!(fault.at, When::Into(time, other) if other == place + 1 && time < lasts.0)
        };
        let mut others = self.planned.iter();
        share < 1.0
            && until.elapsed() < LINGER
            && others.any(|other| matches!(other.state, State::Pending) && within(&other.fault))
    }

    /// The errors with which Postgres refuses what a fault of it forbids.
    pub(super) fn sql_errors(&self, on: Target, fault: ServiceFault) -> Option<u64> {
        self.proxies.sql_errors(fault.refusal().filter(|_| on == Target::Postgres)?)
    }

    /// Writes down what a fault in injected has met so far.
    pub(super) async fn measure(&mut self, place: usize) {
        let planned = &self.planned[place];
        let State::Active { injected, .. } = &planned.state else { return };
        match (injected, &planned.fault.kind) {
            (InjectedFault::Service(struck), FaultKind::Service { on, fault }) => {
                let (bytes, count) = self.proxies.traffic(*on);
                let sql_errors = self.sql_errors(*on, *fault).zip(planned.met.sql_errors);
                let refused = match sql_errors {
                    Some((now, before)) => Some(now.saturating_sub(before)),
                    None => struck.refused(&self.clients.endpoints).await,
                };
                let met = &mut self.planned[place].met;
                met.refused = refused;
                met.during = Some((bytes.saturating_sub(met.traffic.0), count.saturating_sub(met.traffic.1)));
            }
            (InjectedFault::Jina, _) => {
                let disturbed = self.clients.disturbed();
                let met = &mut self.planned[place].met;
                met.answered = Some(disturbed.saturating_sub(met.disturbed));
            }
            // Proxies count by themselves, and a process is met or not.
            (InjectedFault::Network(_) | InjectedFault::Worker(_) | InjectedFault::Service(_), _) => {}
        }
    }

    /// What each fault did.
    pub(in crate::scenario) fn faults(&self) -> Vec<FaultRecord> {
        let record = |planned: &Planned| {
            let (met, took_effect) = self.effect(planned);
            let targets = match &planned.fault.kind {
                FaultKind::Network { on, .. } => on.clone(),
                FaultKind::Service { on, .. } => vec![*on],
                FaultKind::Jina(_) => vec![Target::Jina],
                FaultKind::Worker(_) => Vec::new(),
            };
            let (began, ended) = (planned.began, planned.ended);
            FaultRecord { what: planned.fault.to_string(), targets, began, ended, met, took_effect }
        };
        self.planned.iter().map(record).collect()
    }

    /// What a fault has met, as far as it was measured, and whether that is anything.
    fn effect(&self, planned: &Planned) -> (String, bool) {
        let met = &planned.met;
        match &planned.fault.kind {
            FaultKind::Network { on, .. } => {
                let of = |target: Option<Target>| {
                    met.effects.iter().filter(move |(of, _)| target.is_none_or(|target| target == *of))
                };
                let connections = |target| of(target).map(|(_, effect)| effect.connections()).sum::<u64>();
                let bytes: u64 = of(None).map(|(_, effect)| effect.bytes()).sum();
                let spared: Vec<&str> =
                    on.iter().filter(|target| connections(Some(**target)) == 0).map(|target| target.word()).collect();
                let but = if spared.is_empty() { String::new() } else { format!(", none of {}", spared.join(", ")) };
                (format!("{} connections, {bytes} bytes{but}", connections(None)), spared.is_empty())
            }
            FaultKind::Service { on, fault } => match (met.refused, met.during) {
                (Some(refused), _) => (format!("{refused} refusals"), refused > 0),
                // It is over before anybody could ask: what counts are the connections that it ended.
                (None, Some(_)) if matches!(fault, ServiceFault::Restart | ServiceFault::DropConnections) => {
                    let ended = self.ended_by(*on, planned);
                    (format!("{ended} connections, ended by the service"), ended > 0)
                }
                (None, Some((bytes, count))) => {
                    (format!("{count} new connections, {bytes} bytes"), bytes > 0 || count > 0)
                }
                (None, None) => ("nothing".to_owned(), false),
            },
            FaultKind::Jina(_) => match met.answered {
                Some(requests) => (format!("{requests} requests"), requests > 0),
                None => ("nothing".to_owned(), false),
            },
            FaultKind::Worker(WorkerFault::Join) if met.process => ("a process that took jobs".to_owned(), true),
            FaultKind::Worker(_) if met.process => ("a process that ran".to_owned(), true),
            FaultKind::Worker(_) => ("no process that ran".to_owned(), false),
        }
    }

    /// Connections to `target` that the service ended in the course of a fault, or within a moment of it.
    fn ended_by(&self, target: Target, planned: &Planned) -> usize {
        let (Some(began), Some(ended)) = (planned.began, planned.ended) else { return 0 };
        let proxied_connections = self.proxied_connections();
        let of_fault = |connection: &&ProxiedConnection| {
            let by_service = matches!(connection.closed_by, Some(ClosedBy::Server | ClosedBy::Unreachable));
            by_service && connection.closed.is_some_and(|closed| closed >= began && closed <= ended + NOTICED)
        };
        proxied_connections
            .get(&target)
            .map_or(0, |proxied_connections| proxied_connections.iter().filter(of_fault).count())
    }
}
