//! The one table of environment variables: `shakedown env`, validation and did-you-mean all read it.

use serde::Serialize;

use super::telemetry;
use Need::{Check, Ingest, Run, Setup, Up, Worker};

/// A verb that reads a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// `shakedown check`: judges a stack without a worker.
    Check,
    /// `shakedown run`: judges a worker.
    Run,
    /// `shakedown up`: starts a throwaway stack and stays.
    Up,
    /// `shakedown worker`: the reference worker.
    Worker,
    /// `shakedown setup`: prepares queue, table and collection.
    Setup,
    /// `shakedown ingest`: enqueues files.
    Ingest,
}

impl Need {
    /// The verb as typed.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Run => "run",
            Self::Up => "up",
            Self::Worker => "worker",
            Self::Setup => "setup",
            Self::Ingest => "ingest",
        }
    }
}

/// What a value must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An absolute URL with one of these schemes and a host.
    Url(&'static [&'static str]),
    /// A whole number within these bounds, both included.
    Integer {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// A duration as a whole number of milliseconds within these bounds, both included.
    Milliseconds {
        /// Shortest duration.
        min: u64,
        /// Longest duration.
        max: u64,
    },
    /// Any text on one line.
    Text,
    /// Text without blanks and without these characters.
    Name {
        /// Characters that the service does not allow.
        without: &'static str,
    },
    /// A Postgres table as `schema.table`, letters, digits and underscores.
    Table,
    /// Text as `key=value,key=value`, with percent signs for what stands between other things.
    Pairs,
    /// The same, of headers of HTTP.
    Headers,
    /// A path; relative ones start at the working directory, or beside `shakedown.toml` when written there.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// On (`1`, `true`, `yes`, `on`) or off (`0`, `false`, `no`, `off`).
    Switch,
}

impl Kind {
    /// The kind in words, for people who have to write such a value.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Url(schemes) => format!("URL ({})", schemes.join(", ")),
            Self::Integer { min, max: u64::MAX } => format!("integer, at least {min}"),
            Self::Integer { min, max } => format!("integer, {min} to {max}"),
            Self::Milliseconds { min, max } => format!("milliseconds, {min} to {max}"),
            Self::Text => "text".to_owned(),
            Self::Name { without: "" } => "text without blanks".to_owned(),
            Self::Name { without } => format!("text without blanks and `{without}`"),
            Self::Table => "`schema.table`".to_owned(),
            Self::Pairs => "`key=value,…`, percent-encoded".to_owned(),
            Self::Headers => "`header=value,…`, percent-encoded".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Choice(words) => words.join(", "),
            Self::Switch => "`1` or `0`".to_owned(),
        }
    }
}

/// How much of a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Secrecy {
    /// All of it.
    No,
    /// A URL whose password is a secret: shown with the password masked.
    Password,
    /// None of it but, when it is long, its last four characters.
    Yes,
}

/// One environment variable.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its name; `NAME_FILE` is always understood too.
    pub name: &'static str,
    /// What it is for, in one line.
    pub meaning: &'static str,
    /// The value when nothing sets it.
    pub default: Option<&'static str>,
    /// What happens when nothing sets it and there is no fixed default.
    pub otherwise: Option<&'static str>,
    /// Whether it is a secret.
    pub secrecy: Secrecy,
    /// A value that would be accepted; never a real secret.
    pub example: &'static str,
    /// The verbs that read it.
    pub needs: &'static [Need],
    /// What a value must look like.
    pub kind: Kind,
    /// Heading under which the table shows it.
    pub group: &'static str,
    /// Whether lists leave it out: it exists for tests alone.
    pub hidden: bool,
}

impl Entry {
    pub(super) const fn new(name: &'static str, kind: Kind, needs: &'static [Need], meaning: &'static str) -> Self {
        Self {
            name,
            meaning,
            default: None,
            otherwise: None,
            secrecy: Secrecy::No,
            example: "",
            needs,
            kind,
            group: "",
            hidden: false,
        }
    }

