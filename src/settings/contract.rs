//! `[worker]`, `[queue]` and `[evidence]`: how a worker is started, fed and looked at.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::template::Template;

/// `[worker]`: the process under test.
#[derive(Debug, Clone)]
pub struct WorkerContract {
    /// Program and arguments; never empty.
    pub command: Vec<String>,
    /// Directory it runs in; already joined to the directory of `shakedown.toml`.
    pub cwd: PathBuf,
    /// Its environment, over places of endpoints, besides what every worker is given.
    pub env: BTreeMap<String, Template>,
    /// How it says that it takes jobs.
    pub ready: Ready,
    /// How long it may take to end after SIGTERM.
    pub shutdown_grace: Duration,
}

/// How a worker says that it takes jobs.
#[derive(Debug, Clone)]
pub enum Ready {
    /// A worker is registered on the queue.
    Queue,
    /// A line of its output matches.
    Log(Regex),
}

/// `[queue]`: how documents are handed to the worker.
#[derive(Debug, Clone)]
pub struct QueueContract {
    /// Queue name, where it is not `QUEUE_NAME`.
    pub name: Option<String>,
    /// Key prefix, where it is not `QUEUE_PREFIX`.
    pub prefix: Option<String>,
    /// The job of one document.
    pub job: Option<JobContract>,
}

/// The job of one document.
#[derive(Debug, Clone)]
pub struct JobContract {
    /// Job name.
    pub name: String,
    /// Job data, over places of documents.
    pub data: BTreeMap<String, Data>,
    /// Tries in all, the first included.
    pub attempts: u32,
    /// Wait between tries.
    pub backoff: Option<Backoff>,
}

/// A piece of job data: JSON in which text may have places.
#[derive(Debug, Clone)]
pub enum Data {
    /// Text, with or without places.
    Text(Template),
    /// A number or a truth value.
    Literal(Value),
    /// A list.
    List(Vec<Self>),
    /// An object.
    Map(BTreeMap<String, Self>),
}

impl Data {
    /// The JSON with every place filled in; the error is the name of a place without a value.
    pub fn fill(&self, lookup: &impl Fn(&str) -> Option<String>) -> Result<Value, String> {
        Ok(match self {
            Self::Text(template) => Value::String(template.fill(lookup)?),
            Self::Literal(value) => value.clone(),
            Self::List(items) => Value::Array(items.iter().map(|item| item.fill(lookup)).collect::<Result<_, _>>()?),
            Self::Map(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(name, field)| Ok((name.clone(), field.fill(lookup)?)))
                    .collect::<Result<_, String>>()?,
            ),
        })
    }
}

/// Wait between two tries of a job, as BullMQ computes it.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// How the wait grows.
    #[serde(rename = "type")]
    pub kind: BackoffKind,
    /// First wait, in milliseconds.
    pub delay: u32,
    /// Share of the wait that is random, 0 to 1.
    #[serde(default)]
    pub jitter: f64,
}

/// How the wait between tries grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackoffKind {
    /// Always the same.
    Fixed,
    /// Twice as long each time.
    Exponential,
}

/// `[evidence]`: where the worker leaves its results.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceContract {
    /// Points in Qdrant.
    pub qdrant: Option<QdrantEvidence>,
    /// Rows in Postgres, where the worker keeps any.
    pub postgres: Option<PostgresEvidence>,
}

/// Points in Qdrant: the collection and the payload fields that say what a point is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QdrantEvidence {
    /// Collection, where it is not `QDRANT_COLLECTION`.
    pub collection: Option<String>,
    /// Field with the document's id.
    pub document: String,
    /// Field with the chunk's number.
    pub chunk: String,
    /// Field with the chunk's text.
    pub text: String,
}

/// Rows in Postgres: the table and the columns that say what became of a document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresEvidence {
    /// Table, where it is not `DOCUMENTS_TABLE`.
    pub table: Option<String>,
    /// Column with the document's id.
    pub id: String,
    /// Column with its status.
    pub status: String,
    /// The status of a document that is stored.
    pub done: String,
}
