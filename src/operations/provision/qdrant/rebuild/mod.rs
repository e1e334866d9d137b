//! A collection in the place of one that cannot be changed: made beside it, filled from it, and then given its name.
//!
//! How far it has come is kept in Qdrant itself, as aliases of the new collection: `NAME--copying` while points are
//! copied, `NAME--copied` once all of them are there. Each step may be the last one before the process is killed, and may
//! be done again by the next run, or by another one at the same time.

mod same;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Shape, Sight, change_aliases, count, create, described, make_index};
use crate::operations::provision::{Progress, SetupError};
use crate::services::ServiceError;
use crate::services::http::{Http, Key};

/// Points that are copied in one request.
const BATCH: usize = 256;
/// No id of a point: an offset that is no place.
const END: bool = true;
/// Tries to change aliases that another run changes at the same time.
const TRIES: usize = 3;

/// What is to be made.
#[derive(Debug, Clone)]
pub(in crate::operations::provision) struct Rebuild {
    pub(super) name: String,
    pub(super) shape: Shape,
    pub(super) indexes: BTreeMap<String, String>,
    pub(super) aliases: Vec<String>,
}

/// The aliases that say how far it has come: copying, copied.
pub(super) fn marks(name: &str) -> [String; 2] {
    [format!("{name}--copying"), format!("{name}--copied")]
}

