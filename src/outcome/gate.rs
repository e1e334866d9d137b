//! Options and results of a CI gate: strictness, attempts, shards, comparison with an earlier report.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Options of a CI gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    /// Warnings, including flaky cases, count as failures, and a skipped MUST counts as unknown.
    #[serde(default)]
    pub strict: bool,
    /// How many times each case was run.
    #[serde(default = "once")]
    pub attempts: u32,
    /// The shard that was run, such as `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// Changes since an earlier report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { strict: false, attempts: once(), shard: None, comparison: None }
    }
}

const fn once() -> u32 {
    1
}

/// Changes since an earlier report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Id of the earlier run.
    pub baseline: String,
    /// Cases that pass and did not pass before.
    pub fixed: Vec<String>,
    /// Cases with a more severe verdict than before, including cases that are no longer evaluated.
    pub worse: Vec<String>,
    /// Cases that were not evaluated before and do not pass.
    pub new: Vec<String>,
    /// Cases that are no longer in the report.
    pub gone: Vec<String>,
}

impl Comparison {
    /// Whether no case got worse and no new case fails.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.worse.is_empty() && self.new.is_empty()
    }

    /// The comparison in one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        let lists = [("worse", &self.worse), ("new", &self.new), ("fixed", &self.fixed), ("gone", &self.gone)];
        let parts: Vec<String> = lists
            .into_iter()
            .filter(|(_, ids)| !ids.is_empty())
            .map(|(word, ids)| format!("{} {word} ({})", ids.len(), ids.join(", ")))
            .collect();
        let parts = if parts.is_empty() { "no changes".to_owned() } else { parts.join("; ") };
        format!("compared with run {}: {parts}", self.baseline)
    }
}
