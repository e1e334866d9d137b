//! `[worker]`, `[queue]` and `[evidence]`: how a worker is started, how it gets jobs, and where its results are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::endpoint::Names;
use super::template::Template;

/// Default of `shutdown_grace`: how long a worker may take to exit after SIGTERM. It is that of `docker stop`.
pub(super) const GRACE: Duration = Duration::from_secs(10);
/// What a worker may need beyond the time that it gives its jobs, until its process has ended.
const GRACE_MARGIN: Duration = Duration::from_secs(2);
/// Default of `ready_within`: how long a worker may take until it takes jobs.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(30);
/// Default of `within` in `[worker.build]`.
pub(super) const BUILD_WITHIN: Duration = Duration::from_mins(10);
/// Default of `within` in `[worker.prepare]`.
pub(super) const PREPARE_WITHIN: Duration = Duration::from_mins(1);

/// How to run and observe the worker under test. The reference worker has a contract too.
#[derive(Debug, Clone)]
pub struct Contract {
    /// The file that the contract was read from; `None` for the reference worker.
    pub path: Option<PathBuf>,
    /// The process.
    pub worker: WorkerContract,
    /// How documents become jobs.
    pub queue: QueueContract,
    /// Where the results are stored.
    pub evidence: EvidenceContract,
}

/// `[worker]`: the process under test.
#[derive(Debug, Clone)]
pub struct WorkerContract {
    /// The command or image to start.
    pub program: Program,
    /// Working directory, already joined to the directory of `shakedown.toml`.
    pub cwd: PathBuf,
    /// Environment variables, with placeholders for endpoints, in addition to those that every worker gets.
    pub env: BTreeMap<String, Template>,
    /// How it signals that it takes jobs.
    pub ready: Ready,
    /// How long it may take until it is ready.
    pub ready_within: Duration,
    /// How long it may take to exit after SIGTERM.
    pub shutdown_grace: Grace,
    /// Factor by which every timeout of a scenario is multiplied.
    pub timeout_factor: f64,
    /// Number of worker processes in a scenario that does not set one.
    pub replicas: usize,
    /// What the worker creates itself, so that `shakedown setup` does not.
    pub creates: Vec<Creates>,
    /// Run once, before the first scenario.
    pub build: Option<Hook>,
    /// Run before each scenario, with the worker's environment.
    pub prepare: Option<Hook>,
}

/// How long a worker may take to exit after SIGTERM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grace {
    /// Always this long.
    Fixed(Duration),
    /// As long as this variable says, in milliseconds, and two seconds more.
    Variable(String),
}

impl Grace {
    /// The grace period of a worker that a scenario gives these variables.
    #[must_use]
    pub fn with_variables(&self, variables: &BTreeMap<String, String>) -> Duration {
        match self {
            Self::Fixed(grace) => *grace,
            Self::Variable(name) => {
                let given = variables.get(name).and_then(|value| value.parse().ok()).map(Duration::from_millis);
                given.map_or(GRACE, |given| given + GRACE_MARGIN)
            }
        }
    }
}

impl std::fmt::Display for Grace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(grace) => write!(f, "{} s", grace.as_secs_f64()),
            Self::Variable(name) => write!(f, "the time in {name}"),
        }
    }
}

/// The command or image of the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// Program and arguments; never empty.
    Command(Vec<String>),
    /// A container image, with the arguments of its entry point.
    Image {
        /// Name and tag, or digest.
        image: String,
        /// Arguments; if empty, those of the image.
        command: Vec<String>,
    },
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Command(command) => f.write_str(&command.join(" ")),
            Self::Image { image, command } => {
                write!(f, "image {image}")?;
                command.iter().try_for_each(|word| write!(f, " {word}"))
            }
        }
    }
}

/// A command that is run to completion before the worker: a build or a preparation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Program and arguments; never empty.
    pub command: Vec<String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// How long it may take.
    pub within: Duration,
}

/// What a worker may create itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Creates {
    /// The table of documents; its schema exists already.
    Table,
    /// The collection of chunks.
    Collection,
}

impl Creates {
    /// The word in `shakedown.toml` and on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Collection => "collection",
        }
    }
}

/// How a worker signals that it takes jobs.
#[derive(Debug, Clone)]
pub enum Ready {
    /// A worker is registered on the queue.
    Queue,
    /// A line of its output matches.
    Log(Regex),
    /// This URL answers with a status below 400.
    Http(Template),
}

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
}

/// The job of one document.
#[derive(Debug, Clone)]
pub struct JobContract {
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

    /// Whether its data uses this placeholder.
    #[must_use]
    pub fn mentions(&self, place: &str) -> bool {
        self.data.values().any(|data| data.mentions(place))
    }

    /// The job's data with every placeholder replaced; the error is the name of a placeholder without a value.
    pub fn fill(&self, lookup: &impl Fn(&str) -> Option<String>) -> Result<Value, String> {
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

/// `[evidence]`: where the worker stores its results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceContract {
    /// Points in Qdrant.
    pub qdrant: QdrantEvidence,
    /// Rows in Postgres, if the worker writes any.
    pub postgres: Option<PostgresEvidence>,
}

/// Points in Qdrant: the collection and the payload fields that identify a point. Nested fields are written with dots,
/// e.g. `metadata.source`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QdrantEvidence {
    /// Collection, if the worker has a fixed one.
    pub collection: Option<String>,
    /// Name of the vector; `None` for the unnamed vector.
    pub vector: Option<String>,
    /// Field with the document's id.
    pub document: String,
    /// Field with the chunk's index, counted from 0.
    pub chunk: Option<String>,
    /// Field with the chunk's text.
    pub text: Option<String>,
    /// Field with the document's version.
    pub version: Option<String>,
}

