//! Parsing and validating a request for embeddings.

use std::sync::Arc;

use serde_json::Value;

use super::model::{self, Model};

/// The encoding of vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Float,
    /// Little-endian floats.
    Base64,
    /// Signs packed from the highest bit, as signed bytes.
    Binary,
    /// The same, as unsigned bytes.
    Ubinary,
}

/// A request before validation.
#[derive(Debug, Default)]
pub(super) struct RawRequest {
    pub(super) texts: Arc<[String]>,
    pub(super) model: Option<String>,
    pub(super) task: Option<String>,
    pub(super) dimensions: Option<u32>,
    pub(super) embedding_type: Option<String>,
    pub(super) late_chunking: bool,
    pub(super) truncate: bool,
}

/// A request after validation.
#[derive(Debug)]
pub(super) struct ValidRequest {
    pub(super) model: String,
    pub(super) task: String,
    pub(super) dimensions: u32,
    pub(super) encoding: Encoding,
    pub(super) normalised: bool,
    /// The texts, cut to the context of the model if the request permits it.
    pub(super) texts: Vec<String>,
    pub(super) tokens: u64,
    /// Whether the real service would report `prompt_tokens`.
    pub(super) reports_prompt_tokens: bool,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) detail: String,
    /// For 422: the field that is wrong.
    pub(super) field: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), field: None }
    }

    fn invalid(field: &'static str, detail: impl Into<String>) -> Self {
        Self { status: 422, code: "VALIDATION_ERROR", detail: detail.into(), field: Some(field) }
    }
}

/// Parses as much as possible of a body that may be invalid in any way.
pub(super) fn parse(body: &Value) -> RawRequest {
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    RawRequest {
        texts: inputs(&body["input"]).map(|(texts, _)| texts.into()).unwrap_or_default(),
        model: text("model"),
        task: text("task"),
        dimensions: body["dimensions"].as_u64().and_then(|size| u32::try_from(size).ok()),
        embedding_type: text("embedding_type").or_else(|| text("encoding_format")),
        late_chunking: body["late_chunking"] == true,
        truncate: body["truncate"] == true,
    }
}

/// Validates a body as the real service does. `custom` is an additional model that the mock accepts.
pub(super) fn validate(body: &Value, raw: &RawRequest, custom: &str) -> Result<ValidRequest, Refusal> {
    let name = raw.model.as_deref().ok_or_else(|| Refusal::invalid("model", "Field required"))?;
    let model = model::find(name)
        // A custom model has the limits of v3.
        .or_else(|| (name == custom).then(|| model::find("jina-embeddings-v3")).flatten())
        .ok_or_else(|| Refusal::new(400, "INPUT_MODEL_NOT_FOUND", format!("Model '{name}' not found.")))?;
    let task = task(body, raw, model)?;
    let dimensions = match (&body["dimensions"], raw.dimensions) {
        (Value::Null, _) => model.max_dimensions,
        (_, Some(size)) if (1..=model.max_dimensions).contains(&size) => size,
        (given, _) => {
            let max = model.max_dimensions;
            return Err(Refusal::invalid("dimensions", format!("{given} is not between 1 and {max}")));
        }
    };
    let encoding = match &body["embedding_type"] {
        // The name of OpenAI's API, with which Jina's is compatible: their clients ask for base64 by it.
        Value::Null => encoding(&body["encoding_format"])?,
        given => encoding(given)?,
    };
    let (mut texts, objects) = inputs(&body["input"])?;
    if texts.is_empty() {
        return Err(Refusal::invalid("input", "Input list must not be empty"));
    }
    if texts.iter().any(String::is_empty) {
        return Err(Refusal::invalid("input", "Input text must not be empty"));
    }
    if texts.len() > model.max_texts {
        let detail = format!("Each input list can contain at most {} items.", model.max_texts);
        return Err(Refusal::new(400, "INPUT_LIST_TOO_LONG", detail));
    }
    let late = raw.late_chunking;
    if late && !model.late_chunking {
        return Err(Refusal::invalid("late_chunking", format!("{name} has no late chunking")));
    }
    let mut tokens = 0;
    for text in &mut texts {
        tokens += fit(text, model, raw.truncate)?;
    }
    // Late chunking embeds the whole list as one text.
    if late && tokens > model.context {
        return Err(too_long(model));
    }
    Ok(ValidRequest {
        model: name.to_owned(),
        task,
        dimensions,
        encoding,
        normalised: body["normalized"].as_bool().unwrap_or(true),
        texts,
        tokens: tokens as u64,
        reports_prompt_tokens: name.ends_with("-v3") && (late || objects),
    })
}

