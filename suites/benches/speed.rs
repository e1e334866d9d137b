//! Speed, as ratios measured in one run on one machine; absolute numbers only beside them. `cargo bench`, or
//! `cargo run`-less: `cargo bench --bench speed`. Nothing here passes or fails: a benchmark is no test.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "a benchmark uses a part of it")]
mod support;

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use qdrant_client::Qdrant;
use qdrant_client::qdrant::{CreateCollectionBuilder, Distance, PointStruct, UpsertPointsBuilder, VectorParamsBuilder};
use secrecy::ExposeSecret;
use shakedown::outcome::Events;
use shakedown::reference_worker::chunk::{ChunkOptions, Chunker};
use shakedown::reference_worker::tokens::Tokens;
use shakedown::runner::{self, Selection};
use shakedown::scenario::{Harness, run_scenario};
use shakedown::services::jina::{Encoding, JinaClient, JinaOptions};
use shakedown::spec::{Documents, Scenario, Step, Suites};
use shakedown::stack::names_for;

use support::harness::{SHAKEDOWN, TestStack};

/// Debian's packages install their documentation here; any machine has some.
const DOCUMENTATION: &str = "/usr/share/doc";
const CORPUS: usize = 4 << 20;

fn main() {
    let mut rows: Vec<[String; 4]> = Vec::new();
    chunking(&mut rows);
    support::harness::runtime().block_on(async {
        let begun = Instant::now();
        let stack = TestStack::launch(shakedown::stack::ProviderKind::Native, "speed").await;
        let ready = begun.elapsed();
        rows.push(row("stack ready, native", seconds(ready), "≤ 1.5 s", ""));
        Box::pin(ingestion(&stack, &mut rows)).await;
        encodings(&stack, &mut rows).await;
        run(&stack, &mut rows).await;
        assert_eq!(stack.stop().await, Vec::<String>::new());
    });
    rows.insert(0, row("what", "measured".to_owned(), "aim", "beside it"));
    for [what, measured, aim, beside] in rows {
        println!("{what:<44} {measured:>22} {aim:>10}  {beside}");
    }
}

fn row(what: &str, measured: String, aim: &str, beside: &str) -> [String; 4] {
    [what.to_owned(), measured, aim.to_owned(), beside.to_owned()]
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// The text files that this machine's packages install as documentation, up to [`CORPUS`] bytes.
fn corpus() -> String {
    fn gather(directory: &Path, text: &mut String) {
        let mut paths: Vec<_> =
            std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if text.len() >= CORPUS {
                return;
            }
            if path.is_dir() && !path.is_symlink() {
                gather(&path, text);
            } else if path.extension().is_none_or(|extension| extension == "txt" || extension == "md") {
                text.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
            }
        }
    }
    let mut text = String::new();
    gather(Path::new(DOCUMENTATION), &mut text);
    if text.len() < 1 << 16 {
        text = "The tide clerk writes the hour, the depth and the wind into the harbour log.\n\n".repeat(20_000);
    }
    text
}

/// Chunking against tokenising the same text once.
fn chunking(rows: &mut Vec<[String; 4]>) {
    let text = corpus();
    let chunker = Chunker::new(ChunkOptions { size: 512, overlap: 50 }, Tokens::Cl100k).unwrap();
    let encoding = bpe_openai::cl100k_base();
    let (mut plain, mut chunked) = (Duration::MAX, Duration::MAX);
    for _ in 0..5 {
        let begun = Instant::now();
        black_box(encoding.encode(text.as_str()));
        plain = plain.min(begun.elapsed());
        let begun = Instant::now();
        black_box(chunker.chunks(&text));
        chunked = chunked.min(begun.elapsed());
    }
    let speed = |took: Duration| text.len() as f64 / 1e6 / took.as_secs_f64();
    let beside =
        format!("{:.1} MB/s of {:.1} MB/s, {:.1} MB of text", speed(chunked), speed(plain), text.len() as f64 / 1e6);
    rows.push(row(
        "chunker against plain tokenisation",
        format!("{:.2}", plain.as_secs_f64() / chunked.as_secs_f64()),
        "≥ 0.6",
        &beside,
    ));
}

