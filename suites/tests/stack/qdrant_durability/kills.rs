//! Writers, kills at random moments, and a comparison of what is left with what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use qdrant_client::Qdrant;
use qdrant_client::qdrant::{DeletePointsBuilder, PointStruct, PointsIdsList, UpsertPointsBuilder};
use rand::prelude::*;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::model::{Change, Point, Points, STRIDE, Shape, Which};
use super::server::{Rest, Server, spawn};

/// Kills when `SHAKEDOWN_KILLS` does not say how many.
const KILLS: u32 = 8;

/// What one writer knows about its points in a collection.
struct Owner {
    collection: &'static str,
    shape: Shape,
    number: u64,
    /// Whether it sends what it can over gRPC.
    grpc: bool,
    /// As acknowledged.
    points: Points,
    /// Sent, and not answered when the server was killed.
    pending: Option<Change>,
    version: u64,
    rng: StdRng,
}

impl Owner {
    /// Writes until the server goes away or `pause` is set.
    async fn write(&mut self, rest: &Rest, grpc: &Qdrant, pause: &AtomicBool) {
        while !pause.load(Ordering::Relaxed) {
            self.version += 1;
            let change = Change::draw(&mut self.rng, self.shape, self.number, self.version);
            let Some(change) = change.fit(&self.points) else { continue };
            self.pending = Some(change.clone());
            let answered = match &change {
                Change::Upsert(points) if self.grpc => upsert(grpc, self.collection, points).await,
                Change::Delete(Which::Ids(ids)) if self.grpc => delete(grpc, self.collection, ids).await,
                _ => {
                    let (method, path, body) = change.request();
                    let path = format!("/collections/{}/{path}?wait=true", self.collection);
                    match rest.try_send(method, &path, Some(&body)).await {
                        Some((status, answer)) => {
                            assert_eq!(status, 200, "{change:?}: {answer}");
                            true
                        }
                        None => false,
                    }
                }
            };
            if !answered {
                return;
            }
            self.pending = None;
            change.apply(&mut self.points);
        }
    }

    /// What is left must be what was acknowledged, with or without the one change that was not answered.
    fn check(&mut self, found: &Points) -> Result<(), String> {
        let range = self.number * STRIDE..(self.number + 1) * STRIDE;
        let found: Points = found.range(range).map(|(id, point)| (*id, point.clone())).collect();
        let mut after = self.points.clone();
        let pending = self.pending.take();
        if let Some(change) = &pending {
            change.apply(&mut after);
        }
        if found != self.points && found != after {
            let differs = |expected: &Points| -> Vec<String> {
                let ids: BTreeSet<u64> = expected.keys().chain(found.keys()).copied().collect();
                let differing = ids.into_iter().filter(|id| expected.get(id) != found.get(id));
                differing
                    .map(|id| format!("{id}: expected {:?}, found {:?}", expected.get(&id), found.get(&id)))
                    .collect()
            };
            let (before, after) = (differs(&self.points), differs(&after));
            return Err(format!(
                "writer {} in {}: {} points differ, {} if {pending:?} was made; {:#?}",
                self.number,
                self.collection,
                before.len(),
                after.len(),
                if before.len() <= after.len() { &before[..before.len().min(3)] } else { &after[..after.len().min(3)] },
            ));
        }
        self.points = found;
        Ok(())
    }
}

async fn upsert(grpc: &Qdrant, collection: &str, points: &Points) -> bool {
    let floats = |value: &Value| -> Vec<f32> { serde_json::from_value(value.clone()).unwrap() };
    let points: Vec<PointStruct> = points
        .iter()
        .map(|(id, point)| {
            let payload = qdrant_client::Payload::try_from(point.payload.clone()).unwrap();
            PointStruct::new(*id, floats(&point.vector), payload)
        })
        .collect();
    acknowledged(grpc.upsert_points(UpsertPointsBuilder::new(collection, points).wait(true)).await)
}

