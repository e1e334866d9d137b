//! Replaces a collection that cannot be changed: creates a new one beside it, copies the points, and moves the name.
//!
//! Qdrant itself holds the progress, as aliases of the new collection: `NAME--copying` while points are copied,
//! `NAME--copied` once all are copied. The process may be killed after each step, and each step can be repeated by the
//! next run or by a concurrent one.

mod verify;

use serde_json::{Value, json};

use super::collections::{CollectionNames, change_aliases, collection_info, count, create, make_index};
use super::task::Rebuild;
use crate::operations::provision::{SetupError, WriteCounter};
use crate::services::ServiceError;
use crate::services::http::{Http, Key};

/// Points copied per request.
const BATCH: usize = 256;
/// Marks the end in `offset`; not a valid point id.
const END: bool = true;
/// Attempts to change aliases that another run changes at the same time.
const TRIES: usize = 3;

/// The aliases that mark the progress: copying, copied.
pub(super) fn marks(name: &str) -> [String; 2] {
    [format!("{name}--copying"), format!("{name}--copied")]
}

/// The next page of points with payload and vectors; `None` after the last one, when `offset` is the end.
async fn page(http: &Http, collection: &str, offset: &mut Value) -> Result<Option<Vec<Value>>, ServiceError> {
    if *offset == END {
        return Ok(None);
    }
    let mut asked = json!({ "limit": BATCH, "with_payload": true, "with_vector": true });
    if !offset.is_null() {
        asked["offset"] = offset.take();
    }
    let mut page = http.call("POST", &format!("/collections/{collection}/points/scroll"), Some(&asked)).await?;
    *offset = page["result"]["next_page_offset"].take();
    if offset.is_null() {
        *offset = END.into();
    }
    Ok(Some(page["result"]["points"].as_array_mut().map(std::mem::take).unwrap_or_default()))
}

impl Rebuild {
    pub(super) async fn run(&self, http: &Http, discard: bool, writes: &mut WriteCounter) -> Result<(), SetupError> {
        let ended = self.replace(http, discard, writes).await;
        let tidied = self.tidy(http, writes).await;
        ended.and(tidied.map_err(SetupError::from))
    }

    /// Removes the progress marks from the collection that has the name now: another run may have completed the work
    /// while this one was about to set its mark.
    async fn tidy(&self, http: &Http, writes: &mut WriteCounter) -> Result<(), ServiceError> {
        let names = CollectionNames::read(http).await?;
        let Some(now) = names.aliases.get(&self.name).cloned() else { return Ok(()) };
        let stale = |names: &CollectionNames| -> Vec<Value> {
            let marked = |mark: &String| names.aliases.get(mark) == Some(&now);
            marks(&self.name).iter().filter(|mark| marked(mark)).filter_map(|mark| names.delete_alias(mark)).collect()
        };
        if stale(&names).is_empty() || !self.fits(http, &now).await? {
            return Ok(());
        }
        rename(http, stale, writes).await
    }

    async fn replace(&self, http: &Http, discard: bool, writes: &mut WriteCounter) -> Result<(), SetupError> {
        let names = CollectionNames::read(http).await?;
        // Another run may have completed it; remaining differences show at the next read.
        let Some(source) = names.resolve(&self.name).map(str::to_owned) else { return Ok(()) };
        let found = collection_info(http, &source).await?;
        if self.shape.compare(&found).rebuild.is_empty() {
            return Ok(());
        }
        let by_alias = source != self.name;
        let points = count(http, &source).await?;
        let carry = self.shape.carry(&found);
        if carry.is_none() && points > 0 && !by_alias && !discard {
            return Err(SetupError::NotAgreed {
                what: format!("collection {}", self.name),
                why: format!("the vectors of its {points} points are incompatible, and the points would be lost"),
                remedy: "give the new collection another name, ingest again and switch to it; or run setup again with \
                         --discard, and ingest again afterwards"
                    .to_owned(),
            });
        }
        let [copying, copied] = marks(&self.name);
        let target = match names.aliases.get(&copied) {
            Some(ready) if self.fits(http, ready).await? => ready.clone(),
            _ => {
                // `None`: another run has completed it meanwhile.
                let Some(target) = self.target(http, &found, &copying, writes).await? else { return Ok(()) };
                self.index(http, &target, &found, writes).await?;
                if carry.is_some() {
                    self.copy(http, &source, &target, &found, writes).await?;
                }
                let ready = |names: &CollectionNames| {
                    let mut actions = names.point_alias(&copied, &target);
                    actions.extend(names.delete_alias(&copying));
                    actions
                };
                rename(http, ready, writes).await?;
                target
            }
        };
        if let Some(carry) = &carry
            && let Err(error) = verify::compare(http, &source, &target, carry, self.shape.is_cosine()).await
        {
            // The next run copies what differs again.
            let again = |names: &CollectionNames| match names.delete_alias(&copied) {
                Some(delete_alias) => [vec![delete_alias], names.point_alias(&copying, &target)].concat(),
                None => Vec::new(),
            };
            rename(http, again, writes).await?;
            return Err(error);
        }
        self.swap(http, &source, &target, writes).await
    }

    async fn fits(&self, http: &Http, collection: &str) -> Result<bool, ServiceError> {
        let diff = self.shape.compare(&collection_info(http, collection).await?);
        Ok(diff.rebuild.is_empty())
    }

