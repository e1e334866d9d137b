//! The embedded Qdrant against its own engine called directly, in one run: `cargo bench --bench qdrant`.
//!
//! Every figure is a ratio to what the engine does in this process with the same data on the same disk, so that
//! it means the same on a fast machine and a slow one.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]
#![expect(clippy::print_stdout, reason = "its figures are what a benchmark is for")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt;
use qdrant_client::Qdrant;
use qdrant_client::qdrant::{
    CollectionStatus, CreateCollectionBuilder, Distance, HnswConfigDiffBuilder, OptimizersConfigDiffBuilder,
    PointStruct, QueryPointsBuilder, SearchParamsBuilder, UpsertPointsBuilder, VectorParamsBuilder,
    point_id::PointIdOptions,
};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use shakedown_qdrant::engine::{
    EdgeConfig, EdgeConfigBuilder, EdgeOptimizersConfig, EdgeShard, EdgeVectorParamsBuilder, NamedQuery, Payload,
    PointInsertOperations, PointOperations, PointStructPersisted, QueryEnum, QueryRequest, ScoringQuery,
    UpdateOperation, VectorInternal, VectorStructPersisted,
};

/// Points of the upload, as an ingestion of documents stores them.
const POINTS: u64 = 30_720;
/// Points of one request.
const BATCH: usize = 256;
/// Requests at a time.
const IN_FLIGHT: usize = 4;
/// Numbers in a vector.
const SIZE: usize = 1024;
/// Letters in a payload.
const TEXT: usize = 1600;
/// Queries whose durations are compared.
const QUERIES: usize = 300;

/// Points for the recall, and their size.
const RECALL_POINTS: u64 = 20_000;
const RECALL_SIZE: u64 = 128;
const RECALL_QUERIES: usize = 200;

struct Server {
    process: Child,
    grpc: String,
    ready: Duration,
}

impl Server {
    fn start(storage: &Path) -> Self {
        let began = Instant::now();
        let mut process = Command::new(env!("CARGO_BIN_EXE_shakedown"))
            .args(["qdrant", "--http-port", "0", "--grpc-port", "0", "--storage"])
            .arg(storage)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = began.elapsed();
        let bound: BTreeMap<String, String> = serde_json::from_str(&line).unwrap();
        Self { process, grpc: bound["grpc"].clone(), ready }
    }

