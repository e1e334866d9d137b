//! `/`, health, telemetry, issues, quotas, and the cluster endpoints of a server without a cluster.

use std::time::Instant;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{MethodRouter, any, delete, get, post, put};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Query, metrics, respond};
use crate::collection::Status;
use crate::disk::full_percent;
use crate::error::Error;
use crate::telemetry::{Process, anonymous, memory_percent, roughly};
use crate::{TITLE, VERSION};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(|| async { axum::Json(json!({"title": TITLE, "version": VERSION})) }))
        .route("/healthz", get(|| async { "healthz check passed" }))
        .route("/livez", get(|| async { "healthz check passed" }))
        .route("/readyz", get(|| async { "all shards are ready" }))
        .route("/telemetry", get(telemetry))
        .route("/metrics", get(metrics::metrics))
        // The real server reports filters without an index; this one detects no issues.
        .route("/issues", get(|| answer(json!({ "issues": [] }))).delete(|| answer(json!(true))))
        .route("/quotas", get(quotas))
        .route("/cluster", get(|| answer(json!({ "status": "disabled" }))))
        .route("/cluster/recover", post(standalone))
        .route("/cluster/peer/{peer}", delete(standalone))
        .route("/cluster/metadata/keys", get(standalone))
        .route("/cluster/metadata/keys/{key}", clustered(get(standalone)))
        .route("/collections/{name}/cluster", get(collection_cluster).post(standalone))
        .route("/collections/{name}/shards", get(shard_keys).put(standalone))
        .route("/collections/{name}/shards/delete", post(standalone))
        .route("/collections/{name}/optimizations", get(optimizations))
        .route("/collections/{name}/memory", any(memory))
}

fn clustered(methods: MethodRouter<App>) -> MethodRouter<App> {
    methods.merge(put(standalone)).merge(delete(standalone))
}

fn answer(result: Value) -> impl Future<Output = Response> {
    std::future::ready(respond(Instant::now(), Ok(result)))
}

async fn standalone() -> Response {
    respond::<()>(Instant::now(), Err(Error::Standalone))
}

async fn memory(Path(name): Path<String>) -> Response {
    let what = format!("memory (GET /collections/{name}/memory)");
    respond::<()>(Instant::now(), Err(Error::Unimplemented(what)))
}

#[derive(Deserialize)]
struct TelemetryParams {
    #[serde(default)]
    anonymize: bool,
    #[serde(default)]
    details_level: u32,
    #[serde(default)]
    per_collection: bool,
}

async fn telemetry(State(app): State<App>, Query(params): Query<TelemetryParams>) -> Response {
    let since = Instant::now();
    let level = params.details_level;
    let mut collections = json!({ "number_of_collections": app.storage.names().len() });
    if level > 0 {
        collections["collections"] = described(&app, level, params.anonymize).await;
    }
    // System and memory are omitted: typed clients need all of their fields, and too many are unknown.
    let result = json!({
        "id": app.telemetry.id,
        "app": { "name": "qdrant", "version": VERSION, "startup": app.telemetry.startup },
        "collections": collections,
        "cluster": { "enabled": false },
        "requests": app.telemetry.shown(level, params.per_collection, params.anonymize),
        "quota": { "config": { "enabled": false }, "exceeded": { "resident_memory": null, "disk_usage": null } },
    });
    respond(since, Ok(result))
}

/// The collections in telemetry of `level`.
async fn described(app: &App, level: u32, anonymize: bool) -> Value {
    let count = |value: usize| if anonymize { roughly(value as u64) } else { value as u64 };
    let shown = |text: String| if anonymize { anonymous(&text) } else { text };
    let mut rows = Vec::new();
    for name in app.storage.names() {
        // A collection that is deleted meanwhile is skipped.
        let Ok(collection) = app.storage.get(&name) else { continue };
        let Ok(described) = collection.describe().await else { continue };
        let vectors = collection.count_vectors().await.unwrap_or_default();
        let total: usize = vectors.values().sum();
        let (status, optimizers) = match &described.status {
            Status::Green => ("green", json!("ok")),
            Status::Yellow => ("yellow", json!("ok")),
            Status::Red(error) => ("red", json!({ "error": shown(error.clone()) })),
        };
        if level == 1 {
            let params = &described.config.params;
            rows.push(json!({ "vectors": count(total), "optimizers_status": optimizers, "params": params }));
            continue;
        }
        let by_name = vectors.into_iter().map(|(vector, found)| (shown(vector), json!(count(found))));
        let mut config = json!(described.config);
        if anonymize {
            config["metadata"] = Value::Null;
        }
        rows.push(json!({
            "id": shown(name),
            "config": config,
            "shards": [{
                "id": 0,
                "key": null,
                "local": {
                    "variant_name": "local shard",
                    "status": status,
                    // Unknown to the engine; typed clients need a number.
                    "total_optimized_points": 0,
                    "num_points": count(described.points),
                    "num_vectors": count(total),
                    "num_vectors_by_name": Value::Object(by_name.collect()),
                    "optimizations": { "status": optimizers, "optimizations": { "count": 0 } },
                },
                "remote": [],
                "replicate_states": { app.storage.peer_id().to_string(): "Active" },
            }],
            "transfers": [],
        }));
    }
    Value::Array(rows)
}

async fn quotas(State(app): State<App>) -> Response {
    let process = tokio::task::spawn_blocking(Process::now).await.unwrap_or_default();
    let usage = json!({
        "resident_memory_percent": memory_percent(&process),
        "disk_usage_percent": full_percent(app.storage.root()),
    });
    answer(json!({ "config": { "enabled": false }, "usage": usage })).await
}

async fn collection_cluster(State(app): State<App>, Path(name): Path<String>) -> Response {
    let since = Instant::now();
    let described = async { app.storage.get(&name)?.describe().await }.await;
    let shown = described.map(|described| {
        json!({
            "peer_id": app.storage.peer_id(),
            "shard_count": 1,
            "local_shards": [{ "shard_id": 0, "points_count": described.points, "state": "Active" }],
            "remote_shards": [],
            "shard_transfers": [],
        })
    });
    respond(since, shown)
}

/// Keys need custom sharding, which is rejected at creation.
async fn shard_keys(State(app): State<App>, Path(name): Path<String>) -> Response {
    respond(Instant::now(), app.storage.get(&name).map(|_| json!({})))
}

#[derive(Deserialize)]
struct OptimizationsParams {
    with: Option<String>,
}

async fn optimizations(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(params): Query<OptimizationsParams>,
) -> Response {
    let since = Instant::now();
    let shown = async {
        let mut wanted = params.with.iter().flat_map(|with| with.split(',')).map(str::trim);
        if let Some(field) = wanted.find(|field| !field.is_empty()) {
            return Err(match field {
                "queued" | "completed" | "idle_segments" => {
                    Error::Unimplemented(format!("optimizations with {field} (GET /collections/{name}/optimizations)"))
                }
                _ => Error::BadInput(format!("Unknown field in 'with' parameter: {field}")),
            });
        }
        let described = app.storage.get(&name)?.describe().await?;
        // The engine reports neither which segments are rewritten nor the progress: all of them count as queued.
        let busy = described.status == Status::Yellow;
        let waiting = |number: usize| if busy { number } else { 0 };
        Ok(json!({
            "summary": {
                "queued_optimizations": waiting(1),
                "queued_segments": waiting(described.segments),
                "queued_points": waiting(described.points),
                "idle_segments": described.segments - waiting(described.segments),
            },
            "running": [],
        }))
    };
    respond(since, shown.await)
}
