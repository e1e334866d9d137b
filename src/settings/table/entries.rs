//! The variables, group by group.

use super::entry::Need::{Check, Ingest, Run, Setup, Up, Worker};
use super::entry::{Entry, HARNESS, Kind, NAMES, Need, REFERENCE, SERVICES, Secrecy};
use super::telemetry;
use crate::settings::profile::PROFILES;

const EVERY: &[Need] = &[Check, Run, Up, Worker, Setup, Ingest];
const STACK: &[Need] = &[Check, Run, Worker, Setup, Ingest];
const STORES: &[Need] = &[Check, Run, Worker, Setup];
const JUDGES: &[Need] = &[Check, Run];
const PROVIDERS: &[Need] = &[Run, Up];
const WORKER: &[Need] = &[Worker];

const HTTP: Kind = Kind::Url(&["http", "https"]);
/// Every environment variable that Shakedown or its reference worker reads.
pub const TABLE: &[Entry] = &[
    Entry::new("REDIS_URL", Kind::Url(&["redis", "rediss"]), STACK, "Redis with the BullMQ queue")
        .secret(Secrecy::Password)
        .example("redis://:password@127.0.0.1:6379/0")
        .group(SERVICES),
    Entry::new(
        "DATABASE_URL",
        Kind::Url(&["postgres", "postgresql"]),
        STORES,
        "Postgres, or Supabase's session pooler, with the table of documents",
    )
    .secret(Secrecy::Password)
    .example("postgres://postgres:password@127.0.0.1:5432/postgres")
    .group(SERVICES),
    Entry::new("SUPABASE_URL", HTTP, JUDGES, "API of the Supabase project")
        .otherwise("checks of the Supabase API are skipped")
        .example("https://abcdefghijklmnopqrst.supabase.co")
        .group(SERVICES),
    Entry::new(
        "SUPABASE_SERVICE_ROLE_KEY",
        Kind::Text,
        JUDGES,
        "Supabase key that bypasses row level security; for servers only",
    )
    .otherwise("checks that need the key are skipped")
    .secret(Secrecy::Yes)
    .example("sb_secret_…")
    .group(SERVICES),
    Entry::new("SUPABASE_ANON_KEY", Kind::Text, JUDGES, "Supabase key for browsers")
        .otherwise("checks that need the key are skipped")
        .secret(Secrecy::Yes)
        .example("sb_publishable_…")
        .group(SERVICES),
    Entry::new("SUPABASE_PROJECT_REF", Kind::Name { without: "/:." }, JUDGES, "reference id of the Supabase project")
        .otherwise("checks of the Supabase management API are skipped")
        .example("abcdefghijklmnopqrst")
        .group(SERVICES),
    Entry::new(
        "SUPABASE_ACCESS_TOKEN",
        Kind::Text,
        &[Check],
        "Supabase personal access token, for checks of the Supabase management API",
    )
    .otherwise("checks of the Supabase management API are skipped")
    .secret(Secrecy::Yes)
    .example("sbp_…")
    .group(SERVICES),
    Entry::new("SUPABASE_MANAGEMENT_URL", HTTP, &[Check], "Supabase management API")
        .default("https://api.supabase.com")
        .group(SERVICES),
    Entry::new("QDRANT_URL", HTTP, STORES, "Qdrant REST API").example("http://127.0.0.1:6333").group(SERVICES),
    Entry::new("QDRANT_GRPC_URL", HTTP, STORES, "Qdrant gRPC API")
        .otherwise("`QDRANT_URL` with port 6334")
        .example("http://127.0.0.1:6334")
        .group(SERVICES),
    Entry::new("QDRANT_API_KEY", Kind::Text, STORES, "Qdrant API key, if the server requires one")
        .otherwise("requests are sent without a key")
        .secret(Secrecy::Yes)
        .example("change-me")
        .group(SERVICES),
    Entry::new("JINA_API_KEY", Kind::Text, &[Check, Run, Worker], "Jina API key, sent as a bearer token")
        .otherwise("required for api.jina.ai; otherwise requests are sent without a key")
        .secret(Secrecy::Yes)
        .example("jina_…")
        .group(SERVICES),
    Entry::new(
        "JINA_BASE_URL",
        HTTP,
        &[Check, Run, Worker],
        "base URL of the embeddings API, with its version; requests go to `/embeddings` below it",
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
        "vector size, in Jina's responses and in the collection",
    )
    .default("1024")
    .group(SERVICES),
    Entry::new("QUEUE_NAME", Kind::Name { without: ":" }, STACK, "BullMQ queue for documents")
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
        "name of the collection's vector; unset for the unnamed vector",
    )
    .example("dense")
    .group(NAMES),
    Entry::new("MIGRATIONS_DIR", Kind::Path, &[Check], "directory of the database migrations")
        .default("supabase/migrations")
        .group(NAMES),
    Entry::new(
        "WORKER_CONCURRENCY",
        Kind::Integer { min: 1, max: 1024 },
        WORKER,
        "documents processed at the same time",
    )
    .default("8")
    .group(REFERENCE),
    Entry::new(
        "WORKER_LOCK_MS",
        Kind::Milliseconds { min: 100, max: 3_600_000 },
        WORKER,
        "lifetime of a job's lock without renewal",
    )
    .default("30000")
    .group(REFERENCE),
    Entry::new(
        "WORKER_STALLED_MS",
        Kind::Milliseconds { min: 100, max: 3_600_000 },
        WORKER,
        "interval between checks for stalled jobs",
    )
    .default("30000")
    .group(REFERENCE),
    Entry::new(
        "WORKER_MAX_STALLED",
        Kind::Integer { min: 0, max: 1000 },
        WORKER,
        "how many times a job may stall before it fails",
    )
    .default("3")
    .group(REFERENCE),
    Entry::new(
        "WORKER_SHUTDOWN_GRACE_MS",
        Kind::Milliseconds { min: 0, max: 3_600_000 },
        WORKER,
        "how long active jobs may run after SIGTERM",
    )
    .default("10000")
    .group(REFERENCE),
    Entry::new(
        "STARTUP_TIMEOUT_MS",
        Kind::Milliseconds { min: 0, max: 3_600_000 },
        WORKER,
        "how long the worker waits for its services at startup",
    )
    .default("30000")
    .group(REFERENCE),
    Entry::new("EMBED_BATCH", Kind::Integer { min: 1, max: 2048 }, WORKER, "texts per request to Jina")
        .default("100")
        .group(REFERENCE),
    Entry::new("EMBED_CONCURRENCY", Kind::Integer { min: 1, max: 256 }, WORKER, "concurrent requests to Jina")
        .default("2")
        .group(REFERENCE),
    Entry::new(
        "EMBED_ENCODING",
        Kind::Choice(&["base64", "float"]),
        WORKER,
        "encoding of vectors in responses; both give the same numbers",
    )
    .default("base64")
    .group(REFERENCE),
    Entry::new(
        "RETRY_BASE_MS",
        Kind::Milliseconds { min: 1, max: 600_000 },
        WORKER,
        "upper bound of the first wait before a retry; doubles with each retry",
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
        "attempts of one request before the job fails and BullMQ retries it",
    )
    .default("5")
    .group(REFERENCE),
    Entry::new(
        "BREAKER_WINDOW",
        Kind::Integer { min: 1, max: 1000 },
        WORKER,
        "number of recent calls that a circuit breaker considers, per service",
    )
    .default("10")
    .group(REFERENCE),
    Entry::new(
        "BREAKER_OPEN_MS",
        Kind::Milliseconds { min: 1, max: 3_600_000 },
        WORKER,
        "how long an open circuit breaker blocks calls to a service",
    )
    .default("1000")
    .group(REFERENCE),
    Entry::new("UPSERT_BATCH", Kind::Integer { min: 1, max: 10_000 }, WORKER, "points per request to Qdrant")
        .default("256")
        .group(REFERENCE),
    Entry::new("CHUNK_TOKENS", Kind::Integer { min: 8, max: 8192 }, WORKER, "largest chunk, in tokens")
        .default("512")
        .group(REFERENCE),
    Entry::new("CHUNK_OVERLAP", Kind::Integer { min: 0, max: 4096 }, WORKER, "tokens that adjacent chunks share")
        .default("50")
        .group(REFERENCE),
    Entry::new(
        "CHUNK_TOKENIZER",
        Kind::Path,
        WORKER,
        "`tokenizer.json` of the model, to count tokens as the model does",
    )
    .otherwise("tokens are counted with the built-in vocabulary")
    .example("tokenizer.json")
    .group(REFERENCE),
    Entry::new("RUST_LOG", Kind::Text, EVERY, "log filter: `level` or `target=level,…`")
        .default("info")
        .group(REFERENCE),
    Entry::new("SHAKEDOWN_PROFILE", Kind::Choice(PROFILES), EVERY, "profile of `shakedown.toml`; `--profile`")
        .default("development")
        .group(HARNESS),
    Entry::new("SHAKEDOWN_CONFIG", Kind::Path, EVERY, "path of `shakedown.toml`; `--config`")
        .default("shakedown.toml")
        .otherwise("the file is optional")
        .needs_trust()
        .group(HARNESS),
    Entry::new(
        "SHAKEDOWN_PROVIDER",
        Kind::Choice(&["auto", "native", "containers", "remote"]),
        PROVIDERS,
        "provider of the stack; `--provider`",
    )
    .default("auto")
    .group(HARNESS),
    Entry::new("SHAKEDOWN_SUITES", Kind::Path, JUDGES, "directory of your own suites; `--suites`")
        .otherwise("only the built-in suites")
        .example("suites")
        .needs_trust()
        .group(HARNESS),
    Entry::new(
        "SHAKEDOWN_JOBS",
        Kind::Integer { min: 1, max: 256 },
        JUDGES,
        "cases that run at the same time; `--jobs`",
    )
    .otherwise("derived from the number of processors")
    .example("4")
    .group(HARNESS),
    Entry::new(
        "SHAKEDOWN_SEED",
        Kind::Integer { min: 0, max: u64::MAX },
        JUDGES,
        "seed of all random choices, shown in the report; `--seed`",
    )
    .otherwise("random")
    .example("42")
    .group(HARNESS),
    Entry::new(
        "SHAKEDOWN_KEEP",
        Kind::Switch,
        PROVIDERS,
        "keep the stack's directories and containers after the run; `--keep`",
    )
    .default("0")
    .group(HARNESS),
    Entry::new("SHAKEDOWN_REUSE", Kind::Switch, PROVIDERS, "keep containers running between local runs; `--reuse`")
        .default("0")
        .group(HARNESS),
    Entry::new(
        "SHAKEDOWN_CONTAINER_MEMORY_MB",
        Kind::Integer { min: 16, max: 1_048_576 },
        PROVIDERS,
        "memory limit of each container, in MiB",
    )
    .default("1024")
    .group(HARNESS),
    Entry::new("SHAKEDOWN_REDIS_SERVER", Kind::Path, PROVIDERS, "path of `redis-server` or `valkey-server`")
        .otherwise("the first one on `PATH`")
        .example("/usr/bin/redis-server")
        .needs_trust()
        .group(HARNESS),
    Entry::new(
        "SHAKEDOWN_POSTGRES",
        Kind::Path,
        PROVIDERS,
        "path of `postgres`; `initdb` must be in the same directory",
    )
    .otherwise("the newest installed version")
    .example("/usr/lib/postgresql/17/bin/postgres")
    .needs_trust()
    .group(HARNESS),
    Entry::new("SHAKEDOWN_QDRANT", Kind::Path, PROVIDERS, "path of `qdrant`")
        .otherwise("the first one on `PATH`, else the embedded Qdrant")
        .example("/usr/local/bin/qdrant")
        .needs_trust()
        .group(HARNESS),
    Entry::new(
        "SHAKEDOWN_REDIS_IMAGE",
        Kind::Name { without: "" },
        PROVIDERS,
        "Redis image of the provider `containers`; `--redis-image`",
    )
    .otherwise("`redis:8-alpine`")
    .example("redis:7.4-alpine")
    .needs_trust()
    .group(HARNESS),
    Entry::new(
        "SHAKEDOWN_POSTGRES_IMAGE",
        Kind::Name { without: "" },
        PROVIDERS,
        "Postgres image of the provider `containers`; `--postgres-image`",
    )
    .otherwise("`supabase/postgres:17.6.1.136`")
    .example("postgres:17-alpine")
    .needs_trust()
    .group(HARNESS),
    Entry::new(
        "SHAKEDOWN_QDRANT_IMAGE",
        Kind::Name { without: "" },
        PROVIDERS,
        "Qdrant image of the provider `containers`; `--qdrant-image`",
    )
    .otherwise("`qdrant/qdrant:v1.18.3`")
    .example("qdrant/qdrant:v1.18.3")
    .needs_trust()
    .group(HARNESS),
    Entry::new("SHAKEDOWN_DATA_DIR", Kind::Path, PROVIDERS, "parent directory of throwaway directories")
        .otherwise("`/dev/shm` if it has enough space, else the temporary directory")
        .example("/var/tmp")
        .group(HARNESS),
    Entry::new(
        "SHAKEDOWN_TRUST",
        Kind::Switch,
        EVERY,
        "let `.env` and `shakedown.toml` of the working directory decide which programs and suites run; `--trust`",
    )
    .otherwise("they decide nothing, except for `run` and `worker`")
    .example("1")
    .needs_trust()
    .group(HARNESS),
    Entry::new("SHAKEDOWN_STATE_DIR", Kind::Path, EVERY, "directory of the clean-up ledgers")
        .otherwise("`$XDG_STATE_HOME/shakedown`, else `~/.local/state/shakedown`")
        .example("/var/lib/shakedown")
        .group(HARNESS),
    #[cfg(feature = "defects")]
    Entry::new("SHAKEDOWN_DEFECT", Kind::Text, &[Run, Up, Worker], "defect to inject, for tests only")
        .otherwise("none")
        .group(HARNESS)
        .hidden(),
    Entry::new("NO_COLOR", Kind::Text, EVERY, "any value disables colours on the terminal")
        .otherwise("colours if the terminal supports them")
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
