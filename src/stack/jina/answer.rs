//! Writing answers: successes, altered successes, and errors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use super::behaviour::{Effect, retry_after};
use super::request::{Encoding, Refusal, ValidRequest};
use super::vector::{Rng, unit};
use crate::spec::jina::{Answer, Body, RetryAfter};

const JSON: &str = "application/json";

#[derive(Serialize)]
struct List<'a> {
    model: &'a str,
    object: &'static str,
    usage: Usage,
    data: Vec<Item>,
}

#[derive(Serialize)]
struct Usage {
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens: Option<u64>,
}

#[derive(Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Embedding,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Embedding {
    Floats(Vec<f32>),
    Text(String),
    Bytes(Vec<i16>),
}

/// The success for a valid request, altered by `effect`.
pub(super) fn success(request: &ValidRequest, effect: &Effect<'_>, rng: &mut Rng) -> ResponseTemplate {
    let mut vectors = vectors(request, effect);
    let chosen = usize::try_from(rng.below(vectors.len() as u64)).unwrap_or_default();
    if let Some(vector) = vectors.get_mut(chosen) {
        if effect.alters(&Answer::Nan)
            && let Some(value) = vector.first_mut()
        {
            *value = f32::NAN;
        }
        if effect.alters(&Answer::ZeroVector) {
            vector.fill(0.0);
        }
    }
    let mut data: Vec<Item> = vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| Item { object: "embedding", index, embedding: encode(vector, request.encoding) })
        .collect();
    if effect.alters(&Answer::WrongIndex) {
        match data.len() {
            1 => data[0].index = 1,
            count => data[count - 1].index = 0,
        }
    }
    if effect.alters(&Answer::ExtraItem) {
        let extra = unit(&request.model, &request.task, request.dimensions, "an extra item");
        data.push(Item { object: "embedding", index: data.len(), embedding: encode(&extra, request.encoding) });
    }
    if effect.alters(&Answer::MissingItem) {
        data.remove(chosen);
    }
    if effect.alters(&Answer::EmptyData) {
        data.clear();
    }
    if data.len() > 1 && effect.alters(&Answer::Shuffled) {
        rng.shuffle(&mut data);
        // A shuffle may keep the order. A worker that trusts the order must not pass by chance.
        if data.iter().enumerate().all(|(place, item)| item.index == place) {
            data.rotate_left(1);
        }
    }
    let list = List {
        model: model(request, effect),
        object: "list",
        usage: Usage {
            total_tokens: request.tokens,
            prompt_tokens: request.reports_prompt_tokens.then_some(request.tokens),
        },
        data,
    };
    ResponseTemplate::new(200).set_body_json(list)
}

/// The model that answers.
fn model<'a>(request: &'a ValidRequest, effect: &Effect<'_>) -> &'a str {
    if effect.alters(&Answer::WrongModel) { "jina-embeddings-v1" } else { &request.model }
}

fn vectors(request: &ValidRequest, effect: &Effect<'_>) -> Vec<Vec<f32>> {
    let dimensions = effect
        .alterations
        .iter()
        .find_map(|answer| match answer {
            Answer::WrongDimensions(size) => Some(*size),
            _ => None,
        })
        .unwrap_or(request.dimensions);
    let model = model(request, effect);
    let same = effect.alters(&Answer::SameVector);
    let texts = request.texts.iter().map(|text| if same { &request.texts[0] } else { text });
    texts
        .map(|text| {
            let mut vector = unit(model, &request.task, dimensions, text);
            if !request.normalised {
                // Any length except 1 works, as long as it is always the same.
                for value in &mut vector {
                    *value *= 12.5;
                }
            }
            vector
        })
        .collect()
}

