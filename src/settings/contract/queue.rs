//! `[queue]`: how documents become jobs for the worker.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::settings::template::{SEQUENCE, Template};

/// `[queue]`: how documents become jobs for the worker.
#[derive(Debug, Clone)]
pub struct QueueContract {
    /// Queue name, if the worker has a fixed one.
    pub name: Option<String>,
    /// Key prefix, if the worker has a fixed one.
    pub prefix: Option<String>,
    /// The job of one document.
    pub job: JobContract,
    /// The job for a document that was ingested before; `job` if absent.
    pub reingest: Option<JobContract>,
    /// The job that removes a document, if the worker has one.
    pub delete: Option<JobContract>,
    /// What a document's id is, and how the worker knows which of two versions is newer.
    pub document: DocumentContract,
    /// What the application does in the database before a document is enqueued.
    pub before: Option<Template>,
    /// Further queues of the worker, such as those of child jobs.
    pub children: Vec<String>,
}

impl QueueContract {
    /// The names of the queues beside the worker's own: of its removals, and of child jobs.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        let jobs = [self.reingest.as_ref(), self.delete.as_ref()].into_iter().flatten();
        let own = self.job.queue.as_deref().into_iter().chain(jobs.filter_map(|job| job.queue.as_deref()));
        let unique: std::collections::BTreeSet<&str> = own.chain(self.children.iter().map(String::as_str)).collect();
        unique.into_iter().filter(|name| self.name.as_deref() != Some(*name))
    }
}

/// `[queue.document]`: the documents of the jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DocumentContract {
    /// What `{{document.id}}` is.
    pub id: DocumentId,
    /// How the worker knows which of two jobs of a document is newer; `None` if it cannot know it.
    pub order: Option<Order>,
}

/// How a worker knows which of two jobs of a document is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// By `{{document.sequence}}` in the data of the jobs.
    Data,
    /// By what the statement of `[queue] before` writes into the document's row.
    Row,
    /// By the time at which the application added the job, in BullMQ's `timestamp`.
    Timestamp,
}

/// What the id of a document is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentId {
    /// Any text, such as a path.
    #[default]
    Text,
    /// A UUID (version 5).
    Uuid,
    /// A positive integer of at most 31 bits.
    Integer,
}

/// The job of one document.
#[derive(Debug, Clone)]
pub struct JobContract {
    /// Its queue, if it is not the worker's.
    pub queue: Option<String>,
    /// Job name.
    pub name: String,
    /// Job data, with placeholders for documents.
    pub data: BTreeMap<String, Data>,
    /// Attempts in total, including the first; 1 if absent.
    pub attempts: Option<u32>,
    /// Wait between attempts.
    pub backoff: Option<Backoff>,
    /// Further options, by BullMQ's names: `removeOnComplete`, `priority`, `lifo` …
    pub options: serde_json::Map<String, Value>,
}

/// Job options that the contract may set. The others are set by the harness (`jobId`, `timestamp`), have their own keys
/// (`attempts`, `backoff`), or would change the meaning of a scenario (`delay`, `repeat`, `deduplication`, `parent`).
pub const JOB_OPTIONS: &[&str] =
    &["removeOnComplete", "removeOnFail", "priority", "lifo", "keepLogs", "stackTraceLimit"];

impl JobContract {
    /// The reference worker's job, with the version of the document in its data.
    #[must_use]
    pub fn with_version() -> Self {
        let mut job = Self::default();
        job.data.insert("version".to_owned(), Data::Text(Template::place("document.version")));
        job
    }

    /// How long it waits between its attempts in total if each fails. Jitter only shortens the waits.
    #[must_use]
    pub fn retry_waits(&self) -> Duration {
        let retries = self.attempts.unwrap_or(1).saturating_sub(1);
        let Some(backoff) = self.backoff else { return Duration::ZERO };
        let times = match backoff.kind {
            BackoffKind::Fixed => retries,
            BackoffKind::Exponential => 2_u32.saturating_pow(retries).saturating_sub(1),
        };
        Duration::from_millis(backoff.delay.into()).saturating_mul(times)
    }

    /// Whether its data uses this placeholder.
    #[must_use]
    pub fn mentions(&self, place: &str) -> bool {
        self.data.values().any(|data| data.mentions(place))
    }

    /// The job's data with every placeholder replaced; the error is the name of a placeholder without a value.
    pub fn fill(&self, lookup: &impl Fn(&str) -> Option<Value>) -> Result<Value, String> {
        self.data
            .iter()
            .map(|(name, data)| Ok((name.clone(), data.fill(lookup)?)))
            .collect::<Result<_, String>>()
            .map(Value::Object)
    }
}

/// Job data: JSON whose texts may contain placeholders.
#[derive(Debug, Clone)]
pub enum Data {
    /// Text, with or without placeholders.
    Text(Template),
    /// A number or a boolean.
    Literal(Value),
    /// A list.
    List(Vec<Self>),
    /// An object.
    Map(BTreeMap<String, Self>),
}

impl Data {
    /// The JSON with every placeholder replaced; the error is the name of a placeholder without a value.
    pub fn fill(&self, lookup: &impl Fn(&str) -> Option<Value>) -> Result<Value, String> {
        Ok(match self {
            Self::Text(template) => template.fill_value(lookup)?,
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

    fn mentions(&self, place: &str) -> bool {
        match self {
            Self::Text(template) => template.mentions(place),
            Self::Literal(_) => false,
            Self::List(items) => items.iter().any(|item| item.mentions(place)),
            Self::Map(fields) => fields.values().any(|field| field.mentions(place)),
        }
    }
}

/// Wait between two attempts of a job, as BullMQ computes it.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// How the wait grows.
    #[serde(rename = "type")]
    pub kind: BackoffKind,
    /// First wait, in milliseconds.
    pub delay: u32,
    /// Random fraction of the wait, 0 to 1.
    #[serde(default)]
    pub jitter: f64,
}

/// How the wait between attempts grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackoffKind {
    /// Always the same.
    Fixed,
    /// Twice as long each time.
    Exponential,
}

impl Default for JobContract {
    /// The reference worker's job.
    fn default() -> Self {
        let place = |name: &str| Data::Text(Template::place(name));
        Self {
            queue: None,
            name: "ingest-document".to_owned(),
            data: [
                ("documentId", place("document.id")),
                ("text", place("document.text")),
                ("source", place("document.source")),
                ("sequence", place(SEQUENCE)),
            ]
            .map(|(name, data)| (name.to_owned(), data))
            .into(),
            attempts: Some(5),
            backoff: Some(Backoff { kind: BackoffKind::Exponential, delay: 200, jitter: 0.0 }),
            options: serde_json::Map::new(),
        }
    }
}

impl Default for QueueContract {
    fn default() -> Self {
        let delete = JobContract {
            name: "delete-document".to_owned(),
            data: [("documentId", "document.id"), ("sequence", SEQUENCE)]
                .map(|(name, place)| (name.to_owned(), Data::Text(Template::place(place))))
                .into(),
            ..JobContract::default()
        };
        Self {
            name: None,
            prefix: None,
            job: JobContract::default(),
            reingest: None,
            delete: Some(delete),
            document: DocumentContract::default(),
            before: None,
            children: Vec::new(),
        }
    }
}
