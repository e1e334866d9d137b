//! `shakedown report`: what can be done with reports once they are written.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::deliver;
use super::failure::Failure;
use super::shown::print;
use crate::outcome::{Exit, Report};
use crate::report::diff::{self, Diff, DiffFormat};
use crate::report::terminal::Extent;
use crate::report::{self, Format, ReportTarget, json, merge};

/// Write a JSON report in other formats, compare two, or make one of several
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Write a JSON report in other formats
    Convert {
        /// The JSON report; - for standard input
        #[arg(value_name = "REPORT")]
        from: PathBuf,
        #[command(flatten)]
        to: To,
    },
    /// Say what is otherwise in a report than in an earlier one
    ///
    /// Worse, new, fixed, gone, and slower: at least twice as long, and a second more. Exit code 1 when a case is worse,
    /// or new and not passed, as with `shakedown run --baseline`; else 0.
    Diff {
        /// The earlier JSON report; - for standard input
        #[arg(value_name = "BEFORE")]
        before: PathBuf,
        /// The later JSON report
        #[arg(value_name = "AFTER")]
        after: PathBuf,
        /// How to write it: terminal, markdown, html or json
        #[arg(long, value_name = "FORMAT", default_value = "terminal")]
        format: DiffFormat,
    },
    /// Make one report of the reports of shards
    ///
    /// Of a case that two of them have, the graver verdict counts. Exit code as that of a run with this report: 0 conformant,
    /// 1 not conformant, 3 inconclusive, which it also is when a shard is missing.
    Merge {
        /// The JSON reports
        #[arg(value_name = "REPORT", required = true)]
        reports: Vec<PathBuf>,
        #[command(flatten)]
        to: To,
    },
}

/// Where a report goes.
#[derive(Debug, clap::Args)]
struct To {
    /// Write a report: json, html, junit, markdown, terminal or short, then = and a path; may be given several times
    #[arg(long, value_name = "FORMAT=PATH")]
    report: Vec<ReportTarget>,
    /// What to print: terminal, short, json, junit, markdown or html; terminal, where no --report is given
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

impl To {
    fn deliver(&self, report: &Report) -> Result<(), Failure> {
        for target in &self.report {
            report::write_to_path(report, target).map_err(Failure::usage)?;
        }
        let format = self.format.or_else(|| self.report.is_empty().then_some(Format::Terminal));
        if let Some(format) = format {
            deliver::show(report, format, Extent::Usual, true, None);
        }
        Ok(())
    }
}

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.what {
        What::Convert { from, to } => {
            to.deliver(&read("report", from)?)?;
            Ok(Exit::Ok)
        }
        What::Diff { before, after, format } => {
            let diff = Diff::of(&read("report", before)?, &read("report", after)?);
            let mut text = Vec::new();
            diff::write(&diff, *format, &mut text).map_err(Failure::harness)?;
            print(&String::from_utf8_lossy(&text));
            Ok(if diff.holds() { Exit::Ok } else { Exit::NotConformant })
        }
        What::Merge { reports, to } => {
            let parts = reports.iter().map(|path| read("report", path)).collect::<Result<Vec<_>, _>>()?;
            let merged = merge::merge(&parts).map_err(Failure::usage)?;
            to.deliver(&merged)?;
            Ok(Exit::of(&merged))
        }
    }
}

/// Reads a JSON report; `what` is what an error calls it.
pub(super) fn read(what: &str, path: &Path) -> Result<Report, Failure> {
    let shown = path.display();
    let mut text = String::new();
    let found = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        std::fs::read_to_string(path).map(|read| text = read)
    };
    found.map_err(|error| {
        Failure::usage(format!("the {what} `{shown}` cannot be read: {error}; write one with --report json={shown}"))
    })?;
    json::read(&text).map_err(|error| Failure::usage(format!("the {what} `{shown}` cannot be used: {error}")))
}
