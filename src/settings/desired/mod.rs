//! `[desired]`: what a stack is to look like, for `shakedown plan` and `shakedown setup`.

mod read;
mod written;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::contract::Backoff;
pub(super) use written::WrittenDesired;

/// What a stack is to look like. What is not mentioned is nobody's business: it is neither made nor changed.
#[derive(Debug, Clone, Default)]
pub struct Desired {
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

/// The BullMQ queue.
#[derive(Debug, Clone, Default)]
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
    /// Tables, as `schema.table`, with row level security.
    pub rls: Vec<String>,
    /// What roles may do with tables.
    pub grants: Vec<DesiredGrant>,
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
    /// Every variable, with an example: `.env.example`.
    pub dotenv: Option<PathBuf>,
    /// What a producer and a worker need to know, as JSON: default options of jobs, limits, collections, embeddings.
    pub worker: Option<PathBuf>,
}