fn encode(vector: &[f32], encoding: Encoding) -> Embedding {
    let signs = || {
        vector.chunks(8).map(|chunk| {
            chunk.iter().enumerate().fold(
                0_i16,
                |byte, (place, value)| {
                    if *value > 0.0 { byte | (1 << (7 - place)) } else { byte }
                },
            )
        })
    };
    match encoding {
        Encoding::Float => Embedding::Floats(vector.to_vec()),
        Encoding::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
            Embedding::Text(STANDARD.encode(bytes))
        }
        Encoding::Binary => Embedding::Bytes(signs().map(|byte| byte - 128).collect()),
        Encoding::Ubinary => Embedding::Bytes(signs().collect()),
    }
}

/// The answer that replaces a success; `success` makes the body of the success.
pub(super) fn replacement(answer: &Answer, id: &str, success: impl FnOnce() -> Vec<u8>) -> (u16, ResponseTemplate) {
    match answer {
        Answer::Status { code, body, retry_after } => (*code, status(*code, body, *retry_after, id)),
        Answer::Malformed => {
            (200, ResponseTemplate::new(200).set_body_raw("{\"model\": \"jina-embe\u{fffd}, data: [", JSON))
        }
        Answer::Truncated => {
            let whole = success();
            let part = whole[..whole.len() / 2].to_vec();
            (200, ResponseTemplate::new(200).set_body_raw(part, JSON))
        }
        // The others alter a success or hold it back.
        _ => (0, ResponseTemplate::new(200)),
    }
}

fn status(code: u16, body: &Body, header: RetryAfter, id: &str) -> ResponseTemplate {
    // An invalid status code would make the mock panic.
    let template = ResponseTemplate::new(if (100..1000).contains(&code) { code } else { 500 });
    let template = match retry_after(header) {
        Some((value, _)) => template.insert_header("retry-after", value),
        None => template,
    };
    let (default, detail) = default_error(code);
    match body {
        Body::Jina => template.set_body_raw(error(code, default, detail, None, id).to_string(), JSON),
        Body::Code(own) => template.set_body_raw(error(code, own, detail, None, id).to_string(), JSON),
        Body::Html => template.set_body_raw(format!("<html><body><h1>{code}</h1></body></html>"), "text/html"),
        Body::Empty => template,
    }
}

/// The answer to a request that is refused.
pub(super) fn refusal(refusal: &Refusal, id: &str) -> ResponseTemplate {
    let body = error(refusal.status, refusal.code, &refusal.detail, refusal.field, id);
    ResponseTemplate::new(refusal.status).set_body_raw(body.to_string(), JSON)
}

/// The body of an error: `detail` is an object for 400 and 500 and text otherwise, as measured.
fn error(status: u16, code: &str, detail: &str, field: Option<&str>, id: &str) -> Value {
    match (status, field) {
        (_, Some(field)) => json!({
            "detail": format!("Validation error: 'body -> {field}' {detail}"),
            "request_id": id,
            "errors": [{ "field": field, "message": detail, "type": "value_error", "input": null }],
        }),
        (400 | 500, None) => json!({ "detail": { "message": detail, "request_id": id, "code": code } }),
        (_, None) => json!({ "detail": detail, "code": code, "request_id": id }),
    }
}

/// The error code and the message of a status.
const fn default_error(status: u16) -> (&'static str, &'static str) {
    match status {
        400 => ("INPUT_TOKEN_LIMIT_EXCEEDED", "Input text exceeds the model's maximum of tokens."),
        401 => ("AUTH_INVALID_API_KEY", "Invalid API key."),
        403 => ("AUTHZ_INSUFFICIENT_BALANCE", "Insufficient account balance."),
        404 => ("RESOURCE_NOT_FOUND", "Not found."),
        409 => ("CONFLICT_RESOURCE_BUSY", "The resource is busy."),
        422 => ("VALIDATION_ERROR", "Validation error."),
        429 => ("RATE_REQUEST_LIMIT_EXCEEDED", "Request rate limit exceeded."),
        503 => ("SERVICE_UNAVAILABLE", "Service unavailable."),
        504 => ("SERVICE_TIMEOUT", "The service did not answer in time."),
        _ => ("INTERNAL_ERROR", "Internal error."),
    }
}
