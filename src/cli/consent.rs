//! Asking before something is destroyed.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::failure::Failure;

/// Asks on the terminal whether to go on; `yes` has said so already.
///
/// Gives whether to go on. Where nobody can be asked, that is an error, and the flag that says yes is its remedy; `look` is
/// what shows beforehand what would be done.
pub(super) fn asked(question: &str, yes: bool, look: &str) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "{question} Nobody can be asked here, for standard input is no terminal\n  remedy: add --yes if that is \
             meant; {look} says what would be done"
        )));
    }
    let mut terminal = std::io::stderr();
    // Nobody who reads is nobody who says yes.
    let _ = write!(terminal, "{question} [y/N] ");
    let _ = terminal.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
