//! The engine of a run: it judges every planned case, several at once, each after its prerequisites.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::{OnceCell, Semaphore, watch};

use super::plan::{Plan, ScenarioRun};
use super::scenario_runs::ScenarioFailure;
use super::stack_pool::{FIXED_NAMES, POOL_SIZE, StackPool};
use super::{RunOptions, Selection, report, waivers};
use crate::outcome::{CaseRecord, Event, Events, Evidence, Report, Span, TraceParent, Verdict, Word};
use crate::probe::{self, Context, SharedClients};
use crate::redaction::redactor;
use crate::scenario::{self, Observations};
use crate::settings::{Contract, Endpoints};
use crate::spec::{Case, Check, Need, Suites};
use crate::stack::{Capability, Stack, drop_names, names_for};

/// The verdict of a case, for the cases that require it.
#[derive(Debug, Clone)]
struct Completion {
    word: Word,
    /// The reason with which dependent cases are skipped, if it is more specific than the verdict.
    skip_reason: Option<String>,
}

type CompletionChannel = (watch::Sender<Option<Completion>>, watch::Receiver<Option<Completion>>);

/// The result of a scenario run, once it has run.
pub(super) type ObservationsCell = Arc<OnceCell<Result<Arc<Observations>, ScenarioFailure>>>;

/// What all cases of a run share.
pub(super) struct Engine<'a> {
    pub(super) plan: Plan,
    pub(super) stack: &'a Stack,
    pub(super) options: &'a RunOptions,
    pub(super) events: &'a Events,
    pub(super) stack_pool: StackPool,
    /// The stack under the run's own names, which `shakedown setup` has prepared.
    pub(super) endpoints: Endpoints,
    clients: SharedClients,
    /// One permit for each case that may run now.
    slots: Semaphore,
    /// The deadline of the run, and the time limit it comes from.
    deadline: Option<(tokio::time::Instant, Duration)>,
    /// The case that ended the run early, with `--fail-fast`.
    first_failed: OnceLock<String>,
    /// Cases that may have left something under names of their own.
    dirty: Mutex<BTreeSet<String>>,
    pub(super) scenario_runs: BTreeMap<String, ObservationsCell>,
    /// The position of scenario runs in the trace; the cases that judge one link to it.
    pub(super) trace_parents: Mutex<BTreeMap<String, TraceParent>>,
    /// How long scenario runs waited for a stack of their own.
    pub(super) waits: Mutex<BTreeMap<String, Duration>>,
    completions: BTreeMap<String, CompletionChannel>,
}

/// Runs every selected case. A run always yields a report.
pub async fn run(
    suites: &Suites,
    selection: &Selection,
    stack: &Stack,
    options: &RunOptions,
    events: &Events,
) -> Report {
    let clock = report::Clock::start();
    let plan = Plan::new(suites, selection, options.contract.has_fixed_names());
    events.say(Event::Planned { cases: plan.cases.len() });

    let mut notes = Vec::new();
    let endpoints = prepare_endpoints(stack, options, &mut notes).await;
    let engine = Engine::new(plan, stack, options, events, endpoints);
    let mut cases = join_all(engine.plan.cases.iter().map(|case| engine.run_case(case))).await;
    engine.clean_up().await;
    engine.clients.close().await;
    notes.extend(engine.stack_pool.stop().await.into_iter().map(|error| format!("clean-up failed: {error}")));

    for waiver in &options.waivers {
        waivers::apply(waiver, &mut cases, &mut notes);
    }
    let timelines = engine.timelines(&cases, &mut notes);
    let mut report = report::assemble(&engine, &suites.version, &clock, cases);
    report.notes = notes;
    report.timelines = timelines;
    report.settle(engine.plan.filtered_out);
    report.mask(&redactor());
    report
}

/// The endpoints of the run: the given ones, or the stack's under names of the run, prepared with `shakedown setup`.
async fn prepare_endpoints(stack: &Stack, options: &RunOptions, notes: &mut Vec<String>) -> Endpoints {
    if let Some(endpoints) = &options.endpoints {
        return endpoints.clone();
    }
    let mut endpoints = stack.endpoints().clone();
    if stack.capabilities().has(Capability::Write) {
        endpoints.names = names_for(&options.run, "run");
        let contract = Contract::reference(&options.shakedown, &options.directory);
        if let Err(error) = scenario::set_up(&endpoints, &contract, &options.shakedown).await {
            notes.push(format!("set-up of the run's queue, table and collection failed: {error}"));
        }
    }
    endpoints
}

/// The service that was unreachable, if that is why a case failed. Cases that require the case are skipped with this
/// reason.
#[must_use]
pub fn unreachable_service(reason: &str) -> Option<&str> {
    let (service, rest) = reason.split_once(" at ")?;
    let is_name = service.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    (is_name && rest.contains(" is unreachable: ")).then_some(service)
}