async fn delete(grpc: &Qdrant, collection: &str, ids: &[u64]) -> bool {
    let ids = PointsIdsList { ids: ids.iter().map(|id| (*id).into()).collect() };
    acknowledged(grpc.delete_points(DeletePointsBuilder::new(collection).points(ids).wait(true)).await)
}

/// Whether the server answered; anything but success while it runs fails the test.
fn acknowledged<T>(answer: Result<T, qdrant_client::QdrantError>) -> bool {
    use qdrant_client::QdrantError;
    match answer {
        Ok(_) => true,
        Err(QdrantError::ResponseError { status }) => {
            let lost = [tonic::Code::Unavailable, tonic::Code::Unknown, tonic::Code::Cancelled, tonic::Code::Internal];
            assert!(lost.contains(&status.code()) && !status.message().contains("panic"), "{status}");
            false
        }
        Err(_) => false,
    }
}

/// What is known about collections and indexes that come and go.
#[derive(Default)]
struct Admin {
    /// How many points each collection has, as acknowledged.
    collections: BTreeMap<String, u64>,
    /// Indexes of the collection `plain`, as acknowledged.
    indexes: BTreeSet<&'static str>,
    /// A collection that was being made, filled or removed.
    unsure_collection: Option<String>,
    /// An index that was being made or removed.
    unsure_index: Option<&'static str>,
    made: u64,
}

impl Admin {
    async fn work(&mut self, rest: &Rest, rng: &mut StdRng, pause: &AtomicBool) {
        while !pause.load(Ordering::Relaxed) {
            if !self.step(rest, rng).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..30))).await;
        }
    }

    /// One change; `false` when the server went away.
    async fn step(&mut self, rest: &Rest, rng: &mut StdRng) -> bool {
        if rng.random_bool(0.5) {
            let field = ["group", "owner", "note"][rng.random_range(0..3)];
            self.unsure_index = Some(field);
            let removes = self.indexes.contains(field);
            let body =
                json!({ "field_name": field, "field_schema": if field == "note" { "keyword" } else { "integer" } });
            let answer = if removes {
                rest.try_send("DELETE", &format!("/collections/plain/index/{field}?wait=true"), None).await
            } else {
                rest.try_send("PUT", "/collections/plain/index?wait=true", Some(&body)).await
            };
            let Some((status, answer)) = answer else { return false };
            assert_eq!(status, 200, "{answer}");
            if removes {
                self.indexes.remove(field);
            } else {
                self.indexes.insert(field);
            }
            self.unsure_index = None;
            return true;
        }
        let oldest = self.collections.keys().next().cloned();
        if let (Some(name), true) = (oldest, self.collections.len() > 3) {
            self.unsure_collection = Some(name.clone());
            let Some((status, answer)) = rest.try_send("DELETE", &format!("/collections/{name}"), None).await else {
                return false;
            };
            assert_eq!(status, 200, "{answer}");
            self.collections.remove(&name);
        } else {
            self.made += 1;
            let name = format!("made-{:06}", self.made);
            self.unsure_collection = Some(name.clone());
            let settings = Shape::Plain.settings();
            let Some((status, answer)) = rest.try_send("PUT", &format!("/collections/{name}"), Some(&settings)).await
            else {
                return false;
            };
            assert_eq!(status, 200, "{answer}");
            self.collections.insert(name.clone(), 0);
            let points: Vec<Value> = (0..5).map(|id| json!({ "id": id, "vector": vec![0.5; 32] })).collect();
            let body = json!({ "points": points });
            let path = format!("/collections/{name}/points?wait=true");
            let Some((status, answer)) = rest.try_send("PUT", &path, Some(&body)).await else { return false };
            assert_eq!(status, 200, "{answer}");
            self.collections.insert(name, 5);
        }
        self.unsure_collection = None;
        true
    }

    async fn check(&mut self, rest: &Rest) -> Result<(), String> {
        let answer = rest.get("/collections").await;
        let found: BTreeSet<String> = answer["collections"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect();
        let unsure = self.unsure_collection.take();
        let expected: BTreeSet<String> =
            self.collections.keys().cloned().chain(["plain".to_owned(), "named".to_owned()]).collect();
        for name in found.symmetric_difference(&expected) {
            if Some(name) != unsure.as_ref() {
                return Err(format!("collections are {found:?}, and should be {expected:?}"));
            }
        }
        if let Some(name) = &unsure {
            if found.contains(name) {
                let count = count(rest, name, json!({})).await;
                let known = self.collections.get(name).copied();
                if count != 5 && (count != 0 || known == Some(5)) {
                    return Err(format!("{name} has {count} points"));
                }
                self.collections.insert(name.clone(), count);
            } else {
                self.collections.remove(name);
            }
        }
        for (name, points) in &self.collections {
            let count = count(rest, name, json!({})).await;
            if count != *points {
                return Err(format!("{name} has {count} points, and should have {points}"));
            }
        }
        let schema = rest.get("/collections/plain").await["payload_schema"].take();
        let unsure = self.unsure_index.take();
        for field in ["group", "owner", "note"] {
            let there = schema.get(field).is_some();
            if unsure == Some(field) {
                if there {
                    self.indexes.insert(field);
                } else {
                    self.indexes.remove(field);
                }
            } else if there != self.indexes.contains(field) {
                return Err(format!("indexes are {schema}, and should be {:?}", self.indexes));
            }
        }
        Ok(())
    }
}

