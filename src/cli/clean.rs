//! `shakedown clean`: remove what runs that were killed left behind.

use std::fmt::Write as _;
use std::io::Write as _;

use miette::{IntoDiagnostic, WrapErr};

use crate::outcome::Exit;
use crate::settings;
use crate::stack::{Cleaned, Found, clean};

/// Remove processes and directories that a killed run left behind; runs still going on are left alone.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Say what would be removed, and touch nothing
    #[arg(long)]
    dry_run: bool,
}

/// Replays the ledgers of all runs whose harness is dead.
///
/// Gives [`Exit::Inconclusive`] when something could not be removed or read.
///
/// # Errors
/// The directory of ledgers cannot be read.
pub async fn run(args: Args) -> miette::Result<Exit> {
    let state = settings::state_dir();
    let place = state.display().to_string();
    let cleaned = tokio::task::spawn_blocking(move || clean(&state, args.dry_run))
        .await
        .into_diagnostic()?
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot read the ledgers in {place}"))?;
    let text: String = cleaned.iter().map(|cleaned| describe(cleaned, args.dry_run)).collect();
    let text = if text.is_empty() { "nothing to remove\n".to_owned() } else { text };
    std::io::stdout().write_all(text.as_bytes()).into_diagnostic()?;
    let trouble = cleaned.iter().any(|cleaned| match &cleaned.found {
        Found::InUse { .. } => false,
        Found::Leftover { left, .. } => !left.is_empty(),
        Found::Unreadable { .. } => true,
    });
    Ok(if trouble { Exit::Inconclusive } else { Exit::Ok })
}

fn describe(cleaned: &Cleaned, dry_run: bool) -> String {
    let run = &cleaned.run;
    match &cleaned.found {
        Found::InUse { pid } => format!("run {run}: still going on in process {pid}, left alone\n"),
        Found::Unreadable { reason } => {
            let ledger = cleaned.ledger.display();
            format!("run {run}: {reason}; left alone, remove {ledger} by hand\n")
        }
        Found::Leftover { resources, left } => {
            let verb = if dry_run { "would remove" } else { "removed" };
            // Writing to a string cannot fail.
            let mut text = String::new();
            if resources.is_empty() {
                text = format!("run {run}: nothing left but its ledger\n");
            }
            // What could not be removed is named in `left`, in its own words.
            for resource in resources.iter().filter(|_| left.is_empty()) {
                let _ = writeln!(text, "run {run}: {verb} {resource}");
            }
            for left in left {
                let _ = writeln!(text, "run {run}: could not remove {left}");
            }
            text
        }
    }
}
