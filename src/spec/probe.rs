//! Probe kinds as data: what to observe, not how.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::generic::{CommandProbe, DnsProbe, TcpProbe, TlsProbe};

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
    /// Settings, compared with each other.
    Consistency(ConsistencyProbe),
    /// A BullMQ canary: private jobs on a private queue.
    Queue(QueueProbe),
    /// What a BullMQ queue that is in use looks like.
    QueueState(QueueStateProbe),
    /// How well, and how fast, the collection is searched.
    Search(SearchProbe),
    /// The migrations of a directory, compared with those of the database.
    Migrations(MigrationsProbe),
    /// One call of the embeddings API.
    Jina(JinaProbe),
    /// `shakedown setup`, run as a process on names of its own.
    Setup(SetupProbe),
    /// A tiny document, ingested by the reference worker on names of its own.
    Ingestion(IngestionProbe),
    /// Jobs of each of BullMQ's libraries, done by each of the others.
    Interop(InteropProbe),
    /// A connection to an address.
    Tcp(TcpProbe),
    /// The addresses of a name.
    Dns(DnsProbe),
    /// A server's certificate.
    Tls(TlsProbe),
    /// A program.
    Command(CommandProbe),
}

impl Probe {
    /// Its kind, as suites write it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Redis(_) => "redis",
            Self::Sql(_) => "sql",
            Self::Http(_) => "http",
            Self::Env(_) => "env",
            Self::Consistency(_) => "consistency",
            Self::Queue(_) => "queue",
            Self::QueueState(_) => "queue-state",
            Self::Search(_) => "search",
            Self::Migrations(_) => "migrations",
            Self::Jina(_) => "jina",
            Self::Setup(_) => "setup",
            Self::Ingestion(_) => "ingestion",
            Self::Interop(_) => "interop",
            Self::Tcp(_) => "tcp",
            Self::Dns(_) => "dns",
            Self::Tls(_) => "tls",
            Self::Command(_) => "command",
        }
    }
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
    /// With `field`: the answer names only what there is, so that a field which is not there means none. Otherwise
    /// nothing can be said without it.
    #[serde(default)]
    pub sparse: bool,
    /// With `field`: another field, of which it is a share; its value is then that share in per cent.
    #[serde(default)]
    pub percent_of: Option<String>,
    /// What counts instead of the answer.
    #[serde(default)]
    pub yields: Option<RedisYield>,
    /// Connect without credentials: what a stranger gets.
    #[serde(default)]
    pub anonymous: bool,
}

/// What about a Redis command counts, if not its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RedisYield {
    /// By how many milliseconds the server's clock, as `TIME` tells it, differs from ours; never negative.
    ClockSkewMs,
    /// How many milliseconds an answer takes: the median of three.
    LatencyMs,
    /// The scheme by which Redis is reached at its address: `redis`, or `rediss` where the port speaks TLS; of a port that
    /// speaks neither, what it does. The case is skipped where nothing can be connected, or nothing is answered.
    Scheme,
    /// Of the commands that BullMQ needs, those that the server refused somebody while it refused for want of permissions
    /// (`INFO commandstats`), each with how often.
    RefusedCommands,
}

/// A query; one row of one column counts as its value, anything else as a list of rows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlProbe {
    /// The query, a single SELECT.
    #[serde(default)]
    pub query: String,
    /// A role that one must have for the answer to be whole, such as `pg_read_all_stats`: without it Postgres leaves out
    /// what others do, and says nothing.
    #[serde(default)]
    pub needs_role: Option<String>,
    /// Connect with a wrong password: what a stranger gets.
    #[serde(default)]
    pub wrong_password: bool,
    /// Instead of the query's answer: whether a connection keeps its server from one transaction to the next.
    #[serde(default)]
    pub keeps_session: bool,
    /// Statements to run before; the case must say `writes = true`.
    #[serde(default)]
    pub before: Vec<String>,
    /// Statements to run afterwards, whatever happened: they take away what was made.
    #[serde(default)]
    pub after: Vec<String>,
}

/// A tiny document, from the file to the point; yields `stored`, or what became of it instead.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IngestionProbe {
    /// Seconds after which it is given up.
    pub within_s: u64,
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
    /// A header of the answer; null where there is none.
    Header(String),
    /// How many milliseconds the answer took.
    LatencyMs,
    /// The first group, or else the whole, of what this regular expression matches in the body; null where it does not.
    Capture(String),
}