async fn count(rest: &Rest, collection: &str, filter: Value) -> u64 {
    let body = json!({ "exact": true, "filter": filter });
    rest.post(&format!("/collections/{collection}/points/count"), body).await["count"].as_u64().unwrap()
}

/// Everything in a collection, by scrolling; a point that comes twice is an error.
async fn everything(rest: &Rest, collection: &str) -> Result<Points, String> {
    let mut found = Points::new();
    let mut offset = Value::Null;
    loop {
        let body = json!({ "limit": 256, "offset": offset, "with_vector": true, "with_payload": true });
        let mut page = rest.post(&format!("/collections/{collection}/points/scroll"), body).await;
        for point in page["points"].as_array_mut().unwrap() {
            let id = point["id"].as_u64().unwrap();
            let point = Point { vector: point["vector"].take(), payload: point["payload"].take() };
            if found.insert(id, point).is_some() {
                return Err(format!("{collection} has point {id} twice"));
            }
        }
        offset = page["next_page_offset"].take();
        if offset.is_null() {
            return Ok(found);
        }
    }
}

/// Counts and filters must say what the points say.
async fn agree(rest: &Rest, collection: &str, found: &Points) -> Result<(), String> {
    let all = count(rest, collection, json!({})).await;
    if all != found.len() as u64 {
        return Err(format!("{collection} has {} points and counts {all}", found.len()));
    }
    let tests = (0..10).map(|group| ("group", json!(group))).chain((0..5).map(|owner| ("owner", json!(owner))));
    for (field, value) in tests {
        let filter = json!({ "must": [{ "key": field, "match": { "value": value } }] });
        let counted = count(rest, collection, filter).await;
        let there = found.values().filter(|point| point.payload[field] == value).count() as u64;
        if counted != there {
            return Err(format!("{collection}: {field} {value} matches {counted} points, and {there} have it"));
        }
    }
    // Search sees the vectors that retrieval sees.
    for (id, point) in found.iter().step_by(found.len() / 10 + 1) {
        let (query, using) = match point.vector.get("a") {
            Some(dense) => (dense, json!("a")),
            None => (&point.vector, Value::Null),
        };
        let body = json!({ "query": query, "using": using, "limit": 3, "params": { "exact": true } });
        let answer = rest.post(&format!("/collections/{collection}/points/query"), body).await;
        let hits = answer["points"].as_array().unwrap();
        let same = hits.iter().any(|hit| hit["id"] == *id || hit["score"].as_f64() == Some(0.0));
        if !same {
            return Err(format!("{collection}: the nearest to the vector of {id} are {hits:?}"));
        }
    }
    Ok(())
}

