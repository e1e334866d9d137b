//! How well, and how fast, the collection is searched: by its own vectors, with the index and without.

use std::collections::BTreeSet;
use std::time::Instant;

use futures::future::join_all;
use serde_json::{Value, json};

use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::services::ServiceError;
use crate::services::http::{Http, Key};
use crate::spec::{SearchFact, SearchProbe};

/// Vectors that are looked for.
const SAMPLE: usize = 16;
/// Nearest points that are compared.
const NEAREST: usize = 10;

pub(super) async fn observe(probe: &SearchProbe, context: &Context) -> Result<Observation, ProbeError> {
    let measured = context.lines.fact("search", measured(context)).await?;
    let searches = measured["searches"].as_u64().unwrap_or_default();
    if searches == 0 {
        return Err(ProbeError::Missing(format!(
            "collection {} holds no point to look for",
            context.endpoints.names.collection
        )));
    }
    let (what, place) = match probe.yields {
        SearchFact::Recall => ("share of the ten nearest points that the index finds", "recall"),
        SearchFact::P50Ms => ("median of a search, in ms", "p50_ms"),
        SearchFact::P99Ms => ("99th percentile of a search, in ms", "p99_ms"),
    };
    let mut observation = Observation::new(what, measured[place].clone());
    observation.also.push(Evidence::seen("stored vectors that were looked for", searches));
    Ok(observation)
}

async fn measured(context: &Context) -> Result<Value, ServiceError> {
    let http = context.lines.qdrant().await?;
    let path = format!("/collections/{}/points/query", context.endpoints.names.collection);
    let sample =
        json!({ "query": { "sample": "random" }, "limit": SAMPLE, "with_vector": true, "with_payload": false });
    let answer = ask(&http, &path, &sample).await?;
    let points = answer.pointer("/result/points").and_then(Value::as_array).cloned().unwrap_or_default();
    let searches = join_all(points.iter().map(|point| search(&http, &path, &point["vector"]))).await;
    let mut took = Vec::new();
    let (mut found, mut wanted) = (0, 0);
    for search in searches {
        let Some((ms, approximate, exact)) = search? else { continue };
        took.push(ms);
        wanted += exact.len();
        found += exact.intersection(&approximate).count();
    }
    took.sort_by(f64::total_cmp);
    let at = |share: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "16")]
        let place = ((took.len() as f64 * share).ceil() as usize).clamp(1, took.len().max(1)) - 1;
        took.get(place).map(|ms| (ms * 10.0).round() / 10.0)
    };
    #[expect(clippy::cast_precision_loss, reason = "at most 160 of 160")]
    let recall = if wanted == 0 { 1.0 } else { found as f64 / wanted as f64 };
    Ok(json!({
        "searches": took.len(),
        "recall": (recall * 1000.0).round() / 1000.0,
        "p50_ms": at(0.5),
        "p99_ms": at(0.99),
    }))
}

/// One search by the index and one without it: how long the first took, and what each found.
async fn search(
    http: &Http,
    path: &str,
    vector: &Value,
) -> Result<Option<(f64, BTreeSet<String>, BTreeSet<String>)>, ServiceError> {
    // Of several named vectors, the first in the order of names.
    let (using, vector) = match vector {
        Value::Array(_) => (None, vector),
        Value::Object(named) => match named.iter().find(|(_, vector)| vector.is_array()) {
            Some((name, vector)) => (Some(name), vector),
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    let body = |exact: bool| {
        let mut body = json!({ "query": vector, "limit": NEAREST, "params": { "exact": exact } });
        if let Some(name) = using {
            body["using"] = json!(name);
        }
        body
    };
    let ids = |answer: &Value| -> BTreeSet<String> {
        let points = answer.pointer("/result/points").and_then(Value::as_array).cloned().unwrap_or_default();
        points.iter().map(|point| point["id"].to_string()).collect()
    };
    let begun = Instant::now();
    let approximate = ask(http, path, &body(false)).await?;
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    let exact = ask(http, path, &body(true)).await?;
    Ok(Some((took, ids(&approximate), ids(&exact))))
}

async fn ask(http: &Http, path: &str, body: &Value) -> Result<Value, ServiceError> {
    let answer = http.send("POST", path, &Key::Own, Some(body)).await?;
    http.accept("POST", path, &answer)
}