/// The next points, with all they have; none after the last ones, when `offset` says that it is the end.
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
    pub(super) async fn run(&self, http: &Http, discard: bool, pace: &mut Progress) -> Result<(), SetupError> {
        let ended = self.replace(http, discard, pace).await;
        let tidied = self.tidy(http, pace).await;
        ended.and(tidied.map_err(SetupError::from))
    }

    /// Takes marks off the collection that has the name now: another run may have ended the work while this one was
    /// about to mark how far it had come.
    async fn tidy(&self, http: &Http, pace: &mut Progress) -> Result<(), ServiceError> {
        let sight = Sight::of(http).await?;
        let Some(now) = sight.aliases.get(&self.name).cloned() else { return Ok(()) };
        let stale = |sight: &Sight| -> Vec<Value> {
            let marked = |mark: &String| sight.aliases.get(mark) == Some(&now);
            marks(&self.name).iter().filter(|mark| marked(mark)).filter_map(|mark| sight.forget(mark)).collect()
        };
        if stale(&sight).is_empty() || !self.fits(http, &now).await? {
            return Ok(());
        }
        rename(http, stale, pace).await
    }

    async fn replace(&self, http: &Http, discard: bool, pace: &mut Progress) -> Result<(), SetupError> {
        let sight = Sight::of(http).await?;
        // Another run may have ended it; what is left then shows when all is looked at again.
        let Some(source) = sight.reached(&self.name).map(str::to_owned) else { return Ok(()) };
        let found = described(http, &source).await?;
        if self.shape.judge(&found).rebuild.is_empty() {
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
        let target = match sight.aliases.get(&copied) {
            Some(ready) if self.fits(http, ready).await? => ready.clone(),
            _ => {
                // None: another run has ended it meanwhile.
                let Some(target) = self.target(http, &found, &copying, pace).await? else { return Ok(()) };
                self.index(http, &target, &found, pace).await?;
                if carry.is_some() {
                    self.copy(http, &source, &target, &found, pace).await?;
                }
                let ready = |sight: &Sight| {
                    let mut actions = sight.point(&copied, &target);
                    actions.extend(sight.forget(&copying));
                    actions
                };
                rename(http, ready, pace).await?;
                target
            }
        };
        if let Some(carry) = &carry
            && let Err(error) = same::compare(http, &source, &target, carry, self.shape.is_cosine()).await
        {
            // What differs is copied once more by the next run.
            let again = |sight: &Sight| match sight.forget(&copied) {
                Some(forget) => [vec![forget], sight.point(&copying, &target)].concat(),
                None => Vec::new(),
            };
            rename(http, again, pace).await?;
            return Err(error);
        }
        self.swap(http, &source, &target, pace).await
    }

    async fn fits(&self, http: &Http, collection: &str) -> Result<bool, ServiceError> {
        let judged = self.shape.judge(&described(http, collection).await?);
        Ok(judged.rebuild.is_empty())
    }

    /// The new collection: the one that a run before, or another one at this time, has begun, or the first free name.
    async fn target(
        &self,
        http: &Http,
        found: &Value,
        copying: &str,
        pace: &mut Progress,
    ) -> Result<Option<String>, ServiceError> {
        let mut number = 1;
        let target = loop {
            let sight = Sight::of(http).await?;
            if let Some(begun) = sight.aliases.get(copying)
                && self.fits(http, begun).await?
            {
                return Ok(Some(begun.clone()));
            }
            let Some(now) = sight.reached(&self.name) else { return Ok(None) };
            if self.fits(http, now).await? {
                return Ok(None);
            }
            let name = format!("{}-{number}", self.name);
            if !sight.names.contains(&name) && !sight.aliases.contains_key(&name) {
                create(http, &name, &self.shape.body_beside(found)).await?;
                pace.step();
                break name;
            }
            // One that a run has made before it was killed, or that another one makes now.
            let unused = sight.names.contains(&name) && !sight.aliases.values().any(|target| *target == name);
            if unused && self.fits(http, &name).await? && count(http, &name).await? == 0 {
                break name;
            }
            // Points come only after the mark: if it is there now, that collection is the one to go on with.
            let begun = Sight::of(http).await?.aliases.get(copying).cloned();
            let go_on = match begun {
                Some(begun) => self.fits(http, &begun).await?,
                None => false,
            };
            if !go_on {
                number += 1;
            }
        };
        rename(http, |sight| sight.point(copying, &target), pace).await?;
        Ok(Some(target))
    }

    /// The indexes that are described, and those that the old one has beside them.
    async fn index(&self, http: &Http, target: &str, found: &Value, pace: &mut Progress) -> Result<(), ServiceError> {
        let old = found["payload_schema"].as_object().cloned().unwrap_or_default();
        let beside = old.iter().filter(|(field, _)| !self.indexes.contains_key(*field));
        let beside = beside.map(|(field, index)| (field, index["data_type"].clone()));
        let all = self.indexes.iter().map(|(field, kind)| (field, json!(kind))).chain(beside);
        for (field, kind) in all {
            make_index(http, target, field, &kind).await?;
            pace.step();
        }
        Ok(())
    }

    /// Copies all points; again and again, the same ones: they have the same ids.
    async fn copy(
        &self,
        http: &Http,
        source: &str,
        target: &str,
        found: &Value,
        pace: &mut Progress,
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
                pace.step();
            }
        }
        Ok(())
    }

    /// Gives the new collection the old one's names: in one request, where its own name is an alias; else with the other
    /// aliases first, so that their readers never miss it.
    async fn swap(&self, http: &Http, source: &str, target: &str, pace: &mut Progress) -> Result<(), SetupError> {
        let [_, copied] = marks(&self.name);
        let others = |sight: &Sight| -> Vec<Value> {
            let free = self.aliases.iter().filter(|alias| !sight.names.contains(*alias));
            free.flat_map(|alias| sight.point(alias, target)).collect()
        };
        let by_alias = source != self.name;
        if !by_alias {
            rename(http, others, pace).await?;
            // The name of an alias is none of a collection: where another run was faster, what it made is kept.
            if Sight::of(http).await?.names.contains(&self.name) {
                let path = format!("/collections/{}", self.name);
                let answer = http.send("DELETE", &path, &Key::Own, None).await?;
                if answer.status.as_u16() != 404 {
                    http.accept("DELETE", &path, &answer)?;
                }
                pace.step();
            }
        }
        let own = |sight: &Sight| {
            let mut actions = if by_alias { others(sight) } else { Vec::new() };
            actions.extend(sight.forget(&copied));
            actions.extend(sight.point(&self.name, target));
            actions
        };
        Ok(rename(http, own, pace).await?)
    }
}

/// Changes aliases, all at once, as they are now. Another run may change them in between: then it is tried again with
/// what is left to be changed.
async fn rename(http: &Http, actions: impl Fn(&Sight) -> Vec<Value>, pace: &mut Progress) -> Result<(), ServiceError> {
    let mut failed = None;
    for _ in 0..TRIES {
        let actions = actions(&Sight::of(http).await?);
        if actions.is_empty() {
            return Ok(());
        }
        match change_aliases(http, &actions).await {
            Ok(()) => {
                pace.step();
                return Ok(());
            }
            Err(error @ ServiceError::Refused { .. }) => failed = Some(error),
            Err(error) => return Err(error),
        }
    }
    failed.map_or(Ok(()), Err)
}
