//! One run: every chosen case to its verdict, several at once, each after its prerequisites.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use secrecy::SecretString;
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

use super::Selection;
use super::baseline::Baselines;
use super::stack_pool::{FIXED_NAMES, POOL_SIZE, StackPool, StackPoolOptions};
use crate::outcome::{
    CaseRecord, Coverage, EnvironmentRow, Event, Events, Evidence, Gate, REPORT_VERSION, Report, RunVerdict, Span,
    Timeline, Totals, TraceParent, Verdict, Word,
};
use crate::probe::{self, BilledCache, Context, SharedClients};
use crate::scenario::{self, Harness, Observations, ScenarioError};
use crate::settings::{Contract, Endpoints, Given, Names, Settings, Waiver};
use crate::spec::{Case, Check, Need, Scenario, Step, Suites};
use crate::stack::{Capability, Stack, drop_any_names, drop_names, names_for};

/// A failure that is accepted until a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waived {
    /// The case.
    pub case: String,
    /// Why it is accepted.
    pub reason: String,
    /// The last day on which it counts, `YYYY-MM-DD`.
    pub expires: String,
    /// Whether that day is past.
    pub expired: bool,
}

/// The failures that the settings accept, as of today.
#[must_use]
pub fn waived(settings: &Settings) -> Vec<Waived> {
    let today = jiff::Zoned::now().date();
    let waive = |waiver: &Waiver| Waived {
        case: waiver.case.clone(),
        reason: waiver.reason.clone(),
        expires: waiver.expires.to_string(),
        expired: !waiver.counts_on(today),
    };
    settings.config().waivers.iter().map(waive).collect()
}

/// What a run is given beside suites and stack.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The run's id; every name carries it.
    pub run: String,
    /// Cases at once.
    pub jobs: usize,
    /// The seed.
    pub seed: u64,
    /// The profile's name.
    pub profile: String,
    /// The shakedown binary.
    pub shakedown: PathBuf,
    /// The worker under test.
    pub contract: Arc<Contract>,
    /// What its `{{env.NAME}}` takes from the environment.
    pub variables: BTreeMap<String, SecretString>,
    /// Where logs may be written.
    pub directory: PathBuf,
    /// Accepted failures.
    pub waivers: Vec<Waived>,
    /// Where the whole output of workers is kept of which a case was not passed; without secrets.
    pub keep_output: Option<PathBuf>,
    /// Whether the first failed case is the last that is begun.
    pub fail_fast: bool,
    /// How long the cases may take altogether; what is not judged by then is unknown.
    pub timeout: Option<Duration>,
    /// What the report says of the gate.
    pub gate: Gate,
    /// The endpoints to judge instead of the stack's own, with names that are prepared already.
    pub endpoints: Option<Endpoints>,
    /// What somebody set, where the stack is somebody's.
    pub given: Option<Arc<Given>>,
    /// What earlier runs paid for, and need not be paid for again.
    pub billed: BilledCache,
    /// Cases that are not judged anew: what was said of them stands.
    pub stands: BTreeMap<String, Verdict>,
    /// How to make a second stack, for scenarios that disturb a service itself; without one they are skipped.
    pub spare: Option<StackPoolOptions>,
}

/// The verdict of a case, once there is one, and why those that come after it are skipped, where it says so.
type Ended = (watch::Sender<Option<Judged>>, watch::Receiver<Option<Judged>>);
type Judged = (Word, Option<String>);

type Cell = Arc<OnceCell<Result<Arc<Observations>, ScenarioFailure>>>;

/// A scenario run that did not come to its end.
#[derive(Debug, Clone)]
struct ScenarioFailure {
    reason: String,
    /// Whether the worker, or the way to start it, is to blame; otherwise nothing is known of it.
    blames_worker: bool,
}

impl<T: Into<String>> From<T> for ScenarioFailure {
    fn from(reason: T) -> Self {
        Self { reason: reason.into(), blames_worker: false }
    }
}

