//! Services, and faults of a service itself.

use schemars::JsonSchema;
use serde::Deserialize;

/// A service that the worker reaches through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Redis.
    Redis,
    /// Postgres.
    Postgres,
    /// Qdrant, both of its ports.
    Qdrant,
    /// The embeddings API.
    Jina,
}

impl Target {
    /// Its name in suites and reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::Qdrant => "qdrant",
            Self::Jina => "jina",
        }
    }
}

/// A fault of a service itself. All but the last affect every client, so the scenario gets a stack of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ServiceFault {
    /// A clean stop, and a start with the same data.
    Restart,
    /// SIGKILL; the service is started again with the same data when the fault is over.
    Kill,
    /// SIGSTOP; SIGCONT when the fault is over.
    Pause,
    /// The service closes every connection once: `CLIENT KILL`, `pg_terminate_backend`.
    DropConnections,
    /// Writes are refused, reads work: Redis becomes a replica (`READONLY`), Postgres makes transactions read-only (25006).
    ReadOnly,
    /// Redis has reached `maxmemory` and evicts nothing: writes are answered with `OOM`.
    OutOfMemory,
    /// Redis cannot save to disk: writes are answered with `MISCONF`.
    Misconf,
    /// Every connection that Postgres permits is in use by others (53300), and the worker's connections are closed.
    TooManyConnections,
    /// Qdrant's strict mode limits the writes per minute to the collection, and answers 429 with `Retry-After`.
    RateLimit {
        /// Points per minute.
        per_minute: u32,
    },
}

impl ServiceFault {
    /// Its name in suites and reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::DropConnections => "drop_connections",
            Self::ReadOnly => "read_only",
            Self::OutOfMemory => "out_of_memory",
            Self::Misconf => "misconf",
            Self::TooManyConnections => "too_many_connections",
            Self::RateLimit { .. } => "rate_limit",
        }
    }

    /// Whether `target` can have this fault.
    #[must_use]
    pub const fn applies_to(self, target: Target) -> bool {
        match self {
            Self::Restart | Self::Kill | Self::Pause => !matches!(target, Target::Jina),
            Self::DropConnections | Self::ReadOnly => matches!(target, Target::Redis | Target::Postgres),
            Self::OutOfMemory | Self::Misconf => matches!(target, Target::Redis),
            Self::TooManyConnections => matches!(target, Target::Postgres),
            Self::RateLimit { .. } => matches!(target, Target::Qdrant),
        }
    }

    /// Whether every client of the service is affected.
    #[must_use]
    pub const fn affects_every_client(self) -> bool {
        !matches!(self, Self::RateLimit { .. })
    }
}
