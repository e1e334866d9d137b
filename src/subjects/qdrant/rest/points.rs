//! `/collections/{name}/points`: everything that stores, fetches or changes single points.

use std::time::Instant;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post, put};
use qdrant_edge::{
    DeletePayloadOp, JsonPath, Payload, PayloadOps, PointId, PointIdsList, Record, SetPayloadOp, UpdateVectorsOp,
    VectorOperations, VectorStructPersisted, WithPayloadInterface, WithVector,
};
use serde::{Deserialize, Serialize};

use super::{App, Json, Query, WriteParams, WriteResult, respond};
use crate::subjects::qdrant::collection::{Selection, Written};
use crate::subjects::qdrant::error::Error;
use crate::subjects::qdrant::input::{NewVectors, Selector, Upsert};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/collections/{name}/points", put(upsert).post(retrieve))
        .route("/collections/{name}/points/{id}", get(retrieve_one))
        .route("/collections/{name}/points/delete", post(delete))
        .route("/collections/{name}/points/payload", post(set_payload).put(overwrite_payload))
        .route("/collections/{name}/points/payload/delete", post(delete_payload))
        .route("/collections/{name}/points/payload/clear", post(clear_payload))
        .route("/collections/{name}/points/vectors", put(update_vectors))
        .route("/collections/{name}/points/vectors/delete", post(delete_vectors))
}

/// A point as it is shown.
#[derive(Serialize)]
pub(super) struct RecordView {
    id: PointId,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload>,
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

fn written(result: Result<Written, Error>) -> Result<WriteResult, Error> {
    result.map(WriteResult::from)
}

async fn upsert(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<Upsert>,
) -> Response {
    let since = Instant::now();
    let result = async { app.storage.get(&name)?.upsert(body.into_points()?, params.wait).await }.await;
    respond(since, written(result))
}

#[derive(Deserialize)]
struct Retrieve {
    ids: Vec<PointId>,
    with_payload: Option<WithPayloadInterface>,
    #[serde(default, alias = "with_vectors")]
    with_vector: WithVector,
}

async fn retrieve(State(app): State<App>, Path(name): Path<String>, Json(body): Json<Retrieve>) -> Response {
    let since = Instant::now();
    let result = async {
        let with_payload = body.with_payload.unwrap_or(WithPayloadInterface::Bool(true));
        app.storage.get(&name)?.retrieve(body.ids, with_payload, body.with_vector).await
    };
    respond(since, result.await.map(|records| records.into_iter().map(RecordView::from).collect::<Vec<_>>()))
}

async fn retrieve_one(State(app): State<App>, Path((name, id)): Path<(String, String)>) -> Response {
    let since = Instant::now();
    let result = async {
        let id: PointId =
            id.parse().map_err(|()| Error::BadInput(format!("Can not recognize \"{id}\" as point id")))?;
        let found = app.storage.get(&name)?.retrieve(vec![id], true.into(), true.into()).await?.pop();
        found.map(RecordView::from).ok_or_else(|| Error::NotFound(format!("Point with id {id} does not exists!")))
    };
    respond(since, result.await)
}

async fn delete(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<Selector>,
) -> Response {
    let since = Instant::now();
    let result = async { app.storage.get(&name)?.delete(body.into_selection()?, params.wait).await }.await;
    respond(since, written(result))
}

#[derive(Deserialize)]
struct SetPayload {
    payload: Payload,
    points: Option<Vec<PointId>>,
    filter: Option<qdrant_edge::Filter>,
    key: Option<JsonPath>,
}

impl SetPayload {
    fn operation(self) -> Result<SetPayloadOp, Error> {
        if self.points.is_none() && self.filter.is_none() {
            return Err(Error::Format(
                "Format error in JSON body: Either list of point ids or filter must be provided".to_owned(),
            ));
        }
        Ok(SetPayloadOp { payload: self.payload, points: self.points, filter: self.filter, key: self.key })
    }
}

async fn set_payload(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<SetPayload>,
) -> Response {
    let since = Instant::now();
    let result = async {
        let operation = PayloadOps::SetPayload(body.operation()?);
        app.storage.get(&name)?.change_payload(operation, params.wait).await
    };
    respond(since, written(result.await))
}

async fn overwrite_payload(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<SetPayload>,
) -> Response {
    let since = Instant::now();
    let result = async {
        let operation = PayloadOps::OverwritePayload(body.operation()?);
        app.storage.get(&name)?.change_payload(operation, params.wait).await
    };
    respond(since, written(result.await))
}

#[derive(Deserialize)]
struct DeletePayload {
    keys: Vec<JsonPath>,
    points: Option<Vec<PointId>>,
    filter: Option<qdrant_edge::Filter>,
}

async fn delete_payload(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<DeletePayload>,
) -> Response {
    let since = Instant::now();
    let result = async {
        if body.points.is_none() && body.filter.is_none() {
            return Err(Error::Format(
                "Format error in JSON body: Either list of point ids or filter must be provided".to_owned(),
            ));
        }
        let operation = DeletePayloadOp { keys: body.keys, points: body.points, filter: body.filter };
        app.storage.get(&name)?.change_payload(PayloadOps::DeletePayload(operation), params.wait).await
    };
    respond(since, written(result.await))
}

async fn clear_payload(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<Selector>,
) -> Response {
    let since = Instant::now();
    let result = async {
        let operation = match body.into_selection()? {
            Selection::Ids(points) => PayloadOps::ClearPayload { points },
            Selection::Filter(filter) => PayloadOps::ClearPayloadByFilter(filter),
        };
        app.storage.get(&name)?.change_payload(operation, params.wait).await
    };
    respond(since, written(result.await))
}

#[derive(Deserialize)]
struct UpdateVectors {
    points: Vec<NewVectors>,
    update_filter: Option<qdrant_edge::Filter>,
}

async fn update_vectors(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<UpdateVectors>,
) -> Response {
    let since = Instant::now();
    let result = async {
        let points = body.points.into_iter().map(Into::into).collect();
        let operation = VectorOperations::UpdateVectors(UpdateVectorsOp { points, update_filter: body.update_filter });
        app.storage.get(&name)?.change_vectors(operation, params.wait).await
    };
    respond(since, written(result.await))
}

#[derive(Deserialize)]
struct DeleteVectors {
    points: Option<Vec<PointId>>,
    filter: Option<qdrant_edge::Filter>,
    vector: Vec<String>,
}

async fn delete_vectors(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<DeleteVectors>,
) -> Response {
    let since = Instant::now();
    let result = async {
        let collection = app.storage.get(&name)?;
        body.vector.iter().try_for_each(|vector| collection.check_vector_name(vector))?;
        let operation = match (body.points, body.filter) {
            (Some(points), None) => VectorOperations::DeleteVectors(PointIdsList { points }, body.vector),
            (None, Some(filter)) => VectorOperations::DeleteVectorsByFilter(filter, body.vector),
            _ => {
                return Err(Error::Format(
                    "Format error in JSON body: expected either `points` or `filter`".to_owned(),
                ));
            }
        };
        collection.change_vectors(operation, params.wait).await
    };
    respond(since, written(result.await))
}
