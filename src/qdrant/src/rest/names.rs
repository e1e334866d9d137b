//! Vectors that are added to or removed from an existing collection.

use std::time::Instant;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::put;
use qdrant_edge::VectorNameConfig;

use super::{App, Json, Query, WriteParams, WriteResult, respond};

pub(super) fn routes() -> Router<App> {
    Router::new().route("/collections/{name}/vectors/{vector_name}", put(create).delete(remove))
}

async fn create(
    State(app): State<App>,
    Path((name, vector)): Path<(String, String)>,
    Query(params): Query<WriteParams>,
    Json(body): Json<VectorNameConfig>,
) -> Response {
    let since = Instant::now();
    let made = async { app.storage.get(&name)?.create_vector_name(vector, body, params.wait).await };
    respond(since, made.await.map(WriteResult::from))
}

async fn remove(
    State(app): State<App>,
    Path((name, vector)): Path<(String, String)>,
    Query(params): Query<WriteParams>,
) -> Response {
    let since = Instant::now();
    let removed = async { app.storage.get(&name)?.delete_vector_name(vector, params.wait).await };
    respond(since, removed.await.map(WriteResult::from))
}
