//! What a scenario run needs, and why it may not complete.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;

use crate::faults::ServiceFaultError;
use crate::outcome::Events;
use crate::services::ServiceError;
use crate::settings::{Contract, Endpoints};
use crate::stack::{Ledger, Stack, StackError};
use crate::worker::WorkerError;

/// What a scenario run needs from its surroundings.
#[derive(Debug, Clone)]
pub struct Harness {
    /// The stack, under names of this scenario alone. The caller removes what is created under them.
    pub endpoints: Endpoints,
    /// The shakedown binary, for `setup`.
    pub shakedown: PathBuf,
    /// The worker under test.
    pub contract: Arc<Contract>,
    /// Values for `{{env.NAME}}` in the contract.
    pub variables: BTreeMap<String, SecretString>,
    /// Directory for logs; it is removed with the stack.
    pub directory: PathBuf,
    /// The clean-up ledger; a resource is recorded in it before it is created.
    pub ledger: Ledger,
    /// The run's seed.
    pub seed: u64,
    /// Receives events and notes.
    pub events: Events,
    /// The stack, if this scenario has it to itself and may disturb its services.
    pub stack: Option<Arc<Stack>>,
}

/// Why a scenario run did not complete.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The documents or jobs of the scenario cannot be created.
    #[error("the scenario cannot run: {0}")]
    Spec(String),
    /// A service failed a request of the harness.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The mock or a process could not be started.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// A fault on a service could not be injected or reverted.
    #[error("a fault could not be injected or reverted: {0}")]
    Fault(#[from] ServiceFaultError),
    /// The worker could not be started.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// `shakedown setup` failed.
    #[error("`shakedown setup` failed ({how}): {output}")]
    Setup {
        /// How it ended.
        how: String,
        /// Its output.
        output: String,
    },
    /// The machine was too busy for the trial.
    #[error(
        "{0}, so nothing can be said about the worker: run it again when less runs beside it, or leave out the \
         preflight with --no-preflight"
    )]
    TooBusy(String),
    /// The machine was too busy for the `prepare` hook.
    #[error("{0}: the command of [worker.prepare] did not finish in time, which says nothing about the worker")]
    PrepareTooBusy(String),
    /// A worker did not become ready.
    #[error("{}the worker was not ready within {seconds} s: {state}; {}", why_busy(busy.as_deref()), last_output(tail))]
    NeverReady {
        /// Whether it is running, or how it ended.
        state: String,
        /// The last lines of its output.
        tail: String,
        /// The deadline.
        seconds: f64,
        /// Its whole output.
        output: String,
        /// Why the deadline proves nothing, if the machine was too busy.
        busy: Option<String>,
    },
}

fn why_busy(busy: Option<&str>) -> String {
    busy.map(|busy| format!("{busy}: ")).unwrap_or_default()
}

fn last_output(tail: &str) -> String {
    if tail.is_empty() { "it printed nothing".to_owned() } else { format!("its last output:\n{tail}") }
}
