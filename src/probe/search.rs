//! How well, and how fast, the collection is searched: by its own vectors, with the index and without.

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

/// Vectors that are looked for.
const SAMPLE: usize = 16;
/// Searches that are timed side by side.
const AT_ONCE: usize = 4;
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
    if measured[place].is_null() {
        return Err(ProbeError::Undecided("searches without the index find nothing to compare with".to_owned()));
    }
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
    let name = context.endpoints.qdrant.vector.as_deref();
    let sought: Vec<Sought> = points.iter().filter_map(|point| Sought::of(&point["vector"], name)).collect();
    // A few at a time: what is measured is the search, and not how it bears being asked sixteen times at once.
    let timed = async |sought: &Sought| {
        let begun = Instant::now();
        let (found, says) = sought.nearest(&http, &path, false).await?;
        // What Qdrant itself took: the way there, and whatever else is asked meanwhile, is no matter of the index.
        Ok::<_, ServiceError>((says.unwrap_or_else(|| begun.elapsed().as_secs_f64()) * 1000.0, found))
    };
    let approximate: Vec<(f64, BTreeSet<String>)> =
        stream::iter(&sought).map(timed).buffered(AT_ONCE).try_collect().await?;
    let exact = try_join_all(sought.iter().map(|sought| sought.nearest(&http, &path, true))).await?;
    let exact: Vec<BTreeSet<String>> = exact.into_iter().map(|(found, _)| found).collect();
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
        "recall": recall,
        "p50_ms": at(0.5),
        "p99_ms": at(0.99),
    }))
}

/// A stored vector that is looked for; of several, the one of the name that is set, or else the first in their order.
struct Sought {
    using: Option<String>,
    vector: Value,
}

impl Sought {
    fn of(vector: &Value, wanted: Option<&str>) -> Option<Self> {
        match vector {
            Value::Array(_) => Some(Self { using: None, vector: vector.clone() }),
            Value::Object(named) => named
                .iter()
                .find(|(name, vector)| vector.is_array() && wanted.is_none_or(|wanted| wanted == *name))
                .map(|(name, vector)| Self { using: Some(name.clone()), vector: vector.clone() }),
            _ => None,
        }
    }

    /// The ids of the nearest points, by the index or compared with every point; and the seconds that it says it took.
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
        let answer = ask(http, path, &body).await?;
        let points = answer.pointer("/result/points").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok((points.iter().map(|point| point["id"].to_string()).collect(), answer["time"].as_f64()))
    }
}

async fn ask(http: &Http, path: &str, body: &Value) -> Result<Value, ServiceError> {
    let answer = http.send("POST", path, &Key::Own, Some(body)).await?;
    http.accept("POST", path, &answer)
}
