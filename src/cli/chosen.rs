//! By what an environment is judged: the flags that `check` and `serve` have in common.

use std::path::PathBuf;

use super::Common;
use super::failure::Failure;
use super::rerun::Rerun;
use crate::outcome::Level;
use crate::runner::{EnvironmentCheck, Selection, Shard};
use crate::settings::Settings;
use crate::spec::{Suites, Verb};

/// Suites, and those of their cases that are judged.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ChosenArgs {
    /// Directory of suites to judge by instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    suites: Option<PathBuf>,
    /// Suites to judge by; globs, and ! to leave out; may be given several times
    #[arg(long, value_name = "GLOB")]
    suite: Vec<String>,
    /// Cases to judge; globs, and ! to leave out; may be given several times
    #[arg(long, value_name = "GLOB")]
    case: Vec<String>,
    /// Leave out cases that are less binding: must, should or may
    #[arg(long, value_name = "LEVEL", value_parser = super::run::level)]
    level: Option<Level>,
    /// Leave out what costs money: the one call of the embeddings API
    #[arg(long)]
    no_spend: bool,
}

/// What the flags choose.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) settings: Settings,
    pub(super) suites: Suites,
    pub(super) selection: Selection,
    canary: bool,
}

impl ChosenArgs {
    /// Reads the settings and the suites; with `canary` also cases that write are chosen.
    pub(super) fn load(&self, common: &Common, canary: bool, shard: Option<Shard>) -> Result<Chosen, Failure> {
        let directory = self.suites.as_ref().map(|path| path.display().to_string());
        let settings = Settings::load(common.source().flag("SHAKEDOWN_SUITES", directory))?;
        let suites = match settings.path("SHAKEDOWN_SUITES") {
            Some(directory) => Suites::from_directory(&directory)?,
            None => Suites::builtin()?,
        };
        let selection = Selection::new(&self.suite, &self.case, self.level)?
            .with_slow(true)
            .for_verb(Verb::Check)
            .only_reading(!canary)
            .without_spending(self.no_spend);
        selection.check(&suites)?;
        let selection = match shard {
            Some(shard) => selection.sharded(&suites, shard),
            None => selection,
        };
        Ok(Chosen { settings, suites, selection, canary })
    }
}

impl ChosenArgs {
    /// `rerun` with the flags that choose the suites.
    pub(super) fn repeat(&self, rerun: Rerun) -> Rerun {
        rerun.option("--suites", self.suites.as_ref().map(|path| path.display())).switch("--no-spend", self.no_spend)
    }
}

impl Chosen {
    /// Fails when nothing is left to judge.
    pub(super) fn some(self) -> Result<Self, Failure> {
        if self.suites.cases.iter().any(|case| self.selection.chooses(case)) {
            return Ok(self);
        }
        let remedy = "`shakedown check --list` shows them all, with --canary also those that write";
        Err(Failure::usage(format!("the filters leave no case to judge; {remedy}")))
    }

    /// An environment in use, as the settings name it, of the project in the working directory.
    pub(super) fn checkup(self) -> Result<EnvironmentCheck, Failure> {
        let directory = std::env::current_dir()
            .map_err(|error| Failure::usage(format!("the working directory cannot be read: {error}")))?;
        let shakedown = std::env::current_exe()
            .map_err(|error| Failure::harness(format!("this program's own file cannot be found: {error}")))?;
        let Self { settings, suites, selection, canary } = self;
        Ok(EnvironmentCheck { canary, ..EnvironmentCheck::new(settings, suites, selection, &directory, shakedown)? })
    }
}
