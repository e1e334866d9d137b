//! The worker output that a run keeps.

use super::RunOptions;
use crate::redaction::printable;

/// Writes the workers' output of a scenario run to the directory of the options, if there is one. The error is a note.
pub(super) fn keep(options: &RunOptions, scenario_run: &str, output: &str) -> Result<(), String> {
    let Some(directory) = &options.keep_output else { return Ok(()) };
    let path = directory.join(format!("{scenario_run}.log"));
    std::fs::write(&path, printable(output).as_bytes())
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}
