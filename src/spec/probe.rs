//! Probe kinds as data: what to observe, not how.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// One observation of the stack. Reads only, unless the case says `writes = true`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// A Redis command.
    Redis(RedisProbe),
    /// A Postgres query.
    Sql(SqlProbe),
    /// An HTTP request to Qdrant, Jina or Supabase.
    Http(HttpProbe),
    /// A setting, as the run resolved it.
    Env(EnvProbe),
    /// A BullMQ canary: private jobs on a private queue.
    Queue(QueueProbe),
    /// One call of the embeddings API.
    Jina(JinaProbe),
    /// `shakedown setup`, run as a process on names of its own.
    Setup(SetupProbe),
}

/// A Redis command, and which part of its answer counts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisProbe {
    /// The command with its arguments; `{{queue.prefix}}` and the like are filled.
    pub command: Vec<String>,
    /// For INFO-like text or a list of pairs: the field whose value counts.
    #[serde(default)]
    pub field: Option<String>,
    /// Connect without credentials: what a stranger gets.
    #[serde(default)]
    pub anonymous: bool,
}

/// A query; one row of one column counts as its value, anything else as a list of rows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlProbe {
    /// The query, a single SELECT.
    pub query: String,
    /// Connect with a wrong password: what a stranger gets.
    #[serde(default)]
    pub wrong_password: bool,
}

/// Which key a request carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// The configured one.
    #[default]
    Key,
    /// None.
    None,
    /// A made-up one.
    Wrong,
}

/// Which part of an HTTP answer counts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HttpYield {
    /// The status code.
    Status,
    /// The body as text.
    Text,
    /// A place in the JSON body, as a JSON pointer (RFC 6901).
    Pointer(String),
}

/// One or more HTTP requests; the last one's answer counts.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// `qdrant` or `jina`.
    pub service: String,
    /// Method; GET when absent.
    #[serde(default)]
    pub method: Option<String>,
    /// Path below the service's base URL; placeholders are filled.
    pub path: String,
    /// Which key is sent.
    #[serde(default)]
    pub auth: Auth,
    /// JSON body; placeholders in texts are filled.
    #[serde(default)]
    pub body: Option<Value>,
    /// Requests to send before this one; each must be answered with 2xx.
    #[serde(default)]
    pub before: Vec<HttpStep>,
    /// Requests to send afterwards, whatever happened: they take away what was made.
    #[serde(default)]
    pub after: Vec<HttpStep>,
    /// Which part of the answer counts; the status when absent.
    #[serde(default)]
    pub yields: Option<HttpYield>,
}

/// A request that prepares for, or cleans up after, the one that counts.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpStep {
    /// Method.
    pub method: String,
    /// Path below the service's base URL.
    pub path: String,
    /// JSON body.
    #[serde(default)]
    pub body: Option<Value>,
}

/// A setting by its variable's name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvProbe {
    /// The variable. A secret's value is matched but never shown.
    pub variable: String,
}

/// What a canary does on its private queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QueueCanary {
    /// Add a job, take it, complete it; yields its state.
    Complete,
    /// Fail a job whose backoff is exponential; yields by how many per cent the worst delay is off.
    Backoff,
    /// Let a job's lock lapse; yields its state after the sweep.
    Stalled,
    /// Add a job delayed by 300 ms; yields how many milliseconds late it started, negative when too early.
    Delayed,
    /// Add one job id twice; yields how many jobs there are.
    Duplicate,
    /// The commands that BullMQ needs and this user may not run; yields their list.
    Commands,
    /// Wrong producers: how many other prefixes hold a queue of this name; yields the count.
    OtherPrefixes,
}

/// A BullMQ canary.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueProbe {
    /// What to do.
    pub canary: QueueCanary,
}

/// Which fact about an embeddings call counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JinaYield {
    /// Status code.
    Status,
    /// Number of vectors.
    Count,
    /// Size of the vectors, or `mixed`.
    Dimensions,
    /// Whether indices are a permutation of 0..n.
    Permutation,
    /// Largest difference of an L2 norm from 1.
    NormError,
    /// Whether all numbers are finite.
    Finite,
    /// The model that the answer names.
    Model,
    /// `usage.total_tokens`.
    Tokens,
    /// Largest cosine between vectors of two different texts.
    Similarity,
    /// Largest difference between the vectors of two calls with the same texts.
    Repeatable,
    /// Largest difference between the vectors as float and as base64.
    Encodings,
    /// The error code in the body.
    ErrorCode,
}

/// One call of the embeddings API.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JinaProbe {
    /// The texts; absent means three short ones.
    #[serde(default)]
    pub texts: Option<Vec<String>>,
    /// Instead of `texts`: one text of this many words.
    #[serde(default)]
    pub words: Option<usize>,
    /// Which key is sent.
    #[serde(default)]
    pub auth: Auth,
    /// Fields of the request that replace the usual ones.
    #[serde(default)]
    pub with: BTreeMap<String, Value>,
    /// Which fact counts.
    pub yields: JinaYield,
}

/// Which fact about `shakedown setup` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SetupYield {
    /// Exit code of the last run.
    Exit,
    /// How many steps the last run did not leave as they were.
    Changes,
    /// The steps in the order in which they were taken.
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
    /// Which fact counts.
    pub yields: SetupYield,
}

const fn once() -> u32 {
    1
}