/// What all cases of a run share.
struct Shared<'a> {
    suites: &'a Suites,
    stack: &'a Stack,
    options: &'a RunOptions,
    events: &'a Events,
    stack_pool: StackPool,
    baselines: Baselines,
    /// The stack under the run's own names, prepared by `shakedown setup`.
    endpoints: Endpoints,
    /// Connections to it.
    clients: SharedClients,
    slots: Semaphore,
    /// When everything must have ended, and how long that was from the beginning.
    deadline: Option<(tokio::time::Instant, Duration)>,
    /// The case that ended the run early.
    failed: OnceLock<String>,
    /// Cases that may have left something under names of their own.
    dirty: Mutex<BTreeSet<String>>,
    scenario_runs: BTreeMap<String, Cell>,
    /// Where the scenarios are in the trace, where there is one: several cases rest on each.
    traced: Mutex<BTreeMap<String, TraceParent>>,
    /// How long scenarios waited for a stack of their own.
    waits: Mutex<BTreeMap<String, Duration>>,
    ended: BTreeMap<String, Ended>,
}

/// Runs every chosen case. A run always yields a report.
pub async fn run(
    suites: &Suites,
    selection: &Selection,
    stack: &Stack,
    options: &RunOptions,
    events: &Events,
) -> Report {
    let begun = Instant::now();
    let started_at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let chosen: Vec<Arc<Case>> = suites.cases.iter().filter(|case| selection.chooses(case)).cloned().collect();
    events.say(Event::Planned { cases: chosen.len() });

    let mut notes = Vec::new();
    let mut endpoints = options.endpoints.as_ref().unwrap_or_else(|| stack.endpoints()).clone();
    if options.endpoints.is_none() && stack.capabilities().has(Capability::Write) {
        endpoints.names = names_for(&options.run, "run");
        if let Err(error) = scenario::set_up(
            &endpoints,
            &Contract::reference(&options.shakedown, &options.directory),
            &options.shakedown,
        )
        .await
        {
            notes.push(format!("the names of this run could not be prepared: {error}"));
        }
    }
    let baselines = Baselines::merge(baselines(suites, &chosen));
    let shared = Shared {
        suites,
        stack,
        options,
        events,
        stack_pool: StackPool::new(
            options.spare.clone(),
            if options.contract.has_fixed_names() { FIXED_NAMES } else { POOL_SIZE },
        ),
        clients: SharedClients::new(endpoints.clone(), options.billed.clone()),
        endpoints,
        slots: Semaphore::new(options.jobs.max(1)),
        deadline: options.timeout.map(|timeout| (tokio::time::Instant::now() + timeout, timeout)),
        failed: OnceLock::new(),
        dirty: Mutex::default(),
        scenario_runs: suites
            .scenarios
            .keys()
            .chain(baselines.names())
            .map(|name| (name.clone(), Cell::default()))
            .collect(),
        baselines,
        traced: Mutex::default(),
        waits: Mutex::default(),
        ended: chosen.iter().map(|case| (case.id.clone(), watch::channel(None))).collect(),
    };
    let mut cases = join_all(chosen.iter().map(|case| shared.case(case))).await;
    shared.clear().await;
    shared.clients.close().await;
    notes.extend(shared.stack_pool.stop().await.into_iter().map(|left| format!("could not be removed: {left}")));

    for waiver in &options.waivers {
        waive(waiver, &mut cases, &mut notes);
    }
    let timelines = shared.timelines(&cases, &mut notes);
    let (provider, provider_reason) = stack.provider();
    let mut report = Report {
        report_version: REPORT_VERSION,
        shakedown: env!("CARGO_PKG_VERSION").to_owned(),
        suite_version: suites.version.clone(),
        run: options.run.clone(),
        seed: options.seed,
        profile: options.profile.clone(),
        provider: provider.to_owned(),
        provider_reason: provider_reason.to_owned(),
        worker: options.contract.worker.program.to_string(),
        started_at,
        duration_ms: millis(begun.elapsed()),
        verdict: RunVerdict::Inconclusive,
        coverage: Coverage::default(),
        totals: Totals::default(),
        gate: options.gate.clone(),
        services: stack.services().to_vec(),
        environment: environment(&shared.endpoints),
        files: Vec::new(),
        notes,
        cases,
        timelines,
    };
    report.settle(suites.cases.iter().filter(|case| selection.considers(case)).count() - chosen.len());
    report
}

