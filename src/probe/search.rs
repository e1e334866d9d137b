//! Recall and speed of searches in the collection, with stored vectors as queries, and samples of its points.

use std::collections::BTreeSet;
use std::time::Instant;

use futures::future::try_join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::services::ServiceError;
use crate::services::http::{Http, Key};
use crate::spec::{SearchFact, SearchProbe};

/// Stored vectors that are used as queries.
const SAMPLE: usize = 16;
/// Timed searches that run at the same time.
const AT_ONCE: usize = 4;
/// Rows whose points are counted.
const READY: usize = 8;
/// Nearest points to compare.
const NEAREST: usize = 10;

pub(super) async fn observe(probe: &SearchProbe, context: &Context) -> Result<Observation, ProbeError> {
    if probe.yields == SearchFact::Lost {
        let lost = lost(context).await?;
        return Ok(Observation::new("documents with a `ready` row but no points", lost));
    }
    let measured = context.clients.fact("search", measured(context)).await?;
    let searches = measured["searches"].as_u64().unwrap_or_default();
    if searches == 0 {
        return Err(ProbeError::Missing(format!(
            "collection {} has no points to search for",
            context.endpoints.names.collection
        )));
    }
    let (what, place) = match probe.yields {
        SearchFact::Recall => ("recall of the ten nearest points with the index", "recall"),
        SearchFact::P50Ms => ("median search time in ms", "p50_ms"),
        SearchFact::P99Ms => ("99th percentile of the search time in ms", "p99_ms"),
        SearchFact::Empty => ("stored vectors that are all zeros", "empty"),
        SearchFact::DuplicateVectors => ("stored vectors that duplicate another", "duplicate_vectors"),
        SearchFact::WithoutDocument => ("stored points without a document id", "without_document"),
        SearchFact::OtherModels => ("models of stored points other than the configured one", "models"),
        SearchFact::Lost | SearchFact::Orphaned => ("documents with points but no row", "documents"),
    };
    if measured[place].is_null() {
        let why = measured["refused"].as_str().unwrap_or("exact searches find no points to compare with");
        return Err(ProbeError::Undecided(why.to_owned()));
    }
    let value = match probe.yields {
        SearchFact::Orphaned => orphaned(&measured[place], context).await?,
        _ => measured[place].clone(),
    };
    let mut observation = Observation::new(what, value);
    observation.also.push(Evidence::seen("stored vectors used as queries", searches));
    Ok(observation)
}

async fn measured(context: &Context) -> Result<Value, ServiceError> {
    let http = context.clients.qdrant().await?;
    let path = format!("/collections/{}/points/query", context.endpoints.names.collection);
    let fields = ["document_id", "model"];
    let sample =
        json!({ "query": { "sample": "random" }, "limit": SAMPLE, "with_vector": true, "with_payload": fields });
    let answer = post(&http, &path, &sample).await?;
    let points = answer.pointer("/result/points").and_then(Value::as_array).cloned().unwrap_or_default();
    let name = context.endpoints.qdrant.vector.as_deref();
    let queries: Vec<Query> = points.iter().filter_map(|point| Query::from_point(&point["vector"], name)).collect();
    // A few at a time, to measure the search and not the effect of sixteen concurrent searches.
    let timed = async |query: &Query| {
        let begun = Instant::now();
        let (found, seconds) = query.nearest(&http, &path, false).await?;
        // Qdrant's own time: network latency and concurrent requests are not a property of the index.
        Ok::<_, ServiceError>((seconds.unwrap_or_else(|| begun.elapsed().as_secs_f64()) * 1000.0, found))
    };
    let approximate: Vec<(f64, BTreeSet<String>)> =
        stream::iter(&queries).map(timed).buffered(AT_ONCE).try_collect().await?;
    let exact = match try_join_all(queries.iter().map(|query| query.nearest(&http, &path, true))).await {
        Ok(exact) => Ok(exact.into_iter().map(|(found, _)| found).collect()),
        // Strict mode may forbid exact searches; the approximate ones are still valid.
        Err(ServiceError::Refused { detail, .. }) => Err(format!("the server refuses exact searches: {detail}")),
        Err(error) => return Err(error),
    };
    let refused = exact.as_ref().err().cloned();
    let exact: Vec<BTreeSet<String>> = exact.unwrap_or_default();
    let wanted: usize = exact.iter().map(BTreeSet::len).sum();
    let found: usize =
        exact.iter().zip(&approximate).map(|(exact, (_, found))| exact.intersection(found).count()).sum();
    let mut took: Vec<f64> = approximate.into_iter().map(|(ms, _)| ms).collect();
    took.sort_by(f64::total_cmp);
    let at = |share: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "16")]
        let place = ((took.len() as f64 * share).ceil() as usize).clamp(1, took.len().max(1)) - 1;
        took.get(place).map(|ms| (ms * 10.0).round() / 10.0)
    };
    #[expect(clippy::cast_precision_loss, reason = "at most 160 of 160")]
    let recall = (wanted > 0).then(|| (found as f64 / wanted as f64 * 1000.0).round() / 1000.0);
    Ok(json!({
        "searches": took.len(),
        "refused": refused,
        "empty": queries.iter().filter(|query| query.is_zero()).count(),
        "duplicate_vectors": duplicates(&queries),
        "without_document": points.iter().filter(|point| document(point).is_none()).count(),
        "documents": points.iter().filter_map(document).collect::<BTreeSet<_>>(),
        "models": models(&points, &context.endpoints.jina.model),
        "recall": recall,
        "p50_ms": at(0.5),
        "p99_ms": at(0.99),
    }))
}

