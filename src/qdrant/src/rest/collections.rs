//! `/collections`: list, create, describe, change, delete; payload indexes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{delete, get, put};
use qdrant_edge::{JsonPath, PayloadFieldSchema, PayloadIndexInfo};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{App, Json, Query, WriteParams, WriteResult, respond};
use crate::collection::{Collection, Status};
use crate::config::{Config, CreateCollection, UpdateCollection};
use crate::error::Error;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/collections", get(list))
        .route("/collections/{name}", get(describe).put(create).patch(update).delete(remove))
        .route("/collections/{name}/exists", get(exists))
        .route("/collections/{name}/index", put(create_index))
        .route("/collections/{name}/index/{field}", delete(delete_index))
}

async fn list(State(app): State<App>) -> Response {
    let since = Instant::now();
    let names: Vec<Value> = app.storage.names().into_iter().map(|name| json!({ "name": name })).collect();
    respond(since, Ok(json!({ "collections": names })))
}

async fn create(State(app): State<App>, Path(name): Path<String>, Json(body): Json<CreateCollection>) -> Response {
    let since = Instant::now();
    let made = async { app.storage.create(name, Config::new(body)?).await }.await;
    respond(since, made.map(|()| true))
}

async fn exists(State(app): State<App>, Path(name): Path<String>) -> Response {
    respond(Instant::now(), Ok(json!({ "exists": app.storage.get(&name).is_ok() })))
}

async fn remove(State(app): State<App>, Path(name): Path<String>) -> Response {
    let since = Instant::now();
    respond(since, app.storage.delete(name).await)
}

async fn update(State(app): State<App>, Path(name): Path<String>, Json(body): Json<UpdateCollection>) -> Response {
    let since = Instant::now();
    let changed = async { app.storage.get(&name)?.update(body).await };
    respond(since, changed.await.map(|()| true))
}

async fn describe(State(app): State<App>, Path(name): Path<String>) -> Response {
    let since = Instant::now();
    let described = async { info(&app.storage.get(&name)?).await }.await;
    respond(since, described)
}

/// The description of a collection. Fully typed: as a JSON value a 32-bit number would show digits it does not have.
#[derive(Serialize)]
struct InfoView {
    status: &'static str,
    optimizer_status: Value,
    indexed_vectors_count: usize,
    points_count: usize,
    segments_count: usize,
    config: Config,
    payload_schema: BTreeMap<String, PayloadIndexInfo>,
    update_queue: Value,
}

async fn info(collection: &Arc<Collection>) -> Result<InfoView, Error> {
    let described = collection.describe().await?;
    let (status, optimizer_status) = match described.status {
        Status::Green => ("green", json!("ok")),
        Status::Yellow => ("yellow", json!("ok")),
        Status::Red(error) => ("red", json!({ "error": error })),
    };
    Ok(InfoView {
        status,
        optimizer_status,
        indexed_vectors_count: described.indexed_vectors,
        points_count: described.points,
        segments_count: described.segments,
        config: described.config,
        payload_schema: described.indexes,
        update_queue: json!({ "length": 0 }),
    })
}

#[derive(Deserialize)]
struct CreateIndexBody {
    field_name: JsonPath,
    #[serde(alias = "field_type")]
    field_schema: Option<PayloadFieldSchema>,
}

async fn create_index(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<CreateIndexBody>,
) -> Response {
    let since = Instant::now();
    let made = async {
        let schema = body.field_schema.ok_or_else(|| {
            Error::BadInput(format!(
                "Unable to infer type for the field '{}'. Please specify `field_type`",
                body.field_name
            ))
        })?;
        app.storage.get(&name)?.create_index(body.field_name, schema, params.wait).await
    };
    respond(since, made.await.map(WriteResult::from))
}

async fn delete_index(
    State(app): State<App>,
    Path((name, field)): Path<(String, String)>,
    Query(params): Query<WriteParams>,
) -> Response {
    let since = Instant::now();
    let removed = async {
        let field =
            field.parse().map_err(|()| Error::Format(format!("Deserialize error in path parameters: {field}")))?;
        app.storage.get(&name)?.delete_index(field, params.wait).await
    };
    respond(since, removed.await.map(WriteResult::from))
}
