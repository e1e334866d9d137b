//! The flags of a CI gate.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::failure::Failure;
use super::rerun::Rerun;
use crate::outcome::{Gate, Report, incomparable};
use crate::runner::{Selection, Shard};
use crate::spec::{Suites, duration};

/// What decides whether a pipeline goes on.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Gate")]
pub(super) struct GateArgs {
    /// Count warnings, flaky cases among them, as failures, and a skipped MUST as undecided
    #[arg(long)]
    strict: bool,
    /// Fail only on what got worse since this JSON report of the same suites, profile and cases
    #[arg(long, value_name = "REPORT")]
    baseline: Option<PathBuf>,
    /// Begin no case after the first that fails
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// Run every case so often; one whose verdict changes is flaky
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) repeat: u32,
    /// How long the cases may take altogether, such as 90s or 10m; what is not judged by then is unknown
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) timeout: Option<Duration>,
    /// Run one part of N, for instance 1/3; the parts together are everything
    #[arg(long, value_name = "K/N")]
    pub(super) shard: Option<Shard>,
}

pub(super) fn time(text: &str) -> Result<Duration, String> {
    duration(text)
        .filter(|time| !time.is_zero())
        .ok_or_else(|| format!("`{text}` is no time; write for instance 500ms, 90s, 10m or 1h"))
}

impl GateArgs {
    /// What the report says of the gate before anything is compared.
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

    /// The report to compare with; refused before anything is started if it is of something else.
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
                "the baseline `{shown}` cannot be compared with: {reason}; compare with a report of the same suites, \
                 profile and cases, or write a new one with --report json={shown}"
            ))),
        }
    }
}