/// One or more HTTP requests; the last one's answer counts.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// `qdrant`, `jina`; `supabase` with the secret key, `supabase-public` with the key of browsers,
    /// `supabase-management` with the access token; or the base URL of a service of one's own.
    pub service: String,
    /// For a service of one's own: the key, sent as bearer token; best by its variable, `{{env.NAME}}`.
    #[serde(default)]
    pub bearer: Option<String>,
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
    /// With a pointer: the service leaves out what is empty, so that a place which is not there means none, as long as
    /// the table around it is there.
    #[serde(default)]
    pub sparse: bool,
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
    /// What about it counts.
    #[serde(default)]
    pub yields: EnvYield,
    /// Whether it need not be set: the case is then skipped.
    #[serde(default)]
    pub optional: bool,
}

/// What about a setting counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EnvYield {
    /// Its value.
    #[default]
    Value,
    /// What is wrong with it, in words: that it is not set, or not of the form that the table of variables wants.
    Problem,
}

/// A rule over several settings; yields what breaks it, a line each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyProbe {
    /// The rule.
    pub rule: Rule,
}

/// What settings have to be with regard to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// No host's name says staging where another's says production.
    OneEnvironment,
    /// The project's reference is the same in every Supabase setting that carries it: URLs, users, keys.
    ProjectRef,
    /// In the production profile, and on addresses that are not this machine's, nothing travels in the clear.
    Encrypted,
    /// No key travels in the clear to another machine.
    KeysEncrypted,
    /// No value is an example out of the documentation, or a password that everybody tries first.
    NoPlaceholders,
    /// No value carries quotation marks, blanks or line breaks around it.
    NoBlanks,
    /// No secret stands in a file of the working directory that Git keeps.
    NotCommitted,
    /// No secret is in a variable that bundlers hand to browsers (`NEXT_PUBLIC_`, `VITE_`, …).
    NotPublic,
    /// The size of vectors is one that the model can give.
    ModelDimensions,
    /// REST and gRPC of Qdrant are two addresses of one host.
    QdrantPorts,
    /// Supabase's keys are where they belong: the secret one on the server, the public one in the browser.
    SupabaseKeyRoles,
    /// Supabase's legacy keys are not expired.
    SupabaseKeysValid,
    /// Supabase's keys are of the new kind, which can be rotated one by one.
    SupabaseKeysNew,
    /// The database is reached by its pooler in session mode, or directly: not in transaction mode, port 6543.
    SessionMode,
    /// On a pooler, the user's name carries the project's reference.
    PoolerUser,
    /// The server's certificate is checked, not only asked for.
    CertificateChecked,
    /// No variable such as `REDIS_HOST` or `PGHOST` names another host than the URL does.
    OneAddress,
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
    /// In a cluster all keys of a queue must hash to one slot; yields what prevents it.
    OneSlot,
}

/// Which fact about a queue that is in use counts. Jobs are looked at in samples of at most 50 of each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QueueFact {
    /// Jobs that wait.
    Waiting,
    /// Workers, by the names of their connections.
    Workers,
    /// Jobs that wait while no worker is attached.
    WaitingWithoutWorker,
    /// Delayed jobs that were due more than a minute ago.
    Overdue,
    /// Active jobs whose lock is gone: their worker is dead or has lost them.
    ActiveWithoutLock,
    /// Ids in lists for which there is no job.
    WithoutJob,
    /// Jobs whose data is larger than 64 KiB.
    Fat,
    /// Jobs that wait, or failed, with fewer than three attempts, or without backoff.
    WithoutRetries,
    /// Jobs with backoff and without jitter: what failed together comes back together.
    WithoutJitter,
    /// Failed jobs that stalled once too often, with attempts left.
    BurntByStalls,
    /// Failed jobs.
    Failed,
    /// Repeatable jobs of the old kind, which BullMQ 6 refuses.
    LegacyRepeatables,
    /// Bytes that the event stream takes.
    EventBytes,
    /// Minutes for which the oldest job that waits has waited.
    OldestWaitingMinutes,
    /// Hours since the oldest job that ended did so.
    OldestFinishedHours,
    /// Jobs that wait in a queue that is paused.
    PausedWithJobs,
    /// Reasons for which at least ten of the sampled jobs failed, numbers in them left out, each with how many.
    FailedAlike,
    /// Delayed jobs that are due in more than a year.
    FarOff,
    /// Jobs that have been active for more than an hour, with a lock.
    LongActive,
}

