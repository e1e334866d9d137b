//! The options of a run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::stack_pool::StackPoolOptions;
use super::waivers::Waived;
use crate::outcome::{Gate, Verdict, WorkerProfile};
use crate::probe::BilledCache;
use crate::settings::{Contract, Endpoints, Given};

/// The options of a run. [`RunOptions::new`] sets defaults; assign or update the fields that differ.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The run's id; every name the run creates contains it.
    pub run: String,
    /// How many cases run at once.
    pub jobs: usize,
    /// The seed of documents and embeddings.
    pub seed: u64,
    /// The profile's name.
    pub profile: String,
    /// The shakedown binary.
    pub shakedown: PathBuf,
    /// The worker under test.
    pub contract: Arc<Contract>,
    /// Values for `{{env.NAME}}` in the contract.
    pub variables: BTreeMap<String, SecretString>,
    /// Directory for logs.
    pub directory: PathBuf,
    /// Accepted failures.
    pub waivers: Vec<Waived>,
    /// Directory for the whole worker output of scenarios with a case that did not pass, without secrets; `None`
    /// keeps no output.
    pub keep_output: Option<PathBuf>,
    /// Whether no case starts after the first failed one.
    pub fail_fast: bool,
    /// Time limit for all cases together; a case that is not judged by then is unknown.
    pub timeout: Option<Duration>,
    /// What the report says about the gate.
    pub gate: Gate,
    /// Endpoints to judge instead of the stack's own; their names must be set up already.
    pub endpoints: Option<Endpoints>,
    /// The user's settings, for an environment of the user's.
    pub given: Option<Arc<Given>>,
    /// Billed answers of earlier runs, which are not requested again.
    pub billed: BilledCache,
    /// Verdicts that are carried over: these cases are not judged again.
    pub carried_over: BTreeMap<String, Verdict>,
    /// What a preflight learned about the worker.
    pub worker_profile: Option<WorkerProfile>,
    /// How to start further stacks, for scenarios that need one to themselves; without it they are skipped.
    pub stack_pool: Option<StackPoolOptions>,
}

impl RunOptions {
    /// The default of [`RunOptions::jobs`].
    pub const JOBS: usize = 8;

    /// Options for a run of all selected cases, with seed 1, in the profile `development`, without waivers, time limit
    /// and further stacks.
    #[must_use]
    pub fn new(
        run: impl Into<String>,
        shakedown: impl Into<PathBuf>,
        contract: Arc<Contract>,
        directory: impl Into<PathBuf>,
    ) -> Self {
        Self {
            run: run.into(),
            jobs: Self::JOBS,
            seed: 1,
            profile: "development".to_owned(),
            shakedown: shakedown.into(),
            contract,
            variables: BTreeMap::new(),
            directory: directory.into(),
            waivers: Vec::new(),
            keep_output: None,
            fail_fast: false,
            timeout: None,
            gate: Gate::default(),
            endpoints: None,
            given: None,
            billed: BilledCache::default(),
            carried_over: BTreeMap::new(),
            worker_profile: None,
            stack_pool: None,
        }
    }
}