/// The reference worker's points per second against raw upserts of the same payloads into the same server.
async fn ingestion(stack: &TestStack, rows: &mut Vec<[String; 4]>) {
    let mut endpoints = stack.stack.endpoints().clone();
    endpoints.names = names_for("speed", "ingestion");
    let options = stack.options("speed");
    let harness = Harness {
        endpoints: endpoints.clone(),
        shakedown: SHAKEDOWN.into(),
        contract: options.contract,
        variables: options.variables,
        directory: stack.directory(),
        ledger: stack.stack.ledger().unwrap().clone(),
        seed: 1,
        events: Events::silent(),
        stack: None,
    };
    let scenario = Scenario {
        title: "speed".to_owned(),
        documents: Documents { generated: 60, huge: 12, ..Documents::default() },
        steps: vec![Step::Ingest],
        ..Scenario::default()
    };
    let observations = Box::pin(run_scenario("speed", &scenario, &harness)).await.unwrap();
    let step = observations.last().unwrap();
    let points: Vec<_> = step.snapshot.points.values().flatten().collect();
    let finished = step.jobs.values().filter_map(|(_, job)| job.finished_on).max().unwrap_or_default();
    let started = step.jobs.values().filter_map(|(_, job)| job.processed_on).min().unwrap_or_default();
    let took = Duration::from_millis(finished.saturating_sub(started).max(1));
    let worker = points.len() as f64 / took.as_secs_f64();

    let mut config = Qdrant::from_url(&endpoints.qdrant.grpc_url).skip_compatibility_check();
    if let Some(key) = &endpoints.qdrant.api_key {
        config = config.api_key(key.expose_secret());
    }
    let qdrant = config.build().unwrap();
    let vectors = VectorParamsBuilder::new(u64::from(endpoints.jina.dimensions), Distance::Cosine);
    qdrant.create_collection(CreateCollectionBuilder::new("raw").vectors_config(vectors)).await.unwrap();
    let all: Vec<PointStruct> = points
        .iter()
        .enumerate()
        .map(|(number, point)| {
            let payload = [
                ("text", point.text.clone().unwrap_or_default()),
                ("document_id", point.document.clone().unwrap_or_default()),
            ];
            let payload: std::collections::HashMap<String, qdrant_client::qdrant::Value> =
                payload.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
            PointStruct::new(number as u64, point.vector.clone(), payload)
        })
        .collect();
    let begun = Instant::now();
    for batch in all.chunks(256) {
        qdrant.upsert_points(UpsertPointsBuilder::new("raw", batch.to_vec()).wait(true)).await.unwrap();
    }
    let raw = all.len() as f64 / begun.elapsed().as_secs_f64();
    let beside = format!("{worker:.0} of {raw:.0} points/s, {} points", all.len());
    rows.push(row("ingestion against raw upsert", format!("{:.2}", worker / raw), "≥ 0.6", &beside));
    let memory = observations.workers.peak_memory_mib.unwrap_or_default();
    rows.push(row("reference worker, peak memory", format!("{memory:.0} MiB"), "", ""));
}

/// Embeddings as base64 against float, from the mock to decoded vectors.
async fn encodings(stack: &TestStack, rows: &mut Vec<[String; 4]>) {
    let endpoint = stack.stack.endpoints().jina.clone();
    let texts: Vec<String> = (0..100).map(|number| format!("bearing {number} by compass")).collect();
    let mut best = [Duration::MAX; 2];
    for _ in 0..5 {
        for (at, encoding) in [Encoding::Base64, Encoding::Float].into_iter().enumerate() {
            let client = JinaClient::new(&endpoint, JinaOptions { encoding, ..JinaOptions::default() }).unwrap();
            let begun = Instant::now();
            black_box(client.embed(&texts).await.unwrap());
            best[at] = best[at].min(begun.elapsed());
        }
    }
    let beside = format!(
        "{:.1} ms and {:.1} ms for 100 texts, mock included",
        best[0].as_secs_f64() * 1e3,
        best[1].as_secs_f64() * 1e3
    );
    rows.push(row(
        "base64 against float, time",
        format!("{:.2}", best[0].as_secs_f64() / best[1].as_secs_f64()),
        "≤ 1",
        &beside,
    ));
}

/// Every built-in case, and what the harness itself needs meanwhile.
async fn run(stack: &TestStack, rows: &mut Vec<[String; 4]>) {
    let suites = Suites::builtin().unwrap();
    let begun = Instant::now();
    let options = stack.options("whole");
    let report = runner::run(&suites, &Selection::default(), &stack.stack, &options, &Events::silent()).await;
    let took = begun.elapsed();
    let longest = report.cases.iter().map(|case| case.duration_ms).max().unwrap_or(1);
    let beside = format!("{} cases, {}; the longest case takes {longest} ms", report.cases.len(), report.verdict);
    rows.push(row("whole run without the stack's start", seconds(took), "≤ 20 s", &beside));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let peak: f64 = peak.trim().trim_end_matches("kB").trim().parse().unwrap_or_default();
    rows.push(row("harness, peak memory (benchmarks included)", format!("{:.0} MiB", peak / 1024.0), "≤ 150 MiB", ""));
}
