//! The engine of a run: it judges every planned case, several at once, each after its prerequisites.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::{StreamExt as _, stream};
use tokio::sync::{Semaphore, watch};

use super::causes::causes;
use super::clean_up::CleanUpFailures;
use super::plan::{Plan, ScenarioRun};
use super::scenario_runs::{ScenarioFailure, ScenarioRuns};
use super::timelines::timelines;
use super::{RunOptions, Selection, report, waivers};
use crate::outcome::{CaseRecord, Event, Events, Evidence, Level, Report, Span, Verdict, Word};
use crate::probe::{self, Context, SharedClients};
use crate::redaction::redactor;
use crate::scenario;
use crate::settings::{Contract, Endpoints};
use crate::spec::{Case, Check, Need, Suites};
use crate::stack::{Capability, Entry, RemoteData, Resource, Stack, StackError, drop_names, names_for};

/// How many names are removed at the same time.
const REMOVALS: usize = 8;

/// The verdict of a case, for the cases that require it.
#[derive(Debug, Clone)]
struct Completion {
    word: Word,
    /// The reason with which dependent cases are skipped, if it is more specific than the verdict.
    skip_reason: Option<String>,
}

type CompletionChannel = (watch::Sender<Option<Completion>>, watch::Receiver<Option<Completion>>);

