//! The whole judgement of a worker as one call.

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

/// Judges the worker that this `shakedown.toml` describes.
pub fn judge(contract: impl Into<PathBuf>) -> Judge {
    Judge {
        contract: contract.into(),
        command: None,
        suites: Vec::new(),
        cases: Vec::new(),
        quick: false,
        slow: false,
        jobs: 8,
    }
}

/// What is judged; [`Judge::run`] judges it.
#[derive(Debug, Clone)]
#[must_use = "nothing is judged until `run`"]
pub struct Judge {
    contract: PathBuf,
    command: Option<Vec<String>>,
    suites: Vec<String>,
    cases: Vec<String>,
    quick: bool,
    slow: bool,
    jobs: usize,
}

impl Judge {
    /// Program and arguments of the worker, instead of those in the file: `[env!("CARGO_BIN_EXE_worker")]` is the one
    /// that Cargo has built for the test.
    pub fn command<S: Into<String>>(mut self, command: impl IntoIterator<Item = S>) -> Self {
        self.command = Some(command.into_iter().map(Into::into).collect());
        self
    }

    /// Only these suites; globs, and `!` to leave out.
    pub fn suites<S: Into<String>>(mut self, suites: impl IntoIterator<Item = S>) -> Self {
        self.suites.extend(suites.into_iter().map(Into::into));
        self
    }

    /// Only these cases; globs, and `!` to leave out.
    pub fn cases<S: Into<String>>(mut self, cases: impl IntoIterator<Item = S>) -> Self {
        self.cases.extend(cases.into_iter().map(Into::into));
        self
    }

    /// Only the fifteen cases that catch most.
    pub const fn quick(mut self) -> Self {
        self.quick = true;
        self
    }

    /// Also the cases that take minutes.
    pub const fn slow(mut self) -> Self {
        self.slow = true;
        self
    }

    /// Cases at once; eight unless told.
    pub const fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = jobs;
        self
    }

    /// Judges, on the stack of this process. What the worker does wrong is in the report.
    ///
    /// # Errors
    /// The file cannot be read or describes no worker, the selection leaves nothing, the worker cannot be built, or
    /// there is no stack.
    pub async fn run(self) -> Result<Judgement, TestError> {
        let host = Host::get().await?;
        // The stack lives on the host's runtime, and so does all that it is used for.
        let task = host.handle().spawn(async move { self.judge(host).await });
        task.await.map_err(|error| TestError::Stack(error.to_string()))?
    }

    async fn judge(self, host: &'static Host) -> Result<Judgement, TestError> {
        let usage = |error: &dyn std::fmt::Display| TestError::Usage(error.to_string());
        let source = Source { config: Some(self.contract.clone()), ..Source::default() };
        let settings = Settings::load(source).map_err(|error| usage(&error))?;
        let mut contract = settings.config().contract.clone().ok_or_else(|| {
            TestError::Usage(format!("{} describes no worker; write [worker] with `command`", self.contract.display()))
        })?;
        if let Some(command) = self.command {
            contract.worker.program = Program::Command(command);
        }
        let suites = Suites::builtin().map_err(|error| usage(&error))?;
        let selection =
            Selection::new(&self.suites, &self.cases, None).map_err(|error| usage(&error))?.for_verb(Verb::Run);
        let selection = selection.with_slow(self.slow).only_quick(self.quick);
        selection.check(&suites).map_err(|error| usage(&error))?;
        let own = host.name();
        let directory = host.stack.directory().map_or_else(std::env::temp_dir, Path::to_owned).join(&own);
        std::fs::create_dir_all(&directory)
            .map_err(|error| TestError::Stack(format!("{} cannot be made: {error}", directory.display())))?;
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
        Ok(Judgement { report })
    }
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The whole report.
    pub report: Report,
}

impl Judgement {
    /// Panics unless the worker is conformant. The message says what failed, with evidence, cause and remedy. MUST cases
    /// may have been skipped: see [`Judgement::assert_wholly_conformant`].
    ///
    /// # Panics
    /// A MUST case failed, or could not be judged.
    #[track_caller]
    pub fn assert_conformant(&self) {
        assert!(self.report.verdict == RunVerdict::Conformant, "the worker is {}:\n{self}", self.report.verdict);
    }

    /// Panics unless the worker is conformant and every chosen MUST case was judged: one that is skipped for want of
    /// evidence or of a capability, which [`Judgement::assert_conformant`] permits, is not.
    ///
    /// # Panics
    /// A MUST case failed, could not be judged, or was skipped.
    #[track_caller]
    pub fn assert_wholly_conformant(&self) {
        self.assert_conformant();
        let skipped = self.report.coverage.must_skipped;
        assert!(skipped == 0, "the worker is conformant in part, {skipped} MUST cases were skipped:\n{self}");
    }
}

impl std::fmt::Display for Judgement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::new();
        // Writing to memory cannot fail.
        let _ = report::write(&self.report, Format::Short, false, 110, &mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}
