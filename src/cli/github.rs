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
    let mut stderr = std::io::stderr().lock();
    // Nobody to tell is no reason to leave out the summary.
    let _ = report::annotations::render(report, &mut stderr);
    let Some(path) = &runner.summary else { return };
    let mut text = Vec::new();
    let written = report::markdown::render(report, &mut text).and_then(|()| append(path, &text));
    if let Err(error) = written {
        // A report is worth more than its summary: this stops nothing.
        let _ = writeln!(stderr, "the job summary `{}` could not be written: {error}", path.display());
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