/// What all cases of a run share.
struct Engine<'a> {
    plan: &'a Plan,
    stack: &'a Stack,
    options: &'a RunOptions,
    events: &'a Events,
    scenario_runs: ScenarioRuns<'a>,
    /// The stack under the run's own names, which `shakedown setup` has prepared.
    endpoints: Endpoints,
    clients: SharedClients,
    /// One permit for each case that may run now.
    slots: Semaphore,
    /// The deadline of the run, and the time limit it comes from.
    deadline: Option<(tokio::time::Instant, Duration)>,
    /// The case that ended the run early, with `--fail-fast`.
    first_failed: OnceLock<String>,
    /// Cases that may have left something under names of their own, with the entry of it in the ledger.
    dirty: Mutex<BTreeMap<String, Option<Entry>>>,
    failures: &'a CleanUpFailures,
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
    events.send(Event::Planned { cases: plan.cases.len() });

    let mut notes = Vec::new();
    if let Some(profile) = &options.worker_profile {
        let lines = profile.lines();
        let lines: Vec<String> = lines.iter().map(|(topic, sentence)| format!("{topic}: {sentence}")).collect();
        notes.push(format!("worker: {}", lines.join(". ")));
    }
    let endpoints = prepare_endpoints(stack, options, &mut notes).await;
    let failures = CleanUpFailures::default();
    let engine = Engine::new(&plan, stack, options, events, (endpoints, &failures));
    let mut cases = join_all(plan.cases.iter().map(|case| engine.run_case(case))).await;
    engine.clean_up().await;
    engine.clients.close().await;
    let runs = &engine.scenario_runs;
    runs.stop().await;
    notes.extend(failures.take_notes());

    for waiver in &options.waivers {
        waivers::apply(waiver, &mut cases, &mut notes);
    }
    let mut report = report::assemble(stack, &engine.endpoints, options, &suites.version, &clock);
    report.causes = causes(&mut cases, &plan, runs, options);
    report.timelines = timelines(&cases, runs, options, &mut notes);
    report.cases = cases;
    report.notes = notes;
    report.settle(plan.filtered_out);
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
    fn new(
        plan: &'a Plan,
        stack: &'a Stack,
        options: &'a RunOptions,
        events: &'a Events,
        (endpoints, failures): (Endpoints, &'a CleanUpFailures),
    ) -> Self {
        Self {
            plan,
            stack,
            options,
            events,
            scenario_runs: ScenarioRuns::new(plan, stack, endpoints.clone(), options, events, failures),
            clients: SharedClients::new(endpoints.clone(), options.billed.clone()),
            endpoints,
            slots: Semaphore::new(options.jobs.max(1)),
            deadline: options.timeout.map(|timeout| (tokio::time::Instant::now() + timeout, timeout)),
            first_failed: OnceLock::new(),
            dirty: Mutex::default(),
            failures,
            completions: plan.cases.iter().map(|case| (case.id.clone(), watch::channel(None))).collect(),
        }
    }

    async fn run_case(&self, case: &Arc<Case>) -> CaseRecord {
        let mut record = case.record();
        record.level = self.level(case);
        let missing = self.missing_prerequisite(case).await;
        // Cases with a stack of their own wait for it in the pool, and must not take a slot meanwhile.
        let slot = if self.needs_own_stack(case) { None } else { Some(self.slots.acquire().await) };
        self.events.send(Event::CaseStarted { id: case.id.clone() });
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
                tokio::time::timeout_at(deadline, Box::pin(self.evaluate(case, &span))).await.unwrap_or_else(|_| {
                    let reason = format!("not judged within the {} s of --timeout", timeout.as_secs_f64());
                    (Verdict::unknown(reason), Vec::new())
                })
            }
            (None, None) => Box::pin(self.evaluate(case, &span)).await,
        };
        if self.options.fail_fast && verdict.word() == Word::Fail {
            // If two fail at the same time, the first one to get here is named.
            let _ = self.first_failed.set(case.id.clone());
        }
        drop(slot);
        record.evidence = evidence;
        record.duration_ms = report::millis(begun.elapsed().saturating_sub(self.wait_for_stack(case)));
        record.set_verdict(verdict);
        record.mask(&redactor());
        self.complete(&record);
        let mut waivers = self.options.waivers.iter();
        span.case(&record, waivers.any(|waiver| waiver.case == case.id && !waiver.expired));
        self.events.send(Event::CaseFinished { record: Box::new(record.clone()) });
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
        self.plan.run_of(case).map_or(Duration::ZERO, |(name, _)| self.scenario_runs.wait(name))
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

    /// The level of a case for this worker.
    fn level(&self, case: &Case) -> Level {
        match &case.check {
            Check::Probe(..) => case.level,
            Check::Scenario(_, expectations) => scenario::level_for(expectations, case.level, &self.options.contract),
        }
    }

    async fn evaluate(&self, case: &Case, span: &Span) -> (Verdict, Vec<Evidence>) {
        match &case.check {
            Check::Probe(probe, matchers) => {
                let context = self.probe_context(case);
                let leaves_data = case.needs.contains(&Need::Write) && !self.stack.is_throwaway();
                if leaves_data && let Err(error) = self.record_data(&case.id, &context.own) {
                    return (Verdict::unknown(format!("nothing was written: {error}")), Vec::new());
                }
                let probing = span.trace().begin(format_args!("probe {}", probe.kind()));
                let judged = probe::evaluate(probe, matchers, case.level, &context).await;
                drop(probing);
                if leaves_data && drop_names(&context.own, &context.own.names).await.is_ok() {
                    self.forget_data(&case.id);
                }
                judged
            }
            Check::Scenario(name, expectations) => {
                let result = self.scenario_runs.assessment(name).await;
                if let Some(parent) = self.scenario_runs.trace_parent(name) {
                    span.link(parent);
                }
                match result {
                    Ok(assessment) => {
                        let of_scenario = self.plan.run_of(case).map(|(_, run)| run.scenario.premises.as_slice());
                        let premises = [of_scenario.unwrap_or_default(), case.premises.as_slice()].concat();
                        let matching = case.documents_matching.as_ref();
                        let (verdict, mut evidence) =
                            scenario::evaluate(&premises, expectations, &assessment, matching, self.level(case));
                        if verdict != Verdict::Pass
                            && let Some(why) = scenario::undeclared(expectations, &self.options.contract)
                        {
                            evidence.push(Evidence::seen("a recommendation", format!("{why}; otherwise it is a MUST")));
                        }
                        (verdict, evidence)
                    }
                    Err(ScenarioFailure { reason, blames_worker, .. }) => {
                        let evidence = vec![Evidence::seen("the scenario", reason.clone())];
                        let verdict = if blames_worker {
                            Verdict::unmet(self.level(case), reason)
                        } else {
                            Verdict::unknown(reason)
                        };
                        (verdict, evidence)
                    }
                }
            }
        }
    }

    fn probe_context(&self, case: &Case) -> Context {
        let mut own = self.endpoints.clone();
        own.names = names_for(&self.options.run, &case.id);
        own.postgres = own.postgres.with_session_name(own.names.schema());
        Context {
            endpoints: self.endpoints.clone(),
            own,
            shakedown: self.options.shakedown.clone(),
            given: self.options.given.clone(),
            clients: self.clients.clone(),
            writes: case.writes(),
            ledger: self.stack.ledger().cloned(),
        }
    }

    /// Records that the case may write under its own names. [`Engine::clean_up`] removes what is still there then.
    fn record_data(&self, case: &str, own: &Endpoints) -> Result<(), StackError> {
        let ledger = self.stack.ledger();
        let entry = ledger.map(|ledger| ledger.add(Resource::RemoteData(RemoteData::new(own)))).transpose()?;
        self.dirty().insert(case.to_owned(), entry);
        Ok(())
    }

    /// Declares the data of the case removed.
    fn forget_data(&self, case: &str) {
        let entry = self.dirty().remove(case).flatten();
        if let Some((ledger, entry)) = self.stack.ledger().zip(entry) {
            ledger.mark_removed(entry);
        }
    }

    fn dirty(&self) -> MutexGuard<'_, BTreeMap<String, Option<Entry>>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what the run created on a stack that is not a throwaway.
    async fn clean_up(&self) {
        if self.stack.is_throwaway() || !self.stack.capabilities().has(Capability::Write) {
            return;
        }
        // Given endpoints belong to the user, with their names.
        let own = self.options.endpoints.is_none().then(|| self.endpoints.names.clone());
        let own = own.into_iter().map(|names| (String::new(), names));
        // Cases that the deadline interrupted, or whose data could not be removed.
        let dirty: Vec<String> = self.dirty().keys().cloned().collect();
        let others = self.scenario_runs.ran().into_iter().chain(dirty);
        let others = others.map(|name| {
            let names = names_for(&self.options.run, &name);
            (name, names)
        });
        let remedy = if self.stack.ledger().is_some() { "; `shakedown clean` removes it later" } else { "" };
        let removals = stream::iter(own.chain(others)).for_each_concurrent(REMOVALS, |(case, names)| async move {
            let endpoints = Endpoints { names, ..self.endpoints.clone() };
            if self.failures.remove_names(&endpoints, remedy, self.events).await {
                self.forget_data(&case);
            }
        });
        removals.await;
    }
}
