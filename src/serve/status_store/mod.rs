//! The status store: the last results. Every request to `serve` is answered from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::watch;

use super::circuit::{Circuit, CircuitState};
use super::heartbeat::{Heartbeat, ProbeResult, QueueState};
use super::history::{Changes, History};
use super::{Status, now_ms};
use crate::outcome::{CaseRecord, Level, Report, Verdict, Word};
use crate::redaction::redacted;
use crate::runner::{CheckOptions, EnvironmentCheck, Waived, unreachable_service, waived};

/// The intervals of checks and heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// From the start of one check to the start of the next.
    pub check: Duration,
    /// From one heartbeat of a service to the next.
    pub heartbeat: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self { check: Duration::from_secs(30), heartbeat: Duration::from_secs(2) }
    }
}

/// What is checked; replaced when the settings are reloaded.
#[derive(Debug, Clone)]
pub(super) struct Targets {
    /// The suites that are run, in their order: the services.
    pub(super) services: Vec<String>,
    /// The services that are asked for heartbeats.
    pub(super) probed: Vec<String>,
    /// The place of each case in the order of the suites.
    order: BTreeMap<String, usize>,
    waivers: Vec<Waived>,
    pub(super) profile: String,
    pub(super) queue: String,
    pub(super) collection: String,
}

impl Targets {
    fn from_check(check: &EnvironmentCheck) -> Self {
        let selected: Vec<_> = check.suites.cases.iter().filter(|case| check.selection.chooses(case)).collect();
        let mut services: Vec<String> = Vec::new();
        for case in &selected {
            if !services.contains(&case.suite) {
                services.push(case.suite.clone());
            }
        }
        let probers = super::heartbeat::probers(&check.endpoints, &check.given);
        let probed =
            probers.iter().map(|prober| prober.service.to_owned()).filter(|name| services.contains(name)).collect();
        Self {
            services,
            probed,
            order: selected.iter().enumerate().map(|(place, case)| (case.id.clone(), place)).collect(),
            waivers: waived(&check.settings),
            profile: check.settings.profile().to_owned(),
            queue: check.endpoints.names.queue.clone(),
            collection: check.endpoints.names.collection.clone(),
        }
    }
}

/// The last verdict of a case.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    pub(super) record: CaseRecord,
    pub(super) at_ms: i64,
    /// When that check began; later changes may not be part of the verdict.
    begun_ms: i64,
}

/// All results.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) targets: Targets,
    pub(super) cases: BTreeMap<usize, Judged>,
    pub(super) report: Option<Arc<Report>>,
    pub(super) heartbeats: BTreeMap<String, Heartbeat>,
    /// Why a service could not be asked since its last heartbeat: a limit of this process.
    pub(super) unasked: BTreeMap<String, String>,
    pub(super) circuits: BTreeMap<String, Circuit>,
    pub(super) queue: Option<QueueState>,
    pub(super) points: Option<u64>,
    check_begun_ms: i64,
    pub(super) last_check_ms: Option<i64>,
    pub(super) last_success_ms: Option<i64>,
    pub(super) checks: u64,
    /// Messages for the operator, such as settings that cannot be read.
    pub(super) notes: BTreeMap<&'static str, String>,
    pub(super) history: History,
}

/// The results of one environment; clones share them.
#[derive(Debug, Clone)]
pub struct StatusStore {
    known: Arc<RwLock<Known>>,
    changed: watch::Sender<u64>,
    intervals: Intervals,
    since_ms: i64,
}

impl StatusStore {
    /// An empty store for the targets of `check`.
    #[must_use]
    pub fn new(check: &EnvironmentCheck, intervals: Intervals) -> Self {
        Self::with_history(check, intervals, History::default())
    }

    /// The same, continuing a saved history.
    #[must_use]
    pub fn with_history(check: &EnvironmentCheck, intervals: Intervals, history: History) -> Self {
        Self::with_targets(Targets::from_check(check), intervals, history)
    }

    fn with_targets(targets: Targets, intervals: Intervals, history: History) -> Self {
        let known = Known {
            targets,
            cases: BTreeMap::new(),
            report: None,
            heartbeats: BTreeMap::new(),
            unasked: BTreeMap::new(),
            circuits: BTreeMap::new(),
            queue: None,
            points: None,
            check_begun_ms: 0,
            last_check_ms: None,
            last_success_ms: None,
            checks: 0,
            notes: BTreeMap::new(),
            history,
        };
        let (changed, _) = watch::channel(0);
        Self { known: Arc::new(RwLock::new(known)), changed, intervals, since_ms: now_ms() }
    }

    /// Replaces the targets. Drops the results of the old ones, and keeps the history.
    pub fn replace_targets(&self, check: &EnvironmentCheck) {
        let mut known = self.write();
        known.targets = Targets::from_check(check);
        known.cases.clear();
        known.heartbeats.clear();
        known.unasked.clear();
        known.circuits.clear();
        (known.report, known.queue, known.points, known.last_check_ms) = (None, None, None, None);
        drop(known);
        self.notify();
    }

