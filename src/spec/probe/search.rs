//! Probes of searches in the collection.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// Which fact about searches of the collection is the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SearchFact {
    /// The share of the ten nearest points that the index finds, from 0 to 1: each stored vector is searched for with the
    /// index and exactly.
    Recall,
    /// The median time of a search, in milliseconds.
    P50Ms,
    /// The 99th percentile of the time of a search, in milliseconds.
    P99Ms,
    /// Sampled vectors that are all zeros.
    Empty,
    /// Sampled vectors that are the same as another sampled vector.
    DuplicateVectors,
    /// Sampled points whose payload names no document.
    WithoutDocument,
    /// Models, other than the configured one, that the payloads of sampled points name.
    OtherModels,
    /// Documents without a point, out of a few whose row is `ready`.
    Lost,
    /// Documents without a row that sampled points name.
    Orphaned,
}

/// Searches of the collection for 16 of its own vectors, and the payloads of their points. Only reads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchProbe {
    /// Which fact is the value.
    pub yields: SearchFact,
}

impl fmt::Display for SearchFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recall => "the share of nearest points that the index finds",
            Self::P50Ms => "the median time in ms",
            Self::P99Ms => "the 99th percentile of the time in ms",
            Self::Empty => "vectors that are all zeros",
            Self::DuplicateVectors => "identical vectors",
            Self::WithoutDocument => "points that name no document",
            Self::OtherModels => "models other than the configured one",
            Self::Lost => "documents with a `ready` row and no point",
            Self::Orphaned => "documents with points and no row",
        })
    }
}
