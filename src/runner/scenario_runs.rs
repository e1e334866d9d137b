//! Runs the planned scenarios, each once for all cases that judge it, together with its baseline.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;
use tokio_util::task::AbortOnDropHandle;

use super::clean_up::CleanUpFailures;
use super::plan::{Plan, ScenarioRun};
use super::stack_pool::{FIXED_NAMES, POOL_SIZE, StackPool};
use super::{RunOptions, worker_output};
use crate::outcome::{Events, TraceParent};
use crate::redaction::{redact, redacted};
use crate::scenario::{self, Assessment, Harness, Observations, ScenarioError};
use crate::settings::{Endpoints, Names};
use crate::spec::Scenario;
use crate::stack::{Stack, drop_any_names, names_for};

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
    cells: BTreeMap<&'a str, ResultCell>,
    /// Positions in the trace by name; the cases that judge a scenario run link to it.
    trace_parents: Mutex<BTreeMap<String, TraceParent>>,
    /// How long scenario runs waited for a stack of their own, by name.
    waits: Mutex<BTreeMap<String, Duration>>,
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
            cells: plan.scenario_runs.keys().map(|name| (name.as_str(), ResultCell::new())).collect(),
            trace_parents: Mutex::default(),
            waits: Mutex::default(),
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
    pub(super) fn ran(&self) -> impl Iterator<Item = &str> {
        self.cells.iter().filter(|(_, cell)| cell.initialized()).map(|(name, _)| *name)
    }

    /// The position of the scenario run `name` in the trace.
    pub(super) fn trace_parent(&self, name: &str) -> Option<TraceParent> {
        self.trace_parents.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// How long the scenario run `name` waited for a stack of its own.
    pub(super) fn wait(&self, name: &str) -> Duration {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or_default()
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
            Ok(Arc::new(Assessment::new(result?, baseline?)))
        });
        result.await.clone()
    }

    /// Runs the scenario on the run's stack, or on one of its own from the pool.
    async fn run_on_stack(&self, name: &str, run: &ScenarioRun) -> Result<Observations, ScenarioFailure> {
        if !run.needs_own_stack {
            return self.run_scenario(name, &run.scenario, None).await;
        }
        let asked = Instant::now();
        let lease =
            self.stack_pool.acquire().await.map_err(|error| format!("could not start a second stack: {error}"))?;
        let lease = lease.ok_or("there is no second stack for faults on a service")?;
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), asked.elapsed());
        let result = self.run_scenario(name, &run.scenario, Some(&lease.stack)).await;
        if self.options.contract.has_fixed_names() {
            let errors = drop_any_names(lease.stack.endpoints(), &self.names(name)).await.err().unwrap_or_default();
            self.failures.add(&errors, self.events);
        }
        let errors = lease.release(result.is_ok()).await;
        self.failures.add(&errors, self.events);
        result
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
    ) -> Result<Observations, ScenarioFailure> {
        let stack = own_stack.map_or(self.stack, Arc::as_ref);
        let ledger = stack.ledger().ok_or("the provider has no clean-up ledger, so no worker can be started")?;
        let mut endpoints = own_stack.map_or(&self.endpoints, |stack| stack.endpoints()).clone();
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
                ScenarioError::NeverReady { .. } | ScenarioError::Worker(_) | ScenarioError::Setup { .. }
            ),
        }
    }
}