/// The service that did not answer, where that is why a case failed: those that need it too are then skipped with it.
#[must_use]
pub fn unreachable_service(reason: &str) -> Option<&str> {
    let (service, rest) = reason.split_once(" at ")?;
    let named = service.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    (named && rest.contains(" is unreachable: ")).then_some(service)
}

impl Shared<'_> {
    async fn case(&self, case: &Arc<Case>) -> CaseRecord {
        let mut record = case.record();
        let missing = self.missing_prerequisite(case).await;
        // Those that need the second stack wait for each other there, and must not keep others waiting meanwhile.
        let slot = match self.alone(case) {
            Some(_) => None,
            None => Some(self.slots.acquire().await),
        };
        self.events.say(Event::CaseStarted { id: case.id.clone() });
        let span = self.events.trace().begin(format_args!("case {}", case.id));
        let begun = Instant::now();
        let missing = missing.or_else(|| self.missing_capability(case)).or_else(|| {
            let first = self.failed.get()?;
            Some(format!("--fail-fast: {first} failed before this case was begun"))
        });
        let (verdict, evidence) = match (missing, self.deadline) {
            (Some(reason), _) => (Verdict::skip(reason), Vec::new()),
            (None, _) if self.options.stands.contains_key(&case.id) => self.stands(case),
            (None, Some((deadline, timeout))) => {
                tokio::time::timeout_at(deadline, Box::pin(self.judge(case, &span))).await.unwrap_or_else(|_| {
                    let reason = format!("not judged within the {} s that --timeout gives", timeout.as_secs_f64());
                    (Verdict::unknown(reason), Vec::new())
                })
            }
            (None, None) => Box::pin(self.judge(case, &span)).await,
        };
        if self.options.fail_fast && verdict.word() == Word::Fail {
            // Should two fail at once, one name is enough.
            let _ = self.failed.set(case.id.clone());
        }
        drop(slot);
        record.evidence = evidence;
        record.duration_ms = millis(begun.elapsed().saturating_sub(self.waited(case)));
        record.judge(verdict);
        if let Some((ended, _)) = self.ended.get(&case.id) {
            let word = record.verdict.word();
            let reason = record.verdict.reason().unwrap_or_default();
            let skipped = match word {
                Word::Skip => Some(reason.to_owned()),
                _ => unreachable_service(reason).map(|service| format!("{service} unreachable")),
            };
            ended.send_replace(Some((word, skipped)));
        }
        let mut waivers = self.options.waivers.iter();
        span.case(&record, waivers.any(|waiver| waiver.case == case.id && !waiver.expired));
        self.events.say(Event::CaseFinished { record: Box::new(record.clone()) });
        record
    }

    /// What was said of a case before, and still is.
    fn stands(&self, case: &Case) -> (Verdict, Vec<Evidence>) {
        let verdict = self.options.stands.get(&case.id).cloned();
        let evidence =
            Evidence::seen("circuit", "open: the service was not asked again, and nothing has changed since");
        (verdict.unwrap_or_else(|| Verdict::unknown("it was not judged")), vec![evidence])
    }

    /// Waits for the prerequisites that run, and names the first that did not pass.
    async fn missing_prerequisite(&self, case: &Case) -> Option<String> {
        let mut first = None;
        for id in &case.requires {
            let Some((_, ended)) = self.ended.get(id) else { continue };
            let mut ended = ended.clone();
            let judged = ended.wait_for(Option::is_some).await.ok().and_then(|judged| judged.clone());
            match judged {
                Some((Word::Pass | Word::Warn | Word::Waived, _)) => {}
                // What is missing to the one is missing to the other.
                Some((_, Some(skipped))) if first.is_none() => first = Some(skipped),
                Some((word, _)) if first.is_none() => first = Some(format!("prerequisite {id} is {word}")),
                None if first.is_none() => first = Some(format!("prerequisite {id} was not judged")),
                _ => {}
            }
        }
        first
    }

    /// The case's scenario, if it disturbs a service itself.
    fn alone(&self, case: &Case) -> Option<&Scenario> {
        let Check::Scenario(name, _) = &case.check else { return None };
        self.suites.scenarios.get(name).filter(|scenario| self.needs_own_stack(scenario))
    }

    /// How long the case's scenario waited until others had given a stack back: no time that the case itself takes.
    fn waited(&self, case: &Case) -> Duration {
        let Check::Scenario(name, _) = &case.check else { return Duration::ZERO };
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.get(name).copied().unwrap_or_default()
    }

    /// Whether a scenario cannot share a stack: it disturbs a service, or the worker has names of its own.
    fn needs_own_stack(&self, scenario: &Scenario) -> bool {
        scenario.is_alone() || self.options.contract.has_fixed_names()
    }

    fn missing_capability(&self, case: &Case) -> Option<String> {
        if self.alone(case).is_some() && self.options.spare.is_none() {
            return Some(format!(
                "the {} provider has no second stack whose services may be disturbed",
                self.stack.provider().0
            ));
        }
        if let Check::Scenario(name, _) = &case.check
            && self.suites.scenarios.get(name).is_some_and(|scenario| scenario.steps.contains(&Step::Delete))
            && self.options.contract.queue.delete.is_none()
        {
            return Some(
                "the contract does not say how a document is removed: add `delete = { name = \"JOB\", data = { … } }` to \
                 [queue]"
                    .to_owned(),
            );
        }
        case.needs.iter().find_map(|need| {
            let there = match need {
                Need::Write => self.stack.capabilities().has(Capability::Write),
                Need::Restart => self.stack.capabilities().has(Capability::Restart),
                Need::Mock => self.stack.capabilities().has(Capability::Mock),
                // There always is one: the reference worker, if no other.
                Need::Worker => true,
            };
            (!there).then(|| format!("the {} provider has no capability `{}`", self.stack.provider().0, need.word()))
        })
    }

    async fn judge(&self, case: &Case, span: &Span) -> (Verdict, Vec<Evidence>) {
        match &case.check {
            Check::Probe(probe, matchers) => {
                let mut own = self.endpoints.clone();
                own.names = names_for(&self.options.run, &case.id);
                let context = Context {
                    endpoints: self.endpoints.clone(),
                    own,
                    shakedown: self.options.shakedown.clone(),
                    given: self.options.given.clone(),
                    clients: self.clients.clone(),
                    writes: case.writes(),
                };
                let leaves = case.needs.contains(&Need::Write) && !self.is_throwaway();
                let dirty = || self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
                if leaves {
                    dirty().insert(case.id.clone());
                }
                let probing = span.trace().begin(format_args!("probe {}", probe.kind()));
                let judged = probe::judge(probe, matchers, case.level, &context).await;
                drop(probing);
                if leaves {
                    let left = drop_names(&context.own, &context.own.names).await.err().unwrap_or_default();
                    dirty().remove(&case.id);
                    for error in left {
                        self.events.note(format!("could not be removed: {error}"));
                    }
                }
                judged
            }
            Check::Scenario(name, expectations) => {
                let result = self.observations(name).await;
                if let Some(place) = self.traced.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
                    span.link(*place);
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

    /// The scenario run of this name, run once for all cases that judge it.
    async fn observations(&self, name: &str) -> Result<Arc<Observations>, ScenarioFailure> {
        let Some(cell) = self.scenario_runs.get(name) else {
            return Err(format!("there is no scenario `{name}`").into());
        };
        let observations = cell.get_or_init(|| async {
            let scenario = self.baselines.get(name).or_else(|| self.suites.scenarios.get(name));
            let scenario = scenario.ok_or_else(|| format!("there is no scenario `{name}`"))?;
            // What is stored when nothing goes wrong: run once for all scenarios over the same documents.
            let baseline = async {
                let Some(baseline) = &scenario.baseline else { return Ok(None) };
                let told = |failure: ScenarioFailure| ScenarioFailure {
                    reason: format!("the baseline observations: {}", failure.reason),
                    ..failure
                };
                Box::pin(self.observations(self.baselines.of(baseline))).await.map(Some).map_err(told)
            };
            let result = self.run_on_stack(name, scenario);
            // Side by side, unless one at a time is wanted.
            let (baseline, result) =
                if self.options.jobs > 1 { tokio::join!(baseline, result) } else { (baseline.await, result.await) };
            let mut observations = result?;
            observations.baseline = baseline?;
            Ok(Arc::new(observations))
        });
        observations.await.clone()
    }

    /// Runs on the stack of the run, or on one that the scenario has for itself.
    async fn run_on_stack(&self, name: &str, scenario: &Scenario) -> Result<Observations, ScenarioFailure> {
        if !self.needs_own_stack(scenario) {
            return self.run_scenario(name, scenario, None).await;
        }
        let asked = Instant::now();
        let lease = self.stack_pool.acquire().await.map_err(|error| format!("the second stack: {error}"))?;
        let lease = lease.ok_or("there is no second stack whose services may be disturbed")?;
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), asked.elapsed());
        let result = self.run_scenario(name, scenario, Some(&lease.stack)).await;
        if self.options.contract.has_fixed_names() {
            let endpoints = lease.stack.endpoints();
            let names = self.names(name);
            for error in drop_any_names(endpoints, &names).await.err().unwrap_or_default() {
                self.events.note(format!("could not be removed: {error}"));
            }
        }
        for left in lease.release(result.is_ok()).await {
            self.events.note(format!("could not be removed: {left}"));
        }
        result
    }

    /// The names of a scenario.
    fn names(&self, scenario: &str) -> Names {
        self.options.contract.names(names_for(&self.options.run, scenario))
    }

    async fn run_scenario(
        &self,
        name: &str,
        scenario: &Scenario,
        alone: Option<&Arc<Stack>>,
    ) -> Result<Observations, ScenarioFailure> {
        let stack = alone.map_or(self.stack, Arc::as_ref);
        let ledger = stack.ledger().ok_or("the provider keeps no ledger, so no worker may be started")?;
        let mut endpoints = alone.map_or(&self.endpoints, |stack| stack.endpoints()).clone();
        endpoints.names = self.names(name);
        let span = self.events.trace().begin(format_args!("scenario {name}"));
        if let Some(place) = span.place() {
            self.traced.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), place);
        }
        let harness = Harness {
            endpoints,
            shakedown: self.options.shakedown.clone(),
            contract: Arc::clone(&self.options.contract),
            variables: self.options.variables.clone(),
            directory: self.options.directory.clone(),
            ledger: ledger.clone(),
            seed: self.options.seed,
            events: self.events.within(&span),
            stack: alone.cloned(),
        };
        // A task of its own: what one scenario run computes must not hold up the faults of the others.
        let private = self.private(&harness.endpoints);
        let (name, scenario) = (name.to_owned(), scenario.clone());
        let log_name = name.clone();
        let task = tokio::spawn(async move { Box::pin(scenario::run_scenario(&name, &scenario, &harness)).await });
        let result = match AbortOnDropHandle::new(task).await {
            Ok(result) => result.map_err(|error| {
                if let ScenarioError::NeverReady { output, .. } = &error {
                    self.keep(&log_name, &scenario::redact(output, &private), &mut |note| self.events.note(note));
                }
                ScenarioFailure {
                    reason: scenario::redact(&error.to_string(), &private),
                    blames_worker: matches!(
                        error,
                        ScenarioError::NeverReady { .. } | ScenarioError::Worker(_) | ScenarioError::Setup { .. }
                    ),
                }
            }),
            Err(error) => Err(format!("the harness itself failed: {error}").into()),
        };
        result.inspect_err(|failure: &ScenarioFailure| span.fail(&failure.reason))
    }

    /// What must be in no report.
    fn private(&self, endpoints: &Endpoints) -> Vec<SecretString> {
        let given = endpoints.environment().into_iter().filter(|variable| variable.secret);
        given.map(|variable| variable.value).chain(self.options.variables.values().cloned()).collect()
    }

    /// What happened in the scenarios of which a case was not passed; their output is kept where it is asked for.
    fn timelines(&self, cases: &[CaseRecord], notes: &mut Vec<String>) -> Vec<Timeline> {
        let mut wanted: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for case in cases {
            let word = case.verdict.word();
            if let (Some(name), Word::Fail | Word::Warn | Word::Unknown | Word::Waived) = (&case.scenario, word) {
                wanted.entry(name).or_default().push(case.id.clone());
            }
        }
        let mut timelines = Vec::new();
        for (name, cases) in wanted {
            let Some(Ok(observations)) = self.scenario_runs.get(name).and_then(|cell| cell.get()) else { continue };
            timelines.push(scenario::timeline(name, cases, observations));
            self.keep(name, &observations.redact(&observations.log), &mut |note| notes.push(note));
        }
        timelines
    }

    /// Writes the output of a scenario's workers where it is kept, if it is to be; tells what prevents that.
    fn keep(&self, name: &str, output: &str, tell: &mut dyn FnMut(String)) {
        let Some(directory) = &self.options.keep_output else { return };
        let path = directory.join(format!("{name}.log"));
        if let Err(error) = std::fs::write(&path, output) {
            tell(format!("{} cannot be written: {error}", path.display()));
        }
    }

    /// Whether everything vanishes with the stack anyway.
    fn is_throwaway(&self) -> bool {
        self.stack.is_throwaway()
    }

    /// Removes what the run made on a stack that stays.
    async fn clear(&self) {
        if self.is_throwaway() || !self.stack.capabilities().has(Capability::Write) {
            return;
        }
        // Endpoints that somebody gave are somebody's, with their names.
        let mut all: Vec<Endpoints> =
            self.options.endpoints.is_none().then(|| self.endpoints.clone()).into_iter().collect();
        let result = self.scenario_runs.iter().filter(|(_, cell)| cell.initialized()).map(|(name, _)| name.clone());
        // What a case left that ran out of time.
        let dirty = std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner));
        for name in result.chain(dirty) {
            let mut endpoints = self.endpoints.clone();
            endpoints.names = names_for(&self.options.run, &name);
            all.push(endpoints);
        }
        for endpoints in all {
            for error in drop_names(&endpoints, &endpoints.names).await.err().unwrap_or_default() {
                self.events.note(format!("could not be removed: {error}"));
            }
        }
    }
}

