//! Collections, their payload indexes and their aliases.

mod collections;
mod existing;
mod rebuild;
mod shape;
mod task;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::change::{Action, Change, Task as Any};
use super::step::{Found, Stop};
use super::{SetupError, WriteCounter};
use crate::redaction::public_address;
use crate::services::http::Http;
use crate::settings::{Desired, DesiredCollection, QdrantEndpoint};
use collections::{CollectionNames, change_aliases, collection_info, count, create, make_index};
use shape::{Shape, ShapeDiff};
use task::Rebuild;

pub(super) use task::Task;

const SERVICE: &str = "qdrant";

/// Connects, and reads something that needs the key.
pub(super) async fn connect(endpoint: &QdrantEndpoint) -> Result<(Http, Found), SetupError> {
    let http = Http::qdrant(endpoint)?;
    let root = http.call("GET", "/", None).await?;
    http.call("GET", "/collections", None).await?;
    let version = root["version"].as_str().unwrap_or("?");
    Ok((http, Found::new(format!("Qdrant {version} at {}", public_address(&endpoint.url)))))
}

pub(super) async fn changes(http: &Http, desired: &Desired, dimensions: u32) -> Result<Vec<Change>, Stop> {
    if desired.collections.is_empty() {
        return Ok(Vec::new());
    }
    let names = CollectionNames::read(http).await?;
    let mut all = Vec::new();
    for (name, wanted) in &desired.collections {
        let shape = Shape::new(wanted, dimensions);
        match names.resolve(name) {
            Some(real) => {
                let found = collection_info(http, real).await?;
                if desired.keep {
                    all.extend(existing::check(name, wanted, &shape, &found)?);
                    continue;
                }
                all.extend(
                    existing_changes(http, &names, &Existing { name, real, wanted, shape: &shape, found: &found })
                        .await?,
                );
            }
            None => all.extend(missing(&names, name, wanted, &shape)),
        }
    }
    Ok(all)
}

/// A missing collection: creates it, or completes an interrupted re-creation.
fn missing(names: &CollectionNames, name: &str, wanted: &DesiredCollection, shape: &Shape) -> Vec<Change> {
    let [_, copied] = rebuild::marks(name);
    if let Some(ready) = names.aliases.get(&copied) {
        let mut actions = names.point_alias(name, ready);
        actions.extend(names.delete_alias(&copied));
        let task = Any::Qdrant(Box::new(Task::Aliases(actions)));
        let detail = format!("points to {ready}: completes an interrupted re-creation");
        return vec![Change::new(SERVICE, "alias", name, Action::Create, task).detail(detail)];
    }
    let task = Any::Qdrant(Box::new(Task::Create { name: name.to_owned(), body: shape.body() }));
    let mut all = vec![Change::new(SERVICE, "collection", name, Action::Create, task).details(shape.summary())];
    for (field, kind) in &wanted.indexes {
        all.push(index(name, field, kind, None));
    }
    all.extend(wanted.aliases.iter().map(|other| alias(names, other, name)));
    all
}

fn index(collection: &str, field: &str, kind: &str, found: Option<&str>) -> Change {
    let task = Task::Index {
        collection: collection.to_owned(),
        field: field.to_owned(),
        kind: kind.to_owned(),
        replaces: found.is_some(),
    };
    let (action, detail) = match found {
        Some(found) => (Action::Change, format!("type: {found} → {kind}; the index is rebuilt")),
        None => (Action::Create, kind.to_owned()),
    };
    Change::new(SERVICE, "index", format!("{field} of {collection}"), action, Any::Qdrant(Box::new(task)))
        .detail(detail)
}

/// An alias that is missing or points elsewhere.
fn alias(names: &CollectionNames, alias: &str, collection: &str) -> Change {
    if names.collections.contains(alias) {
        let detail = format!("is a collection and cannot be an alias of {collection}");
        return Change::drift(SERVICE, "alias", alias, detail);
    }
    let task = Any::Qdrant(Box::new(Task::Aliases(names.point_alias(alias, collection))));
    match names.aliases.get(alias) {
        Some(other) => {
            Change::new(SERVICE, "alias", alias, Action::Change, task).detail(format!("{other} → {collection}"))
        }
        None => Change::new(SERVICE, "alias", alias, Action::Create, task).detail(format!("points to {collection}")),
    }
}

/// An existing collection that is described.
struct Existing<'a> {
    /// The name in the description: of the collection or of its alias.
    name: &'a str,
    /// The name of the collection.
    real: &'a str,
    wanted: &'a DesiredCollection,
    shape: &'a Shape,
    found: &'a Value,
}

