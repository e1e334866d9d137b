//! Scroll, count, query and the older search.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::post;
use qdrant_edge::{
    CountRequest, Filter, Fusion, OrderBy, OrderByInterface, Payload, PointId, ScoredPoint, ScrollRequest,
    SearchParams, VectorPersisted, VectorStructPersisted, WithPayloadInterface, WithVector,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::points::RecordView;
use super::{App, Json, respond};
use crate::subjects::qdrant::collection::Collection;
use crate::subjects::qdrant::error::Error;
use crate::subjects::qdrant::input::OneVector;
use crate::subjects::qdrant::query::{Kind, Query, Target};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/collections/{name}/points/scroll", post(scroll))
        .route("/collections/{name}/points/count", post(count))
        .route("/collections/{name}/points/query", post(query))
        .route("/collections/{name}/points/query/batch", post(query_batch))
        .route("/collections/{name}/points/search", post(search))
        .route("/collections/{name}/points/search/batch", post(search_batch))
}

async fn scroll(State(app): State<App>, Path(name): Path<String>, Json(body): Json<ScrollRequest>) -> Response {
    let since = Instant::now();
    let result = async { app.storage.get(&name)?.scroll(body).await }.await;
    respond(
        since,
        result.map(|(records, next)| Page {
            points: records.into_iter().map(RecordView::from).collect(),
            next_page_offset: next,
        }),
    )
}

#[derive(Serialize)]
struct Page {
    points: Vec<RecordView>,
    next_page_offset: Option<PointId>,
}

async fn count(State(app): State<App>, Path(name): Path<String>, Json(body): Json<CountRequest>) -> Response {
    let since = Instant::now();
    let result = async { app.storage.get(&name)?.count(body).await }.await;
    respond(since, result.map(|count| json!({ "count": count })))
}

/// A found point as it is shown.
#[derive(Serialize)]
struct ScoredView {
    id: PointId,
    version: u64,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<VectorStructPersisted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_value: Option<qdrant_edge::OrderValue>,
}

impl From<ScoredPoint> for ScoredView {
    fn from(point: ScoredPoint) -> Self {
        Self {
            id: point.id,
            version: point.version,
            score: point.score,
            payload: point.payload,
            vector: point.vector.map(Into::into),
            order_value: point.order_value,
        }
    }
}

#[derive(Serialize)]
struct Points {
    points: Vec<ScoredView>,
}

/// Body of a query, and of its prefetches.
#[derive(Debug, Deserialize)]
struct QueryBody {
    #[serde(default)]
    prefetch: Option<OneOrMany>,
    #[serde(default)]
    query: Option<Value>,
    #[serde(default)]
    using: Option<String>,
    #[serde(default)]
    filter: Option<Filter>,
    #[serde(default)]
    params: Option<SearchParams>,
    #[serde(default)]
    score_threshold: Option<f32>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    offset: Option<usize>,
    #[serde(default, alias = "with_vectors")]
    with_vector: Option<WithVector>,
    #[serde(default)]
    with_payload: Option<WithPayloadInterface>,
    #[serde(default)]
    lookup_from: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a prefetch or an array of prefetches")]
enum OneOrMany {
    Many(Vec<QueryBody>),
    One(Box<QueryBody>),
}

impl TryFrom<QueryBody> for Query {
    type Error = Error;

