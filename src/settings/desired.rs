//! `[desired]`: the target state of a stack, for `shakedown plan` and `shakedown setup`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::contract::{Backoff, BackoffKind, JobContract};

/// The target state of a stack. Anything that is not listed is neither created nor changed.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// Whether existing objects are left as they are: a different shape is then an error, and additional objects are
    /// not reported. Always false for a `[desired]` of `shakedown.toml`.
    pub keep: bool,
    /// The BullMQ queue.
    pub queue: Option<DesiredQueue>,
    /// Postgres.
    pub postgres: Option<DesiredPostgres>,
    /// Collections of Qdrant, by name.
    pub collections: BTreeMap<String, DesiredCollection>,
    /// Embeddings.
    pub jina: Option<DesiredJina>,
    /// Files to write.
    pub files: DesiredFiles,
}

/// BullMQ's default length of the event stream.
pub(super) const EVENTS: u32 = 10_000;

/// The BullMQ queue.
#[derive(Debug, Clone)]
pub struct DesiredQueue {
    /// Its name; `QUEUE_NAME` if absent.
    pub name: Option<String>,
    /// The prefix of its keys; `QUEUE_PREFIX` if absent.
    pub prefix: Option<String>,
    /// The length to which the event stream is trimmed.
    pub events: u32,
    /// Most active jobs at once over all workers; no limit if absent.
    pub concurrency: Option<u32>,
    /// Most jobs started per period; no limit if absent.
    pub rate_limit: Option<RateLimit>,
    /// Default job options. BullMQ does not store them in Redis: producers read them from a file.
    pub job: DesiredJob,
}

impl Default for DesiredQueue {
    fn default() -> Self {
        Self {
            name: None,
            prefix: None,
            events: EVENTS,
            concurrency: None,
            rate_limit: None,
            job: DesiredJob::default(),
        }
    }
}

/// Most jobs started per period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Jobs.
    pub max: u32,
    /// The period.
    pub per: Duration,
}

/// Default job options.
#[derive(Debug, Clone, Default)]
pub struct DesiredJob {
    /// Attempts in total.
    pub attempts: Option<u32>,
    /// Wait between attempts.
    pub backoff: Option<Backoff>,
    /// How long completed jobs are kept.
    pub keep_completed: Option<Keep>,
    /// How long failed jobs are kept.
    pub keep_failed: Option<Keep>,
}

impl DesiredJob {
    /// The options that are set, under BullMQ's names.
    #[must_use]
    pub fn options(&self) -> Map<String, Value> {
        let keep = |keep: Keep| {
            let limits = [("age", keep.age.map(|age| age.as_secs())), ("count", keep.count.map(u64::from))];
            limits
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
                .collect::<Map<_, _>>()
                .into()
        };
        let backoff = |Backoff { kind, delay, jitter }| {
            let kind = match kind {
                BackoffKind::Fixed => "fixed",
                BackoffKind::Exponential => "exponential",
            };
            json!({ "type": kind, "delay": delay, "jitter": jitter })
        };
        let options = [
            ("attempts", self.attempts.map(Value::from)),
            ("backoff", self.backoff.map(backoff)),
            ("removeOnComplete", self.keep_completed.map(keep)),
            ("removeOnFail", self.keep_failed.map(keep)),
        ];
        options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// `job`, with these options where it sets none.
    #[must_use]
    pub fn below(&self, mut job: JobContract) -> JobContract {
        job.attempts = job.attempts.or(self.attempts);
        job.backoff = job.backoff.or(self.backoff);
        for (name, value) in self.options().into_iter().filter(|(name, _)| name.starts_with("removeOn")) {
            job.options.entry(name).or_insert(value);
        }
        job
    }
}

/// How long finished jobs are kept: up to an age, up to a number, or both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// Largest age.
    pub age: Option<Duration>,
    /// Largest number.
    pub count: Option<u32>,
}

/// Postgres.
#[derive(Debug, Clone, Default)]
pub struct DesiredPostgres {
    /// Directory of migrations, joined to the directory of `shakedown.toml`.
    pub migrations: Option<PathBuf>,
    /// Extensions.
    pub extensions: Vec<String>,
    /// The schema for extensions; Postgres chooses if absent.
    pub extension_schema: Option<String>,
    /// Roles, by name.
    pub roles: BTreeMap<String, DesiredRole>,
    /// Schemas. `shakedown.toml` cannot set them: there, migrations create them.
    pub schemas: Vec<String>,
    /// Tables. `shakedown.toml` cannot set them: there, migrations create them.
    pub tables: Vec<DesiredTable>,
    /// Tables, as `schema.table`, with row level security.
    pub rls: Vec<String>,
    /// Table privileges of roles.
    pub grants: Vec<DesiredGrant>,
}

