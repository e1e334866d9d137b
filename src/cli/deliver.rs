//! Where a finished report goes: files, the CI system, the terminal.

use std::io::Write;

use super::failure::Failure;
use super::github;
use super::screen::Screen;
use crate::outcome::{FileNote, Report};
use crate::report::terminal::{self, Extent};
use crate::report::{self, Format, ReportTarget};
use crate::settings::{Settings, runner};

/// Where the report of a run or a check goes, and how much of it is printed.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Output {
    /// Write a report: json, html, junit, markdown, terminal or short, then = and a path; may be given several times
    #[arg(long, value_name = "FORMAT=PATH")]
    report: Vec<ReportTarget>,
    /// What to print at the end: terminal, short, json, junit, markdown or html [default: terminal]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Print the verdict alone, or what --format says, and no progress
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Also list every case, with the evidence of those that passed
    #[arg(long, short, conflicts_with = "quiet")]
    verbose: bool,
}

impl Output {
    /// Writes the files, tells the CI system, and prints.
    pub(super) fn deliver(&self, report: &Report, settings: &Settings, rerun: &str) -> Result<(), Failure> {
        for target in &self.report {
            report::write_to_path(report, target).map_err(Failure::usage)?;
        }
        if let Some(runner) = runner() {
            github::tell(&runner, report);
        }
        let extent = match self.format {
            None if self.quiet => Extent::Verdict,
            None | Some(Format::Terminal) if self.verbose => Extent::Full,
            _ => Extent::Usual,
        };
        // The variable may also stand in `.env`.
        let colours = settings.get("NO_COLOR").is_none();
        show(report, self.format.unwrap_or(Format::Terminal), extent, colours, Some(rerun));
        Ok(())
    }

    /// Says in the report which files it is written to.
    pub(super) fn note(&self, report: &mut Report) {
        for target in &self.report {
            report.files.push(FileNote {
                path: target.path.display().to_string(),
                action: "created".to_owned(),
                purpose: format!("this report as {}", target.format),
            });
        }
    }
}

/// Prints a report as wide as the terminal is, and in its colours where that is wanted. Of the formats, `terminal` alone
/// tells more or less.
pub(super) fn show(report: &Report, format: Format, extent: Extent, colours: bool, rerun: Option<&str>) {
    let screen = Screen::stdout();
    let colours = colours && screen.colours;
    let width = screen.width.unwrap_or(110);
    let mut stdout = std::io::stdout().lock();
    let written = match format {
        Format::Terminal => terminal::render(report, terminal::Style { colours, width, extent, rerun }, &mut stdout),
        format => report::write(report, format, colours, width, &mut stdout),
    };
    // A reader that closed the pipe has seen what it wanted; the verdict stands all the same.
    let _ = written.and_then(|()| stdout.flush());
}
