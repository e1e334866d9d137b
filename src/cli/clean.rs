//! `shakedown clean`: remove what runs that were killed left behind.

use std::fmt::Write as _;
use std::io::Write as _;

use miette::{IntoDiagnostic, WrapErr};

use crate::outcome::Exit;
use crate::settings;
use crate::stack::{Cleaned, CleanedContainers, Found, StackError, clean, clean_containers};

/// Remove processes, directories and containers that a killed run left behind; runs still going on are left alone.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Say what would be removed, and touch nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove also the containers that --keep and --reuse left
    #[arg(long)]
    kept: bool,
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
    let mut text: String = cleaned.iter().map(|cleaned| describe(cleaned, args.dry_run)).collect();
    // Containers are found by their labels too: their ledger may be another user's, or lost.
    let host = settings::docker_host();
    let containers = match clean_containers(&host, args.kept, args.dry_run).await {
        Ok(containers) => containers,
        // A machine without an engine has no containers to remove.
        Err(StackError::NoEngine { reason, .. }) => {
            let _ = writeln!(text, "containers were not looked for: no Docker engine answers at {host} ({reason})");
            Vec::new()
        }
        Err(error) => return Err(error).into_diagnostic(),
    };
    text.extend(containers.iter().map(|cleaned| describe_containers(cleaned, args.dry_run)));
    if args.kept && !args.dry_run {
        // What remembers warm containers remembers nothing now; the secrets in it open nothing any more.
        let _ = std::fs::remove_dir_all(settings::state_dir().join("warm"));
    }
    let text = if text.is_empty() { "nothing to remove\n".to_owned() } else { text };
    std::io::stdout().write_all(text.as_bytes()).into_diagnostic()?;
    let trouble = cleaned.iter().any(|cleaned| match &cleaned.found {
        Found::InUse { .. } => false,
        Found::Leftover { left, .. } => !left.is_empty(),
        Found::Unreadable { .. } => true,
    }) || containers.iter().any(|cleaned| !cleaned.left.is_empty());
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

fn describe_containers(cleaned: &CleanedContainers, dry_run: bool) -> String {
    let CleanedContainers { run, names, left_alone, left } = cleaned;
    let names = names.join(", ");
    match left_alone {
        Some(reason) => format!("run {run}: containers {names} left alone: {reason}\n"),
        None if left.is_empty() => {
            format!("run {run}: {} containers {names}\n", if dry_run { "would remove" } else { "removed" })
        }
        None => left.iter().map(|left| format!("run {run}: could not remove {left}\n")).collect(),
    }
}