    /// Sets the message called `about`, or removes it.
    pub fn note(&self, about: &'static str, text: Option<String>) {
        let mut known = self.write();
        match text {
            Some(text) => drop(known.notes.insert(about, redacted(text))),
            None => drop(known.notes.remove(about)),
        }
        drop(known);
        self.notify();
    }

    /// The intervals of checks and heartbeats.
    #[must_use]
    pub const fn intervals(&self) -> Intervals {
        self.intervals
    }

    pub(super) const fn since_ms(&self) -> i64 {
        self.since_ms
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self) {
        self.changed.send_modify(|number| *number = number.wrapping_add(1));
    }

    /// Subscribes to changes.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether the last check is recent: not older than three intervals and the time limit of one check.
    pub(super) fn is_fresh(&self, known: &Known, now: i64) -> bool {
        let allowed = self.intervals.check * 3 + CheckOptions::DEFAULT_TIMEOUT;
        known.last_check_ms.is_some_and(|last| now - last <= i64::try_from(allowed.as_millis()).unwrap_or(i64::MAX))
    }

    /// Stores a heartbeat; returns true if the service started or stopped answering.
    pub(super) fn record_heartbeat(
        &self,
        now: i64,
        service: &str,
        result: &Result<ProbeResult, String>,
        took: Duration,
    ) -> bool {
        let mut known = self.write();
        let before = known.heartbeats.get(service);
        let up = result.is_ok();
        let turned = before.is_some_and(|before| before.up != up);
        let since_ms = before.filter(|before| before.up == up).map_or(now, |before| before.since_ms);
        let latency_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let reason = result.as_ref().err().cloned();
        known.unasked.remove(service);
        known.circuits.entry(service.to_owned()).or_default().heartbeat(up);
        known.history.update_incident(now, service, None, reason.as_deref());
        match result {
            Ok(probed) => {
                known.queue = probed.queue.or(known.queue);
                known.points = probed.points.or(known.points);
            }
            // The last known values may be wrong now.
            Err(_) if service == "bullmq" => known.queue = None,
            Err(_) if service == "qdrant" => known.points = None,
            Err(_) => {}
        }
        known.heartbeats.insert(service.to_owned(), Heartbeat { up, latency_us, reason, at_ms: now, since_ms });
        let status = known.status(service).unwrap_or(Status::Pass);
        known.history.add_result(now, service, status, up.then_some(latency_us));
        drop(known);
        self.notify();
        turned
    }

    /// Stores why a service could not be asked. That is no outage: its last heartbeat stays, and its status is a warning.
    pub(super) fn record_unasked(&self, service: &str, reason: String) {
        self.write().unasked.insert(service.to_owned(), reason);
        self.notify();
    }

    /// Stores the verdict of a case, and applies its waiver.
    pub(super) fn record_case(&self, now: i64, mut record: CaseRecord) {
        let mut known = self.write();
        let Some(place) = known.targets.order.get(&record.id).copied() else { return };
        let waiver = known.targets.waivers.iter().find(|waiver| waiver.case == record.id && !waiver.expired);
        if let (Some(waiver), Word::Fail | Word::Warn) = (waiver, record.verdict.word()) {
            let reason = format!("{} ({})", waiver.reason, record.verdict.reason().unwrap_or_default());
            record.set_verdict(Verdict::Waived { reason, expires: waiver.expires.clone() });
        }
        let service = record.suite.clone();
        match record.verdict.word() {
            // A service that does not answer has an incident of its own.
            Word::Fail if !known.is_probed(&service) || !says_unreachable(&record) => {
                let reason = record.verdict.reason().unwrap_or_default().to_owned();
                known.history.update_incident(now, &service, Some(&record.id), Some(&reason));
            }
            Word::Pass | Word::Warn | Word::Waived => {
                known.history.update_incident(now, &service, Some(&record.id), None);
            }
            // Unknown: an open incident may still last.
            Word::Fail | Word::Skip | Word::Unknown => {}
        }
        let begun_ms = known.check_begun_ms;
        known.cases.insert(place, Judged { record, at_ms: now, begun_ms });
        drop(known);
        self.notify();
    }

    /// Starts a check; returns the verdicts that are carried over because the circuit of their service is open.
    pub(super) fn start_check(&self, now: i64) -> BTreeMap<String, Verdict> {
        let mut known = self.write();
        known.check_begun_ms = now;
        known.circuits.values_mut().for_each(Circuit::check_begins);
        let carried_over = known.cases.values().filter(|judged| {
            let service = unreachable(&judged.record);
            let circuit = service.and_then(|service| known.circuits.get(service));
            circuit.is_some_and(|circuit| circuit.state() == CircuitState::Open)
        });
        carried_over.map(|judged| (judged.record.id.clone(), judged.record.verdict.clone())).collect()
    }