/// The effective task of a request with `task`.
pub(super) fn effective_task(model: &str, task: Option<&str>) -> String {
    task.unwrap_or_else(|| model::find(model).map_or("", |model| model.default_task)).to_owned()
}

fn task(body: &Value, raw: &RawRequest, model: &Model) -> Result<String, Refusal> {
    if body["task"].is_null() {
        return Ok(model.default_task.to_owned());
    }
    match raw.task.as_deref() {
        Some(task) if model.tasks.contains(&task) => Ok(task.to_owned()),
        _ => Err(Refusal::invalid("task", format!("{} is not one of {:?}", body["task"], model.tasks))),
    }
}

fn encoding(given: &Value) -> Result<Encoding, Refusal> {
    match given {
        Value::Null => Ok(Encoding::Float),
        // Documented, but the real service answers with an error.
        Value::Array(_) => Err(Refusal::new(500, "INTERNAL_ERROR", "Internal error.")),
        _ => match given.as_str() {
            Some("float") => Ok(Encoding::Float),
            Some("base64") => Ok(Encoding::Base64),
            Some("binary") => Ok(Encoding::Binary),
            Some("ubinary") => Ok(Encoding::Ubinary),
            _ => Err(Refusal::invalid("embedding_type", format!("{given} is not a type of embedding"))),
        },
    }
}

/// The texts of `input`, and whether any of them is an object.
fn inputs(input: &Value) -> Result<(Vec<String>, bool), Refusal> {
    let one = |item: &Value| match item {
        Value::String(text) => Ok((text.clone(), false)),
        Value::Object(object) => match object.get("text").and_then(Value::as_str) {
            Some(text) => Ok((text.to_owned(), true)),
            None => Err(Refusal::invalid("input", "Only texts can be embedded")),
        },
        _ => Err(Refusal::invalid("input", "Input should be a string, an object with text, or a list of these")),
    };
    let items = match input {
        Value::Null => return Err(Refusal::invalid("input", "Field required")),
        Value::Array(items) => items.iter().map(one).collect::<Result<Vec<_>, _>>()?,
        item => vec![one(item)?],
    };
    let objects = items.iter().any(|(_, object)| *object);
    Ok((items.into_iter().map(|(text, _)| text).collect(), objects))
}

/// Counts the tokens of `text`, and cuts it to the context of the model if `truncate` is set.
///
/// The vocabularies of the models are not available offline. `cl100k` replaces them, so counts near the limit differ
/// from the real service.
fn fit(text: &mut String, model: &Model, truncate: bool) -> Result<usize, Refusal> {
    // A token is at least one byte.
    if text.len() <= model.context {
        return Ok(count_tokens(text));
    }
    let tokens = bpe_openai::cl100k_base().encode(text.as_str());
    if tokens.len() <= model.context {
        return Ok(tokens.len());
    }
    if !truncate {
        return Err(too_long(model));
    }
    // The cut may be inside a character; then it moves back to the start of the character.
    let mut kept = model.context;
    while kept > 0 {
        if let Some(cut) = bpe_openai::cl100k_base().decode(&tokens[..kept]) {
            *text = cut;
            break;
        }
        kept -= 1;
    }
    Ok(kept)
}

/// The number of tokens of `text`.
pub(super) fn count_tokens(text: &str) -> usize {
    bpe_openai::cl100k_base().count(text)
}

fn too_long(model: &Model) -> Refusal {
    let detail = format!(
        "Input text exceeds the model's maximum of {} tokens. Split it, or set truncate to true.",
        model.context
    );
    Refusal::new(400, "INPUT_TOKEN_LIMIT_EXCEEDED", detail)
}
