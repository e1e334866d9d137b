//! `shakedown clean`: remove what killed runs left behind.

use std::fmt::Write as _;
use std::path::PathBuf;

use miette::{IntoDiagnostic, WrapErr};

use super::Common;
use super::failure::Failure;
use super::print::{print, try_print};
use crate::outcome::Exit;
use crate::settings;
use crate::stack::{Cleaned, CleanedContainers, Found, StackError, clean, clean_containers, clean_remote_data};

/// Remove the processes, directories and containers of killed runs; running runs are not touched
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Also remove the containers that --keep and --reuse left running
    #[arg(long)]
    kept: bool,
}

/// Replays the ledgers of all runs whose process is dead.
///
/// Returns [`Exit::Inconclusive`] if something could not be removed or read.
///
/// # Errors
/// The settings are invalid, or the directory of ledgers cannot be read.
pub(super) async fn run(args: Args, common: &Common) -> Result<Exit, Failure> {
    let settings = super::load(common.source())?;
    // Without addresses of services, what is left there is named and stays.
    let endpoints = settings.endpoints_to_check().ok();
    let state = settings.state_dir();
    let local = remove(&args, state.clone()).await?;
    let say = |line: &str| print(&format!("{line}\n"));
    let left = clean_remote_data(&state, endpoints.as_ref(), args.dry_run, say).await.map_err(Failure::harness)?;
    for line in &left {
        say(&format!("could not remove: {line}"));
    }
    Ok(if left.is_empty() { local } else { Exit::Inconclusive })
}

async fn remove(args: &Args, state: PathBuf) -> miette::Result<Exit> {
    let (dry_run, warm) = (args.dry_run, state.join("warm"));
    let place = state.display().to_string();
    let cleaned = tokio::task::spawn_blocking(move || clean(&state, dry_run))
        .await
        .into_diagnostic()?
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot read the ledgers in {place}"))?;
    let mut text: String = cleaned.iter().map(|cleaned| describe(cleaned, args.dry_run)).collect();
    // Containers are also found by their labels, because their ledger may belong to another user or be lost.
    let host = settings::docker_host();
    let containers = match clean_containers(&host, args.kept, args.dry_run).await {
        Ok(containers) => containers,
        // A machine without a Docker engine has no containers.
        Err(StackError::NoEngine { reason, .. }) => {
            let _ = writeln!(text, "containers were not checked: no Docker engine answers at {host} ({reason})");
            Vec::new()
        }
        Err(error) => return Err(error).into_diagnostic(),
    };
    text.extend(containers.iter().map(|cleaned| describe_containers(cleaned, args.dry_run)));
    if args.kept && !args.dry_run {
        // The records of reusable containers are stale now, and so are the secrets in them.
        let _ = std::fs::remove_dir_all(warm);
    }
    let has_remote =
        cleaned.iter().any(|cleaned| matches!(&cleaned.found, Found::Leftover { remote, .. } if !remote.is_empty()));
    let text = if text.is_empty() && !has_remote { "nothing to remove\n".to_owned() } else { text };
    try_print(&text).into_diagnostic()?;
    let trouble = cleaned.iter().any(|cleaned| match &cleaned.found {
        Found::InUse { .. } | Found::Elsewhere => false,
        Found::Leftover { left, .. } => !left.is_empty(),
        Found::Unreadable { .. } => true,
    }) || containers.iter().any(|cleaned| !cleaned.left.is_empty());
    Ok(if trouble { Exit::Inconclusive } else { Exit::Ok })
}

fn describe(cleaned: &Cleaned, dry_run: bool) -> String {
    let run = &cleaned.run;
    match &cleaned.found {
        Found::InUse { pid } => format!("run {run}: still running in process {pid}, not touched\n"),
        Found::Elsewhere => format!(
            "run {run}: belongs to another machine, container or boot, not touched; if it is over, remove {} by hand\n",
            cleaned.ledger.display()
        ),
        Found::Unreadable { reason } => {
            let ledger = cleaned.ledger.display();
            format!("run {run}: {reason}; not touched, remove {ledger} by hand\n")
        }
        Found::Leftover { resources, left, remote } => {
            let verb = if dry_run { "would remove" } else { "removed" };
            // Writing to a string cannot fail.
            let mut text = String::new();
            if resources.is_empty() && remote.is_empty() {
                text = format!("run {run}: removed only its ledger\n");
            }
            // `left` names what could not be removed.
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
        Some(reason) => format!("run {run}: containers {names} not touched: {reason}\n"),
        None if left.is_empty() => {
            format!("run {run}: {} containers {names}\n", if dry_run { "would remove" } else { "removed" })
        }
        None => left.iter().map(|left| format!("run {run}: could not remove {left}\n")).collect(),
    }
}
