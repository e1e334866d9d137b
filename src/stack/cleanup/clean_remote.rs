//! Removing what dead runs left in services that they did not start.

use std::path::Path;

use super::clean::{Found, clean, finish};
use crate::settings::Endpoints;

/// Removes the data that dead runs left in the services of `endpoints`, according to their ledgers under `state_dir`,
/// after `say` has named it. Returns what is left, one line each, also in other services.
///
/// # Errors
/// The directory of ledgers exists and cannot be read.
pub async fn clean_remote_data(
    state_dir: &Path,
    endpoints: Option<&Endpoints>,
    dry_run: bool,
    mut say: impl FnMut(&str),
) -> std::io::Result<Vec<String>> {
    let directory = state_dir.to_owned();
    // A dry run reads the ledgers and removes nothing.
    let found = tokio::task::spawn_blocking(move || clean(&directory, true)).await.map_err(std::io::Error::other)??;
    let mut left = Vec::new();
    for cleaned in found {
        let Found::Leftover { remote, .. } = cleaned.found else { continue };
        let (run, ledger) = (cleaned.run, cleaned.ledger);
        let mut is_clean = true;
        for data in &remote {
            match endpoints.filter(|endpoints| data.is_in(endpoints)) {
                Some(_) if dry_run => say(&format!("run {run}: would remove {data}")),
                Some(endpoints) => {
                    say(&format!("run {run}: removing {data}"));
                    let errors = data.remove(endpoints).await;
                    is_clean &= errors.is_empty();
                    left.extend(errors.iter().map(|error| format!("run {run}: {error}")));
                }
                None => {
                    is_clean = false;
                    left.push(format!(
                        "run {run}: {data}: set REDIS_URL, DATABASE_URL and QDRANT_URL to these services, and run \
                         `shakedown clean` again"
                    ));
                }
            }
        }
        if is_clean && !dry_run && !remote.is_empty() {
            let finished = tokio::task::spawn_blocking(move || finish(&ledger)).await.map_err(std::io::Error::other)?;
            left.extend(finished.iter().map(|error| format!("run {run}: {error}")));
        }
    }
    Ok(left)
}