/// A table with row level security.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredTable {
    /// Its name, as `schema.table`.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<DesiredColumn>,
    /// The primary key column.
    pub key: String,
    /// Roles that may read and write its rows, if they exist.
    pub serves: Vec<String>,
    /// Roles that have no privileges on it, if they exist.
    pub hidden_from: Vec<String>,
}

/// A column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredColumn {
    /// Its name.
    pub name: String,
    /// Its type, as Postgres reports it.
    pub kind: String,
    /// Constraints and default, as in `create table`; not compared for an existing table.
    pub rule: String,
}

/// A role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredRole {
    /// Whether it may log in.
    pub login: bool,
    /// Whether it bypasses row level security.
    pub bypass_rls: bool,
    /// The variable that holds its password, read when the role is created.
    pub password: Option<String>,
}

/// Privileges of a role on a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredGrant {
    /// The role.
    pub to: String,
    /// The table, as `schema.table`.
    pub on: String,
    /// Privileges, in lower case.
    pub rights: Vec<String>,
}

/// A collection of Qdrant.
#[derive(Debug, Clone)]
pub struct DesiredCollection {
    /// Vector size; that of `[desired.jina]`, or `EMBEDDING_DIMENSIONS`, if absent.
    pub size: Option<u32>,
    /// Distance function.
    pub distance: Distance,
    /// Name of the vector; the unnamed vector if absent.
    pub vector: Option<String>,
    /// Whether vectors are stored on disk; not compared if absent.
    pub on_disk: Option<bool>,
    /// Whether payloads are stored on disk; not compared if absent.
    pub on_disk_payload: Option<bool>,
    /// Edges per node of the HNSW graph.
    pub m: u32,
    /// Neighbours considered while the HNSW graph is built.
    pub ef_construct: u32,
    /// Payload indexes: field to type.
    pub indexes: BTreeMap<String, String>,
    /// Replicas per shard; not compared if absent.
    pub replication_factor: Option<u32>,
    /// Replicas that must acknowledge a write; not compared if absent.
    pub write_consistency_factor: Option<u32>,
    /// Shards of a new collection; an existing collection cannot change them.
    pub shards: Option<u32>,
    /// Quantisation; not compared if absent.
    pub quantization: Option<Quantization>,
    /// Aliases of the collection.
    pub aliases: Vec<String>,
}

/// Qdrant's default of `m`.
pub(super) const M: u32 = 16;
/// Qdrant's default of `ef_construct`.
pub(super) const EF_CONSTRUCT: u32 = 100;

impl DesiredCollection {
    /// A collection with this vector size and distance, and defaults otherwise.
    #[must_use]
    pub const fn new(size: u32, distance: Distance) -> Self {
        Self {
            size: Some(size),
            distance,
            vector: None,
            on_disk: None,
            on_disk_payload: None,
            m: M,
            ef_construct: EF_CONSTRUCT,
            indexes: BTreeMap::new(),
            replication_factor: None,
            write_consistency_factor: None,
            shards: None,
            quantization: None,
            aliases: Vec::new(),
        }
    }
}

/// Distance function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Distance {
    /// Cosine similarity.
    Cosine,
    /// Dot product.
    Dot,
    /// Euclidean distance.
    Euclid,
    /// Manhattan distance.
    Manhattan,
}

impl Distance {
    /// The name that Qdrant uses.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cosine => "Cosine",
            Self::Dot => "Dot",
            Self::Euclid => "Euclid",
            Self::Manhattan => "Manhattan",
        }
    }
}

/// Quantisation of vectors for search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantization {
    /// No quantisation.
    None,
    /// One byte per dimension.
    Scalar,
    /// One bit per dimension.
    Binary,
    /// A sixteenth of the size.
    Product,
}

impl Quantization {
    /// The name that Qdrant uses.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Scalar => "scalar",
            Self::Binary => "binary",
            Self::Product => "product",
        }
    }
}

/// Embeddings that workers request.
#[derive(Debug, Clone, Default)]
pub struct DesiredJina {
    /// The model.
    pub model: Option<String>,
    /// The task, in the model's terms.
    pub task: Option<String>,
    /// Vector size.
    pub dimensions: Option<u32>,
    /// Texts per request.
    pub batch: Option<u32>,
    /// Requests per minute that the account allows.
    pub requests_per_minute: Option<u32>,
    /// Tokens per minute that the account allows.
    pub tokens_per_minute: Option<u32>,
}

/// Files to write; joined to the directory of `shakedown.toml`.
#[derive(Debug, Clone, Default)]
pub struct DesiredFiles {
    /// A Docker Compose file with its accompanying files, as `shakedown compose` writes them.
    pub compose: Option<PathBuf>,
    /// `.env.example`: every variable with an example.
    pub dotenv: Option<PathBuf>,
    /// JSON for producers and workers: default job options, limits, collections, embeddings.
    pub worker: Option<PathBuf>,
}