impl<'a> Engine<'a> {
    fn new(plan: Plan, stack: &'a Stack, options: &'a RunOptions, events: &'a Events, endpoints: Endpoints) -> Self {
        let pool_size = if options.contract.has_fixed_names() { FIXED_NAMES } else { POOL_SIZE };
        Self {
            stack,
            options,
            events,
            stack_pool: StackPool::new(options.stack_pool.clone(), pool_size),
            clients: SharedClients::new(endpoints.clone(), options.billed.clone()),
            endpoints,
            slots: Semaphore::new(options.jobs.max(1)),
            deadline: options.timeout.map(|timeout| (tokio::time::Instant::now() + timeout, timeout)),
            first_failed: OnceLock::new(),
            dirty: Mutex::default(),
            scenario_runs: plan.scenario_runs.keys().map(|name| (name.clone(), ObservationsCell::default())).collect(),
            trace_parents: Mutex::default(),
            waits: Mutex::default(),
            completions: plan.cases.iter().map(|case| (case.id.clone(), watch::channel(None))).collect(),
            plan,
        }
    }

    async fn run_case(&self, case: &Arc<Case>) -> CaseRecord {
        let mut record = case.record();
        let missing = self.missing_prerequisite(case).await;
        // Cases with a stack of their own wait for it in the pool, and must not take a slot meanwhile.
        let slot = if self.needs_own_stack(case) { None } else { Some(self.slots.acquire().await) };
        self.events.say(Event::CaseStarted { id: case.id.clone() });
        let span = self.events.trace().begin(format_args!("case {}", case.id));
        let begun = Instant::now();
        let skip = missing.or_else(|| self.missing_capability(case)).or_else(|| {
            let first = self.first_failed.get()?;
            Some(format!("--fail-fast: {first} failed before this case started"))
        });
        let (verdict, evidence) = match (skip, self.deadline) {
            (Some(reason), _) => (Verdict::skip(reason), Vec::new()),
            (None, _) if self.options.carried_over.contains_key(&case.id) => self.carry_over(case),
            (None, Some((deadline, timeout))) => {
                tokio::time::timeout_at(deadline, Box::pin(self.judge(case, &span))).await.unwrap_or_else(|_| {
                    let reason = format!("not judged within the {} s of --timeout", timeout.as_secs_f64());
                    (Verdict::unknown(reason), Vec::new())
                })
            }
            (None, None) => Box::pin(self.judge(case, &span)).await,
        };
        if self.options.fail_fast && verdict.word() == Word::Fail {
            // If two fail at the same time, the first one to get here is named.
            let _ = self.first_failed.set(case.id.clone());
        }
        drop(slot);
        record.evidence = evidence;
        record.duration_ms = report::millis(begun.elapsed().saturating_sub(self.wait_for_stack(case)));
        record.judge(verdict);
        record.mask(&redactor());
        self.complete(&record);
        let mut waivers = self.options.waivers.iter();
        span.case(&record, waivers.any(|waiver| waiver.case == case.id && !waiver.expired));
        self.events.say(Event::CaseFinished { record: Box::new(record.clone()) });
        record
    }

    /// Announces the verdict to the cases that require this one.
    fn complete(&self, record: &CaseRecord) {
        let Some((completion, _)) = self.completions.get(&record.id) else { return };
        let word = record.verdict.word();
        let reason = record.verdict.reason().unwrap_or_default();
        let skip_reason = match word {
            Word::Skip => Some(reason.to_owned()),
            _ => unreachable_service(reason).map(|service| format!("{service} unreachable")),
        };
        completion.send_replace(Some(Completion { word, skip_reason }));
    }

    /// The carried-over verdict of a case.
    fn carry_over(&self, case: &Case) -> (Verdict, Vec<Evidence>) {
        let verdict = self.options.carried_over.get(&case.id).cloned();
        let evidence =
            Evidence::seen("circuit", "open: the service was not queried again; the verdict is carried over");
        (verdict.unwrap_or_else(|| Verdict::unknown("the case was not judged")), vec![evidence])
    }

    /// Waits for the selected prerequisites of a case; gives the reason of the first one that did not pass.
    async fn missing_prerequisite(&self, case: &Case) -> Option<String> {
        let mut first = None;
        for id in &case.requires {
            let Some((_, completion)) = self.completions.get(id) else { continue };
            let mut completion = completion.clone();
            let completion = completion.wait_for(Option::is_some).await.ok().and_then(|completion| completion.clone());
            let missing = match completion {
                Some(Completion { word: Word::Pass | Word::Warn | Word::Waived, .. }) => continue,
                Some(Completion { skip_reason: Some(reason), .. }) => reason,
                Some(Completion { word, .. }) => format!("prerequisite {id} is {word}"),
                None => format!("prerequisite {id} was not judged"),
            };
            first.get_or_insert(missing);
        }
        first
    }

