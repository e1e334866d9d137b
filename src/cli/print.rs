//! Output of verbs, as text or as JSON.

use std::io::Write as _;

/// The output format of a verb.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Plain text
    #[default]
    Text,
    /// JSON
    Json,
}

/// Writes a note to standard error.
pub(super) fn note(text: &str) {
    // The reader may have closed the pipe.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Writes to standard output.
pub(super) fn print(text: &str) {
    // The reader may have closed the pipe.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
