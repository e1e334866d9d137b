//! What verbs print: as text or as JSON.

use std::io::Write as _;

/// How to write what a verb found or did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Text,
    /// JSON
    Json,
}

/// Writes to standard output.
pub(super) fn print(text: &str) {
    // A reader that closed the pipe has seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