    /// Whether the case's scenario needs a stack to itself.
    fn needs_own_stack(&self, case: &Case) -> bool {
        self.plan.run_of(case).is_some_and(|(_, run)| run.needs_own_stack)
    }

    /// How long the case's scenario waited for a stack of its own; the case's duration is without it.
    fn wait_for_stack(&self, case: &Case) -> Duration {
        let Some((name, _)) = self.plan.run_of(case) else { return Duration::ZERO };
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.get(name).copied().unwrap_or_default()
    }

    /// Why the stack or the contract does not permit the case, if so.
    fn missing_capability(&self, case: &Case) -> Option<String> {
        let (provider, _) = self.stack.provider();
        if self.needs_own_stack(case) && self.options.stack_pool.is_none() {
            return Some(format!("the {provider} provider cannot start a second stack for faults on a service"));
        }
        let deletes = self.plan.run_of(case).is_some_and(|(_, run)| ScenarioRun::deletes(run));
        if deletes && self.options.contract.queue.delete.is_none() {
            return Some(
                "the contract has no job that removes a document: add `delete = { name = \"JOB\", data = { … } }` to \
                 [queue]"
                    .to_owned(),
            );
        }
        case.needs.iter().find_map(|need| {
            let is_met = match need {
                Need::Write => self.stack.capabilities().has(Capability::Write),
                Need::Restart => self.stack.capabilities().has(Capability::Restart),
                Need::Mock => self.stack.capabilities().has(Capability::Mock),
                // Without another worker the reference worker is used.
                Need::Worker => true,
            };
            (!is_met).then(|| format!("the {provider} provider has no capability `{}`", need.word()))
        })
    }

    async fn judge(&self, case: &Case, span: &Span) -> (Verdict, Vec<Evidence>) {
        match &case.check {
            Check::Probe(probe, matchers) => {
                let context = self.probe_context(case);
                let leaves_data = case.needs.contains(&Need::Write) && !self.stack.is_throwaway();
                let dirty = || self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
                if leaves_data {
                    dirty().insert(case.id.clone());
                }
                let probing = span.trace().begin(format_args!("probe {}", probe.kind()));
                let judged = probe::judge(probe, matchers, case.level, &context).await;
                drop(probing);
                if leaves_data {
                    let errors = drop_names(&context.own, &context.own.names).await.err().unwrap_or_default();
                    dirty().remove(&case.id);
                    self.note_clean_up_errors(&errors);
                }
                judged
            }
            Check::Scenario(name, expectations) => {
                let result = self.observations(name).await;
                if let Some(parent) = self.trace_parents.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
                    span.link(*parent);
                }
                match result {
                    Ok(observations) => {
                        scenario::judge(expectations, &observations, case.documents_matching.as_ref(), case.level)
                    }
                    Err(ScenarioFailure { reason, blames_worker }) => {
                        let evidence = vec![Evidence::seen("the scenario", reason.clone())];
                        let verdict =
                            if blames_worker { Verdict::unmet(case.level, reason) } else { Verdict::unknown(reason) };
                        (verdict, evidence)
                    }
                }
            }
        }
    }

    fn probe_context(&self, case: &Case) -> Context {
        let mut own = self.endpoints.clone();
        own.names = names_for(&self.options.run, &case.id);
        Context {
            endpoints: self.endpoints.clone(),
            own,
            shakedown: self.options.shakedown.clone(),
            given: self.options.given.clone(),
            clients: self.clients.clone(),
            writes: case.writes(),
        }
    }

    pub(super) fn note_clean_up_errors(&self, errors: &[impl std::fmt::Display]) {
        for error in errors {
            self.events.note(format!("clean-up failed: {error}"));
        }
    }

    /// Removes what the run created on a stack that is not a throwaway.
    async fn clean_up(&self) {
        if self.stack.is_throwaway() || !self.stack.capabilities().has(Capability::Write) {
            return;
        }
        // Given endpoints belong to the user, with their names.
        let mut all: Vec<Endpoints> =
            self.options.endpoints.is_none().then(|| self.endpoints.clone()).into_iter().collect();
        let ran = self.scenario_runs.iter().filter(|(_, cell)| cell.initialized()).map(|(name, _)| name.clone());
        // Cases that were interrupted by the deadline.
        let dirty = std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner));
        for name in ran.chain(dirty) {
            let mut endpoints = self.endpoints.clone();
            endpoints.names = names_for(&self.options.run, &name);
            all.push(endpoints);
        }
        for endpoints in all {
            let errors = drop_names(&endpoints, &endpoints.names).await.err().unwrap_or_default();
            self.note_clean_up_errors(&errors);
        }
    }
}