    pub(super) const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self.example = value;
        self
    }

    pub(super) const fn otherwise(mut self, text: &'static str) -> Self {
        self.otherwise = Some(text);
        self
    }

    pub(super) const fn example(mut self, value: &'static str) -> Self {
        self.example = value;
        self
    }

    pub(super) const fn secret(mut self, secrecy: Secrecy) -> Self {
        self.secrecy = secrecy;
        self
    }

    pub(super) const fn group(mut self, heading: &'static str) -> Self {
        self.group = heading;
        self
    }

    #[cfg(feature = "defects")]
    const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// Whether a worker under test keeps the value of the shell that started the harness.
    #[must_use]
    pub fn passes_on(&self) -> bool {
        // What a worker is called, and what it is below, is its own.
        let own = [telemetry::SERVICE.name, telemetry::PARENT.name].contains(&self.name);
        self.group == REFERENCE || self.name == "NO_COLOR" || (self.is_of_telemetry() && !own)
    }

    /// Whether it is one of those that OpenTelemetry gives to everybody.
    pub(super) fn is_of_telemetry(&self) -> bool {
        self.group == telemetry::GROUP
    }

    /// Whether no part of the value, or only a part of it, may be shown.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        !matches!(self.secrecy, Secrecy::No)
    }
}

const EVERY: &[Need] = &[Check, Run, Up, Worker, Setup, Ingest];
const STACK: &[Need] = &[Check, Run, Worker, Setup, Ingest];
const STORES: &[Need] = &[Check, Run, Worker, Setup];
const JUDGES: &[Need] = &[Check, Run];
const PROVIDERS: &[Need] = &[Run, Up];
const WORKER: &[Need] = &[Worker];

const HTTP: Kind = Kind::Url(&["http", "https"]);
const SERVICES: &str = "Services";
const NAMES: &str = "Names of queue, table and collection";
const REFERENCE: &str = "Reference worker";
const HARNESS: &str = "Shakedown itself";

