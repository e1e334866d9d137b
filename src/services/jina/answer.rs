//! Checks a response of the embeddings API: each text must have exactly one usable vector.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Embedded, JinaError};

#[derive(Deserialize)]
struct Answer {
    model: Option<String>,
    data: Vec<Item>,
    #[serde(default)]
    usage: Usage,
}

#[derive(Deserialize, Default)]
struct Usage {
    #[serde(default)]
    total_tokens: u64,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    embedding: Vector,
}

/// A vector in either encoding: a service may respond in a different encoding than requested.
struct Vector(Vec<f32>);

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VectorVisitor).map(Self)
    }
}

struct VectorVisitor;

impl<'de> Visitor<'de> for VectorVisitor {
    type Value = Vec<f32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of numbers or the base64 of 32-bit floats")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let bytes = BASE64_STANDARD.decode(text).map_err(|_| E::custom("an embedding is not base64"))?;
        let (numbers, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(E::custom("an embedding's length is not a multiple of 4 bytes"));
        }
        Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut numbers = Vec::with_capacity(sequence.size_hint().unwrap_or(1024));
        while let Some(number) = sequence.next_element()? {
            numbers.push(number);
        }
        Ok(numbers)
    }
}

/// The vectors in `body` in the order of the texts, if there is one vector of `dimensions` numbers for each of the
/// `count` texts; with `takes_short`, also if there are fewer.
pub(super) fn check(
    body: &[u8],
    model: &str,
    count: usize,
    dimensions: usize,
    takes_short: bool,
) -> Result<Embedded, JinaError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| JinaError::Malformed(describe(&error)))?;
    if answer.model.as_deref().is_some_and(|answered| answered != model) {
        return Err(malformed(format!("it is from a different model than `{model}`")));
    }
    if answer.data.len() > count || (answer.data.len() < count && !takes_short) {
        return Err(malformed(format!("{} vectors for {count} texts", answer.data.len())));
    }
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; count];
    for Item { index, embedding: Vector(vector) } in answer.data {
        let place = vectors
            .get_mut(index)
            .ok_or_else(|| malformed(format!("index {index} is out of range for {count} texts")))?;
        if vector.len() != dimensions {
            return Err(malformed(format!("vector {index} has {} numbers instead of {dimensions}", vector.len())));
        }
        if !vector.iter().all(|number| number.is_finite()) {
            return Err(malformed(format!("vector {index} contains a number that is not finite")));
        }
        if vector.iter().all(|number| *number == 0.0) {
            return Err(malformed(format!("vector {index} is all zeros")));
        }
        if place.replace(vector).is_some() {
            return Err(malformed(format!("index {index} appears twice")));
        }
    }
    // One vector per text, each at its own index: none is missing.
    let vectors = vectors.into_iter().flatten().collect();
    Ok(Embedded { vectors, tokens: answer.usage.total_tokens })
}

const fn malformed(detail: String) -> JinaError {
    JinaError::Malformed(detail)
}

/// What is wrong with a body, without quoting it: serde's message can contain parts of it.
fn describe(error: &serde_json::Error) -> String {
    let problem = match error.classify() {
        serde_json::error::Category::Eof => "it is truncated",
        serde_json::error::Category::Syntax => "it is not JSON",
        serde_json::error::Category::Data => "a field is missing or has the wrong type",
        serde_json::error::Category::Io => "it cannot be read",
    };
    format!("{problem}, at line {} column {}", error.line(), error.column())
}
