//! Errors with their exit codes.

use std::borrow::Cow;

use super::print::note_styled;
use crate::outcome::Exit;
use crate::redaction::printable;
use crate::runner::{PreflightError, SelectionError};
use crate::settings::SettingsError;
use crate::spec::SpecError;
use crate::stack::StackError;

/// An error with its exit code.
#[derive(Debug)]
pub(super) struct Failure {
    /// The exit code.
    pub(super) exit: Exit,
    /// The message.
    pub(super) report: miette::Report,
}

impl Failure {
    /// Bad usage or configuration: exit code 2.
    pub(super) fn usage(error: impl std::fmt::Display) -> Self {
        Self { exit: Exit::Usage, report: miette::miette!("{error}") }
    }

    /// The harness failed: exit code 3.
    pub(super) fn harness(error: impl std::fmt::Display) -> Self {
        Self { exit: Exit::Inconclusive, report: miette::miette!("{error}") }
    }
}

impl From<miette::Report> for Failure {
    fn from(report: miette::Report) -> Self {
        Self { exit: Exit::Usage, report }
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::usage(error)
    }
}

impl From<SpecError> for Failure {
    fn from(error: SpecError) -> Self {
        Self::usage(error)
    }
}

impl From<SelectionError> for Failure {
    fn from(error: SelectionError) -> Self {
        Self::usage(error)
    }
}

impl From<StackError> for Failure {
    fn from(error: StackError) -> Self {
        if error.is_configuration() { Self::usage(error) } else { Self::harness(error) }
    }
}

impl From<PreflightError> for Failure {
    fn from(error: PreflightError) -> Self {
        match error {
            PreflightError::Contract(problem) => SettingsError::from(*problem).into(),
            PreflightError::Harness(error) => Self::harness(error),
        }
    }
}

/// Prints an error to standard error.
pub(super) fn print(report: &miette::Report) {
    let causes = report.chain().any(|cause| matches!(printable(&cause.to_string()), Cow::Owned(_)));
    if causes {
        // The frame of a report has colours, so foreign control characters are removed before it is drawn.
        let text: Vec<String> = report.chain().map(|cause| printable(&cause.to_string()).into_owned()).collect();
        return note_styled(&format!("{:?}", miette::miette!("{}", text.join(": "))));
    }
    note_styled(&format!("{report:?}"));
}