/// A stored vector that is used as a query: the configured one, else the first.
struct Query {
    using: Option<String>,
    vector: Value,
}

impl Query {
    fn from_point(vector: &Value, wanted: Option<&str>) -> Option<Self> {
        match vector {
            Value::Array(_) => Some(Self { using: None, vector: vector.clone() }),
            Value::Object(named) => named
                .iter()
                .find(|(name, vector)| vector.is_array() && wanted.is_none_or(|wanted| wanted == *name))
                .map(|(name, vector)| Self { using: Some(name.clone()), vector: vector.clone() }),
            _ => None,
        }
    }

    fn is_zero(&self) -> bool {
        self.vector.as_array().is_some_and(|numbers| numbers.iter().all(|number| number.as_f64() == Some(0.0)))
    }

    /// The ids of the nearest points, with the index or with `exact` search, and the seconds that Qdrant reports.
    async fn nearest(
        &self,
        http: &Http,
        path: &str,
        exact: bool,
    ) -> Result<(BTreeSet<String>, Option<f64>), ServiceError> {
        let mut body = json!({ "query": self.vector, "limit": NEAREST, "params": { "exact": exact } });
        if let Some(name) = &self.using {
            body["using"] = json!(name);
        }
        let answer = post(http, path, &body).await?;
        let points = answer.pointer("/result/points").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok((points.iter().map(|point| point["id"].to_string()).collect(), answer["time"].as_f64()))
    }
}

/// The document id of a point.
fn document(point: &Value) -> Option<String> {
    match point.pointer("/payload/document_id")? {
        Value::String(name) => Some(name.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The models of points other than the `configured` one.
fn models<'a>(points: &'a [Value], configured: &str) -> BTreeSet<&'a str> {
    let named = points.iter().filter_map(|point| point.pointer("/payload/model")?.as_str());
    named.filter(|model| *model != configured).collect()
}

/// The documents without points, among a few documents with status `ready`.
async fn lost(context: &Context) -> Result<Vec<String>, ProbeError> {
    let table = &context.endpoints.names.table;
    let query = format!("select id::text as id from {table} where status = 'ready' and chunks > 0 limit {READY}");
    let rows = context.clients.rows(&query).await?;
    if rows.is_empty() {
        return Err(ProbeError::Missing(format!("no row of {table} has status `ready` and chunks")));
    }
    let http = context.clients.qdrant().await?;
    let path = format!("/collections/{}/points/count", context.endpoints.names.collection);
    let stored = async |row: &Value| {
        let id = row["id"].as_str().unwrap_or_default().to_owned();
        // A numeric id may be stored as a number.
        let mut any = vec![json!({ "key": "document_id", "match": { "value": id } })];
        any.extend(id.parse::<i64>().ok().map(|id| json!({ "key": "document_id", "match": { "value": id } })));
        let counted = post(&http, &path, &json!({ "filter": { "should": any }, "exact": true })).await?;
        let none = counted.pointer("/result/count").and_then(Value::as_u64) == Some(0);
        Ok::<_, ServiceError>(none.then_some(id))
    };
    Ok(try_join_all(rows.iter().map(stored)).await?.into_iter().flatten().collect())
}

/// Those of `documents` that have no row.
async fn orphaned(documents: &Value, context: &Context) -> Result<Value, ProbeError> {
    let documents: BTreeSet<&str> = documents.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if documents.is_empty() {
        return Err(ProbeError::Missing("none of the sampled points has a document id".to_owned()));
    }
    let quoted: Vec<String> = documents.iter().map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
    let table = &context.endpoints.names.table;
    let query = format!("select id::text as id from {table} where id in ({})", quoted.join(", "));
    let rows = context.clients.rows(&query).await.map_err(|error| match error {
        // Ids that the column's type does not accept belong to a different table.
        ServiceError::Refused { detail, .. } => ProbeError::Undecided(format!("cannot query {table}: {detail}")),
        error => error.into(),
    })?;
    let known: BTreeSet<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
    Ok(documents.difference(&known).copied().collect())
}

/// Number of vectors that equal an earlier one, except all-zero vectors.
fn duplicates(queries: &[Query]) -> usize {
    let whole: Vec<String> =
        queries.iter().filter(|query| !query.is_zero()).map(|query| query.vector.to_string()).collect();
    whole.len() - whole.iter().collect::<BTreeSet<_>>().len()
}

async fn post(http: &Http, path: &str, body: &Value) -> Result<Value, ServiceError> {
    let answer = http.send("POST", path, &Key::Own, Some(body)).await?;
    http.accept("POST", path, &answer)
}
