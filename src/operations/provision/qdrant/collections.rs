//! Requests about collections and aliases.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::services::ServiceError;
use crate::services::http::{Http, Key};

/// How long to wait for a collection that another program creates.
const CREATE_TIMEOUT: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Existing collections and aliases.
pub(super) struct CollectionNames {
    pub(super) collections: BTreeSet<String>,
    pub(super) aliases: BTreeMap<String, String>,
}

impl CollectionNames {
    pub(super) async fn read(http: &Http) -> Result<Self, ServiceError> {
        let collections = http.call("GET", "/collections", None).await?;
        let aliases = http.call("GET", "/aliases", None).await?;
        let rows = |answer: &Value, key: &str| answer["result"][key].as_array().cloned().unwrap_or_default();
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            collections: rows(&collections, "collections").iter().map(|row| text(row, "name")).collect(),
            aliases: rows(&aliases, "aliases")
                .iter()
                .map(|row| (text(row, "alias_name"), text(row, "collection_name")))
                .collect(),
        })
    }

    /// The collection that this name refers to.
    pub(super) fn resolve(&self, name: &str) -> Option<&str> {
        self.collections.get(name).or_else(|| self.aliases.get(name)).map(String::as_str)
    }

    /// The action that deletes an alias, if it exists.
    pub(super) fn delete_alias(&self, alias: &str) -> Option<Value> {
        self.aliases.contains_key(alias).then(|| json!({ "delete_alias": { "alias_name": alias } }))
    }

    /// The actions that point an alias to a collection; none if it already does.
    pub(super) fn point_alias(&self, alias: &str, collection: &str) -> Vec<Value> {
        if self.aliases.get(alias).is_some_and(|now| now == collection) {
            return Vec::new();
        }
        let mut actions: Vec<Value> = self.delete_alias(alias).into_iter().collect();
        actions.push(json!({ "create_alias": { "alias_name": alias, "collection_name": collection } }));
        actions
    }
}

pub(super) async fn collection_info(http: &Http, name: &str) -> Result<Value, ServiceError> {
    Ok(http.call("GET", &format!("/collections/{name}"), None).await?["result"].take())
}

pub(super) async fn count(http: &Http, name: &str) -> Result<u64, ServiceError> {
    let answer =
        http.call("POST", &format!("/collections/{name}/points/count"), Some(&json!({ "exact": true }))).await?;
    Ok(answer["result"]["count"].as_u64().unwrap_or_default())
}

pub(super) async fn change_aliases(http: &Http, actions: &[Value]) -> Result<(), ServiceError> {
    if !actions.is_empty() {
        http.call("POST", "/collections/aliases", Some(&json!({ "actions": actions }))).await?;
    }
    Ok(())
}

pub(super) async fn make_index(http: &Http, collection: &str, field: &str, kind: &Value) -> Result<(), ServiceError> {
    let body = json!({ "field_name": field, "field_schema": kind });
    http.call("PUT", &format!("/collections/{collection}/index?wait=true"), Some(&body)).await?;
    Ok(())
}

/// Creates a collection. If another setup was faster, waits for its collection.
pub(super) async fn create(http: &Http, name: &str, body: &Value) -> Result<(), ServiceError> {
    let path = format!("/collections/{name}");
    let answer = http.send("PUT", &path, &Key::Own, Some(body)).await?;
    // Before 409, Qdrant answered 400 with this text.
    let exists = answer.status.as_u16() == 409 || answer.text.contains("already exists");
    if !exists {
        http.accept("PUT", &path, &answer)?;
        return Ok(());
    }
    let deadline = Instant::now() + CREATE_TIMEOUT;
    loop {
        let there = http.send("GET", &path, &Key::Own, None).await?;
        if there.status.is_success() {
            return Ok(());
        }
        if there.status.as_u16() != 404 || Instant::now() >= deadline {
            return http.accept("GET", &path, &there).map(drop);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
