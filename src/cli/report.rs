//! `shakedown report`: convert, compare and merge JSON reports.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::output;
use super::print::print;
use crate::outcome::{Exit, Report};
use crate::report::diff::{self, Diff, DiffFormat};
use crate::report::terminal::Extent;
use crate::report::{self, Format, ReportTarget, json, merge};
use crate::spec::read_text;

/// Convert, compare or merge JSON reports
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Convert a JSON report to other formats
    Convert {
        /// The JSON report; - for standard input
        #[arg(value_name = "REPORT")]
        from: PathBuf,
        #[command(flatten)]
        to: To,
    },
    /// Compare with an earlier report
    ///
    /// Lists the cases that are worse, new, fixed, gone or slower. A case is slower if it takes at least twice as long
    /// and at least a second longer. Exit codes: 1 if a case is worse, or is new and does not pass, as with
    /// `shakedown run --baseline`; otherwise 0.
    Diff {
        /// The earlier JSON report; - for standard input
        #[arg(value_name = "BEFORE")]
        before: PathBuf,
        /// The later JSON report
        #[arg(value_name = "AFTER")]
        after: PathBuf,
        /// Format of the comparison: terminal, markdown, html or json
        #[arg(long, value_name = "FORMAT", default_value = "terminal")]
        format: DiffFormat,
    },
    /// Merge the reports of all shards
    ///
    /// If two reports have the same case, the worse verdict counts. Exit codes are those of a run with the merged report:
    /// 0 conformant, 1 not conformant, 3 inconclusive. A missing shard makes it inconclusive.
    Merge {
        /// The JSON reports
        #[arg(value_name = "REPORT", required = true)]
        reports: Vec<PathBuf>,
        #[command(flatten)]
        to: To,
    },
}

/// The flags that choose the output.
#[derive(Debug, clap::Args)]
struct To {
    /// Write the report to a file, as json, html, junit, markdown, terminal or short; can be repeated
    #[arg(long, value_name = "FORMAT=PATH")]
    report: Vec<ReportTarget>,
    /// Format of the report on standard output: terminal, short, json, junit, markdown or html [default: terminal, if there is no --report]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

impl To {
    fn write(&self, report: &Report) -> Result<(), Failure> {
        for target in &self.report {
            report::write_to_path(report, target).map_err(Failure::usage)?;
        }
        let format = self.format.or_else(|| self.report.is_empty().then_some(Format::Terminal));
        if let Some(format) = format {
            output::print_report(report, format, Extent::Usual, true, None);
        }
        Ok(())
    }
}

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.what {
        What::Convert { from, to } => {
            to.write(&read("report", from)?)?;
            Ok(Exit::Ok)
        }
        What::Diff { before, after, format } => {
            let diff = Diff::between(&read("report", before)?, &read("report", after)?);
            let mut text = Vec::new();
            diff::write(&diff, *format, &mut text).map_err(Failure::harness)?;
            print(&String::from_utf8_lossy(&text));
            Ok(if diff.holds() { Exit::Ok } else { Exit::NotConformant })
        }
        What::Merge { reports, to } => {
            let parts = reports.iter().map(|path| read("report", path)).collect::<Result<Vec<_>, _>>()?;
            let merged = merge::merge(&parts).map_err(Failure::usage)?;
            to.write(&merged)?;
            Ok(Exit::from_report(&merged))
        }
    }
}

/// The largest report that is read, in MiB. A report of all built-in cases with timelines has about two.
const MAX_REPORT_MIB: u64 = 64;

/// Reads a JSON report; `what` names it in errors.
pub(super) fn read(what: &str, path: &Path) -> Result<Report, Failure> {
    let shown = path.display();
    let text = if path == Path::new("-") {
        read_text(std::io::stdin(), MAX_REPORT_MIB)
    } else {
        std::fs::File::open(path).and_then(|file| read_text(file, MAX_REPORT_MIB))
    };
    let text = text.map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::FileTooLarge => "write one report for each part of the run with --shard".to_owned(),
            _ => format!("create one with --report json={shown}"),
        };
        Failure::usage(format!("cannot read the {what} `{shown}`: {error}; {remedy}"))
    })?;
    json::read(&text).map_err(|error| Failure::usage(format!("cannot use the {what} `{shown}`: {error}")))
}
