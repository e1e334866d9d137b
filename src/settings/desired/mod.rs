//! `[desired]`: what a stack is to look like, for `shakedown plan` and `shakedown setup`.

mod read;
mod written;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::contract::{Backoff, BackoffKind, JobContract};
pub(super) use written::WrittenDesired;

/// What a stack is to look like. What is not mentioned is nobody's business: it is neither made nor changed.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// Whether what is there is left as it is: then another shape is an error, and what is there beside it is not told.
    /// Never so for what is written in `shakedown.toml`.
    pub keep: bool,
    /// The BullMQ queue.
    pub queue: Option<DesiredQueue>,
    /// Postgres.
    pub postgres: Option<DesiredPostgres>,
    /// Collections of Qdrant, by name.
    pub collections: BTreeMap<String, DesiredCollection>,
    /// Embeddings.
    pub jina: Option<DesiredJina>,
    /// Files that are written for others to read.
    pub files: DesiredFiles,
}

/// The length at which BullMQ trims the stream of events, unless told otherwise.
const EVENTS: u32 = 10_000;

/// The BullMQ queue.
#[derive(Debug, Clone)]
pub struct DesiredQueue {
    /// Its name; `QUEUE_NAME` if absent.
    pub name: Option<String>,
    /// The prefix of its keys; `QUEUE_PREFIX` if absent.
    pub prefix: Option<String>,
    /// At which length its stream of events is trimmed.
    pub events: u32,
    /// How many jobs may be in work at once, over all workers; no limit if absent.
    pub concurrency: Option<u32>,
    /// How many jobs may begin in a time; no limit if absent.
    pub rate_limit: Option<RateLimit>,
    /// Options of jobs that do not say otherwise. BullMQ keeps none in Redis: producers read them from a file.
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

/// How many jobs may begin in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Jobs.
    pub max: u32,
    /// The time.
    pub per: Duration,
}

/// Options of jobs that do not say otherwise.
#[derive(Debug, Clone, Default)]
pub struct DesiredJob {
    /// Tries in all.
    pub attempts: Option<u32>,
    /// Wait between tries.
    pub backoff: Option<Backoff>,
    /// How long completed jobs are kept.
    pub keep_completed: Option<Keep>,
    /// How long failed jobs are kept.
    pub keep_failed: Option<Keep>,
}

impl DesiredJob {
    /// What is said, by BullMQ's names.
    #[must_use]
    pub fn options(&self) -> Map<String, Value> {
        let keep = |keep: Keep| {
            let told = [("age", keep.age.map(|age| age.as_secs())), ("count", keep.count.map(u64::from))];
            told.into_iter()
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
        let told = [
            ("attempts", self.attempts.map(Value::from)),
            ("backoff", self.backoff.map(backoff)),
            ("removeOnComplete", self.keep_completed.map(keep)),
            ("removeOnFail", self.keep_failed.map(keep)),
        ];
        told.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// `job`, with these options where it does not say otherwise.
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

/// How long jobs are kept: until they are older, or until there are more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// Age.
    pub age: Option<Duration>,
    /// Number.
    pub count: Option<u32>,
}

/// Postgres.
#[derive(Debug, Clone, Default)]
pub struct DesiredPostgres {
    /// Directory of migrations, joined to the directory of `shakedown.toml`.
    pub migrations: Option<PathBuf>,
    /// Extensions.
    pub extensions: Vec<String>,
    /// The schema that extensions are put in; Postgres' own choice if absent.
    pub extension_schema: Option<String>,
    /// Roles, by name.
    pub roles: BTreeMap<String, DesiredRole>,
    /// Schemas. Not written in `shakedown.toml`, where migrations make them.
    pub schemas: Vec<String>,
    /// Tables. Not written in `shakedown.toml`, where migrations make them.
    pub tables: Vec<DesiredTable>,
    /// Tables, as `schema.table`, with row level security.
    pub rls: Vec<String>,
    /// What roles may do with tables.
    pub grants: Vec<DesiredGrant>,
}

/// A table with row level security.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredTable {
    /// Its name, as `schema.table`.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<DesiredColumn>,
    /// The column of which no value is there twice.
    pub key: String,
    /// Roles that read and write its rows, where they exist.
    pub serves: Vec<String>,
    /// Roles that have no rights on it, where they exist.
    pub hidden_from: Vec<String>,
}

/// A column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredColumn {
    /// Its name.
    pub name: String,
    /// Its type, as Postgres tells it.
    pub kind: String,
    /// Constraints and default, as `create table` takes them; of a table that is there they are not compared.
    pub rule: String,
}

