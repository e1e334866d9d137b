//! What a collection should hold, and changes of it: drawn, sent, and made in the model.

use std::collections::BTreeMap;

use rand::prelude::*;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

/// Numbers in a dense vector: a hundred points are worth an index at the threshold of the tests.
pub const SIZE: u64 = 32;
/// Ids of one writer.
pub const IDS: u64 = 300;
/// Ids of the next writer begin this much later.
pub const STRIDE: u64 = 1_000_000;

/// A point: its vectors and its payload, as the server answers them.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub vector: Value,
    pub payload: Value,
}

/// Points by id.
pub type Points = BTreeMap<u64, Point>;

/// Which vectors a collection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One dense vector without a name.
    Plain,
    /// A dense vector `a` and a sparse vector `s`.
    Named,
}

impl Shape {
    /// Settings with which a collection of that shape is optimised as often as possible.
    pub fn settings(self) -> Value {
        let dense = json!({ "size": SIZE, "distance": "Euclid" });
        let optimizers = json!({ "indexing_threshold": 10, "deleted_threshold": 0.1, "vacuum_min_vector_number": 100 });
        match self {
            Self::Plain => json!({ "vectors": dense, "optimizers_config": optimizers }),
            Self::Named => {
                json!({ "vectors": { "a": dense }, "sparse_vectors": { "s": {} }, "optimizers_config": optimizers })
            }
        }
    }

    /// Vectors of which every number is exact in every format.
    fn vector(self, id: u64, version: u64) -> Value {
        let number = |i: u64| f64::from(u16::try_from((id * 31 + version * 7 + i * 17) % 509).unwrap()) / 8.0 - 30.0;
        let dense: Vec<f64> = (0..SIZE).map(number).collect();
        match self {
            Self::Plain => json!(dense),
            Self::Named => {
                json!({ "a": dense, "s": { "indices": [id % 50, 50 + version % 50], "values": [0.5, 2.0] } })
            }
        }
    }
}

/// Whose points a change is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Which {
    Ids(Vec<u64>),
    /// Those of a writer whose `group` is this.
    Group(u64, u64),
}

impl Which {
    fn holds(&self, id: u64, point: &Point) -> bool {
        match self {
            Self::Ids(ids) => ids.contains(&id),
            Self::Group(owner, group) => point.payload["owner"] == *owner && point.payload["group"] == *group,
        }
    }

    /// `points` or `filter` in the body of a request.
    fn fill(&self, mut body: Value) -> Value {
        match self {
            Self::Ids(ids) => body["points"] = json!(ids),
            Self::Group(owner, group) => {
                body["filter"] = json!({ "must": [
                    { "key": "owner", "match": { "value": owner } }, { "key": "group", "match": { "value": group } },
                ] });
            }
        }
        body
    }
}

/// A change.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Upsert(Points),
    /// Stores new points, and those there are only if their `group` is this.
    UpsertIf(u64, Points),
    Delete(Which),
    SetPayload(Which, Map<String, Value>),
    Overwrite(Vec<u64>, Map<String, Value>),
    DeleteKey(Which, &'static str),
    UpdateVectors(BTreeMap<u64, Value>),
    DeleteSparse(Which),
}

