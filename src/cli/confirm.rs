//! Confirmation before something is destroyed.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::failure::Failure;
use super::print::shown;
use crate::redaction::printable;

/// Asks on the terminal whether to continue; `yes` skips the question.
///
/// Fails if standard input is not a terminal. `preview` is the command or flag that shows what would be done.
pub(super) fn confirm(question: &str, yes: bool, preview: &str) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "{question} Refused: needs --yes, because standard input is not a terminal\n  remedy: add --yes to \
             continue; {preview} shows what would be done"
        )));
    }
    let mut terminal = std::io::stderr();
    // A question that cannot be written is not answered with yes.
    let _ = write!(terminal, "{} [y/N] ", shown(&printable(question)));
    let _ = terminal.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
