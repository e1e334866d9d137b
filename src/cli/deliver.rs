//! Where a finished report goes: files, the CI system, the terminal.

use std::io::{IsTerminal, Write};

use super::failure::Failure;
use super::github;
use crate::outcome::{FileNote, Report};
use crate::report::{self, Format, ReportTarget};
use crate::settings::{Settings, runner};

/// Says in the report which files it is written to.
pub(super) fn note(report: &mut Report, targets: &[ReportTarget]) {
    for target in targets {
        report.files.push(FileNote {
            path: target.path.display().to_string(),
            action: "created".to_owned(),
            purpose: format!("this report as {}", target.format),
        });
    }
}

/// Writes the files, tells the CI system, and prints.
pub(super) fn deliver(
    report: &Report,
    targets: &[ReportTarget],
    format: Format,
    settings: &Settings,
) -> Result<(), Failure> {
    for target in targets {
        report::write_to_path(report, target).map_err(Failure::usage)?;
    }
    if let Some(runner) = runner() {
        github::tell(&runner, report);
    }
    show(report, format, settings.get("NO_COLOR").is_none());
    Ok(())
}

/// Prints a report as wide as the terminal is, and in its colours where that is wanted.
pub(super) fn show(report: &Report, format: Format, colours: bool) {
    let stdout = std::io::stdout();
    let colours = colours && stdout.is_terminal();
    let width = console::Term::stdout().size_checked().map_or(110, |(_, columns)| usize::from(columns));
    // A reader that closed the pipe has seen what it wanted; the verdict stands all the same.
    let mut stdout = stdout.lock();
    let _ = report::write(report, format, colours, width, &mut stdout).and_then(|()| stdout.flush());
}
