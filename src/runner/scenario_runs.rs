//! Runs the planned scenarios, each once for all cases that judge it, together with its baseline.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;
use tokio_util::task::AbortOnDropHandle;

use super::admission::Admission;
use super::clean_up::CleanUpFailures;
use super::plan::{Plan, ScenarioRun};
use super::stack_pool::{FIXED_NAMES, POOL_SIZE, StackPool};
use super::{RunOptions, worker_output};
use crate::outcome::{Events, TraceParent};
use crate::redaction::{redact, redacted};
use crate::scenario::{self, Assessment, Cut, Harness, Observations, ScenarioError, Sizing};
use crate::settings::{Endpoints, Names};
use crate::spec::Scenario;
use crate::stack::{Stack, fresh, names_for};

/// Why a scenario run has no observations.
#[derive(Debug, Clone)]
pub(super) struct ScenarioFailure {
    pub(super) reason: String,
    /// Whether the worker or the way to start it is at fault. Otherwise the cases are unknown.
    pub(super) blames_worker: bool,
    /// The output of a worker that never became ready, without secrets.
    pub(super) output: Option<Arc<str>>,
}

impl<T: Into<String>> From<T> for ScenarioFailure {
    fn from(reason: T) -> Self {
        Self { reason: reason.into(), blames_worker: false, output: None }
    }
}

/// Whether a document is not as it must be, so that the run decides whatever its premise.
fn has_wrong_document(assessment: &Assessment) -> bool {
    assessment.documents().iter().any(|document| document.outcome.is_ok() == Some(false))
}

/// The result of a scenario run, once it has run.
type ResultCell = OnceCell<Result<Arc<Assessment>, ScenarioFailure>>;

/// The scenario runs of a plan. Each starts when the first case asks for its assessment.
pub(super) struct ScenarioRuns<'a> {
    planned: &'a BTreeMap<String, ScenarioRun>,
    /// The stack of the run.
    stack: &'a Stack,
    /// The addresses of the run's stack.
    endpoints: Endpoints,
    options: &'a RunOptions,
    events: &'a Events,
    failures: &'a CleanUpFailures,
    stack_pool: StackPool,
    admission: Admission,
    cells: BTreeMap<&'a str, ResultCell>,
    /// Positions in the trace by name; the cases that judge a scenario run link to it.
    trace_parents: Mutex<BTreeMap<String, TraceParent>>,
    /// How long scenario runs waited for a stack of their own and for a free CPU, by name.
    waits: Mutex<BTreeMap<String, Duration>>,
    /// How the worker cuts and batches, once a scenario needs to know; `None` if it sends all chunks of a document at once.
    sizing: OnceCell<Option<Sizing>>,
    /// The names of runs that are not planned: those that show how the worker batches, and those with sized documents.
    unplanned: Mutex<Vec<String>>,
}

