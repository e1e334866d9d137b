//! The only way out for text: without secrets, and without anything that a terminal or GitHub Actions obeys.

use std::io::{self, Write as _};

use crate::redaction::{harmless_commands, printable, redact};
use crate::settings::runner;

/// The output format of a verb.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Plain text
    #[default]
    Text,
    /// JSON
    Json,
}

/// Writes text without colours to standard output.
pub(super) fn print(text: &str) {
    // The reader may have closed the pipe.
    let _ = try_print(text);
}

/// The same, with an error if it cannot be written.
pub(super) fn try_print(text: &str) -> io::Result<()> {
    print_styled(&printable(text))
}

/// Writes text whose only control characters are our own colours.
pub(super) fn print_styled(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(shown(text).as_bytes())?;
    stdout.flush()
}

/// Writes a line to standard error.
pub(super) fn note(text: &str) {
    note_styled(&printable(text));
}

/// Writes a line whose only control characters are our own colours to standard error.
pub(super) fn note_styled(text: &str) {
    // A closed standard error must not change what the program does.
    let _ = writeln!(io::stderr(), "{}", shown(text));
}

/// `text` as it may be written to a terminal or a log.
pub(super) fn shown(text: &str) -> String {
    let text = redact(text);
    if runner().is_some() { harmless_commands(&text).into_owned() } else { text.into_owned() }
}
