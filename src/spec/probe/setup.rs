//! Probes that run a whole operation: `shakedown setup`, and the ingestion of a tiny document.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// Which fact about `shakedown setup` is the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SetupYield {
    /// The exit code of the last run.
    Exit,
    /// The number of steps that changed something in the last run.
    Changes,
    /// The steps in the order in which they ran.
    Order,
}

/// Runs of `shakedown setup`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetupProbe {
    /// How often to run it.
    #[serde(default = "once")]
    pub times: u32,
    /// Variables to change, such as a wrong `EMBEDDING_DIMENSIONS` for the last run.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Which fact is the value.
    pub yields: SetupYield,
}

const fn once() -> u32 {
    1
}

/// The ingestion of a tiny document, from the file to the point; yields `stored`, or what happened instead.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IngestionProbe {
    /// Timeout in seconds.
    pub within_s: u64,
}

impl fmt::Display for SetupYield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exit => "the exit code",
            Self::Changes => "the number of steps that changed something",
            Self::Order => "the order of the steps",
        })
    }
}