impl<'a> ScenarioRuns<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        stack: &'a Stack,
        endpoints: Endpoints,
        options: &'a RunOptions,
        events: &'a Events,
        failures: &'a CleanUpFailures,
    ) -> Self {
        let pool_size = if options.contract.has_fixed_names() { FIXED_NAMES } else { POOL_SIZE };
        Self {
            planned: &plan.scenario_runs,
            stack,
            endpoints,
            options,
            events,
            failures,
            stack_pool: StackPool::new(options.stack_pool.clone(), pool_size),
            admission: Admission::default(),
            cells: plan.scenario_runs.keys().map(|name| (name.as_str(), ResultCell::new())).collect(),
            trace_parents: Mutex::default(),
            waits: Mutex::default(),
            sizing: OnceCell::new(),
            unplanned: Mutex::default(),
        }
    }

    /// The assessment of the scenario run `name`, if it has run and did not fail.
    pub(super) fn finished(&self, name: &str) -> Option<&Assessment> {
        self.cells.get(name)?.get()?.as_ref().ok().map(Arc::as_ref)
    }

    /// The output of a worker that never became ready in the scenario run `name`, or the reason why it has no observations.
    pub(super) fn output_of_failure(&self, name: &str) -> Option<Arc<str>> {
        let failure = self.cells.get(name)?.get()?.as_ref().err()?;
        Some(failure.output.clone().unwrap_or_else(|| failure.reason.as_str().into()))
    }

    /// The names of the scenario runs that have run, failed ones included.
    pub(super) fn ran(&self) -> Vec<String> {
        let planned = self.cells.iter().filter(|(_, cell)| cell.initialized()).map(|(name, _)| (*name).to_owned());
        planned.chain(self.unplanned.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned()).collect()
    }

    /// The position of the scenario run `name` in the trace.
    pub(super) fn trace_parent(&self, name: &str) -> Option<TraceParent> {
        self.trace_parents.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// How long the scenario run `name` waited for a stack of its own and for a free CPU.
    pub(super) fn wait(&self, name: &str) -> Duration {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or_default()
    }

    fn add_wait(&self, name: &str, time: Duration) {
        *self.waits.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default() += time;
    }

    /// Removes the stacks of the pool.
    pub(super) async fn stop(&self) {
        self.failures.add(&self.stack_pool.stop().await, self.events);
    }

    /// The assessment of the scenario run `name`. The first call runs it, and its baseline at the same time unless only
    /// one case may run at once.
    pub(super) async fn assessment(&self, name: &str) -> Result<Arc<Assessment>, ScenarioFailure> {
        let (Some(run), Some(cell)) = (self.planned.get(name), self.cells.get(name)) else {
            return Err(format!("unknown scenario `{name}`").into());
        };
        let result = cell.get_or_init(|| async {
            let baseline = async {
                let Some(baseline) = &run.baseline else { return Ok(None) };
                let failed = |failure: ScenarioFailure| ScenarioFailure {
                    reason: format!("the baseline failed: {}", failure.reason),
                    ..failure
                };
                Box::pin(self.assessment(baseline)).await.map(Some).map_err(failed)
            };
            let result = self.run_on_stack(name, run);
            let (baseline, result) =
                if self.options.jobs > 1 { tokio::join!(baseline, result) } else { (baseline.await, result.await) };
            let first = Assessment::new(result?, baseline?);
            let sized = Box::pin(self.sized_assessment(name, run, &first)).await;
            Ok(Arc::new(sized.unwrap_or(first)))
        });
        result.await.clone()
    }

    /// The assessment of the scenario with the documents that it has [otherwise](Scenario::otherwise), if its premise is not
    /// met in the `first` run with its own. `None` if the first run decides: it meets the premise, or a document was lost.
    async fn sized_assessment(&self, name: &str, run: &ScenarioRun, first: &Assessment) -> Option<Assessment> {
        let premises = &run.scenario.premises;
        let is_decided =
            run.scenario.otherwise.is_none() || scenario::are_met(premises, first) || has_wrong_document(first);
        if is_decided {
            return None;
        }
        let sizing = Box::pin(self.sizing.get_or_init(|| self.learn_sizing(first))).await.as_ref()?;
        let mut last = None;
        for (number, cut) in Cut::ALL.into_iter().enumerate() {
            let scenario = sizing.scenario(&run.scenario, cut)?;
            let is_again = last.as_ref().is_some_and(|(before, _): &(Scenario, _)| *before == scenario);
            if is_again {
                break;
            }
            let name = format!("{name}-sized-{}", number + 1);
            let assessment = Box::pin(self.run_unplanned(&name, &scenario)).await.ok()?;
            if scenario::are_met(premises, &assessment) || has_wrong_document(&assessment) {
                return Some(assessment);
            }
            last = Some((scenario, assessment));
        }
        last.map(|(_, assessment)| assessment)
    }

    /// Runs the worker with a long document, and with a longer one if that fits into one request.
    async fn learn_sizing(&self, seen: &Assessment) -> Option<Sizing> {
        for (number, scenario) in scenario::probes(seen).iter().enumerate() {
            let name = format!("sizing-{}", number + 1);
            let probe = Box::pin(self.run_unplanned(&name, scenario)).await.ok()?;
            if let Some(sizing) = Sizing::learn(&probe) {
                return Some(sizing);
            }
        }
        None
    }

    /// Runs a scenario that is not planned, and its baseline if it needs one.
    async fn run_unplanned(&self, name: &str, scenario: &Scenario) -> Result<Assessment, ScenarioFailure> {
        self.events.note(format!("{name}: {}, because the premise is not met otherwise", scenario.title));
        let baseline = match scenario.baseline_scenario() {
            Some((_, baseline)) => {
                let baseline = Scenario { within_s: scenario.within_s, ..baseline };
                let observations = Box::pin(self.run_alone(&format!("{name}-baseline"), baseline)).await?;
                Some(Arc::new(Assessment::new(observations, None)))
            }
            None => None,
        };
        let observations = Box::pin(self.run_alone(name, scenario.clone())).await?;
        Ok(Assessment::new(observations, baseline))
    }

    async fn run_alone(&self, name: &str, scenario: Scenario) -> Result<Observations, ScenarioFailure> {
        self.unplanned.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        let needs_own_stack = self.options.contract.has_fixed_names() || scenario.needs_own_stack();
        self.run_on_stack(name, &ScenarioRun { scenario, baseline: None, needs_own_stack }).await
    }

    /// Runs the scenario on the run's stack, or on one of its own from the pool.
    async fn run_on_stack(&self, name: &str, run: &ScenarioRun) -> Result<Observations, ScenarioFailure> {
        if !run.needs_own_stack {
            return self.run_scenario(name, &run.scenario, None, &self.endpoints).await;
        }
        let asked = Instant::now();
        let lease =
            self.stack_pool.acquire().await.map_err(|error| format!("could not start a second stack: {error}"))?;
        let lease = lease.ok_or("there is no second stack for faults on a service")?;
        self.add_wait(name, asked.elapsed());
        let (result, emptied) = if self.options.contract.has_fixed_names() {
            self.run_with_fresh_data(name, &run.scenario, &lease.stack).await
        } else {
            (self.run_scenario(name, &run.scenario, Some(&lease.stack), lease.stack.endpoints()).await, true)
        };
        let errors = lease.release(result.is_ok() && emptied).await;
        self.failures.add(&errors, self.events);
        result
    }

    /// Runs the scenario in a database of its own, on a stack that is empty otherwise, and empties the stack; the second
    /// value says whether it is empty.
    async fn run_with_fresh_data(
        &self,
        name: &str,
        scenario: &Scenario,
        stack: &Arc<Stack>,
    ) -> (Result<Observations, ScenarioFailure>, bool) {
        let database = names_for(&self.options.run, name).schema().to_owned();
        let endpoints = match fresh::with_fresh_database(stack.endpoints(), &database).await {
            Ok(endpoints) => endpoints,
            Err(error) => return (Err(redacted(error.to_string()).into()), false),
        };
        let result = self.run_scenario(name, scenario, Some(stack), &endpoints).await;
        let errors = fresh::remove_all_data(stack.endpoints(), &database).await.err().unwrap_or_default();
        self.failures.add(&errors, self.events);
        (result, errors.is_empty())
    }

    /// The names of queue, table and collection for the scenario run `name`.
    fn names(&self, name: &str) -> Names {
        self.options.contract.names(names_for(&self.options.run, name))
    }

    async fn run_scenario(
        &self,
        name: &str,
        scenario: &Scenario,
        own_stack: Option<&Arc<Stack>>,
        endpoints: &Endpoints,
    ) -> Result<Observations, ScenarioFailure> {
        let stack = own_stack.map_or(self.stack, Arc::as_ref);
        let ledger = stack.ledger().ok_or("the provider has no clean-up ledger, so no worker can be started")?;
        let asked = Instant::now();
        let _admitted = self.admission.admit().await;
        self.add_wait(name, asked.elapsed());
        let mut endpoints = endpoints.clone();
        endpoints.names = self.names(name);
        let span = self.events.trace().begin(format_args!("scenario {name}"));
        if let Some(parent) = span.place() {
            self.trace_parents.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), parent);
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
            stack: own_stack.cloned(),
        };
        let (owned_name, scenario) = (name.to_owned(), scenario.clone());
        // It runs in its own task, so that the computations of one scenario run do not delay the faults of another.
        let task =
            tokio::spawn(async move { Box::pin(scenario::run_scenario(&owned_name, &scenario, &harness)).await });
        let result = match AbortOnDropHandle::new(task).await {
            Ok(result) => result.map_err(|error| self.failure(name, &error)),
            Err(error) => Err(format!("internal error of the harness: {error}").into()),
        };
        result.inspect_err(|failure: &ScenarioFailure| span.fail(&failure.reason))
    }

    /// The failure of a scenario run, without secrets. The output of a worker that never got ready is kept.
    fn failure(&self, name: &str, error: &ScenarioError) -> ScenarioFailure {
        if let ScenarioError::NeverReady { output, .. } = error
            && let Err(note) = worker_output::keep(self.options, name, &redact(output))
        {
            self.events.note(note);
        }
        let output = match error {
            ScenarioError::NeverReady { output, .. } => Some(redact(output).as_ref().into()),
            _ => None,
        };
        ScenarioFailure {
            output,
            reason: redacted(error.to_string()),
            blames_worker: matches!(
                error,
                ScenarioError::NeverReady { busy: None, .. } | ScenarioError::Worker(_) | ScenarioError::Setup { .. }
            ),
        }
    }
}