/// The baseline scenario with which those of `cases` are compared, by name.
fn baselines<'a>(suites: &'a Suites, cases: &[Arc<Case>]) -> BTreeMap<&'a str, &'a Scenario> {
    let of = |case: &Arc<Case>| {
        let Check::Scenario(name, _) = &case.check else { return None };
        let baseline = suites.scenarios.get(name)?.baseline.as_deref()?;
        Some((baseline, suites.scenarios.get(baseline)?))
    };
    cases.iter().filter_map(of).collect()
}

fn waive(waiver: &Waived, cases: &mut [CaseRecord], notes: &mut Vec<String>) {
    let Some(record) = cases.iter_mut().find(|record| record.id == waiver.case) else { return };
    let seen = record.verdict.reason().unwrap_or_default().to_owned();
    match record.verdict.word() {
        Word::Fail | Word::Warn if waiver.expired => {
            notes.push(format!(
                "the waiver of {} ended on {}: mend the case, or renew the waiver",
                waiver.case, waiver.expires
            ));
        }
        Word::Fail | Word::Warn => record
            .judge(Verdict::Waived { reason: format!("{} ({seen})", waiver.reason), expires: waiver.expires.clone() }),
        Word::Pass => notes.push(format!("stale waiver: {} passes now; remove it from [waive]", waiver.case)),
        Word::Skip | Word::Unknown | Word::Waived => {}
    }
}

/// The environment that the worker and the probes are given; secrets show nothing but that they are set.
fn environment(endpoints: &Endpoints) -> Vec<EnvironmentRow> {
    use secrecy::ExposeSecret;
    endpoints
        .environment()
        .into_iter()
        .map(|variable| EnvironmentRow {
            name: variable.name.to_owned(),
            value: if variable.secret { "********".to_owned() } else { variable.value.expose_secret().to_owned() },
            origin: "stack".to_owned(),
            secret: variable.secret,
        })
        .collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