/// Changes to an existing collection.
async fn existing_changes(
    http: &Http,
    names: &CollectionNames,
    existing: &Existing<'_>,
) -> Result<Vec<Change>, SetupError> {
    let Existing { name, real, wanted, shape, found } = *existing;
    let ShapeDiff { rebuild, changed, patch, drift } = shape.compare(found);
    if !rebuild.is_empty() {
        return Ok(vec![rebuild_change(http, existing, rebuild).await?]);
    }
    let mut all = Vec::new();
    if !changed.is_empty() {
        let task = Any::Qdrant(Box::new(Task::Patch { name: real.to_owned(), body: patch }));
        all.push(Change::new(SERVICE, "collection", name, Action::Change, task).details(changed));
    }
    let indexed = found["payload_schema"].as_object().cloned().unwrap_or_default();
    let kind_of = |field: &str| indexed.get(field).and_then(|index| index["data_type"].as_str());
    for (field, kind) in &wanted.indexes {
        let found = kind_of(field);
        if found != Some(kind) {
            all.push(index(real, field, kind, found));
        }
    }
    let aliases = wanted.aliases.iter().filter(|alias| names.aliases.get(*alias).map(String::as_str) != Some(real));
    all.extend(aliases.map(|other| alias(names, other, real)));
    all.extend(drift.into_iter().map(|detail| Change::drift(SERVICE, "collection", name, detail)));
    for field in indexed.keys().filter(|field| !wanted.indexes.contains_key(*field)) {
        let detail = format!("{}, not described in shakedown.toml", kind_of(field).unwrap_or("an index"));
        all.push(Change::drift(SERVICE, "index", format!("{field} of {real}"), detail));
    }
    for left in rebuild::marks(name).iter().filter_map(|mark| names.aliases.get(mark)) {
        let detail = "is left over from an unfinished re-creation; delete it if nothing needs it";
        all.push(Change::drift(SERVICE, "collection", left.clone(), detail));
    }
    Ok(all)
}

/// A new collection to replace one that cannot be changed.
async fn rebuild_change(http: &Http, existing: &Existing<'_>, mut details: Vec<String>) -> Result<Change, SetupError> {
    let Existing { name, real, wanted, shape, found } = *existing;
    let by_alias = name != real;
    let points = count(http, real).await?;
    let carried = shape.carry(found).is_some();
    let consequence = match (by_alias, carried || points == 0) {
        (true, true) => {
            format!("the alias {name} switches to a new collection; {real} stays, with its {points} points")
        }
        (true, false) => format!(
            "the alias {name} switches to a new, empty collection, because the vectors of the {points} points of {real} are \
             incompatible: ingest again; {real} stays"
        ),
        (false, true) => format!(
            "{name} is a collection, not an alias: once all of its {points} points are copied, it is deleted and its name \
             becomes an alias of the new collection; in between the name does not exist"
        ),
        (false, false) => format!(
            "{name} is a collection, not an alias, and the vectors of its {points} points are incompatible: the points would \
             be lost, which needs --discard; or give the new collection another name, ingest again, and switch to it"
        ),
    };
    details.push(if carried && points > 0 {
        // Qdrant stores only the normalised vectors.
        let as_stored = found["config"]["params"]["vectors"].to_string().contains("\"Cosine\"");
        let how = if as_stored { ", with their vectors normalised to length 1, as Cosine stores them" } else { "" };
        format!("{points} points are copied to the new collection{how}")
    } else {
        format!("its {points} points are not copied")
    });
    let task = Task::Rebuild(Rebuild {
        name: name.to_owned(),
        shape: shape.clone(),
        indexes: wanted.indexes.clone(),
        aliases: wanted.aliases.clone(),
    });
    let mut change =
        Change::new(SERVICE, "collection", name, Action::Recreate, Any::Qdrant(Box::new(task))).details(details);
    change.destroys = Some(consequence);
    Ok(change)
}

/// Makes a change.
pub(super) async fn make(http: &Http, task: &Task, discard: bool, writes: &mut WriteCounter) -> Result<(), SetupError> {
    match task {
        Task::Create { name, body } => {
            create(http, name, body).await?;
        }
        Task::Patch { name, body } => {
            http.call("PATCH", &format!("/collections/{name}"), Some(body)).await?;
        }
        Task::Index { collection, field, kind, replaces } => {
            if *replaces {
                let path = utf8_percent_encode(field, NON_ALPHANUMERIC);
                http.call("DELETE", &format!("/collections/{collection}/index/{path}?wait=true"), None).await?;
                writes.count();
            }
            make_index(http, collection, field, &json!(kind)).await?;
        }
        Task::Aliases(actions) => change_aliases(http, actions).await?,
        Task::Rebuild(rebuild) => return rebuild.run(http, discard, writes).await,
    }
    writes.count();
    Ok(())
}
