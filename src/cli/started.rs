//! A stack that was started for a worker, with the options of runs against it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::failure::Failure;
use super::stack;
use crate::outcome::{Events, WorkerProfile};
use crate::runner::{self, RunOptions, Selection, StackPoolOptions};
use crate::settings::{Contract, Settings};
use crate::spec::Suites;
use crate::stack::{ProviderKind, Stack};
use crate::worker::{have_image, run_hook};

/// A running stack.
pub(super) struct Started {
    pub(super) stack: Stack,
    /// The options, with the worker's contract.
    pub(super) options: RunOptions,
    /// The throwaway directory.
    pub(super) directory: PathBuf,
    /// Whether it stays.
    pub(super) keep: bool,
}

impl Started {
    /// Starts the stack that `settings` choose; `described` describe the worker.
    pub(super) async fn start(
        settings: &Settings,
        described: &Settings,
        seed: u64,
        events: &Events,
    ) -> Result<Self, Failure> {
        let run = format!("{:08x}", rand::random::<u32>());
        let (kind, mut options) = stack::options(settings, &run)?;
        options.jina.seed = seed;
        let spare = (kind != ProviderKind::Remote).then(|| (kind, options.clone()));
        let (keep, shakedown) = (options.keep, options.shakedown.clone());
        let phase = events.trace().begin("start stack");
        let stack = Stack::start(kind, options, events).await?;
        drop(phase);
        // Further stacks use the provider of the first one, even if `auto` would now choose another.
        let spare = spare.map(|(kind, options)| StackPoolOptions {
            kind: match (kind, stack.provider().0) {
                (ProviderKind::Auto, "containers") => ProviderKind::Containers,
                (ProviderKind::Auto, _) => ProviderKind::Native,
                (kind, _) => kind,
            },
            stack: options,
        });
        let directory = stack.directory().map_or_else(std::env::temp_dir, Path::to_owned);
        let mut contract = contract(described, &shakedown, &directory);
        let mut variables = described.variables_of_worker()?;
        settings.pass_on_telemetry(Arc::make_mut(&mut contract), &mut variables);
        let jobs = settings.number("SHAKEDOWN_JOBS")?.and_then(|jobs| usize::try_from(jobs).ok());
        let options = RunOptions {
            jobs: jobs.unwrap_or(RunOptions::JOBS),
            seed,
            profile: settings.profile().to_owned(),
            variables,
            waivers: runner::waived(settings),
            stack_pool: spare,
            ..RunOptions::new(&run, &shakedown, contract, &directory)
        };
        Ok(Self { stack, options, directory, keep })
    }

    /// Builds the worker, and fetches its image.
    pub(super) async fn build_worker(&self, events: &Events) -> Result<(), Failure> {
        let Self { stack, options, directory, .. } = self;
        if let (Some(build), Some(ledger)) = (&options.contract.worker.build, stack.ledger()) {
            events.note(format!("building the worker: {}", build.command.join(" ")));
            run_hook("build", build, Vec::new(), directory, "build", ledger).await.map_err(Failure::usage)?;
        }
        if let Some(ledger) = stack.ledger() {
            have_image(&options.contract.worker.program, directory, ledger).await.map_err(Failure::usage)?;
        }
        Ok(())
    }

    /// Tries the contract with one document, and keeps what was learned of the worker.
    pub(super) async fn preflight(
        &mut self,
        suites: &Suites,
        selection: &Selection,
        events: &Events,
    ) -> Result<Option<&WorkerProfile>, Failure> {
        let learned = Box::pin(runner::preflight(suites, selection, &self.stack, &self.options, events)).await;
        self.options.worker_profile = learned?;
        Ok(self.options.worker_profile.as_ref())
    }
}

/// The worker that `shakedown.toml` describes, else the reference worker.
pub(super) fn contract(settings: &Settings, shakedown: &Path, directory: &Path) -> Arc<Contract> {
    let given = settings.config().contract.clone();
    Arc::new(given.unwrap_or_else(|| Contract::reference(shakedown, directory)))
}
