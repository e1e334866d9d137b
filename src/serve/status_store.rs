//! The status_store: what is known now. Everything that is asked of `serve` is read from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::watch;

use super::circuit::{Circuit, CircuitState};
use super::heartbeat::{Heartbeat, QueueSight, Sight};
use super::history::{Changes, History};
use super::{Status, now_ms};
use crate::outcome::{CaseRecord, Level, Report, Verdict, Word};
use crate::runner::{CheckOptions, EnvironmentCheck, Waived, unreachable_service, waived};

/// How often is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// Between the beginnings of two checks.
    pub check: Duration,
    /// Between two pulses of a service.
    pub pulse: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self { check: Duration::from_secs(30), pulse: Duration::from_secs(2) }
    }
}

/// What the status_store is about; another one after the settings were read again.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// The suites that are judged, in their order: the services.
    pub(super) services: Vec<String>,
    /// The services whose pulse is felt.
    pub(super) felt: Vec<String>,
    /// The cases in their order.
    order: BTreeMap<String, usize>,
    waivers: Vec<Waived>,
    pub(super) profile: String,
    pub(super) queue: String,
    pub(super) collection: String,
}

impl Subject {
    fn of(checkup: &EnvironmentCheck) -> Self {
        let chosen: Vec<_> = checkup.suites.cases.iter().filter(|case| checkup.selection.chooses(case)).collect();
        let mut services: Vec<String> = Vec::new();
        for case in &chosen {
            if !services.contains(&case.suite) {
                services.push(case.suite.clone());
            }
        }
        let felt = super::heartbeat::probers(&checkup.endpoints, &checkup.given);
        let felt = felt.iter().map(|prober| prober.service.to_owned()).filter(|name| services.contains(name)).collect();
        Self {
            services,
            felt,
            order: chosen.iter().enumerate().map(|(place, case)| (case.id.clone(), place)).collect(),
            waivers: waived(&checkup.settings),
            profile: checkup.settings.profile().to_owned(),
            queue: checkup.endpoints.names.queue.clone(),
            collection: checkup.endpoints.names.collection.clone(),
        }
    }
}

/// A case as it was judged last.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    pub(super) record: CaseRecord,
    pub(super) at_ms: i64,
    /// When the check began that judged it: what has changed since may not show in it.
    begun_ms: i64,
}

/// All that is known.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) subject: Subject,
    pub(super) cases: BTreeMap<usize, Judged>,
    pub(super) report: Option<Arc<Report>>,
    pub(super) pulses: BTreeMap<String, Heartbeat>,
    pub(super) circuits: BTreeMap<String, Circuit>,
    pub(super) queue: Option<QueueSight>,
    pub(super) points: Option<u64>,
    check_begun_ms: i64,
    pub(super) last_check_ms: Option<i64>,
    pub(super) last_success_ms: Option<i64>,
    pub(super) checks: u64,
    /// What whoever runs it should know, such as settings that cannot be read.
    pub(super) notes: BTreeMap<&'static str, String>,
    pub(super) history: History,
}

/// What is known of one environment; clones are the same status_store.
#[derive(Debug, Clone)]
pub struct StatusStore {
    known: Arc<RwLock<Known>>,
    changed: watch::Sender<u64>,
    intervals: Intervals,
    since_ms: i64,
}

impl StatusStore {
    /// An empty status_store for what `checkup` judges.
    #[must_use]
    pub fn new(checkup: &EnvironmentCheck, intervals: Intervals) -> Self {
        Self::with_history(checkup, intervals, History::default())
    }

    /// A status_store that goes on with a history.
    #[must_use]
    pub fn with_history(checkup: &EnvironmentCheck, intervals: Intervals, history: History) -> Self {
        Self::about(Subject::of(checkup), intervals, history)
    }

