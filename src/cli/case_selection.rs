//! The flags that select suites and cases.

use std::path::PathBuf;

use super::Common;
use super::failure::Failure;
use super::rerun::Rerun;
use crate::outcome::Level;
use crate::runner::{EnvironmentCheck, Selection, Shard};
use crate::settings::{Settings, Source};
use crate::spec::{Suites, Verb};

/// The flag that names the suites.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct SuitesArgs {
    /// Directory of suites to use instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    suites: Option<PathBuf>,
}

impl SuitesArgs {
    /// Adds the flag to the sources of settings.
    pub(super) fn onto(&self, source: Source) -> Source {
        source.flag("SHAKEDOWN_SUITES", self.suites.as_ref().map(|path| path.display().to_string()))
    }

    /// `rerun` with the flag.
    pub(super) fn repeat(&self, rerun: Rerun) -> Rerun {
        rerun.option("--suites", self.suites.as_ref().map(|path| path.display()))
    }
}

/// The suites that the settings name, else the built-in ones.
pub(super) fn read_suites(settings: &Settings) -> Result<Suites, Failure> {
    Ok(match settings.path("SHAKEDOWN_SUITES") {
        Some(directory) => Suites::from_directory(&directory)?,
        None => Suites::builtin()?,
    })
}

/// The flags of every verb that runs cases.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct FilterArgs {
    #[command(flatten)]
    pub(super) suites: SuitesArgs,
    /// Suites to run; a glob, or !GLOB to exclude; can be repeated
    #[arg(long, value_name = "GLOB")]
    suite: Vec<String>,
    /// Cases to run; a glob, or !GLOB to exclude; can be repeated
    #[arg(long, value_name = "GLOB")]
    case: Vec<String>,
    /// Lowest level of the cases to run: must, should or may
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    level: Option<Level>,
}

impl FilterArgs {
    /// The suites, and the cases that the flags select; `narrow` adds what the verb selects.
    pub(super) fn select(
        &self,
        settings: &Settings,
        shard: Option<Shard>,
        narrow: impl FnOnce(Selection) -> Selection,
    ) -> Result<(Suites, Selection), Failure> {
        let suites = read_suites(settings)?;
        let selection = narrow(Selection::new(&self.suite, &self.case, self.level)?);
        selection.check(&suites)?;
        let selection = match shard {
            Some(shard) => selection.sharded(&suites, shard),
            None => selection,
        };
        Ok((suites, selection))
    }
}

fn level(text: &str) -> Result<Level, String> {
    match text {
        "must" => Ok(Level::Must),
        "should" => Ok(Level::Should),
        "may" => Ok(Level::May),
        other => Err(format!("invalid level `{other}`: expected must, should or may")),
    }
}

/// The flags of `check` and `serve`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct CaseArgs {
    #[command(flatten)]
    filters: FilterArgs,
    /// Do not call the embeddings API, which costs one token
    #[arg(long)]
    no_spend: bool,
}

/// The cases that the flags select, with the settings.
#[derive(Debug)]
pub(super) struct CaseSelection {
    pub(super) settings: Settings,
    pub(super) suites: Suites,
    pub(super) selection: Selection,
    canary: bool,
}

impl CaseArgs {
    /// Reads the settings and the suites; `canary` also selects the cases that write.
    pub(super) fn load(&self, common: &Common, canary: bool, shard: Option<Shard>) -> Result<CaseSelection, Failure> {
        let settings = super::load(self.filters.suites.onto(common.source()))?;
        let (suites, selection) = self.filters.select(&settings, shard, |selection| {
            selection.with_slow(true).for_verb(Verb::Check).only_reading(!canary).without_spending(self.no_spend)
        })?;
        Ok(CaseSelection { settings, suites, selection, canary })
    }

    /// `rerun` with the flags that choose the suites.
    pub(super) fn repeat(&self, rerun: Rerun) -> Rerun {
        self.filters.suites.repeat(rerun).switch("--no-spend", self.no_spend)
    }
}

impl CaseSelection {
    /// Fails if no case is selected.
    pub(super) fn require_cases(self) -> Result<Self, Failure> {
        if self.suites.cases.iter().any(|case| self.selection.chooses(case)) {
            return Ok(self);
        }
        let remedy = "`shakedown check --list` lists the cases, and with --canary also those that write";
        Err(Failure::usage(format!("the filters select no case; {remedy}")))
    }

    /// A check of the environment that the settings name, for the project in the working directory.
    pub(super) fn environment_check(self) -> Result<EnvironmentCheck, Failure> {
        let directory = std::env::current_dir()
            .map_err(|error| Failure::usage(format!("cannot read the working directory: {error}")))?;
        let shakedown = std::env::current_exe()
            .map_err(|error| Failure::harness(format!("cannot find the path of this program: {error}")))?;
        let Self { settings, suites, selection, canary } = self;
        Ok(EnvironmentCheck { canary, ..EnvironmentCheck::new(settings, suites, selection, &directory, shakedown)? })
    }
}