/// Rows in Postgres: the table and the columns that hold the state of a document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresEvidence {
    /// Table, if the worker has a fixed one.
    pub table: Option<String>,
    /// A query that returns the columns below, instead of a table; it may use placeholders for endpoints.
    pub query: Option<String>,
    /// Column with the document's id.
    pub id: String,
    /// Column with its status.
    pub status: String,
    /// The status of a document that is stored.
    pub done: String,
    /// The status of a document that has no text.
    pub skipped: Option<String>,
    /// The status of a document whose job failed permanently.
    pub failed: Option<String>,
    /// Column with the document's version.
    pub version: Option<String>,
    /// Column with the number of its chunks.
    pub chunks: Option<String>,
    /// Column with the error message.
    pub error: Option<String>,
}

impl Default for QdrantEvidence {
    fn default() -> Self {
        let key = |name: &str| Some(name.to_owned());
        Self {
            collection: None,
            vector: None,
            document: "document_id".to_owned(),
            chunk: key("chunk_index"),
            text: key("text"),
            version: key("version"),
        }
    }
}

impl Default for PostgresEvidence {
    fn default() -> Self {
        let column = |name: &str| Some(name.to_owned());
        Self {
            table: None,
            query: None,
            id: "id".to_owned(),
            status: "status".to_owned(),
            done: "ready".to_owned(),
            skipped: column("skipped"),
            failed: column("failed"),
            version: column("version"),
            chunks: column("chunks"),
            error: column("error"),
        }
    }
}

impl Default for EvidenceContract {
    fn default() -> Self {
        Self { qdrant: QdrantEvidence::default(), postgres: Some(PostgresEvidence::default()) }
    }
}

impl Default for JobContract {
    /// The reference worker's job.
    fn default() -> Self {
        let place = |name: &str| Data::Text(Template::place(name));
        Self {
            name: "ingest-document".to_owned(),
            data: [
                ("documentId", place("document.id")),
                ("text", place("document.text")),
                ("source", place("document.source")),
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
            data: [("documentId".to_owned(), Data::Text(Template::place("document.id")))].into(),
            ..JobContract::default()
        };
        Self { name: None, prefix: None, job: JobContract::default(), reingest: None, delete: Some(delete) }
    }
}

impl WorkerContract {
    /// Whether its environment has the address or a key of Supabase's API.
    #[must_use]
    pub fn names_supabase(&self) -> bool {
        let places = ["supabase.url", "supabase.anon_key", "supabase.service_key"];
        self.env.values().any(|template| places.iter().any(|place| template.mentions(place)))
    }

    /// A worker with this program and default settings.
    #[must_use]
    pub const fn new(program: Program, cwd: PathBuf) -> Self {
        Self {
            program,
            cwd,
            env: BTreeMap::new(),
            ready: Ready::Queue,
            ready_within: READY_WITHIN,
            shutdown_grace: Grace::Fixed(GRACE),
            timeout_factor: 1.0,
            replicas: 1,
            creates: Vec::new(),
            build: None,
            prepare: None,
        }
    }
}

impl Contract {
    /// The reference worker: `shakedown worker`.
    #[must_use]
    pub fn reference(shakedown: &Path, cwd: &Path) -> Self {
        let command = vec![shakedown.display().to_string(), "worker".to_owned()];
        let mut worker = WorkerContract::new(Program::Command(command), cwd.to_owned());
        worker.shutdown_grace = Grace::Variable("WORKER_SHUTDOWN_GRACE_MS".to_owned());
        Self::for_worker(worker)
    }

    /// A worker that takes the reference worker's jobs and stores the same results.
    #[must_use]
    pub fn for_worker(worker: WorkerContract) -> Self {
        Self { path: None, worker, queue: QueueContract::default(), evidence: EvidenceContract::default() }
    }

    /// Whether the worker has fixed names, so that two scenarios on one stack would share data.
    #[must_use]
    pub fn has_fixed_names(&self) -> bool {
        let table = self.evidence.postgres.as_ref().and_then(|postgres| postgres.table.as_ref());
        self.queue.name.is_some() || self.evidence.qdrant.collection.is_some() || table.is_some()
    }

    /// `names`, with the worker's fixed names where it has any.
    #[must_use]
    pub fn names(&self, names: Names) -> Names {
        let table = self.evidence.postgres.as_ref().and_then(|postgres| postgres.table.as_ref());
        let prefix = self.queue.prefix.clone();
        Names {
            // A fixed queue without a prefix has BullMQ's default prefix.
            prefix: prefix.or_else(|| self.queue.name.as_ref().map(|_| "bull".to_owned())).unwrap_or(names.prefix),
            queue: self.queue.name.clone().unwrap_or(names.queue),
            collection: self.evidence.qdrant.collection.clone().unwrap_or(names.collection),
            table: table.map_or(names.table, |table| {
                if table.contains('.') { table.clone() } else { format!("public.{table}") }
            }),
        }
    }

    /// Whether a job uses this placeholder.
    #[must_use]
    pub fn mentions(&self, place: &str) -> bool {
        let jobs = [Some(&self.queue.job), self.queue.reingest.as_ref(), self.queue.delete.as_ref()];
        jobs.into_iter().flatten().any(|job| job.mentions(place))
    }
}
