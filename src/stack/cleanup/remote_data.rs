//! What a run creates in services that it did not start, such as the canary writes of `check --canary`.

use serde::{Deserialize, Serialize};

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
