//! The steps of `shakedown setup`: as text, as JSON, and their exit code.

use std::fmt::Write as _;

use serde_json::json;

use super::failure::Failure;
use crate::operations::provision::{Outcome, Step};
use crate::outcome::Exit;

/// The exit code, or the first failure as an error.
pub(super) fn exit_of(steps: Vec<Step>) -> Result<Exit, Failure> {
    let failed = steps.into_iter().find_map(|step| match step.outcome {
        Outcome::Failed(error) => Some(error),
        _ => None,
    });
    match failed {
        None => Ok(Exit::Ok),
        Some(error) => {
            let remedy = error.remedy().map_or_else(String::new, |remedy| format!("\n  remedy: {remedy}"));
            Err(Failure { exit: error.exit(), report: miette::miette!("{error}{remedy}") })
        }
    }
}

/// The steps as JSON.
pub(super) fn as_json(steps: &[Step]) -> String {
    format!("{:#}\n", json!({ "steps": steps.iter().map(Step::json).collect::<Vec<_>>() }))
}

/// A step with its notes, as text.
pub(super) fn as_text(step: &Step) -> String {
    // The error itself is printed on standard error.
    let mut text = if matches!(step.outcome, Outcome::Failed(_)) {
        format!("{:<9} {:<11} failed\n", step.service, step.name)
    } else {
        format!("{step}\n")
    };
    for note in &step.notes {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<21} note: {note}", "");
    }
    text
}
