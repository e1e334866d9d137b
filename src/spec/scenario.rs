//! Scenarios as data: workload and steps, run once and judged by as many cases as name them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::Fault;

/// Which documents a scenario ingests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Documents {
    /// Globs over the names of the built-in documents; absent means all of them, unless others are asked for.
    #[serde(default)]
    pub named: Option<Vec<String>>,
    /// How many generated documents to add, each of a few paragraphs drawn from the seed.
    #[serde(default)]
    pub generated: usize,
    /// How many huge documents to add, each of about 130 chunks: more than fit into one request.
    #[serde(default)]
    pub huge: usize,
    /// How many poison documents to add: their text holds the word `POISON`, which the scenario's mock rejects.
    #[serde(default)]
    pub poison: usize,
}

/// One step of a scenario; the next begins when the queue has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Enqueue every document and wait until each job has ended.
    Ingest,
    /// Enqueue a version of each document that ends after its first third, and wait.
    Shorten,
}

/// A workload with steps, run against the worker under test.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is about, in one line.
    pub title: String,
    /// Which documents.
    pub documents: Documents,
    /// What to do with them.
    pub steps: Vec<Step>,
    /// Variables for the worker beside the contract's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Behaviours of the Jina mock, in the mock's own words.
    #[serde(default)]
    pub jina: Vec<Value>,
    /// What is broken on purpose during the first step, and put back. A voyage on which one of them never took effect
    /// proves nothing.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// Seconds until the scenario is given up; 60 when absent.
    #[serde(default)]
    pub within_s: Option<u64>,
}
