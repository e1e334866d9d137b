//! The pager of a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

use console::Term;

use crate::settings::process_variable;

/// Shows `text` in `$PAGER`, else in `less`; false when there is no terminal or no pager, or when the text fits on the
/// screen.
pub(super) fn show(text: &str) -> bool {
    let (rows, _) = Term::stdout().size();
    if !std::io::stdout().is_terminal() || text.lines().count() < usize::from(rows) {
        return false;
    }
    let pager = process_variable("PAGER").unwrap_or_else(|| "less".to_owned());
    if pager.trim().is_empty() || pager == "cat" {
        return false;
    }
    let mut command = Command::new("sh");
    command.args(["-c", &pager]).stdin(Stdio::piped());
    if process_variable("LESS").is_none() {
        // Colours stay, and the text stays on the screen at the end.
        command.env("LESS", "RX");
    }
    let Ok(mut child) = command.spawn() else { return false };
    if let Some(mut input) = child.stdin.take() {
        // The reader may close the pager before the end.
        let _ = input.write_all(text.as_bytes());
    }
    // A shell ends with 127 if it cannot find the program.
    child.wait().is_ok_and(|status| status.code() != Some(127))
}
