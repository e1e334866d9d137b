//! One request to the embeddings API. It does not use the worker's client, so that a bug in the client cannot hide
//! itself.

use base64::Engine;
use serde_json::{Value, json};

use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::services::ServiceError;
use crate::services::http::{Answer, Http};
use crate::spec::{Auth, JinaProbe, JinaYield};

const TEXTS: [&str; 3] = [
    "The anchor holds in sand.",
    "Eight bells end the watch.",
    "A lighthouse is read by its rhythm, not by its light.",
];

pub(super) async fn observe(probe: &JinaProbe, context: &Context) -> Result<Observation, ProbeError> {
    let http = context.clients.jina().await?;
    let texts = match (&probe.texts, probe.words) {
        (Some(texts), None) => texts.clone(),
        (None, Some(words)) => vec!["word ".repeat(words)],
        (None, None) => TEXTS.map(ToOwned::to_owned).to_vec(),
        (Some(_), Some(_)) => return Err(ProbeError::Undecided("`texts` and `words` exclude each other".to_owned())),
    };
    let mut request = json!({
        "model": context.endpoints.jina.model,
        "task": "retrieval.passage",
        "dimensions": context.endpoints.jina.dimensions,
        "normalized": true,
        "embedding_type": "float",
        "truncate": false,
        "input": texts,
    });
    for (name, value) in &probe.with {
        request[name] = value.clone();
    }
    let what = format!("POST /embeddings with {} text(s)", texts.len());
    let answer = if probe.auth == Auth::Key {
        // Requests are billed: the same request is sent once, however many cases use its response.
        context.clients.post(&http, "/embeddings", &request).await?
    } else {
        http.send("POST", "/embeddings", &super::http::key(probe.auth), Some(&request)).await?
    };
    let body = answer.json();
    let status = answer.status.as_u16();
    match probe.yields {
        JinaYield::Status => {
            let mut observation = Observation::new(format!("status of {what}"), status);
            if !answer.status.is_success() {
                observation.also.push(Evidence::seen("body", answer.text.chars().take(300).collect::<String>()));
            }
            return Ok(observation);
        }
        JinaYield::ErrorCode => {
            // `detail` is a text with the code beside it, or an object that contains the code.
            let code = body.pointer("/code").or_else(|| body.pointer("/detail/code")).cloned();
            return Ok(Observation::new(format!("error code of {what}"), code.unwrap_or(Value::Null)));
        }
        JinaYield::RequestsLeft => return rate_left(&answer, "requests", &what),
        JinaYield::TokensLeft => return rate_left(&answer, "tokens", &what),
        _ => {}
    }
    if !answer.status.is_success() {
        let detail = format!("{what}: {status} {}", answer.text.chars().take(300).collect::<String>());
        return Err(ServiceError::Refused { service: "jina", detail }.into());
    }
    let items = body.pointer("/data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let took = u64::try_from(answer.took.as_millis()).unwrap_or(u64::MAX);
    Ok(match probe.yields {
        JinaYield::LatencyMs => Observation::new(format!("response time of {what} in ms"), took),
        JinaYield::Count => Observation::new(format!("vectors for {what}"), items.len()),
        JinaYield::Model => Observation::new(format!("model named by {what}"), body["model"].clone()),
        JinaYield::Tokens => {
            Observation::new(format!("usage.total_tokens of {what}"), body["usage"]["total_tokens"].clone())
        }
        JinaYield::Permutation => permutation(items, texts.len(), &what),
        JinaYield::Repeatable => compare_with_second(&http, &request, items, &what, "of two equal calls").await?,
        JinaYield::Encodings => {
            request["embedding_type"] = json!("base64");
            compare_with_second(&http, &request, items, &what, "as float and as base64").await?
        }
        other => vector_property(other, items, &what)?,
    })
}

/// Whether the indices of the items are those of `count` texts, each once.
fn permutation(items: &[Value], count: usize, what: &str) -> Observation {
    let mut indices: Vec<u64> = items.iter().filter_map(|item| item["index"].as_u64()).collect();
    let seen = format!("{indices:?}");
    indices.sort_unstable();
    let whole = indices.iter().copied().eq(0..count as u64);
    let mut observation = Observation::new(format!("whether the indices of {what} are a permutation"), whole);
    observation.also.push(Evidence::seen("indices in response order", seen));
    observation
}

/// A property of the vectors: size, finiteness, norm or similarity.
fn vector_property(property: JinaYield, items: &[Value], what: &str) -> Result<Observation, ProbeError> {
    let vectors = vectors(items)?;
    let refused = |detail: &str| ServiceError::Refused { service: "jina", detail: format!("{what}: {detail}") };
    Ok(match property {
        JinaYield::Dimensions => {
            let mut sizes: Vec<usize> = vectors.iter().map(|(_, vector)| vector.len()).collect();
            sizes.sort_unstable();
            sizes.dedup();
            let value = if let [size] = sizes.as_slice() { json!(size) } else { json!("mixed") };
            Observation::new(format!("size of the vectors of {what}"), value)
        }
        JinaYield::Finite => {
            let finite = vectors.iter().all(|(_, vector)| vector.iter().all(|number| number.is_finite()));
            Observation::new(format!("whether all numbers of {what} are finite"), finite)
        }
        JinaYield::NormError => {
            if vectors.is_empty() {
                return Err(refused("no vectors").into());
            }
            let off = vectors.iter().map(|(_, vector)| (dot(vector, vector).sqrt() - 1.0).abs()).fold(0.0, f64::max);
            Observation::new(format!("largest |norm − 1| of {what}"), rounded(off))
        }
        JinaYield::Similarity => {
            if vectors.len() < 2 {
                return Err(refused("fewer than two vectors").into());
            }
            let mut nearest = f64::NEG_INFINITY;
            for (at, (_, left)) in vectors.iter().enumerate() {
                for (_, right) in &vectors[at + 1..] {
                    nearest = nearest.max(cosine(left, right));
                }
            }
            Observation::new("largest cosine between vectors of different texts", rounded(nearest))
        }
        // `observe` handles the others.
        _ => Observation::new("nothing", Value::Null),
    })
}

/// Sends a second request and compares its vectors with `items`; `label` describes the two requests.
async fn compare_with_second(
    http: &Http,
    request: &Value,
    items: &[Value],
    what: &str,
    label: &str,
) -> Result<Observation, ProbeError> {
    let second = http.call("POST", "/embeddings", Some(request)).await?;
    let second = vectors(second.pointer("/data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice))?;
    let first = vectors(items)?;
    if first.is_empty() || first.len() != second.len() {
        let detail = format!("{what}: {} and {} vectors {label}", first.len(), second.len());
        return Err(ServiceError::Refused { service: "jina", detail }.into());
    }
    Ok(Observation::new(format!("largest difference between vectors {label}"), rounded(difference(&first, &second))))
}

/// What is left of the key's rate limit, from the header that the API's documentation names; `of` is `requests` or
/// `tokens`.
fn rate_left(answer: &Answer, of: &str, what: &str) -> Result<Observation, ProbeError> {
    let header = format!("x-ratelimit-remaining-{of}");
    let text = answer
        .headers
        .get(&header)
        .ok_or_else(|| ProbeError::Missing(format!("the embeddings API does not report how many {of} are left")))?;
    let left: u64 = text.trim().parse().map_err(|_| {
        ProbeError::Undecided(format!(
            "the header {header} is not a number: {}",
            text.chars().take(40).collect::<String>()
        ))
    })?;
    Ok(Observation::new(format!("{of} left in the key's rate limit, from {what}"), left))
}

/// Index and numbers of each item, in the order of their indices; a text is base64 of little-endian f32.
fn vectors(items: &[Value]) -> Result<Vec<(u64, Vec<f64>)>, ProbeError> {
    let unreadable = |detail: &str| {
        ProbeError::from(ServiceError::Refused { service: "jina", detail: format!("unreadable vector: {detail}") })
    };
    let mut vectors = Vec::with_capacity(items.len());
    for item in items {
        let index = item["index"].as_u64().ok_or_else(|| unreadable("an item has no index"))?;
        let vector = match &item["embedding"] {
            Value::Array(numbers) => numbers.iter().map(|number| number.as_f64().unwrap_or(f64::NAN)).collect(),
            Value::String(text) => {
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(text)
                    .map_err(|error| unreadable(&format!("base64: {error}")))?;
                bytes
                    .chunks_exact(4)
                    .map(|chunk| f64::from(f32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]])))
                    .collect()
            }
            _ => return Err(unreadable("neither an array nor a string")),
        };
        vectors.push((index, vector));
    }
    vectors.sort_by_key(|(index, _)| *index);
    Ok(vectors)
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

fn cosine(left: &[f64], right: &[f64]) -> f64 {
    dot(left, right) / (dot(left, left).sqrt() * dot(right, right).sqrt())
}

fn difference(left: &[(u64, Vec<f64>)], right: &[(u64, Vec<f64>)]) -> f64 {
    left.iter()
        .zip(right)
        .map(|((left_at, left), (right_at, right))| {
            if left_at != right_at || left.len() != right.len() {
                return f64::INFINITY;
            }
            left.iter().zip(right).map(|(left, right)| (left - right).abs()).fold(0.0, f64::max)
        })
        .fold(0.0, f64::max)
}

/// Six decimals, because more differ between machines. Infinity becomes a text, because JSON has no infinity.
fn rounded(number: f64) -> Value {
    if number.is_finite() { json!((number * 1e6).round() / 1e6) } else { Value::from(number.to_string()) }
}