    /// The new collection: one that an earlier or concurrent run has begun, or the first free name.
    async fn target(
        &self,
        http: &Http,
        found: &Value,
        copying: &str,
        writes: &mut WriteCounter,
    ) -> Result<Option<String>, ServiceError> {
        let mut number = 1;
        let target = loop {
            let names = CollectionNames::read(http).await?;
            if let Some(begun) = names.aliases.get(copying)
                && self.fits(http, begun).await?
            {
                return Ok(Some(begun.clone()));
            }
            let Some(now) = names.resolve(&self.name) else { return Ok(None) };
            if self.fits(http, now).await? {
                return Ok(None);
            }
            let name = format!("{}-{number}", self.name);
            if !names.collections.contains(&name) && !names.aliases.contains_key(&name) {
                create(http, &name, &self.shape.body_beside(found)).await?;
                writes.count();
                break name;
            }
            // One that an earlier run created before it was killed, or that a concurrent run creates now.
            let unused = names.collections.contains(&name) && !names.aliases.values().any(|target| *target == name);
            if unused && self.fits(http, &name).await? && count(http, &name).await? == 0 {
                break name;
            }
            // Points are added only after the mark is set: if there is a mark now, continue with its collection.
            let begun = CollectionNames::read(http).await?.aliases.get(copying).cloned();
            let go_on = match begun {
                Some(begun) => self.fits(http, &begun).await?,
                None => false,
            };
            if !go_on {
                number += 1;
            }
        };
        rename(http, |names| names.point_alias(copying, &target), writes).await?;
        Ok(Some(target))
    }

    /// Creates the described indexes, and the other indexes of the old collection.
    async fn index(
        &self,
        http: &Http,
        target: &str,
        found: &Value,
        writes: &mut WriteCounter,
    ) -> Result<(), ServiceError> {
        let old = found["payload_schema"].as_object().cloned().unwrap_or_default();
        let beside = old.iter().filter(|(field, _)| !self.indexes.contains_key(*field));
        let beside = beside.map(|(field, index)| (field, index["data_type"].clone()));
        let all = self.indexes.iter().map(|(field, kind)| (field, json!(kind))).chain(beside);
        for (field, kind) in all {
            make_index(http, target, field, &kind).await?;
            writes.count();
        }
        Ok(())
    }

    /// Copies all points. A repetition overwrites points with the same ids.
    async fn copy(
        &self,
        http: &Http,
        source: &str,
        target: &str,
        found: &Value,
        writes: &mut WriteCounter,
    ) -> Result<(), ServiceError> {
        let Some(carry) = self.shape.carry(found) else { return Ok(()) };
        let mut offset = Value::Null;
        while let Some(points) = page(http, source, &mut offset).await? {
            let points: Vec<Value> = points
                .into_iter()
                .map(|mut point| {
                    let vector = carry.vector(point["vector"].take());
                    json!({ "id": point["id"], "vector": vector, "payload": point["payload"] })
                })
                .collect();
            if !points.is_empty() {
                let body = json!({ "points": points });
                http.call("PUT", &format!("/collections/{target}/points?wait=true"), Some(&body)).await?;
                writes.count();
            }
        }
        Ok(())
    }

    /// Moves the old collection's names to the new one: in one request if its own name is an alias; otherwise the other
    /// aliases first, so that their readers never miss it.
    async fn swap(&self, http: &Http, source: &str, target: &str, writes: &mut WriteCounter) -> Result<(), SetupError> {
        let [_, copied] = marks(&self.name);
        let others = |names: &CollectionNames| -> Vec<Value> {
            let free = self.aliases.iter().filter(|alias| !names.collections.contains(*alias));
            free.flat_map(|alias| names.point_alias(alias, target)).collect()
        };
        let by_alias = source != self.name;
        if !by_alias {
            rename(http, others, writes).await?;
            // An alias cannot have the name of a collection: if another run was faster, its result is kept.
            if CollectionNames::read(http).await?.collections.contains(&self.name) {
                let path = format!("/collections/{}", self.name);
                let answer = http.send("DELETE", &path, &Key::Own, None).await?;
                if answer.status.as_u16() != 404 {
                    http.accept("DELETE", &path, &answer)?;
                }
                writes.count();
            }
        }
        let own = |names: &CollectionNames| {
            let mut actions = if by_alias { others(names) } else { Vec::new() };
            actions.extend(names.delete_alias(&copied));
            actions.extend(names.point_alias(&self.name, target));
            actions
        };
        Ok(rename(http, own, writes).await?)
    }
}

/// Applies alias changes in one request, computed from the current aliases. If another run changes them in between, it
/// retries with the remaining changes.
async fn rename(
    http: &Http,
    actions: impl Fn(&CollectionNames) -> Vec<Value>,
    writes: &mut WriteCounter,
) -> Result<(), ServiceError> {
    let mut failed = None;
    for _ in 0..TRIES {
        let actions = actions(&CollectionNames::read(http).await?);
        if actions.is_empty() {
            return Ok(());
        }
        match change_aliases(http, &actions).await {
            Ok(()) => {
                writes.count();
                return Ok(());
            }
            Err(error @ ServiceError::Refused { .. }) => failed = Some(error),
            Err(error) => return Err(error),
        }
    }
    failed.map_or(Ok(()), Err)
}
