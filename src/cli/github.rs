//! The job summary and annotations on a runner of GitHub Actions.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use super::print::note;
use crate::outcome::Report;
use crate::report;
use crate::settings::Runner;

/// GitHub refuses a summary of more than 1 MiB as a whole.
const LONGEST: usize = 1024 * 1024 - 1024;

/// Writes the summary, and prints annotations to standard error: the runner reads both streams, and standard output may
/// be JSON for another program.
pub(super) fn publish(runner: &Runner, report: &Report) {
    // The only workflow commands that are meant. A closed standard error must not prevent the summary.
    let _ = report::annotations::render(report, &mut std::io::stderr().lock());
    let Some(path) = &runner.summary else { return };
    let mut text = Vec::new();
    let written = report::markdown::render(report, &mut text).and_then(|()| append(path, &text));
    if let Err(error) = written {
        // The report matters more than its summary, so this is not an error.
        note(&format!("could not write the job summary `{}`: {error}", path.display()));
    }
}

fn append(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    if text.len() <= LONGEST {
        return file.write_all(text);
    }
    let cut = text[..LONGEST].iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    file.write_all(&text[..=cut])?;
    file.write_all(
        b"\n(truncated: GitHub limits a job summary to 1 MiB; the whole report is among the files of this job)\n",
    )
}
