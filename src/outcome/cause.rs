//! Root causes: what the observations of all scenario runs show, each once, with the cases that it explains.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A cause of cases that did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// Its name in the vocabulary `suites/causes/`, such as `vectors-paired-by-position`. A cause about something, such as
    /// a missing column, has that appended.
    pub id: String,
    /// The cause in one sentence.
    pub sentence: String,
    /// What was observed, one line each.
    pub evidence: Vec<String>,
    /// How to fix it.
    pub remedy: String,
    /// How to fix it with the libraries that the worker's manifest names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub libraries: Vec<LibraryRemedy>,
    /// Entries of the failure catalogue and URLs.
    pub source: String,
    /// The cases that did not pass because of it.
    pub cases: Vec<String>,
}

/// A remedy in the terms of a library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LibraryRemedy {
    /// The library, as in the manifest.
    pub library: String,
    /// What to change.
    pub remedy: String,
}