    fn try_from(body: QueryBody) -> Result<Self, Error> {
        if body.lookup_from.is_some() {
            return Err(Error::Unimplemented("lookup_from".to_owned()));
        }
        let prefetch = match body.prefetch {
            None => Vec::new(),
            Some(OneOrMany::One(one)) => vec![Self::try_from(*one)?],
            Some(OneOrMany::Many(many)) => many.into_iter().map(Self::try_from).collect::<Result<_, _>>()?,
        };
        Ok(Self {
            kind: body.query.map(kind).transpose()?,
            using: body.using.unwrap_or_default(),
            prefetch,
            filter: body.filter,
            params: body.params,
            score_threshold: body.score_threshold,
            limit: body.limit,
            offset: body.offset.unwrap_or_default(),
            with_payload: body.with_payload,
            with_vector: body.with_vector,
        })
    }
}

fn unreadable(what: &str) -> Error {
    Error::Format(format!("Format error in JSON body: {what}"))
}

/// Kinds of query of the real server that this one does not have.
const NOT_YET: [&str; 7] = ["recommend", "discover", "context", "formula", "mmr", "relevance_feedback", "text"];

fn kind(value: Value) -> Result<Kind, Error> {
    match value {
        Value::Object(object) if !object.contains_key("indices") => kind_of_object(object),
        other => target(other).map(Kind::Nearest),
    }
}

fn kind_of_object(mut object: Map<String, Value>) -> Result<Kind, Error> {
    if let Some(name) = NOT_YET.iter().find(|name| object.contains_key(**name)) {
        return Err(Error::Unimplemented(format!("query kind `{name}`")));
    }
    if let Some(nearest) = object.remove("nearest") {
        return target(nearest).map(Kind::Nearest);
    }
    if let Some(order) = object.remove("order_by") {
        let order: OrderByInterface = serde_json::from_value(order).map_err(|error| unreadable(&error.to_string()))?;
        return Ok(Kind::OrderBy(OrderBy::from(order)));
    }
    match (object.get("fusion").and_then(Value::as_str), object.get("rrf"), object.get("sample")) {
        (Some("rrf"), _, _) => Ok(Kind::Fusion(Fusion::Rrf { k: 2, weights: None })),
        (Some("dbsf"), _, _) => Ok(Kind::Fusion(Fusion::Dbsf)),
        (_, Some(rrf), _) => {
            if rrf.get("weights").is_some_and(|weights| !weights.is_null()) {
                return Err(Error::Unimplemented("weights of reciprocal rank fusion".to_owned()));
            }
            let k = rrf.get("k").and_then(Value::as_u64).and_then(|k| usize::try_from(k).ok()).unwrap_or(2);
            Ok(Kind::Fusion(Fusion::Rrf { k, weights: None }))
        }
        (_, _, Some(Value::String(sample))) if sample == "random" => Ok(Kind::Sample),
        _ => Err(unreadable("data did not match any variant of untagged enum QueryInterface")),
    }
}

fn target(value: Value) -> Result<Target, Error> {
    match value {
        Value::Number(_) | Value::String(_) => {
            serde_json::from_value(value).map(Target::Id).map_err(|error| unreadable(&error.to_string()))
        }
        Value::Array(_) | Value::Object(_) => {
            let vector: OneVector = serde_json::from_value(value).map_err(|error| unreadable(&error.to_string()))?;
            match vector.0 {
                VectorPersisted::MultiDense(vectors) => Target::multi(vectors),
                vector => Ok(Target::Vector(vector.into())),
            }
        }
        Value::Null | Value::Bool(_) => Err(unreadable("a query is a vector, a point id or an object")),
    }
}

async fn run(collection: &Arc<Collection>, query: Query) -> Result<Vec<ScoredView>, Error> {
    let request = query.resolve(collection).await?;
    Ok(collection.query(request).await?.into_iter().map(ScoredView::from).collect())
}

async fn query(State(app): State<App>, Path(name): Path<String>, Json(body): Json<QueryBody>) -> Response {
    let since = Instant::now();
    let result = async { run(&app.storage.get(&name)?, body.try_into()?).await }.await;
    respond(since, result.map(|points| Points { points }))
}

#[derive(Deserialize)]
struct BatchBody<T> {
    searches: Vec<T>,
}

async fn query_batch(
    State(app): State<App>,
    Path(name): Path<String>,
    Json(body): Json<BatchBody<QueryBody>>,
) -> Response {
    let since = Instant::now();
    let result = async {
        let collection = app.storage.get(&name)?;
        let mut results = Vec::with_capacity(body.searches.len());
        for search in body.searches {
            results.push(Points { points: run(&collection, search.try_into()?).await? });
        }
        Ok(results)
    };
    respond(since, result.await)
}

/// Body of the older search.
#[derive(Deserialize)]
struct SearchBody {
    vector: Value,
    #[serde(default)]
    filter: Option<Filter>,
    #[serde(default)]
    params: Option<SearchParams>,
    limit: usize,
    #[serde(default)]
    offset: Option<usize>,
    #[serde(default)]
    with_payload: Option<WithPayloadInterface>,
    #[serde(default, alias = "with_vectors")]
    with_vector: Option<WithVector>,
    #[serde(default)]
    score_threshold: Option<f32>,
}

impl TryFrom<SearchBody> for Query {
    type Error = Error;

    fn try_from(body: SearchBody) -> Result<Self, Error> {
        let (using, vector) = match body.vector {
            Value::Object(mut named) if named.contains_key("name") => {
                let name = named.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
                (name, named.remove("vector").unwrap_or_default())
            }
            vector => (String::new(), vector),
        };
        let Target::Vector(vector) = target(vector)? else {
            return Err(unreadable("`vector` must be a vector"));
        };
        Ok(Self {
            kind: Some(Kind::Nearest(Target::Vector(vector))),
            using,
            prefetch: Vec::new(),
            filter: body.filter,
            params: body.params,
            score_threshold: body.score_threshold,
            limit: Some(body.limit),
            offset: body.offset.unwrap_or_default(),
            with_payload: body.with_payload,
            with_vector: body.with_vector,
        })
    }
}

async fn search(State(app): State<App>, Path(name): Path<String>, Json(body): Json<SearchBody>) -> Response {
    let since = Instant::now();
    let result = async { run(&app.storage.get(&name)?, body.try_into()?).await }.await;
    respond(since, result)
}

async fn search_batch(
    State(app): State<App>,
    Path(name): Path<String>,
    Json(body): Json<BatchBody<SearchBody>>,
) -> Response {
    let since = Instant::now();
    let result = async {
        let collection = app.storage.get(&name)?;
        let mut results = Vec::with_capacity(body.searches.len());
        for search in body.searches {
            results.push(run(&collection, search.try_into()?).await?);
        }
        Ok(results)
    };
    respond(since, result.await)
}
