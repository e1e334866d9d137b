//! `/metrics`: the server's metrics in Prometheus' format, with Qdrant's names.

use std::collections::BTreeMap;
use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::{App, Query};
use crate::VERSION;
use crate::collection::Status;
use crate::telemetry::{BUCKETS, Process, Protocol, Responses, Stats, anonymous, roughly};

/// The only REST status with durations, as in Qdrant.
const TIMED: i32 = 200;

#[derive(Deserialize)]
pub(super) struct Params {
    #[serde(default)]
    anonymize: bool,
    #[serde(default)]
    per_collection: bool,
}

/// Whether a REST endpoint is shown: those of points, indexes and vectors.
fn is_shown_rest(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/collections/{collection_name}/") else { return false };
    matches!(rest, "index" | "points" | "facet" | "vectors/{vector_name}")
        || rest.strip_prefix("points/").is_some_and(|rest| !rest.starts_with('{'))
}

/// Whether a gRPC endpoint is shown.
fn is_shown_grpc(path: &str) -> bool {
    path.starts_with("/qdrant.Points/") && !path.ends_with("FieldIndex") && !path.contains("Matrix")
}

/// Labels with their values.
type Labels = Vec<(&'static str, String)>;
/// One sample.
type Sample = (Labels, f64);
/// Counts and durations of one kind of response, and whether its durations are shown.
type Answers = (Labels, Stats, bool);

/// Text in Prometheus' format.
#[derive(Default)]
struct Text(String);

impl Text {
    /// A family of samples; nothing if it is empty.
    fn family(&mut self, name: &str, help: &str, kind: &str, samples: &[Sample]) {
        if samples.is_empty() {
            return;
        }
        // Writing to a string cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in samples {
            self.sample(name, labels, *value);
        }
    }

    fn sample(&mut self, name: &str, labels: &[(&str, String)], value: f64) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if index == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, help, "gauge", &[(Vec::new(), value)]);
    }

    /// Counts and durations of responses.
    fn responses(&mut self, prefix: &str, rows: &[Answers]) {
        let samples = |timed: bool, value: fn(&Stats) -> f64| -> Vec<Sample> {
            let rows = rows.iter().filter(|row| !timed || row.2);
            rows.map(|(labels, stats, _)| (labels.clone(), value(stats))).collect()
        };
        let counts = samples(false, |stats| number(stats.count));
        self.family(&format!("{prefix}_responses_total"), "total number of responses", "counter", &counts);
        for (name, help, value) in [
            ("avg", "average response duration", (|it| it.average().as_secs_f64()) as fn(&Stats) -> f64),
            ("min", "minimum response duration", |it| it.min.as_secs_f64()),
            ("max", "maximum response duration", |it| it.max.as_secs_f64()),
        ] {
            let name = format!("{prefix}_responses_{name}_duration_seconds");
            self.family(&name, help, "gauge", &samples(true, value));
        }
        let name = format!("{prefix}_responses_duration_seconds");
        for (index, (labels, stats, _)) in rows.iter().filter(|row| row.2).enumerate() {
            if index == 0 {
                let _ = write!(self.0, "# HELP {name} response duration histogram\n# TYPE {name} histogram\n");
            }
            let mut bucket = labels.clone();
            let mut below = 0;
            let ends = BUCKETS.iter().map(|end| (f64::from(*end) / 1e6).to_string());
            for (end, count) in ends.zip(stats.buckets) {
                below += count;
                bucket.push(("le", end));
                self.sample(&format!("{name}_bucket"), &bucket, number(below));
                bucket.pop();
            }
            bucket.push(("le", "+Inf".to_owned()));
            self.sample(&format!("{name}_bucket"), &bucket, number(stats.count));
            self.sample(&format!("{name}_sum"), labels, stats.total.as_secs_f64());
            self.sample(&format!("{name}_count"), labels, number(stats.count));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows floating point only")]
fn number(value: u64) -> f64 {
    value as f64
}

/// The metrics of a collection.
struct Row {
    name: String,
    points: u64,
    optimizing: bool,
    vectors: Vec<(String, u64)>,
}

async fn rows(app: &App, anonymize: bool) -> Vec<Row> {
    let count = |value: usize| if anonymize { roughly(value as u64) } else { value as u64 };
    let mut rows = Vec::new();
    for name in app.storage.names() {
        // A collection that is deleted meanwhile is skipped.
        let Ok(collection) = app.storage.get(&name) else { continue };
        let Ok(described) = collection.describe().await else { continue };
        let vectors = collection.count_vectors().await.unwrap_or_default();
        let shown = |name: String| if anonymize { anonymous(&name) } else { name };
        rows.push(Row {
            points: count(described.points),
            optimizing: described.status == Status::Yellow,
            vectors: vectors.into_iter().map(|(vector, found)| (shown(vector), count(found))).collect(),
            name: shown(name),
        });
    }
    rows
}

fn answered(text: &mut Text, app: &App, per_collection: bool) {
    let shown = |endpoint: &str, status: i32| {
        let (method, path) = endpoint.split_once(' ')?;
        let labels = vec![("method", method.to_owned()), ("endpoint", path.to_owned()), ("status", status.to_string())];
        is_shown_rest(path).then_some(labels)
    };
    let flat = |responses: Responses, collection: Option<&str>| -> Vec<_> {
        let all = responses.into_iter().flat_map(|(endpoint, statuses)| {
            statuses.into_iter().map(move |(status, stats)| (endpoint.clone(), status, stats))
        });
        let rows = all.filter_map(|(endpoint, status, stats)| {
            let mut labels = shown(&endpoint, status)?;
            labels.extend(collection.map(|collection| ("collection", collection.to_owned())));
            Some((labels, stats, status == TIMED))
        });
        rows.collect()
    };
    let by_collection = if per_collection { app.telemetry.by_collection() } else { BTreeMap::new() };
    let rest: Vec<_> = if by_collection.is_empty() {
        flat(app.telemetry.responses(Protocol::Rest), None)
    } else {
        by_collection.into_iter().flat_map(|(collection, responses)| flat(responses, Some(&collection))).collect()
    };
    text.responses("rest", &rest);
    let grpc = app.telemetry.responses(Protocol::Grpc).into_iter().filter(|(path, _)| is_shown_grpc(path));
    let grpc: Vec<_> = grpc
        .flat_map(|(path, statuses)| {
            statuses.into_iter().map(move |(status, stats)| {
                (vec![("endpoint", path.clone()), ("status", status.to_string())], stats, true)
            })
        })
        .collect();
    text.responses("grpc", &grpc);
}

pub(super) async fn metrics(State(app): State<App>, Query(params): Query<Params>) -> Response {
    let rows = rows(&app, params.anonymize).await;
    let mut text = Text::default();
    let info = vec![("name", "qdrant".to_owned()), ("version", VERSION.to_owned())];
    text.family("app_info", "information about qdrant server", "gauge", &[(info, 1.0)]);
    text.gauge("collections_total", "number of collections", number(rows.len() as u64));
    let vectors: Vec<Sample> = rows
        .iter()
        .flat_map(|row| {
            row.vectors.iter().map(|(vector, count)| {
                (vec![("collection", row.name.clone()), ("vector", vector.clone())], number(*count))
            })
        })
        .collect();
    // An empty sum is a negative zero.
    let total = vectors.iter().map(|(_, count)| count).sum::<f64>().abs();
    text.gauge("collections_vector_total", "total number of vectors in all collections", total);
    text.family("collection_vectors", "amount of vectors grouped by vector name", "gauge", &vectors);
    let active = f64::from(u8::from(!rows.is_empty()));
    text.gauge("collection_active_replicas_min", "minimum number of active replicas across all shards", active);
    text.gauge("collection_active_replicas_max", "maximum number of active replicas across all shards", active);
    let per = |value: fn(&Row) -> f64| -> Vec<Sample> {
        rows.iter().map(|row| (vec![("id", row.name.clone())], value(row))).collect()
    };
    let help = "number of currently running optimization tasks per collection";
    let running = per(|row| f64::from(u8::from(row.optimizing)));
    text.family("collection_running_optimizations", help, "gauge", &running);
    let points = per(|row| number(row.points));
    text.family("collection_points", "approximate amount of points per collection", "gauge", &points);
    text.gauge("collection_dead_replicas", "total amount of shard replicas in non-active state", 0.0);
    text.gauge("cluster_enabled", "is cluster support enabled", 0.0);
    answered(&mut text, &app, params.per_collection && !params.anonymize);
    let process = tokio::task::spawn_blocking(Process::now).await.unwrap_or_default();
    let faults = "count of disk accesses caused by a mmap page fault";
    for (name, help, kind, value) in [
        (
            "memory_resident_bytes",
            "Maximum number of bytes in physically resident data pages mapped",
            "gauge",
            process.resident,
        ),
        ("process_threads", "count of active threads", "gauge", process.threads),
        ("process_open_mmaps", "count of open mmaps", "gauge", process.maps),
        ("system_max_mmaps", "system wide limit of open mmaps", "gauge", process.max_maps),
        ("process_open_fds", "count of currently open file descriptors", "gauge", process.files),
        ("process_max_fds", "limit for open file descriptors", "gauge", process.max_files),
        (
            "process_minor_page_faults_total",
            "count of minor page faults which didn't cause a disk access",
            "counter",
            process.minor_faults,
        ),
        ("process_major_page_faults_total", faults, "counter", process.major_faults),
    ] {
        if let Some(value) = value {
            text.family(name, help, kind, &[(Vec::new(), number(value))]);
        }
    }
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text.0).into_response()
}