    /// Memory that the process holds, in MiB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<f64>().ok())
            .unwrap_or(f64::NAN);
        kilobytes / 1024.0
    }

    /// Seconds that the process has computed.
    fn computed(&self) -> f64 {
        computed(&self.process.id().to_string())
    }

    fn client(&self) -> Qdrant {
        Qdrant::from_url(&format!("http://{}", self.grpc)).skip_compatibility_check().build().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Seconds that a process has computed, in user and system mode together.
fn computed(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<f64> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // The state is no number, so user and system time come one place earlier; a tick is 10 ms on Linux.
    fields.get(10).zip(fields.get(11)).map_or(f64::NAN, |(user, system)| (user + system) / 100.0)
}

fn vector(random: &mut impl Rng, size: usize) -> Vec<f32> {
    (0..size).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// A point as both sides get it.
struct Made {
    id: u64,
    vector: Vec<f32>,
    text: String,
}

fn made(random: &mut StdRng) -> Vec<Made> {
    (0..POINTS)
        .map(|id| {
            let text = (0..TEXT).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect();
            Made { id, vector: vector(random, SIZE), text }
        })
        .collect()
}

/// Points a second through the server.
async fn upload(client: &Qdrant, points: &[Made]) -> f64 {
    let batches: Vec<Vec<PointStruct>> = points
        .chunks(BATCH)
        .map(|chunk| {
            let point = |made: &Made| {
                let payload =
                    [("document_id", format!("doc-{}", made.id / 100).into()), ("text", made.text.clone().into())];
                PointStruct::new(made.id, made.vector.clone(), payload)
            };
            chunk.iter().map(point).collect()
        })
        .collect();
    let began = Instant::now();
    futures::stream::iter(batches)
        .for_each_concurrent(IN_FLIGHT, |batch| async move {
            client.upsert_points(UpsertPointsBuilder::new("bench", batch).wait(true)).await.unwrap();
        })
        .await;
    points.len() as f64 / began.elapsed().as_secs_f64()
}

/// Points a second into the engine, in this process.
fn upload_directly(shard: &EdgeShard, points: &[Made]) -> f64 {
    let batches: Vec<Vec<PointStructPersisted>> = points
        .chunks(BATCH)
        .map(|chunk| {
            let point = |made: &Made| {
                let payload = serde_json::json!({ "document_id": format!("doc-{}", made.id / 100), "text": made.text });
                PointStructPersisted {
                    id: made.id.into(),
                    vector: VectorStructPersisted::Single(made.vector.clone()),
                    payload: payload.as_object().cloned().map(Payload),
                }
            };
            chunk.iter().map(point).collect()
        })
        .collect();
    let began = Instant::now();
    for batch in batches {
        let points = PointInsertOperations::PointsList(batch);
        shard.update(UpdateOperation::PointOperation(PointOperations::UpsertPoints(points))).unwrap();
    }
    points.len() as f64 / began.elapsed().as_secs_f64()
}

fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort_unstable();
    durations[durations.len() / 2]
}

/// The engine without an optimiser of its own: both sides search the same way.
fn engine() -> EdgeConfig {
    EdgeConfigBuilder::new()
        .vector("", EdgeVectorParamsBuilder::new(SIZE, shakedown_qdrant::engine::Distance::Cosine).build())
        .optimizers(EdgeOptimizersConfig { indexing_threshold: Some(0), ..EdgeOptimizersConfig::default() })
        .build()
}

fn ask(query: Vec<f32>, limit: usize) -> QueryRequest {
    let nearest = NamedQuery { query: VectorInternal::Dense(query), using: None };
    QueryRequest {
        prefetches: Vec::new(),
        query: Some(ScoringQuery::Vector(QueryEnum::Nearest(nearest))),
        filter: None,
        score_threshold: None,
        limit,
        offset: 0,
        params: None,
        with_vector: false.into(),
        with_payload: true.into(),
    }
}

fn print_row(what: &str, value: &str, aim: &str, met: bool) {
    println!("{what:<58} {value:>22}   aim {aim:<10} {}", if met { "met" } else { "MISSED" });
}

async fn speed(place: &Path) {
    let mut random = StdRng::seed_from_u64(1);
    let points = made(&mut random);
    let queries: Vec<Vec<f32>> = (0..QUERIES).map(|_| vector(&mut random, SIZE)).collect();

    let mut starts = Vec::new();
    for turn in 0..5 {
        starts.push(Server::start(&place.join(format!("empty-{turn}"))).ready);
    }
    let start = median(starts);
    print_row("start to ready, empty", &format!("{} ms", start.as_millis()), "≤ 150 ms", start.as_millis() <= 150);

    let server = Server::start(&place.join("served"));
    let idle = server.memory();
    print_row("memory of an idle server", &format!("{idle:.0} MiB"), "≤ 60 MiB", idle <= 60.0);

    let client = server.client();
    let collection = CreateCollectionBuilder::new("bench")
        .vectors_config(VectorParamsBuilder::new(SIZE as u64, Distance::Cosine))
        .optimizers_config(OptimizersConfigDiffBuilder::default().indexing_threshold(0_u64));
    client.create_collection(collection).await.unwrap();
    let shard_directory = place.join("direct");
    std::fs::create_dir(&shard_directory).unwrap();
    let shard = EdgeShard::new(&shard_directory, engine()).unwrap();

    let before = (server.computed(), computed("self"));
    let served = upload(&client, &points).await;
    let micros = |seconds: f64| seconds * 1e6 / points.len() as f64;
    println!(
        "computing for each point: server {:.0} µs, this process {:.0} µs",
        micros(server.computed() - before.0),
        micros(computed("self") - before.1)
    );
    let direct = upload_directly(&shard, &points);
    let ratio = served / direct;
    print_row(
        "points stored over gRPC against the engine directly",
        &format!("{ratio:.2} ({served:.0}/{direct:.0})"),
        "≥ 0.6",
        ratio >= 0.6,
    );

    let (mut through, mut within) = (Vec::new(), Vec::new());
    for query in &queries {
        let request = QueryPointsBuilder::new("bench").query(query.clone()).limit(10).with_payload(true);
        let began = Instant::now();
        let found = client.query(request).await.unwrap().result;
        through.push(began.elapsed());
        let began = Instant::now();
        let known = shard.query(ask(query.clone(), 10)).unwrap();
        within.push(began.elapsed());
        assert_eq!(found.len(), known.len());
    }
    let (through, within) = (median(through), median(within));
    let ratio = through.as_secs_f64() / within.as_secs_f64();
    print_row(
        "median query over gRPC against the engine directly",
        &format!("{ratio:.2} ({through:.1?}/{within:.1?})"),
        "≤ 2",
        ratio <= 2.0,
    );
}

/// What is searched for the recall.
struct Sea {
    name: &'static str,
    /// Points lie around so many centres; none is uniformly random, where a graph has nothing to hold on to.
    centres: Option<usize>,
    /// Whether the graph is used although looking at all points would be as fast.
    only_graph: bool,
}

/// How many of the ten nearest points a graph with 16 edges (`ef_construct` 100, `hnsw_ef` 100) finds.
async fn recall(place: &Path, sea: Sea) {
    let mut random = StdRng::seed_from_u64(2);
    let server = Server::start(&place.join(sea.name));
    let client = server.client();
    let size = usize::try_from(RECALL_SIZE).unwrap();
    let mut hnsw = HnswConfigDiffBuilder::default().m(16).ef_construct(100);
    if sea.only_graph {
        hnsw = hnsw.full_scan_threshold(1_u64);
    }
    let collection = CreateCollectionBuilder::new("recall")
        .vectors_config(VectorParamsBuilder::new(RECALL_SIZE, Distance::Cosine))
        .hnsw_config(hnsw)
        .optimizers_config(OptimizersConfigDiffBuilder::default().indexing_threshold(1000_u64));
    client.create_collection(collection).await.unwrap();
    let centres: Vec<Vec<f32>> = (0..sea.centres.unwrap_or(0)).map(|_| vector(&mut random, size)).collect();
    let mut one = || {
        let mut vector = vector(&mut random, size);
        if !centres.is_empty() {
            let centre = &centres[random.random_range(0..centres.len())];
            vector = vector.iter().zip(centre).map(|(noise, centre)| centre + 0.35 * noise).collect();
        }
        vector
    };
    let points: Vec<PointStruct> = (0..RECALL_POINTS)
        .map(|id| PointStruct::new(id, one(), HashMap::<String, qdrant_client::qdrant::Value>::new()))
        .collect();
    for batch in points.chunks(500) {
        client.upsert_points(UpsertPointsBuilder::new("recall", batch).wait(true)).await.unwrap();
    }
    let began = Instant::now();
    let indexed = loop {
        let info = client.collection_info("recall").await.unwrap().result.unwrap();
        let indexed = info.indexed_vectors_count.unwrap_or_default();
        if info.status == CollectionStatus::Green as i32 && indexed * 10 >= RECALL_POINTS * 9 {
            break indexed;
        }
        assert!(began.elapsed() < Duration::from_mins(5), "not green after five minutes: {info:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let green = began.elapsed();
    let mut found = 0;
    for _ in 0..RECALL_QUERIES {
        let query = one();
        let ids = async |params: SearchParamsBuilder| {
            let request = QueryPointsBuilder::new("recall").query(query.clone()).limit(10).params(params);
            let points = client.query(request).await.unwrap().result;
            points
                .into_iter()
                .map(|point| match point.id.and_then(|id| id.point_id_options) {
                    Some(PointIdOptions::Num(number)) => number,
                    other => panic!("{other:?}"),
                })
                .collect::<HashSet<u64>>()
        };
        let exact = ids(SearchParamsBuilder::default().exact(true)).await;
        found += ids(SearchParamsBuilder::default().hnsw_ef(100)).await.intersection(&exact).count();
    }
    let recall = found as f64 / (RECALL_QUERIES * 10) as f64;
    let what = format!("recall@10, {}, {indexed} indexed, green in {green:.1?}", sea.name);
    if sea.centres.is_none() && sea.only_graph {
        // What such a graph finds where nothing is near anything; no aim.
        println!("{what:<58} {recall:>22.3}");
        return;
    }
    print_row(&what, &format!("{recall:.3}"), "≥ 0.99", recall >= 0.99);
}

fn main() {
    let place = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        speed(place.path()).await;
        for sea in [
            Sea { name: "clustered", centres: Some(400), only_graph: true },
            Sea { name: "uniform", centres: None, only_graph: false },
            Sea { name: "uniform, graph alone", centres: None, only_graph: true },
        ] {
            recall(place.path(), sea).await;
        }
    });
}
