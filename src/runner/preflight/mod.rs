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
use crate::settings::{Problem, contract_place};
use crate::spec::Suites;
use crate::stack::{Capability, Stack, StackOptions, drop_names, names_for};

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
    let result = if fixed_names { on_own_stack(options, events).await } else { on_stack(stack, options, events).await };
    let profile = result.inspect_err(|_| span.fail("the worker is not as the contract says"))?;
    for (topic, sentence) in profile.lines() {
        events.send(Event::Remark { text: redacted(format!("worker {topic}: {sentence}")) });
    }
    Ok(Some(profile))
}

/// Runs the trial on a stack of its own: the worker has fixed names, and what it creates must not stay.
async fn on_own_stack(options: &RunOptions, events: &Events) -> Result<WorkerProfile, PreflightError> {
    let own = options.stack_pool.clone().map(|own| StackPoolOptions {
        stack: StackOptions { run: format!("{}-{TRIAL}", own.stack.run), ..own.stack },
        ..own
    });
    let pool = StackPool::new(own, 1);
    let failed = |error: String| PreflightError::Harness(format!("could not start a stack for the preflight: {error}"));
    let lease = pool.acquire().await.map_err(|error| failed(error.to_string()))?;
    let lease = lease.ok_or_else(|| failed("the provider has none".to_owned()))?;
    let result = on_stack(&lease.stack, options, events).await;
    for error in lease.release(false).await {
        events.note(format!("clean-up failed: {error}"));
    }
    result
}

async fn on_stack(stack: &Stack, options: &RunOptions, events: &Events) -> Result<WorkerProfile, PreflightError> {
    let Some(ledger) = stack.ledger() else {
        return Err(PreflightError::Harness("the provider has no clean-up ledger".to_owned()));
    };
    let mut endpoints = stack.endpoints().clone();
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
        for error in drop_names(&endpoints, &endpoints.names).await.err().unwrap_or_default() {
            events.note(format!("clean-up failed: {error}"));
        }
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