/// What a BullMQ queue that is in use looks like. Only reads; never `KEYS`, never more than a sample.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueStateProbe {
    /// Which fact counts.
    pub yields: QueueFact,
}

/// Which fact about searching the collection counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SearchFact {
    /// Of the ten nearest points, the share that the index finds, as 0 to 1: stored vectors are looked for by the index,
    /// and exactly.
    Recall,
    /// Milliseconds that half of the searches stay below.
    P50Ms,
    /// Milliseconds that 99 of 100 searches stay below.
    P99Ms,
    /// Vectors, among those that are looked for, of nothing but zeros.
    Empty,
    /// Vectors, among those that are looked for, that are the same as another's.
    Alike,
    /// Points, among those that are looked for, whose payload names no document.
    Nameless,
    /// Models, other than the one that is set, that points among those that are looked for name in their payload.
    OtherModels,
    /// Documents, of a few whose row says `ready`, without a point.
    Lost,
    /// Documents that points among those that are looked for name, and that have no row.
    Orphaned,
}

/// Searches of the collection for 16 of its own vectors, and what their points tell beside. Only reads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchProbe {
    /// Which fact counts.
    pub yields: SearchFact,
}

/// Which difference between directory and database counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MigrationsFact {
    /// Versions that the directory has and the database does not.
    NotApplied,
    /// Versions that the database has and the directory does not.
    NotInDirectory,
    /// Versions that both have, with other statements.
    Edited,
    /// Versions of the directory that are older than the newest applied one, and are not applied.
    OutOfOrder,
}

/// The migrations in `MIGRATIONS_DIR` against `supabase_migrations.schema_migrations`. Only reads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MigrationsProbe {
    /// Which difference counts.
    pub yields: MigrationsFact,
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
    /// How many milliseconds the answer took.
    LatencyMs,
    /// How many more requests the key may make at the moment (`X-RateLimit-Remaining-Requests`); a case is skipped where
    /// the API does not say.
    RequestsLeft,
    /// How many more tokens the key may send at the moment (`X-RateLimit-Remaining-Tokens`); likewise.
    TokensLeft,
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

/// Jobs that one library of BullMQ makes and another does, for every ordered pair of libraries. Yields what is wrong,
/// a line for each pair that disagrees.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InteropProbe {
    /// The jobs, in the order in which they are added.
    pub jobs: Vec<InteropJob>,
    /// Options of the worker, by BullMQ's names.
    #[serde(default)]
    pub work: BTreeMap<String, Value>,
    /// The taker waits for jobs before they are added; else it comes afterwards.
    #[serde(default)]
    pub waiting: bool,
    /// The maker pauses the queue before it adds the jobs, and the taker resumes it.
    #[serde(default)]
    pub paused: bool,
    /// The taker is killed as soon as it has taken a job, and the maker goes on.
    #[serde(default)]
    pub killed: bool,
    /// What must be seen.
    pub want: InteropWant,
}

/// A job; what it does is in its name: `echo`, `fail-N` (fails N times), `unrecoverable`, `progress`, `hang-once`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InteropJob {
    /// Its name.
    pub name: String,
    /// Its data.
    #[serde(default)]
    pub data: BTreeMap<String, Value>,
    /// Its options, by BullMQ's names.
    #[serde(default)]
    pub opts: BTreeMap<String, Value>,
}

/// What must be seen of jobs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InteropWant {
    /// The order in which the taker takes them, by their places.
    #[serde(default)]
    pub taken: Option<Vec<usize>>,
    /// Bounds, in milliseconds, of the time until the first start and between every two that follow.
    #[serde(default)]
    pub waits_ms: Vec<[i64; 2]>,
    /// Fields of each job, as both libraries read them (`state`, `data`, `returnvalue`, `failedReason`, `progress`,
    /// `attemptsMade`, `opts.…`), and as they stand in Redis (`atm`, `ats`, `stc`, `kept`).
    #[serde(default)]
    pub jobs: Vec<BTreeMap<String, Value>>,
    /// How many jobs there are: fewer than were added where some are the same.
    #[serde(default)]
    pub distinct: Option<usize>,
    /// The events of each job, as both libraries hear them.
    #[serde(default)]
    pub events: Vec<Vec<String>>,
}
