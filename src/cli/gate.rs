//! The flags for CI: what fails the job, and which part of the cases runs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::failure::Failure;
use super::rerun::Rerun;
use crate::outcome::{Gate, Report, incomparable};
use crate::runner::{Selection, Shard};
use crate::spec::{Suites, parse_duration};

/// Flags that decide whether a pipeline fails.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Gate")]
pub(super) struct GateArgs {
    /// Count warnings and flaky cases as failures, and a skipped MUST as unknown
    #[arg(long)]
    strict: bool,
    /// Fail only on cases that got worse since this JSON report; it must have the same suites, profile and cases
    #[arg(long, value_name = "REPORT")]
    baseline: Option<PathBuf>,
    /// Start no further case after the first failure
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// Run every case N times; a case whose verdict changes is flaky
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) repeat: u32,
    /// Time limit for all cases together, such as 90s or 10m; cases that are not finished by then are unknown
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) timeout: Option<Duration>,
    /// Run shard K of N, such as 1/3; all shards together run every case
    #[arg(long, value_name = "K/N")]
    pub(super) shard: Option<Shard>,
}

pub(super) fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|time| !time.is_zero())
        .ok_or_else(|| format!("invalid duration `{text}`: expected e.g. 500ms, 90s, 10m or 1h"))
}

impl GateArgs {
    /// The gate of the report, without a comparison.
    pub(super) fn gate(&self) -> Gate {
        Gate {
            strict: self.strict,
            attempts: self.repeat,
            shard: self.shard.map(|shard| shard.to_string()),
            comparison: None,
        }
    }

    /// `rerun` with `--strict`, where it was given.
    pub(super) fn repeat(&self, rerun: Rerun) -> Rerun {
        rerun.switch("--strict", self.strict)
    }

    /// The baseline report. Fails, before anything starts, if it is for other suites, another profile or other cases.
    pub(super) fn baseline(
        &self,
        suites: &Suites,
        selection: &Selection,
        profile: &str,
    ) -> Result<Option<Report>, Failure> {
        let Some(path) = &self.baseline else { return Ok(None) };
        let shown = path.display();
        let report = super::report::read("baseline", path)?;
        let chosen: BTreeSet<&str> =
            suites.cases.iter().filter(|case| selection.chooses(case)).map(|case| case.id.as_str()).collect();
        match incomparable(&report, &suites.version, profile, &chosen) {
            None => Ok(Some(report)),
            Some(reason) => Err(Failure::usage(format!(
                "cannot compare with the baseline `{shown}`: {reason}; use a report of the same suites, profile and \
                 cases, or write a new one with --report json={shown}"
            ))),
        }
    }
}