/// Every environment variable that Shakedown or its reference worker reads.
pub const TABLE: &[Entry] = &[
    Entry::new("REDIS_URL", Kind::Url(&["redis", "rediss"]), STACK, "Redis that holds the BullMQ queue")
        .secret(Secrecy::Password)
        .example("redis://:password@127.0.0.1:6379/0")
        .group(SERVICES),
    Entry::new(
        "DATABASE_URL",
        Kind::Url(&["postgres", "postgresql"]),
        STORES,
        "Postgres, or Supabase's session pooler, that holds the table of documents",
    )
    .secret(Secrecy::Password)
    .example("postgres://postgres:password@127.0.0.1:5432/postgres")
    .group(SERVICES),
    Entry::new("SUPABASE_URL", HTTP, JUDGES, "Supabase project's API, where the stack has one")
        .otherwise("checks of the Supabase API are skipped")
        .example("https://abcdefghijklmnopqrst.supabase.co")
        .group(SERVICES),
    Entry::new(
        "SUPABASE_SERVICE_ROLE_KEY",
        Kind::Text,
        JUDGES,
        "Supabase key that bypasses row level security; for servers only",
    )
    .otherwise("checks that need it are skipped")
    .secret(Secrecy::Yes)
    .example("sb_secret_…")
    .group(SERVICES),
    Entry::new("SUPABASE_ANON_KEY", Kind::Text, JUDGES, "Supabase key that browsers are given")
        .otherwise("checks that need it are skipped")
        .secret(Secrecy::Yes)
        .example("sb_publishable_…")
        .group(SERVICES),
    Entry::new("SUPABASE_PROJECT_REF", Kind::Name { without: "/:." }, JUDGES, "Supabase project's reference id")
        .otherwise("checks of the Supabase management API are skipped")
        .example("abcdefghijklmnopqrst")
        .group(SERVICES),
    Entry::new(
        "SUPABASE_ACCESS_TOKEN",
        Kind::Text,
        &[Check],
        "Supabase personal access token, for the state of the project by the management API",
    )
    .otherwise("checks of the Supabase management API are skipped")
    .secret(Secrecy::Yes)
    .example("sbp_…")
    .group(SERVICES),
    Entry::new("SUPABASE_MANAGEMENT_URL", HTTP, &[Check], "Supabase's management API")
        .default("https://api.supabase.com")
        .group(SERVICES),
    Entry::new("MIGRATIONS_DIR", Kind::Path, &[Check], "directory of the migrations that the database is to have")
        .default("supabase/migrations")
        .group(NAMES),
    Entry::new("QDRANT_URL", HTTP, STORES, "Qdrant's REST API").example("http://127.0.0.1:6333").group(SERVICES),
    Entry::new("QDRANT_GRPC_URL", HTTP, STORES, "Qdrant's gRPC API")
        .otherwise("`QDRANT_URL` with port 6334")
        .example("http://127.0.0.1:6334")
        .group(SERVICES),
    Entry::new("QDRANT_API_KEY", Kind::Text, STORES, "Qdrant's API key, where the server wants one")
        .otherwise("requests carry no key")
        .secret(Secrecy::Yes)
        .example("change-me")
        .group(SERVICES),
    Entry::new("JINA_API_KEY", Kind::Text, &[Check, Run, Worker], "Jina's API key, sent as bearer token")
        .otherwise("required at api.jina.ai; elsewhere requests carry no key")
        .secret(Secrecy::Yes)
        .example("jina_…")
        .group(SERVICES),
    Entry::new(
        "JINA_BASE_URL",
        HTTP,
        &[Check, Run, Worker],
        "embeddings API with its version; requests go to `/embeddings` below it",
    )
    .default("https://api.jina.ai/v1")
    .group(SERVICES),
    Entry::new("JINA_MODEL", Kind::Name { without: "" }, &[Check, Run, Worker], "embedding model")
        .default("jina-embeddings-v3")
        .group(SERVICES),
    Entry::new(
        "EMBEDDING_DIMENSIONS",
        Kind::Integer { min: 1, max: 65_536 },
        STORES,
        "size of a vector, in Jina's answers and in the collection",
    )
    .default("1024")
    .group(SERVICES),
    Entry::new("QUEUE_NAME", Kind::Name { without: ":" }, STACK, "BullMQ queue of documents")
        .default("ingest")
        .group(NAMES),
    Entry::new("QUEUE_PREFIX", Kind::Name { without: ":" }, STACK, "prefix of the queue's Redis keys")
        .default("bull")
        .group(NAMES),
    Entry::new("DOCUMENTS_TABLE", Kind::Table, STORES, "Postgres table with one row per document")
        .default("public.documents")
        .group(NAMES),
    Entry::new("QDRANT_COLLECTION", Kind::Name { without: "/?#%" }, STORES, "Qdrant collection of chunks")
        .default("documents")
        .group(NAMES),
    Entry::new(
        "QDRANT_VECTOR",
        Kind::Name { without: "/?#%" },
        STORES,
        "name of the collection's vector; not set for the unnamed one",
    )
    .example("dense")
    .group(NAMES),
    Entry::new("WORKER_CONCURRENCY", Kind::Integer { min: 1, max: 1024 }, WORKER, "documents in work at once")
        .default("8")
        .group(REFERENCE),
    Entry::new(
        "WORKER_LOCK_MS",
        Kind::Milliseconds { min: 100, max: 3_600_000 },
        WORKER,
        "how long a job's lock lasts without renewal",
    )
    .default("30000")
    .group(REFERENCE),
    Entry::new(
        "WORKER_STALLED_MS",
        Kind::Milliseconds { min: 100, max: 3_600_000 },
        WORKER,
        "time between two searches for jobs whose worker died",
    )
    .default("30000")
    .group(REFERENCE),
    Entry::new(
        "WORKER_MAX_STALLED",
        Kind::Integer { min: 0, max: 1000 },
        WORKER,
        "how many times a job may lose its worker before it fails",
    )
    .default("3")
    .group(REFERENCE),
    Entry::new(
        "WORKER_SHUTDOWN_GRACE_MS",
        Kind::Milliseconds { min: 0, max: 3_600_000 },
        WORKER,
        "time after SIGTERM in which jobs in work may finish",
    )
    .default("10000")
    .group(REFERENCE),
    Entry::new(
        "STARTUP_TIMEOUT_MS",
        Kind::Milliseconds { min: 0, max: 3_600_000 },
        WORKER,
        "how long the worker waits for its services at start",
    )
    .default("30000")
    .group(REFERENCE),
    Entry::new("EMBED_BATCH", Kind::Integer { min: 1, max: 2048 }, WORKER, "texts per request to Jina")
        .default("100")
        .group(REFERENCE),
    Entry::new("EMBED_CONCURRENCY", Kind::Integer { min: 1, max: 256 }, WORKER, "requests to Jina at once")
        .default("2")
        .group(REFERENCE),
    Entry::new(
        "EMBED_ENCODING",
        Kind::Choice(&["base64", "float"]),
        WORKER,
        "how vectors cross the wire; both give the same numbers",
    )
    .default("base64")
    .group(REFERENCE),
    Entry::new(
        "RETRY_BASE_MS",
        Kind::Milliseconds { min: 1, max: 600_000 },
        WORKER,
        "upper bound of the first wait before a retry; doubles each time",
    )
    .default("200")
    .group(REFERENCE),
    Entry::new("RETRY_MAX_MS", Kind::Milliseconds { min: 1, max: 3_600_000 }, WORKER, "longest wait before a retry")
        .default("20000")
        .group(REFERENCE),
    Entry::new(
        "RETRY_ATTEMPTS",
        Kind::Integer { min: 1, max: 100 },
        WORKER,
        "tries of one request before the job fails and BullMQ takes over",
    )
    .default("5")
    .group(REFERENCE),
    Entry::new(
        "BREAKER_WINDOW",
        Kind::Integer { min: 1, max: 1000 },
        WORKER,
        "calls to one service that a circuit breaker looks back on",
    )
    .default("10")
    .group(REFERENCE),
    Entry::new(
        "BREAKER_OPEN_MS",
        Kind::Milliseconds { min: 1, max: 3_600_000 },
        WORKER,
        "milliseconds for which an open circuit breaker keeps calls from a service",
    )
    .default("1000")
    .group(REFERENCE),
    Entry::new("UPSERT_BATCH", Kind::Integer { min: 1, max: 10_000 }, WORKER, "points per request to Qdrant")
        .default("256")
        .group(REFERENCE),
    Entry::new("CHUNK_TOKENS", Kind::Integer { min: 8, max: 8192 }, WORKER, "most tokens in a chunk")
        .default("512")
        .group(REFERENCE),
    Entry::new("CHUNK_OVERLAP", Kind::Integer { min: 0, max: 4096 }, WORKER, "tokens that neighbouring chunks share")
        .default("50")
        .group(REFERENCE),
    Entry::new("CHUNK_TOKENIZER", Kind::Path, WORKER, "the model's own `tokenizer.json`, to count tokens as it does")
        .otherwise("the built-in vocabulary counts tokens")
        .example("tokenizer.json")
        .group(REFERENCE),
    Entry::new("RUST_LOG", Kind::Text, EVERY, "what is logged, as `level` or `target=level,…`")
        .default("info")
        .group(REFERENCE),
    Entry::new("SHAKEDOWN_PROFILE", Kind::Choice(super::PROFILES), EVERY, "profile of `shakedown.toml`; `--profile`")
        .default("development")
        .group(HARNESS),
    Entry::new("SHAKEDOWN_CONFIG", Kind::Path, EVERY, "path of `shakedown.toml`; `--config`")
        .default("shakedown.toml")
        .otherwise("no file is needed")
        .group(HARNESS),
    Entry::new(
        "SHAKEDOWN_PROVIDER",
        Kind::Choice(&["auto", "native", "containers", "remote"]),
        PROVIDERS,
        "where the stack comes from; `--provider`",
    )
    .default("auto")
    .group(HARNESS),
    Entry::new("SHAKEDOWN_SUITES", Kind::Path, JUDGES, "directory with suites of your own; `--suites`")
        .otherwise("the built-in suites alone")
        .example("suites")
        .group(HARNESS),
    Entry::new("SHAKEDOWN_JOBS", Kind::Integer { min: 1, max: 256 }, JUDGES, "cases in work at once; `--jobs`")
        .otherwise("chosen from the number of processors")
        .example("4")
        .group(HARNESS),
    Entry::new(
        "SHAKEDOWN_SEED",
        Kind::Integer { min: 0, max: u64::MAX },
        JUDGES,
        "seed of every random choice; printed in the report; `--seed`",
    )
    .otherwise("random, and printed")
    .example("42")
    .group(HARNESS),
    Entry::new(
        "SHAKEDOWN_KEEP",
        Kind::Switch,
        PROVIDERS,
        "keep the stack's directories, and containers, after the run; `--keep`",
    )
    .default("0")
    .group(HARNESS),
    Entry::new("SHAKEDOWN_REUSE", Kind::Switch, PROVIDERS, "keep containers warm between local runs; `--reuse`")
        .default("0")
        .group(HARNESS),
    Entry::new(
        "SHAKEDOWN_CONTAINER_MEMORY_MB",
        Kind::Integer { min: 16, max: 1_048_576 },
        PROVIDERS,
        "most memory, in MiB, that each container may use",
    )
    .default("1024")
    .group(HARNESS),
    Entry::new("SHAKEDOWN_REDIS_SERVER", Kind::Path, PROVIDERS, "`redis-server` or `valkey-server` to start")
        .otherwise("the first one on `PATH`")
        .example("/usr/bin/redis-server")
        .group(HARNESS),
    Entry::new("SHAKEDOWN_POSTGRES", Kind::Path, PROVIDERS, "`postgres` to start; `initdb` is looked for beside it")
        .otherwise("the newest one installed")
        .example("/usr/lib/postgresql/17/bin/postgres")
        .group(HARNESS),
    Entry::new("SHAKEDOWN_QDRANT", Kind::Path, PROVIDERS, "`qdrant` to start")
        .otherwise("the first one on `PATH`, else the embedded one")
        .example("/usr/local/bin/qdrant")
        .group(HARNESS),
    Entry::new(
        "SHAKEDOWN_REDIS_IMAGE",
        Kind::Name { without: "" },
        PROVIDERS,
        "image of Redis for provider `containers`; `--redis-image`",
    )
    .otherwise("`redis:8-alpine`")
    .example("redis:7.4-alpine")
    .group(HARNESS),
    Entry::new(
        "SHAKEDOWN_POSTGRES_IMAGE",
        Kind::Name { without: "" },
        PROVIDERS,
        "image of Postgres for provider `containers`; `--postgres-image`",
    )
    .otherwise("`supabase/postgres:17.6.1.136`")
    .example("postgres:17-alpine")
    .group(HARNESS),
    Entry::new(
        "SHAKEDOWN_QDRANT_IMAGE",
        Kind::Name { without: "" },
        PROVIDERS,
        "image of Qdrant for provider `containers`; `--qdrant-image`",
    )
    .otherwise("`qdrant/qdrant:v1.18.3`")
    .example("qdrant/qdrant:v1.18.3")
    .group(HARNESS),
    Entry::new("SHAKEDOWN_DATA_DIR", Kind::Path, PROVIDERS, "where throwaway directories are made")
        .otherwise("`/dev/shm` where that has ample room, else the temporary directory")
        .example("/var/tmp")
        .group(HARNESS),
    Entry::new("SHAKEDOWN_STATE_DIR", Kind::Path, EVERY, "where the list of things to clean up is kept")
        .otherwise("`$XDG_STATE_HOME/shakedown`, else `~/.local/state/shakedown`")
        .example("/var/lib/shakedown")
        .group(HARNESS),
    #[cfg(feature = "defects")]
    Entry::new("SHAKEDOWN_DEFECT", Kind::Text, &[Run, Up, Worker], "defect planted on purpose, for tests alone")
        .otherwise("none")
        .group(HARNESS)
        .hidden(),
    Entry::new("NO_COLOR", Kind::Text, EVERY, "any value: no colours on the terminal")
        .otherwise("colours where the terminal has them")
        .example("1")
        .group(HARNESS),
    telemetry::ENDPOINT,
    telemetry::TRACES_ENDPOINT,
    telemetry::PROTOCOL_ENTRY,
    telemetry::TRACES_PROTOCOL,
    telemetry::HEADERS,
    telemetry::TRACES_HEADERS,
    telemetry::TIMEOUT_ENTRY,
    telemetry::TRACES_TIMEOUT,
    telemetry::COMPRESSION_ENTRY,
    telemetry::TRACES_COMPRESSION,
    telemetry::EXPORTER,
    telemetry::DISABLED,
    telemetry::SERVICE,
    telemetry::RESOURCE,
    telemetry::PARENT,
];

