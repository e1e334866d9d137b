//! Probes of the embeddings API.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::Auth;

/// Which fact about a call of the embeddings API is the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JinaYield {
    /// Status code.
    Status,
    /// Number of vectors.
    Count,
    /// Size of the vectors, or `mixed`.
    Dimensions,
    /// Whether the indices are a permutation of 0..n.
    Permutation,
    /// Largest difference of an L2 norm from 1.
    NormError,
    /// Whether all numbers are finite.
    Finite,
    /// The model that the answer names.
    Model,
    /// `usage.total_tokens`.
    Tokens,
    /// Largest cosine between vectors of two different texts.
    Similarity,
    /// Largest difference between the vectors of two calls with the same texts.
    Repeatable,
    /// Largest difference between the vectors as float and as base64.
    Encodings,
    /// The error code in the body.
    ErrorCode,
    /// Milliseconds until the answer.
    LatencyMs,
    /// How many more requests the key may make now (`X-RateLimit-Remaining-Requests`); the case is skipped if the API does
    /// not send this header.
    RequestsLeft,
    /// How many more tokens the key may send now (`X-RateLimit-Remaining-Tokens`); the case is skipped if the API does not
    /// send this header.
    TokensLeft,
}

/// One call of the embeddings API.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JinaProbe {
    /// The texts; three short ones when absent.
    #[serde(default)]
    pub texts: Option<Vec<String>>,
    /// Instead of `texts`: one text of this many words.
    #[serde(default)]
    pub words: Option<usize>,
    /// Which key is sent.
    #[serde(default)]
    pub auth: Auth,
    /// Fields of the request that replace the default ones.
    #[serde(default)]
    pub with: BTreeMap<String, Value>,
    /// Which fact is the value.
    pub yields: JinaYield,
}

impl fmt::Display for JinaYield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status => "the status",
            Self::Count => "the number of vectors",
            Self::Dimensions => "the size of the vectors",
            Self::Permutation => "whether the indices are a permutation of 0..n",
            Self::NormError => "the largest difference of a norm from 1",
            Self::Finite => "whether all numbers are finite",
            Self::Model => "the model that the answer names",
            Self::Tokens => "the tokens that the answer counts",
            Self::Similarity => "the largest cosine between two different texts",
            Self::Repeatable => "the largest difference between two identical calls",
            Self::Encodings => "the largest difference between float and base64",
            Self::ErrorCode => "the error code",
            Self::LatencyMs => "the time until the answer in ms",
            Self::RequestsLeft => "the remaining requests of the key",
            Self::TokensLeft => "the remaining tokens of the key",
        })
    }
}