impl Change {
    /// Draws a change of the points of `owner`.
    pub fn draw(rng: &mut StdRng, shape: Shape, owner: u64, version: u64) -> Self {
        let ids = |rng: &mut StdRng, most: usize| -> Vec<u64> {
            let count = rng.random_range(1..=most);
            let mut ids: Vec<u64> = (0..count).map(|_| owner * STRIDE + rng.random_range(0..IDS)).collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let group = rng.random_range(0..10_u64);
        let points = |ids: Vec<u64>| -> Points {
            let payload =
                |id: u64| json!({ "owner": owner, "group": (id + version) % 10, "version": version, "n": id });
            ids.into_iter().map(|id| (id, Point { vector: shape.vector(id, version), payload: payload(id) })).collect()
        };
        let which = |rng: &mut StdRng| {
            if rng.random_bool(0.5) { Which::Group(owner, group) } else { Which::Ids(ids(rng, 10)) }
        };
        let note = |version: u64| {
            let mut note = Map::new();
            note.insert("note".to_owned(), json!(format!("größe {version}")));
            note
        };
        match rng.random_range(0..20) {
            0 | 1 => Self::Delete(which(rng)),
            2 | 3 => Self::SetPayload(which(rng), note(version)),
            4 => {
                let mut whole = note(version);
                whole.insert("owner".to_owned(), json!(owner));
                Self::Overwrite(ids(rng, 10), whole)
            }
            5 => Self::DeleteKey(which(rng), "note"),
            6 | 7 => Self::UpsertIf(group, points(ids(rng, 40))),
            // Points that do not exist are refused, so which exist must be known: see `fit`.
            8 | 9 => Self::UpdateVectors(ids(rng, 10).into_iter().map(|id| (id, shape.vector(id, version))).collect()),
            10 if shape == Shape::Named => Self::DeleteSparse(which(rng)),
            // Moves points between groups, so that making it a second time would move others.
            11 => {
                let mut moved = Map::new();
                moved.insert("group".to_owned(), json!((group + 1) % 10));
                Self::SetPayload(Which::Group(owner, group), moved)
            }
            _ => Self::Upsert(points(ids(rng, 40))),
        }
    }

    /// Leaves out what would be refused; `None` when nothing is left.
    pub fn fit(mut self, points: &Points) -> Option<Self> {
        match &mut self {
            Self::UpdateVectors(vectors) => vectors.retain(|id, _| points.contains_key(id)),
            Self::SetPayload(Which::Ids(ids), _)
            | Self::Overwrite(ids, _)
            | Self::DeleteKey(Which::Ids(ids), _)
            | Self::DeleteSparse(Which::Ids(ids)) => ids.retain(|id| points.contains_key(id)),
            _ => return Some(self),
        }
        let empty = match &self {
            Self::UpdateVectors(vectors) => vectors.is_empty(),
            Self::SetPayload(Which::Ids(ids), _)
            | Self::Overwrite(ids, _)
            | Self::DeleteKey(Which::Ids(ids), _)
            | Self::DeleteSparse(Which::Ids(ids)) => ids.is_empty(),
            _ => false,
        };
        (!empty).then_some(self)
    }

    /// Method, path below the collection, and body.
    pub fn request(&self) -> (&'static str, &'static str, Value) {
        let stored = |points: &Points| -> Vec<Value> {
            points
                .iter()
                .map(|(id, point)| json!({ "id": id, "vector": point.vector, "payload": point.payload }))
                .collect()
        };
        match self {
            Self::Upsert(points) => ("PUT", "points", json!({ "points": stored(points) })),
            Self::UpsertIf(group, points) => {
                let filter = json!({ "must": [{ "key": "group", "match": { "value": group } }] });
                ("PUT", "points", json!({ "points": stored(points), "update_filter": filter }))
            }
            Self::Delete(which) => ("POST", "points/delete", which.fill(json!({}))),
            Self::SetPayload(which, payload) => ("POST", "points/payload", which.fill(json!({ "payload": payload }))),
            Self::Overwrite(ids, payload) => ("PUT", "points/payload", json!({ "payload": payload, "points": ids })),
            Self::DeleteKey(which, key) => ("POST", "points/payload/delete", which.fill(json!({ "keys": [key] }))),
            Self::UpdateVectors(vectors) => {
                let points: Vec<Value> =
                    vectors.iter().map(|(id, vector)| json!({ "id": id, "vector": vector })).collect();
                ("PUT", "points/vectors", json!({ "points": points }))
            }
            Self::DeleteSparse(which) => ("POST", "points/vectors/delete", which.fill(json!({ "vector": ["s"] }))),
        }
    }

    /// Creates the change in the model.
    pub fn apply(&self, points: &mut Points) {
        let chosen = |points: &mut Points, which: &Which, change: &dyn Fn(&mut Point)| {
            for (id, point) in points.iter_mut() {
                if which.holds(*id, point) {
                    change(point);
                }
            }
        };
        match self {
            Self::Upsert(new) => points.extend(new.clone()),
            Self::UpsertIf(group, new) => {
                for (id, point) in new {
                    if points.get(id).is_none_or(|old| old.payload["group"] == *group) {
                        points.insert(*id, point.clone());
                    }
                }
            }
            Self::Delete(which) => points.retain(|id, point| !which.holds(*id, point)),
            Self::SetPayload(which, payload) => chosen(points, which, &|point| {
                if let Some(old) = point.payload.as_object_mut() {
                    old.extend(payload.clone());
                }
            }),
            Self::Overwrite(ids, payload) => {
                chosen(points, &Which::Ids(ids.clone()), &|point| point.payload = Value::Object(payload.clone()));
            }
            Self::DeleteKey(which, key) => chosen(points, which, &|point| {
                if let Some(old) = point.payload.as_object_mut() {
                    old.remove(*key);
                }
            }),
            Self::UpdateVectors(vectors) => {
                for (id, vector) in vectors {
                    if let Some(point) = points.get_mut(id) {
                        point.vector = vector.clone();
                    }
                }
            }
            Self::DeleteSparse(which) => chosen(points, which, &|point| {
                if let Some(vectors) = point.vector.as_object_mut() {
                    vectors.remove("s");
                }
            }),
        }
    }
}
