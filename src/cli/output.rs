//! Output of a finished report: to files, the CI system and the terminal.

use super::failure::Failure;
use super::github;
use super::print::print_styled;
use super::terminal::Terminal;
use crate::outcome::{FileNote, Report};
use crate::report::terminal::{self, Extent};
use crate::report::{self, Format, ReportTarget};
use crate::settings::{Settings, runner};

/// The flags that choose where the report goes and how much is printed.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Output {
    /// Write the report to a file, as json, html, junit, markdown, terminal or short; can be repeated
    #[arg(long, value_name = "FORMAT=PATH")]
    report: Vec<ReportTarget>,
    /// Format of the report on standard output: terminal, short, json, junit, markdown or html [default: terminal]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Print no progress, and only the verdict unless --format is given
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Also list every case, with the evidence of those that passed
    #[arg(long, short, conflicts_with = "quiet")]
    verbose: bool,
}

impl Output {
    /// Writes the report to files, to the CI system and to standard output.
    pub(super) fn write(&self, report: &Report, settings: &Settings, rerun: &str) -> Result<(), Failure> {
        for target in &self.report {
            report::write_to_path(report, target).map_err(Failure::usage)?;
        }
        if let Some(runner) = runner() {
            github::publish(&runner, report);
        }
        let extent = match self.format {
            None if self.quiet => Extent::Verdict,
            None | Some(Format::Terminal) if self.verbose => Extent::Full,
            _ => Extent::Usual,
        };
        // The variable may also be set in `.env`.
        let colours = settings.get("NO_COLOR").is_none();
        print_report(report, self.format.unwrap_or(Format::Terminal), extent, colours, Some(rerun));
        Ok(())
    }

    /// Lists in the report the files that it is written to.
    pub(super) fn list_files(&self, report: &mut Report) {
        for target in &self.report {
            report.files.push(FileNote {
                path: target.path.display().to_string(),
                action: "created".to_owned(),
                purpose: format!("this report as {}", target.format),
            });
        }
    }
}

/// Prints a report in the width and colours of the terminal. `extent` is for the format `terminal` alone.
pub(super) fn print_report(report: &Report, format: Format, extent: Extent, colours: bool, rerun: Option<&str>) {
    let screen = Terminal::stdout();
    let colours = colours && screen.colours;
    let width = screen.width.unwrap_or(110);
    let mut text = Vec::new();
    let written = match format {
        Format::Terminal => terminal::render(report, terminal::Style { colours, width, extent, rerun }, &mut text),
        format => report::write(report, format, colours, width, &mut text),
    };
    // The reader may have closed the pipe; the exit code is the same.
    let _ = written.and_then(|()| print_styled(&String::from_utf8_lossy(&text)));
}
