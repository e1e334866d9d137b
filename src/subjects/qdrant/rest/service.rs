//! `/`, health, telemetry and metrics.

use std::fmt::Write;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::{App, respond};
use crate::subjects::qdrant::{TITLE, VERSION};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(|| async { axum::Json(json!({"title": TITLE, "version": VERSION})) }))
        .route("/healthz", get(|| async { "healthz check passed" }))
        .route("/livez", get(|| async { "healthz check passed" }))
        .route("/readyz", get(|| async { "all shards are ready" }))
        .route("/telemetry", get(telemetry))
        .route("/metrics", get(metrics))
}

async fn telemetry(State(app): State<App>) -> Response {
    let since = Instant::now();
    let result: Value = json!({
        "id": "embedded",
        "app": {
            "name": "qdrant",
            "version": VERSION,
            "uptime_seconds": app.started.elapsed().as_secs(),
            "features": { "embedded": true },
        },
        "collections": { "number_of_collections": app.storage.names().len() },
    });
    respond(since, Ok(result))
}

async fn metrics(State(app): State<App>) -> Response {
    let names = app.storage.names();
    let mut points = 0;
    for name in &names {
        if let Ok(collection) = app.storage.get(name)
            && let Ok(described) = collection.describe().await
        {
            points += described.points;
        }
    }
    let mut text = String::new();
    for (name, help, value) in [
        ("app_info", "information about qdrant server", 1),
        ("collections_total", "number of collections", names.len()),
        ("collections_vector_total", "total number of vectors in all collections", points),
    ] {
        let labels =
            if name == "app_info" { format!("{{name=\"qdrant\",version=\"{VERSION}\"}}") } else { String::new() };
        // Writing to a string cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name}{labels} {value}\n");
    }
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}