/// A role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredRole {
    /// Whether it may connect.
    pub login: bool,
    /// Whether row level security does not bind it.
    pub bypass_rls: bool,
    /// The variable that holds its password, for the moment when it is made.
    pub password: Option<String>,
}

/// What a role may do with a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredGrant {
    /// The role.
    pub to: String,
    /// The table, as `schema.table`.
    pub on: String,
    /// Rights, in lower case.
    pub rights: Vec<String>,
}

/// A collection of Qdrant.
#[derive(Debug, Clone)]
pub struct DesiredCollection {
    /// Numbers in a vector; those of `[desired.jina]`, or `EMBEDDING_DIMENSIONS`, if absent.
    pub size: Option<u32>,
    /// How vectors are compared.
    pub distance: Distance,
    /// Name of the vector; the unnamed one if absent.
    pub vector: Option<String>,
    /// Whether vectors are served from disk; not looked at if absent.
    pub on_disk: Option<bool>,
    /// Whether payloads are served from disk; not looked at if absent.
    pub on_disk_payload: Option<bool>,
    /// Edges per node of the graph.
    pub m: u32,
    /// Neighbours that are considered while the graph is built.
    pub ef_construct: u32,
    /// Payload indexes: fields with their types.
    pub indexes: BTreeMap<String, String>,
    /// Replicas of a shard; not looked at if absent.
    pub replication_factor: Option<u32>,
    /// Replicas that must agree to a write; not looked at if absent.
    pub write_consistency_factor: Option<u32>,
    /// Shards, for a collection that is made; those of one that is there cannot be changed.
    pub shards: Option<u32>,
    /// Quantisation; not looked at if absent.
    pub quantization: Option<Quantization>,
    /// Other names of the collection.
    pub aliases: Vec<String>,
}

/// Qdrant's own graph settings, and the usual ones for embeddings of text.
const M: u32 = 16;
const EF_CONSTRUCT: u32 = 100;

impl DesiredCollection {
    /// A collection of which nothing else is said than what its vectors are.
    #[must_use]
    pub const fn of(size: u32, distance: Distance) -> Self {
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

/// How vectors are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Distance {
    /// By the angle between them.
    Cosine,
    /// By their dot product.
    Dot,
    /// By the distance between them.
    Euclid,
    /// By the sum of differences.
    Manhattan,
}

impl Distance {
    /// Qdrant's word for it.
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

/// How vectors are made smaller for searching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantization {
    /// They are not.
    None,
    /// To one byte a number.
    Scalar,
    /// To one bit a number.
    Binary,
    /// To a sixteenth.
    Product,
}

impl Quantization {
    /// Qdrant's word for it.
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

/// Embeddings: what workers are to ask for.
#[derive(Debug, Clone, Default)]
pub struct DesiredJina {
    /// The model.
    pub model: Option<String>,
    /// What embeddings are for, by the model's word.
    pub task: Option<String>,
    /// Numbers in a vector.
    pub dimensions: Option<u32>,
    /// Texts in a request.
    pub batch: Option<u32>,
    /// Requests that the account may make in a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens that the account may send in a minute.
    pub tokens_per_minute: Option<u32>,
}

/// Files that are written for others to read; joined to the directory of `shakedown.toml`.
#[derive(Debug, Clone, Default)]
pub struct DesiredFiles {
    /// A Docker Compose file, with what lies beside it, as `shakedown compose` writes them.
    pub compose: Option<PathBuf>,
    /// Every variable, with an example: `.env.example`.
    pub dotenv: Option<PathBuf>,
    /// What a producer and a worker need to know, as JSON: default options of jobs, limits, collections, embeddings.
    pub worker: Option<PathBuf>,
}
