//! The conformance check of a worker.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::TestError;
use super::host::Host;
use crate::outcome::{Events, Report, RunVerdict};
use crate::report::{self, Format};
use crate::runner::{self, RunOptions, Selection};
use crate::settings::{Program, Settings, Source};
use crate::spec::{Suites, Verb};
use crate::worker::{have_image, run_hook};

/// A conformance check of a worker. [`ConformanceCheck::run`] runs it.
#[derive(Debug, Clone)]
#[must_use = "nothing runs until `run` is called"]
pub struct ConformanceCheck {
    contract: PathBuf,
    command: Option<Vec<String>>,
    suites: Vec<String>,
    cases: Vec<String>,
    quick: bool,
    slow: bool,
    jobs: usize,
}

impl ConformanceCheck {
    /// A check of the worker of the contract file `contract`, such as `shakedown.toml`.
    pub fn new(contract: impl Into<PathBuf>) -> Self {
        Self {
            contract: contract.into(),
            command: None,
            suites: Vec::new(),
            cases: Vec::new(),
            quick: false,
            slow: false,
            jobs: 8,
        }
    }

    /// Replaces the command in the file by this program with arguments. `[env!("CARGO_BIN_EXE_worker")]` is the program
    /// that Cargo built for the test.
    pub fn command<S: Into<String>>(mut self, command: impl IntoIterator<Item = S>) -> Self {
        self.command = Some(command.into_iter().map(Into::into).collect());
        self
    }

    /// Runs only these suites. Globs are permitted; `!` excludes.
    pub fn suites<S: Into<String>>(mut self, suites: impl IntoIterator<Item = S>) -> Self {
        self.suites.extend(suites.into_iter().map(Into::into));
        self
    }

    /// Runs only these cases. Globs are permitted; `!` excludes.
    pub fn cases<S: Into<String>>(mut self, cases: impl IntoIterator<Item = S>) -> Self {
        self.cases.extend(cases.into_iter().map(Into::into));
        self
    }

    /// Runs only the fifteen cases that find most defects.
    pub const fn quick(mut self) -> Self {
        self.quick = true;
        self
    }

    /// Also runs the cases that take minutes.
    pub const fn slow(mut self) -> Self {
        self.slow = true;
        self
    }

    /// How many cases run in parallel. The default is eight.
    pub const fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = jobs;
        self
    }

    /// Runs the check on the stack of this process. Failures of the worker are in the report.
    ///
    /// # Errors
    /// The file cannot be read or has no worker, the selection matches no case, the worker cannot be built, or the stack
    /// cannot be started.
    pub async fn run(self) -> Result<ConformanceResult, TestError> {
        let host = Host::get().await?;
        // The stack belongs to the runtime of the host, and so must everything that uses it.
        let task = host.handle().spawn(async move { self.run_on(host).await });
        task.await.map_err(|error| TestError::Stack(error.to_string()))?
    }

    async fn run_on(self, host: &'static Host) -> Result<ConformanceResult, TestError> {
        let usage = |error: &dyn std::fmt::Display| TestError::Usage(error.to_string());
        let source = Source { config: Some(self.contract.clone()), ..Source::default() };
        let settings = Settings::load(source).map_err(|error| usage(&error))?;
        let mut contract = settings.config().contract.clone().ok_or_else(|| {
            TestError::Usage(format!("{} has no worker: add [worker] with `command`", self.contract.display()))
        })?;
        if let Some(command) = self.command {
            contract.worker.program = Program::Command(command);
        }
        let suites = Suites::builtin().map_err(|error| usage(&error))?;
        let selection =
            Selection::new(&self.suites, &self.cases, None).map_err(|error| usage(&error))?.for_verb(Verb::Run);
        let selection = selection.with_slow(self.slow).only_quick(self.quick);
        selection.check(&suites).map_err(|error| usage(&error))?;
        let own = host.unique_name();
        let directory = host.stack.directory().map_or_else(std::env::temp_dir, Path::to_owned).join(&own);
        std::fs::create_dir_all(&directory)
            .map_err(|error| TestError::Stack(format!("cannot create {}: {error}", directory.display())))?;
        if let Some(ledger) = host.stack.ledger() {
            if let Some(build) = &contract.worker.build {
                let built = run_hook("build", build, Vec::new(), &directory, "build", ledger).await;
                built.map_err(|error| usage(&error))?;
            }
            have_image(&contract.worker.program, &directory, ledger).await.map_err(|error| usage(&error))?;
        }
        let options = RunOptions {
            jobs: self.jobs,
            profile: settings.profile().to_owned(),
            variables: settings.variables_of_worker().map_err(|error| usage(&error))?,
            waivers: runner::waived(&settings),
            stack_pool: Some(host.spare.clone()),
            ..RunOptions::new(format!("{}-{own}", host.run), &host.shakedown, Arc::new(contract), directory)
        };
        let report = runner::run(&suites, &selection, &host.stack, &options, &Events::silent()).await;
        Ok(ConformanceResult { report })
    }
}

/// The result of a conformance check.
#[derive(Debug, Clone)]
pub struct ConformanceResult {
    /// The whole report.
    pub report: Report,
}

impl ConformanceResult {
    /// Panics unless the worker is conformant. The message contains the failures with evidence, cause and remedy. MUST
    /// cases may have been skipped: see [`ConformanceResult::assert_wholly_conformant`].
    ///
    /// # Panics
    /// A MUST case failed, or its verdict is unknown.
    #[track_caller]
    pub fn assert_conformant(&self) {
        assert!(self.report.verdict == RunVerdict::Conformant, "the worker is {}:\n{self}", self.report.verdict);
    }

    /// Panics unless the worker is conformant and no selected MUST case was skipped. [`ConformanceResult::assert_conformant`]
    /// permits cases that are skipped because evidence or a capability is missing.
    ///
    /// # Panics
    /// A MUST case failed or was skipped, or its verdict is unknown.
    #[track_caller]
    pub fn assert_wholly_conformant(&self) {
        self.assert_conformant();
        let skipped = self.report.coverage.must_skipped;
        assert!(skipped == 0, "the worker is only partly conformant: {skipped} MUST cases were skipped:\n{self}");
    }
}

impl std::fmt::Display for ConformanceResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::new();
        // Writing to memory cannot fail.
        let _ = report::write(&self.report, Format::Short, false, 110, &mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}
