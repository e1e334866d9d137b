//! Removing the containers of dead runs: `shakedown clean`, and the start of the next run.

use std::time::Duration;

use super::engine::Engine;
use super::sweep::{SweepFilter, SweepOutcome, SweptRun, sweep};
use crate::outcome::{Event, Events};
use crate::stack::error::StackError;

/// The age at which the containers of a dead run are removed by the next run.
const OLD: Duration = Duration::from_secs(3600);

/// Checks that an engine answers at `host` within `timeout`.
///
/// # Errors
/// None answers; the error contains the reason and a remedy.
pub async fn engine_answers(host: &str, timeout: Duration) -> Result<(), StackError> {
    Engine::connect(host, timeout).await.map(drop)
}

/// What [`clean_containers`] did with the containers of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanedContainers {
    /// The id of the run.
    pub run: String,
    /// The names of its containers.
    pub names: Vec<String>,
    /// Why they were not touched; `None` if they were removed, or would be.
    pub left_alone: Option<&'static str>,
    /// What could not be removed, one line each.
    pub left: Vec<String>,
}

/// Removes the containers of runs whose harness is dead, whether or not their ledgers still exist. With `kept_too` also
/// those that `--keep` and `--reuse` left. With `dry_run` nothing is removed.
///
/// # Errors
/// No engine answers at `host`, or it cannot list its containers.
pub async fn clean_containers(host: &str, kept_too: bool, dry_run: bool) -> Result<Vec<CleanedContainers>, StackError> {
    let engine = Engine::connect(host, Duration::from_secs(2)).await?;
    let filter = SweepFilter { older_than: Duration::ZERO, include_kept: kept_too, dry_run };
    let swept = sweep(&engine, filter).await.map_err(|reason| StackError::Engine {
        service: "shakedown",
        action: "list containers",
        reason,
    })?;
    let cleaned = swept.into_iter().map(|SweptRun { run, names, outcome }| match outcome {
        SweepOutcome::Removed(left) => CleanedContainers { run, names, left_alone: None, left },
        SweepOutcome::Skipped(reason) => CleanedContainers { run, names, left_alone: Some(reason), left: Vec::new() },
    });
    Ok(cleaned.collect())
}

/// Removes the containers of runs that died more than an hour ago. A failure here does not concern this run.
pub(super) async fn remove_old(engine: &Engine, events: &Events) {
    let filter = SweepFilter { older_than: OLD, include_kept: false, dry_run: false };
    for swept in sweep(engine, filter).await.unwrap_or_default() {
        if swept.outcome == SweepOutcome::Removed(Vec::new()) {
            let names = swept.names.join(", ");
            let text = format!("removed containers of run {}, which died more than an hour ago: {names}", swept.run);
            events.send(Event::Remark { text });
        }
    }
}
