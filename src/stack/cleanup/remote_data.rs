//! What a run creates in services that it did not start, such as the canary writes of `check --canary`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::clean::{Found, clean};
use crate::settings::{Endpoints, Names, public_url};
use crate::stack::names::drop_names;

/// Data of one case in services that are not thrown away: keys, a collection and a schema, with the addresses of the
/// services, which contain no credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteData {
    redis: String,
    postgres: String,
    qdrant: String,
    queue: String,
    prefix: String,
    collection: String,
    table: String,
}

impl RemoteData {
    /// The data under the names of `endpoints`.
    #[must_use]
    pub fn new(endpoints: &Endpoints) -> Self {
        let [redis, postgres, qdrant] = addresses(endpoints);
        let Names { queue, prefix, collection, table } = endpoints.names.clone();
        Self { redis, postgres, qdrant, queue, prefix, collection, table }
    }

    /// Whether it is in the services of `endpoints`.
    #[must_use]
    pub fn is_in(&self, endpoints: &Endpoints) -> bool {
        addresses(endpoints) == [self.redis.as_str(), &self.postgres, &self.qdrant]
    }

    /// Removes it from the services of `endpoints`. Returns what could not be removed, one line each.
    pub async fn remove(&self, endpoints: &Endpoints) -> Vec<String> {
        let names = Names {
            queue: self.queue.clone(),
            prefix: self.prefix.clone(),
            collection: self.collection.clone(),
            table: self.table.clone(),
        };
        let errors = drop_names(endpoints, &names).await.err().unwrap_or_default();
        errors.iter().map(ToString::to_string).collect()
    }
}

/// The addresses of Redis, Postgres and Qdrant; empty for a service without one.
fn addresses(endpoints: &Endpoints) -> [String; 3] {
    let qdrant = secrecy::SecretString::from(endpoints.qdrant.url.clone());
    [&endpoints.redis.url, &endpoints.postgres.url, &qdrant].map(|url| public_url(url).trim_end_matches('/').to_owned())
}

impl std::fmt::Display for RemoteData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { redis, postgres, qdrant, prefix, collection, table, .. } = self;
        let schema = table.split_once('.').map_or(table.as_str(), |(schema, _)| schema);
        let mut parts = Vec::new();
        for (what, at) in [
            (format!("keys {prefix}:*"), redis),
            (format!("schema {schema}"), postgres),
            (format!("collection {collection}"), qdrant),
        ] {
            if !at.is_empty() {
                parts.push(format!("{what} at {at}"));
            }
        }
        f.write_str(&parts.join(", "))
    }
}

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
        let Found::Leftover { remote, resources, .. } = cleaned.found else { continue };
        let (run, has_others) = (cleaned.run, !resources.is_empty());
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
        if is_clean && !dry_run && !remote.is_empty() && !has_others {
            remove_ledger(cleaned.ledger);
        }
    }
    Ok(left)
}

/// A ledger that stays is found empty by the next clean.
fn remove_ledger(ledger: PathBuf) {
    let _ = std::fs::remove_file(ledger);
}