    /// Stores the report of a finished check.
    pub(super) fn finish_check(&self, now: i64, report: Report) {
        for case in &report.cases {
            self.record_case(now, case.clone());
        }
        let gone: BTreeSet<String> = report.cases.iter().filter_map(unreachable).map(ToOwned::to_owned).collect();
        let mut known = self.write();
        for (service, circuit) in &mut known.circuits {
            circuit.check_ended(!gone.contains(service));
        }
        known.report = Some(Arc::new(report));
        known.last_check_ms = Some(now);
        known.checks += 1;
        if known.overall() != Some(Status::Fail) {
            known.last_success_ms = Some(now);
        }
        let unprobed: Vec<String> =
            known.targets.services.iter().filter(|service| !known.is_probed(service)).cloned().collect();
        for service in unprobed {
            if let Some(status) = known.status(&service) {
                known.history.add_result(now, &service, status, None);
            }
        }
        let targets = known.targets.clone();
        known.history.end_others(now, |service, case| match case {
            Some(case) => targets.order.contains_key(case),
            None => targets.probed.iter().any(|probed| probed == service),
        });
        known.history.prune(now);
        drop(known);
        self.notify();
    }

    /// The changes of the history since the last call.
    pub(super) fn changes(&self) -> Changes {
        self.write().history.changes()
    }
}

/// Whether a case failed only because its service did not answer.
fn says_unreachable(record: &CaseRecord) -> bool {
    let silent = |reason: &str| reason.contains(" is unreachable: ") || reason.contains(" did not answer in time: ");
    record.verdict.reason().is_some_and(silent)
}

/// The service that did not answer, if a case failed because of that.
fn unreachable(record: &CaseRecord) -> Option<&str> {
    match &record.verdict {
        Verdict::Fail { reason } | Verdict::Warn { reason } => unreachable_service(reason),
        _ => None,
    }
}

impl Known {
    pub(super) fn is_probed(&self, service: &str) -> bool {
        self.targets.probed.iter().any(|probed| probed == service)
    }

    /// The circuit of a probed service.
    pub(super) fn circuit(&self, service: &str) -> Option<CircuitState> {
        self.circuits.get(service).map(|circuit| circuit.state())
    }

    /// The cases of a service.
    pub(super) fn cases_of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a Judged> {
        self.cases.values().filter(move |judged| judged.record.suite == service)
    }

    /// The status of a case now; none for a skipped one. A case that failed because its service did not answer counts as
    /// a warning once the service answers again.
    pub(super) fn status_of(&self, judged: &Judged) -> Option<Status> {
        let record = &judged.record;
        match record.verdict.word() {
            Word::Pass => Some(Status::Pass),
            Word::Fail => {
                let heartbeat = self.heartbeats.get(&record.suite);
                // A check that began before the service came back may end after it; the next check is already requested.
                let is_back = heartbeat.is_some_and(|heartbeat| heartbeat.up && heartbeat.since_ms >= judged.begun_ms);
                Some(if is_back && says_unreachable(record) { Status::Warn } else { Status::Fail })
            }
            Word::Warn | Word::Unknown | Word::Waived => Some(Status::Warn),
            Word::Skip => None,
        }
    }

    /// The status of a service; none if it is not configured.
    pub(super) fn status(&self, service: &str) -> Option<Status> {
        let heartbeat =
            self.heartbeats.get(service).map(|heartbeat| if heartbeat.up { Status::Pass } else { Status::Fail });
        let unasked = self.unasked.get(service).map(|_| Status::Warn);
        let cases = self.cases_of(service).filter_map(|judged| self.status_of(judged));
        heartbeat.into_iter().chain(unasked).chain(cases).max()
    }

    /// The configured services.
    pub(super) fn services(&self) -> impl Iterator<Item = (&str, Status)> {
        self.targets.services.iter().filter_map(|service| Some((service.as_str(), self.status(service)?)))
    }

    /// The worst status of all services; none before the first result.
    pub(super) fn overall(&self) -> Option<Status> {
        self.services().map(|(_, status)| status).max()
    }

    /// Why the environment is not ready: the MUST cases that fail, and the services that do not answer.
    pub(super) fn problems(&self) -> Vec<String> {
        let silent =
            self.heartbeats.iter().filter(|(_, heartbeat)| !heartbeat.up).map(|(service, heartbeat)| {
                format!("{service}: {}", heartbeat.reason.as_deref().unwrap_or("no answer"))
            });
        let failed = self
            .cases
            .values()
            .filter(|judged| judged.record.level == Level::Must && self.status_of(judged) == Some(Status::Fail));
        let failed = failed
            .map(|judged| format!("{}: {}", judged.record.id, judged.record.verdict.reason().unwrap_or_default()));
        silent.chain(failed).collect()
    }
}

#[cfg(test)]
mod tests;