async fn compare(rest: &Rest, owners: &mut [Owner], admin: &mut Admin) -> Result<(), String> {
    admin.check(rest).await?;
    for collection in ["plain", "named"] {
        let found = everything(rest, collection).await?;
        for owner in owners.iter_mut().filter(|owner| owner.collection == collection) {
            owner.check(&found)?;
        }
        agree(rest, collection, &found).await?;
    }
    Ok(())
}

/// One life of the server: writers work, and it is killed.
async fn load(storage: &Path, server: Server, owners: &mut [Owner], admin: &mut Admin, rng: &mut StdRng) {
    let rest = server.rest();
    let grpc = Qdrant::from_url(&server.grpc).skip_compatibility_check().build().unwrap();
    let pause = Arc::new(AtomicBool::new(false));
    let busy = Duration::from_millis(rng.random_range(5..900));
    // Silence makes the server flush and optimise, and the kill comes in the middle of that.
    let silent = Duration::from_millis(if rng.random_bool(0.5) { rng.random_range(600..1400) } else { 0 });
    let twice = rng.random_bool(0.3).then(|| Duration::from_millis(rng.random_range(5..300)));
    let seed = rng.random();
    let killer = {
        let pause = Arc::clone(&pause);
        async move {
            tokio::time::sleep(busy).await;
            if !silent.is_zero() {
                pause.store(true, Ordering::Relaxed);
                tokio::time::sleep(silent).await;
            }
            server.kill();
            pause.store(true, Ordering::Relaxed);
        }
    };
    let writers = owners.iter_mut().map(|owner| owner.write(&rest, &grpc, &pause));
    let mut admin_rng = StdRng::seed_from_u64(seed);
    tokio::join!(killer, futures::future::join_all(writers), admin.work(&rest, &mut admin_rng, &pause));
    if let Some(after) = twice {
        // While it reads the journals.
        let mut child = spawn(storage);
        tokio::time::sleep(after).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_by_kills_at_random_moments() {
    #[expect(clippy::disallowed_methods, reason = "how long a test takes is no setting of the program")]
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("SHAKEDOWN_KILLS").map_or(KILLS, |kills| u32::try_from(kills).unwrap());
    let seed = number("SHAKEDOWN_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    // Kept when the test fails.
    let directory = tempfile::Builder::new().disable_cleanup(true).tempdir().unwrap();
    let storage = directory.path().join("storage");
    let mut admin = Admin::default();
    let mut owners: Vec<Owner> = (0..5)
        .map(|number| {
            let (collection, shape) = if number < 3 { ("plain", Shape::Plain) } else { ("named", Shape::Named) };
            let rng = StdRng::seed_from_u64(seed ^ (number + 1));
            let grpc = number == 1;
            Owner { collection, shape, number, grpc, points: Points::new(), pending: None, version: 0, rng }
        })
        .collect();
    let mut server = Server::start(&storage);
    for owner in [&owners[0], &owners[4]] {
        let path = format!("/collections/{}", owner.collection);
        server.rest().put(&path, owner.shape.settings()).await;
    }
    for kill in 1..=kills {
        load(&storage, server, &mut owners, &mut admin, &mut rng).await;
        server =
            Server::try_start(&storage).unwrap_or_else(|refusal| panic!("seed {seed}, after kill {kill}: {refusal:?}"));
        let compared = compare(&server.rest(), &mut owners, &mut admin).await;
        let points: usize = owners.iter().map(|owner| owner.points.len()).sum();
        let versions: u64 = owners.iter().map(|owner| owner.version).sum();
        println!("kill {kill}: {versions} changes so far, {points} points");
        if let Err(difference) = compared {
            panic!("seed {seed}, after kill {kill}, {}: {difference}", storage.display());
        }
    }
    let (status, _) = server.terminate();
    assert!(status.success(), "{status}");
    std::fs::remove_dir_all(directory.path()).unwrap();
}
