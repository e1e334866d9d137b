//! What a run creates in services that it did not start, such as the canary writes of `check --canary`.

use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use crate::redaction::public_address;
use crate::settings::{Endpoints, Names};
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

/// The addresses of Redis, Postgres and Qdrant, without credentials; empty for a service that is not set.
fn addresses(endpoints: &Endpoints) -> [String; 3] {
    let urls = [endpoints.redis.url.expose_secret(), endpoints.postgres.url.expose_secret(), &endpoints.qdrant.url];
    urls.map(|url| if url.is_empty() { String::new() } else { public_address(url) })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Settings, Source};

    #[test]
    fn only_services_that_are_set_are_named_and_without_credentials() {
        let variables =
            [("REDIS_URL", "redis://:hunter2@h:6379/0"), ("QDRANT_URL", "https://u:hunter2@q:6333?token=hunter2")];
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let settings = Settings::load(Source { environment, ..Source::default() }).unwrap();
        let data = RemoteData::new(&settings.endpoints_to_check().unwrap());
        assert_eq!(data.to_string(), "keys bull:* at redis://h:6379/0, collection documents at https://q:6333");
    }
}
