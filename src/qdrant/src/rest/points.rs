//! `/collections/{name}/points`: operations on single points.

use std::time::Instant;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post, put};
use qdrant_edge::{PointId, Record, VectorStructPersisted, WithPayloadInterface, WithVector};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::read::{Read, answer};
use super::{App, Json, Query, ReadParams, WriteParams, WriteResult, respond};
use crate::error::Error;
use crate::input::{
    Change, ChangeBody, ClearPayload, Delete, DeletePayload, DeleteVectors, NoShardKey, OverwritePayload, SetPayload,
    UpdateVectors, Upsert,
};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/collections/{name}/points", put(change::<Upsert>).post(answer::<Retrieve>))
        .route("/collections/{name}/points/{id}", get(retrieve_one))
        .route("/collections/{name}/points/batch", post(change_all))
        .route("/collections/{name}/points/delete", post(change::<Delete>))
        .route("/collections/{name}/points/payload", post(change::<SetPayload>).put(change::<OverwritePayload>))
        .route("/collections/{name}/points/payload/delete", post(change::<DeletePayload>))
        .route("/collections/{name}/points/payload/clear", post(change::<ClearPayload>))
        .route("/collections/{name}/points/vectors", put(change::<UpdateVectors>))
        .route("/collections/{name}/points/vectors/delete", post(change::<DeleteVectors>))
}

/// The JSON of a point.
#[derive(Serialize)]
pub(super) struct RecordView {
    id: PointId,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<qdrant_edge::Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<VectorStructPersisted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_value: Option<qdrant_edge::OrderValue>,
}

impl From<Record> for RecordView {
    fn from(record: Record) -> Self {
        Self {
            id: record.id,
            payload: record.payload,
            vector: record.vector.map(Into::into),
            order_value: record.order_value,
        }
    }
}

/// Applies the change in a body.
async fn change<B: ChangeBody + DeserializeOwned>(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<B>,
) -> Response {
    let since = Instant::now();
    let result = async { app.storage.get(&name)?.change(body.operation()?, params.wait).await }.await;
    respond(since, result.map(WriteResult::from))
}

#[derive(Deserialize)]
struct Changes {
    operations: Vec<Change>,
}

async fn change_all(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<Changes>,
) -> Response {
    let since = Instant::now();
    let result = async {
        let operations = body.operations.into_iter().map(ChangeBody::operation).collect::<Result<Vec<_>, _>>()?;
        app.storage.get(&name)?.change_all(operations, params.wait).await
    };
    respond(since, result.await.map(|all| all.into_iter().map(WriteResult::from).collect::<Vec<_>>()))
}

#[derive(Deserialize)]
struct Retrieve {
    ids: Vec<PointId>,
    with_payload: Option<WithPayloadInterface>,
    #[serde(default, alias = "with_vectors")]
    with_vector: WithVector,
    #[serde(default, rename = "shard_key")]
    _shard_key: NoShardKey,
}

impl Read for Retrieve {
    type Answer = Vec<RecordView>;

    async fn read(self, app: &App, name: &str) -> Result<Self::Answer, Error> {
        let with_payload = self.with_payload.unwrap_or(WithPayloadInterface::Bool(true));
        let records = app.storage.get(name)?.retrieve(self.ids, with_payload, self.with_vector).await?;
        Ok(records.into_iter().map(RecordView::from).collect())
    }
}

async fn retrieve_one(
    State(app): State<App>,
    Path((name, id)): Path<(String, String)>,
    Query(_params): Query<ReadParams>,
) -> Response {
    let since = Instant::now();
    let result = async {
        let id: PointId =
            id.parse().map_err(|()| Error::BadInput(format!("Can not recognize \"{id}\" as point id")))?;
        let found = app.storage.get(&name)?.retrieve(vec![id], true.into(), true.into()).await?.pop();
        found.map(RecordView::from).ok_or_else(|| Error::NotFound(format!("Point with id {id} does not exists!")))
    };
    respond(since, result.await)
}
