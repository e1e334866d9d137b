//! The preflight: one document through the contract before any case. A contract that is wrong would otherwise fail every
//! case, each for the same reason.

mod message;

use std::sync::Arc;

use super::plan::Plan;
use super::stack_pool::{StackPool, StackPoolOptions};
use super::{RunOptions, Selection};
use crate::outcome::{Event, Events, WorkerProfile};
use crate::redaction::redacted;
use crate::scenario::{Harness, ScenarioError, run_trial};
use crate::settings::{Endpoints, Problem, contract_place};
use crate::spec::Suites;
use crate::stack::{Capability, Stack, StackOptions, drop_names, fresh, names_for};

/// The name of the trial in names and logs.
const TRIAL: &str = "preflight";

/// Why a run ends before its first case.
#[derive(Debug)]
pub enum PreflightError {
    /// Something is not as the contract says.
    Contract(Box<Problem>),
    /// The harness could not find that out.
    Harness(String),
}

/// Runs the preflight, if the run judges a worker of the user with a scenario. Gives what was learned of the worker.
///
/// # Errors
/// The first thing that is not as the contract says, or an error of the harness.
pub async fn preflight(
    suites: &Suites,
    selection: &Selection,
    stack: &Stack,
    options: &RunOptions,
    events: &Events,
) -> Result<Option<WorkerProfile>, PreflightError> {
    let fixed_names = options.contract.has_fixed_names();
    let plan = Plan::new(suites, selection, fixed_names);
    let can_write = stack.capabilities().has(Capability::Write) && stack.ledger().is_some();
    let has_stack = !fixed_names || options.stack_pool.is_some();
    if options.contract.path.is_none() || plan.scenario_runs.is_empty() || !can_write || !has_stack {
        return Ok(None);
    }
    let span = events.trace().begin(TRIAL);
    let events = &events.within(&span);
    events.note("preflight: one document through the contract");
    let result = match (fixed_names, stack.is_throwaway()) {
        (false, _) => on_stack(stack, stack.endpoints(), options, events).await,
        (true, true) => with_fresh_data(stack, options, events).await,
        (true, false) => on_own_stack(options, events).await,
    };
    let profile = result.inspect_err(|_| span.fail("the worker is not as the contract says"))?;
    for (topic, sentence) in profile.lines() {
        events.send(Event::Remark { text: redacted(format!("worker {topic}: {sentence}")) });
    }
    Ok(Some(profile))
}

/// Runs the trial on a stack of its own: the worker has fixed names, and the stack holds the data of others.
async fn on_own_stack(options: &RunOptions, events: &Events) -> Result<WorkerProfile, PreflightError> {
    let own = options.stack_pool.clone().map(|own| StackPoolOptions {
        stack: StackOptions { run: format!("{}-{TRIAL}", own.stack.run), ..own.stack },
        ..own
    });
    let pool = StackPool::new(own, 1);
    let failed = |error: String| PreflightError::Harness(format!("could not start a stack for the preflight: {error}"));
    let lease = pool.acquire().await.map_err(|error| failed(error.to_string()))?;
    let lease = lease.ok_or_else(|| failed("the provider has none".to_owned()))?;
    let result = on_stack(&lease.stack, lease.stack.endpoints(), options, events).await;
    note_failures(&lease.release(false).await, events);
    result
}

/// Runs the trial in a database of its own, and empties the stack, on which nothing has run yet: what a worker with fixed
/// names creates must not stay.
async fn with_fresh_data(
    stack: &Stack,
    options: &RunOptions,
    events: &Events,
) -> Result<WorkerProfile, PreflightError> {
    let database = names_for(&options.run, TRIAL).schema().to_owned();
    let endpoints = fresh::with_fresh_database(stack.endpoints(), &database).await;
    let endpoints = endpoints.map_err(|error| PreflightError::Harness(redacted(error.to_string())))?;
    let result = on_stack(stack, &endpoints, options, events).await;
    let left = fresh::remove_all_data(stack.endpoints(), &database).await.err().unwrap_or_default();
    note_failures(&left, events);
    result
}

fn note_failures(errors: &[impl std::fmt::Display], events: &Events) {
    for error in errors {
        events.note(redacted(format!("clean-up failed: {error}")));
    }
}

async fn on_stack(
    stack: &Stack,
    endpoints: &Endpoints,
    options: &RunOptions,
    events: &Events,
) -> Result<WorkerProfile, PreflightError> {
    let Some(ledger) = stack.ledger() else {
        return Err(PreflightError::Harness("the provider has no clean-up ledger".to_owned()));
    };
    let mut endpoints = endpoints.clone();
    endpoints.names = options.contract.names(names_for(&options.run, TRIAL));
    let harness = Harness {
        endpoints: endpoints.clone(),
        shakedown: options.shakedown.clone(),
        contract: Arc::clone(&options.contract),
        variables: options.variables.clone(),
        directory: options.directory.clone(),
        ledger: ledger.clone(),
        seed: options.seed,
        events: events.clone(),
        stack: None,
    };
    let result = Box::pin(run_trial(TRIAL, &harness)).await;
    if !stack.is_throwaway() {
        note_failures(&drop_names(&endpoints, &endpoints.names).await.err().unwrap_or_default(), events);
    }
    match result {
        Ok(Ok(profile)) => Ok(profile),
        Ok(Err(failure)) => Err(problem(options, message::message(&failure, &options.contract))),
        Err(error) => Err(match error {
            ScenarioError::Worker(_) | ScenarioError::Setup { .. } => {
                problem(options, message::not_started(&error, &options.contract))
            }
            error => PreflightError::Harness(redacted(error.to_string())),
        }),
    }
}

/// The problem at the place of the contract that must be changed.
fn problem(options: &RunOptions, message: message::Message) -> PreflightError {
    let path = options.contract.path.clone().unwrap_or_default();
    let place = contract_place(&path, message.keys);
    PreflightError::Contract(Box::new(Problem::At { place, problem: message.problem, remedy: Some(message.remedy) }))
}
