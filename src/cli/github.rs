//! On a runner of GitHub Actions: the job summary and annotations.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use crate::outcome::Report;
use crate::report;
use crate::settings::Runner;

/// A summary may have one MiB; what is longer is refused as a whole.
const LONGEST: usize = 1024 * 1024 - 1024;

/// Writes the summary, and says annotations to standard error: standard output may be somebody's JSON, and the runner
/// reads both.
pub(super) fn tell(runner: &Runner, report: &Report) {
    let mut text = Vec::new();
    let mut stderr = std::io::stderr().lock();
    // A report is worth more than its summary: what cannot be written is said and stops nothing.
    let told = report::annotations::render(report, &mut stderr).and_then(|()| {
        let Some(path) = &runner.summary else { return Ok(()) };
        report::markdown::render(report, &mut text)?;
        append(path, &text)
    });
    if let Err(error) = told {
        let _ = writeln!(stderr, "the job summary could not be written: {error}");
    }
}

fn append(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    if text.len() <= LONGEST {
        return file.write_all(text);
    }
    let cut = text[..LONGEST].iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    file.write_all(&text[..=cut])?;
    file.write_all(b"\n(cut: a job summary may have 1 MiB; the whole report is a file of this job)\n")
}