/// The entry called `name`.
#[must_use]
pub fn entry(name: &str) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.name == name)
}

/// The known name that `name` most resembles, if any does.
///
/// `NAME_FILE` resembles the file form of its variable.
#[must_use]
pub fn nearest(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let forms = TABLE.iter().filter(|entry| !entry.hidden).flat_map(|entry| {
        let file = upper.ends_with("_FILE").then(|| format!("{}_FILE", entry.name));
        [Some(entry.name.to_owned()), file].into_iter().flatten()
    });
    similar(&upper, forms)
}

/// The candidate most like `word`, if one is like it at all.
#[must_use]
pub fn similar(word: &str, candidates: impl IntoIterator<Item = String>) -> Option<String> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, &candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::settings::value;

    #[test]
    fn names_are_unique_and_never_end_in_file() {
        let names: BTreeSet<_> = TABLE.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), TABLE.len());
        assert!(names.iter().all(|name| !name.ends_with("_FILE")));
    }

    #[test]
    fn every_entry_explains_itself() {
        for entry in TABLE {
            assert!(!entry.meaning.is_empty() && !entry.group.is_empty() && !entry.needs.is_empty(), "{}", entry.name);
            assert!(entry.hidden || !entry.example.is_empty(), "{} has no example", entry.name);
        }
    }

    #[test]
    fn defaults_and_examples_are_values_that_would_be_accepted() {
        for entry in TABLE.iter().filter(|entry| !entry.hidden) {
            for text in [entry.default, Some(entry.example)].into_iter().flatten() {
                assert_eq!(value::problem(entry, text), None, "{}={text}", entry.name);
            }
        }
    }

    #[test]
    fn a_misspelt_name_finds_the_one_that_was_meant() {
        assert_eq!(nearest("SHAKEDOWN_PROFIL").as_deref(), Some("SHAKEDOWN_PROFILE"));
        assert_eq!(nearest("SHAKEDOWN_SEDE").as_deref(), Some("SHAKEDOWN_SEED"));
        assert_eq!(nearest("JINA_APIKEY_FILE").as_deref(), Some("JINA_API_KEY_FILE"));
        assert_eq!(nearest("ZZZ"), None);
    }
}