    fn about(subject: Subject, intervals: Intervals, history: History) -> Self {
        let known = Known {
            subject,
            cases: BTreeMap::new(),
            report: None,
            pulses: BTreeMap::new(),
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

    /// Goes on with another subject; what was found of the last one is forgotten, its history is not.
    pub fn refit(&self, checkup: &EnvironmentCheck) {
        let mut known = self.write();
        known.subject = Subject::of(checkup);
        known.cases.clear();
        known.pulses.clear();
        known.circuits.clear();
        (known.report, known.queue, known.points, known.last_check_ms) = (None, None, None, None);
        drop(known);
        self.tell();
    }

    /// Shows a line to whoever looks, under a name; nothing takes it away.
    pub fn note(&self, about: &'static str, text: Option<String>) {
        let mut known = self.write();
        match text {
            Some(text) => drop(known.notes.insert(about, text)),
            None => drop(known.notes.remove(about)),
        }
        drop(known);
        self.tell();
    }

    /// How often is looked.
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

    fn tell(&self) {
        self.changed.send_modify(|number| *number = number.wrapping_add(1));
    }

    /// Hears of every change.
    pub(super) fn listen(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether the last check is recent enough to be believed: three may be late, and one may take all its time.
    pub(super) fn is_fresh(&self, known: &Known, now: i64) -> bool {
        let allowed = self.intervals.check * 3 + CheckOptions::DEFAULT_TIMEOUT;
        known.last_check_ms.is_some_and(|last| now - last <= i64::try_from(allowed.as_millis()).unwrap_or(i64::MAX))
    }

    /// A pulse was felt; true when a service began or ceased to answer.
    pub(super) fn feel(&self, now: i64, service: &str, seen: &Result<Sight, String>, took: Duration) -> bool {
        let mut known = self.write();
        let before = known.pulses.get(service);
        let up = seen.is_ok();
        let turned = before.is_some_and(|before| before.up != up);
        let since_ms = before.filter(|before| before.up == up).map_or(now, |before| before.since_ms);
        let latency_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let reason = seen.as_ref().err().cloned();
        known.circuits.entry(service.to_owned()).or_default().pulse(up);
        known.history.judge(now, service, None, reason.as_deref());
        match seen {
            Ok(sight) => {
                known.queue = sight.queue.or(known.queue);
                known.points = sight.points.or(known.points);
            }
            // What was seen before is not so any more, or nobody knows.
            Err(_) if service == "bullmq" => known.queue = None,
            Err(_) if service == "qdrant" => known.points = None,
            Err(_) => {}
        }
        known.pulses.insert(service.to_owned(), Heartbeat { up, latency_us, reason, at_ms: now, since_ms });
        let status = known.status(service).unwrap_or(Status::Pass);
        known.history.see(now, service, status, up.then_some(latency_us));
        drop(known);
        self.tell();
        turned
    }

    /// A case was judged. Waivers are heeded.
    pub(super) fn judge(&self, now: i64, mut record: CaseRecord) {
        let mut known = self.write();
        let Some(place) = known.subject.order.get(&record.id).copied() else { return };
        let waiver = known.subject.waivers.iter().find(|waiver| waiver.case == record.id && !waiver.expired);
        if let (Some(waiver), Word::Fail | Word::Warn) = (waiver, record.verdict.word()) {
            let reason = format!("{} ({})", waiver.reason, record.verdict.reason().unwrap_or_default());
            record.judge(Verdict::Waived { reason, expires: waiver.expires.clone() });
        }
        let service = record.suite.clone();
        match record.verdict.word() {
            // That the service does not answer is an incident of its own.
            Word::Fail if !known.is_felt(&service) || !says_unreachable(&record) => {
                let reason = record.verdict.reason().unwrap_or_default().to_owned();
                known.history.judge(now, &service, Some(&record.id), Some(&reason));
            }
            Word::Pass | Word::Warn | Word::Waived => known.history.judge(now, &service, Some(&record.id), None),
            // Nobody knows: what was amiss may still be.
            Word::Fail | Word::Skip | Word::Unknown => {}
        }
        let begun_ms = known.check_begun_ms;
        known.cases.insert(place, Judged { record, at_ms: now, begun_ms });
        drop(known);
        self.tell();
    }

    /// A check begins; gives the cases that it is not to judge anew, because their service is known not to answer.
    pub(super) fn check_begins(&self, now: i64) -> BTreeMap<String, Verdict> {
        let mut known = self.write();
        known.check_begun_ms = now;
        known.circuits.values_mut().for_each(Circuit::check_begins);
        let stands = known.cases.values().filter(|judged| {
            let service = unreachable(&judged.record);
            let circuit = service.and_then(|service| known.circuits.get(service));
            circuit.is_some_and(|circuit| circuit.state() == CircuitState::Open)
        });
        stands.map(|judged| (judged.record.id.clone(), judged.record.verdict.clone())).collect()
    }

    /// A check came to its end.
    pub(super) fn checked(&self, now: i64, report: Report) {
        for case in &report.cases {
            self.judge(now, case.clone());
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
        let unfelt: Vec<String> =
            known.subject.services.iter().filter(|service| !known.is_felt(service)).cloned().collect();
        for service in unfelt {
            if let Some(status) = known.status(&service) {
                known.history.see(now, &service, status, None);
            }
        }
        let subject = known.subject.clone();
        known.history.end_others(now, |service, case| match case {
            Some(case) => subject.order.contains_key(case),
            None => subject.felt.iter().any(|felt| felt == service),
        });
        known.history.prune(now);
        drop(known);
        self.tell();
    }

    /// What has changed in the history since the last time this was asked.
    pub(super) fn changes(&self) -> Changes {
        self.write().history.changes()
    }
}

/// Whether a case failed for no other reason than that its service did not answer.
fn says_unreachable(record: &CaseRecord) -> bool {
    let silent = |reason: &str| reason.contains(" is unreachable: ") || reason.contains(" did not answer in time: ");
    record.verdict.reason().is_some_and(silent)
}

/// The service for want of whose answer a case failed.
fn unreachable(record: &CaseRecord) -> Option<&str> {
    match &record.verdict {
        Verdict::Fail { reason } | Verdict::Warn { reason } => unreachable_service(reason),
        _ => None,
    }
}

impl Known {
    pub(super) fn is_felt(&self, service: &str) -> bool {
        self.subject.felt.iter().any(|felt| felt == service)
    }

    /// The circuit of a service whose pulse is felt.
    pub(super) fn circuit(&self, service: &str) -> Option<CircuitState> {
        self.circuits.get(service).map(|circuit| circuit.state())
    }

    /// The cases of a service.
    pub(super) fn cases_of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a Judged> {
        self.cases.values().filter(move |judged| judged.record.suite == service)
    }

    /// How a case is to be taken now; none for a skipped one. That a service did not answer when it was judged means
    /// nothing any more when it has come back since.
    pub(super) fn status_of(&self, judged: &Judged) -> Option<Status> {
        let record = &judged.record;
        match record.verdict.word() {
            Word::Pass => Some(Status::Pass),
            Word::Fail => {
                let pulse = self.pulses.get(&record.suite);
                // A check that began before the service came back may end after it; the return calls for another.
                let is_back = pulse.is_some_and(|pulse| pulse.up && pulse.since_ms >= judged.begun_ms);
                Some(if is_back && says_unreachable(record) { Status::Warn } else { Status::Fail })
            }
            Word::Warn | Word::Unknown | Word::Waived => Some(Status::Warn),
            Word::Skip => None,
        }
    }

    /// The status of a service; none when it is not there to be judged.
    pub(super) fn status(&self, service: &str) -> Option<Status> {
        let pulse = self.pulses.get(service).map(|pulse| if pulse.up { Status::Pass } else { Status::Fail });
        pulse.into_iter().chain(self.cases_of(service).filter_map(|judged| self.status_of(judged))).max()
    }

    /// The services that are there to be judged.
    pub(super) fn services(&self) -> impl Iterator<Item = (&str, Status)> {
        self.subject.services.iter().filter_map(|service| Some((service.as_str(), self.status(service)?)))
    }

    /// The status of everything; none before anything was looked at.
    pub(super) fn overall(&self) -> Option<Status> {
        self.services().map(|(_, status)| status).max()
    }

    /// Why the environment is not ready: the cases that must hold and do not, and the services that do not answer.
    pub(super) fn hindrances(&self) -> Vec<String> {
        let silent = self
            .pulses
            .iter()
            .filter(|(_, pulse)| !pulse.up)
            .map(|(service, pulse)| format!("{service}: {}", pulse.reason.as_deref().unwrap_or("no answer")));
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
