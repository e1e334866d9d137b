//! Faults of the connections between the worker and a service.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use super::refused::{Commands, RedisError, Requests, SqlState, Statements};
use super::service::Target;

/// The direction of bytes on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
    /// Both ways.
    Both,
}

impl Direction {
    /// Whether a fault of this direction applies to bytes that go `way`.
    #[must_use]
    pub const fn covers(self, way: Self) -> bool {
        matches!((self, way), (Self::Both, _) | (Self::Up, Self::Up) | (Self::Down, Self::Down))
    }
}

/// A fault of the connections to one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkFault {
    /// Open connections are reset, and new ones as soon as they are accepted, so that attempts can be counted.
    Refuse,
    /// Open connections are reset once. With a duration, new connections are reset too until it is over.
    Cut,
    /// Bytes are accepted and dropped, new connections are accepted and get no answer; neither side gets an error. A
    /// connection that lost bytes is reset when the fault ends, because a stream with a gap would be worse than none.
    Blackhole,
    /// Bytes arrive later.
    Latency {
        /// Milliseconds.
        ms: u64,
        /// Plus or minus up to this many milliseconds, uniformly distributed; the order of bytes is kept.
        #[serde(default)]
        jitter_ms: u64,
    },
    /// A limit on the bytes per second, for each connection and direction.
    Bandwidth {
        /// Bytes per second.
        rate: u64,
    },
    /// When one side closes, the close reaches the other side later.
    SlowClose {
        /// Milliseconds.
        ms: u64,
    },
    /// A connection is reset after a number of bytes, also in the middle of a message.
    LimitData {
        /// Bytes, counted in each direction from the beginning of the fault.
        bytes: u64,
    },
    /// One direction works and the other loses its bytes: requests arrive and answers do not, or the reverse.
    HalfOpen,
    /// Connections are refused and served in turn, beginning with refused.
    Flap {
        /// Milliseconds of each turn.
        ms: u64,
    },
    /// Every HTTP request is answered with an error, as by a gateway before an overloaded service; over HTTP/1 and HTTP/2,
    /// so that gRPC clients get it too. Open connections are reset first.
    Answer {
        /// The HTTP status, such as 503. With 200 the answer is an HTML page.
        status: u16,
        /// Seconds of a `Retry-After` header.
        #[serde(default)]
        retry_after_s: Option<u64>,
        /// Which requests are answered so; all when absent. The others reach the service.
        #[serde(default)]
        only: Option<Requests>,
    },
    /// Postgres answers some statements with an error and does not run them. A transaction is then aborted, as after any
    /// error; after a code that ends the connection, such as 08006, it is closed. Statements on encrypted connections are not
    /// met.
    SqlError {
        /// The error code, such as `40001`.
        sqlstate: SqlState,
        /// Which statements; those that change rows when absent.
        #[serde(default)]
        statements: Statements,
        /// The first of these statements that is met, counted from 1 since the fault began.
        #[serde(default = "first")]
        from: u64,
        /// How many are met; all when absent. The fault is over after the last.
        #[serde(default)]
        times: Option<u64>,
    },
    /// Redis answers some commands with an error and does not run them, also in a pipeline. In a transaction (`MULTI`) it is
    /// the answer to the command, and `EXEC` then discards the transaction. Commands on encrypted connections are not met.
    RedisError {
        /// The error.
        error: RedisError,
        /// Which commands; those that write when absent.
        #[serde(default)]
        commands: Commands,
        /// The first of these commands that is met, counted from 1 since the fault began.
        #[serde(default = "first")]
        from: u64,
        /// How many are met; all when absent. The fault is over after the last.
        #[serde(default)]
        times: Option<u64>,
    },
    /// HTTP requests reach the service later, even if the client gives up meanwhile; over HTTP/1 and HTTP/2. Open connections
    /// are reset first.
    Hold {
        /// Milliseconds.
        ms: u64,
        /// Which requests are held; all when absent. The others reach the service at once, and overtake them.
        #[serde(default)]
        only: Option<Requests>,
    },
}

/// The first of a count.
const fn first() -> u64 {
    1
}

impl NetworkFault {
    /// Its name in suites, in reports and on the command line.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Cut => "cut",
            Self::Blackhole => "blackhole",
            Self::Latency { .. } => "latency",
            Self::Bandwidth { .. } => "bandwidth",
            Self::SlowClose { .. } => "slow_close",
            Self::LimitData { .. } => "limit_data",
            Self::HalfOpen => "half_open",
            Self::Flap { .. } => "flap",
            Self::Answer { .. } => "answer",
            Self::SqlError { .. } => "sql_error",
            Self::RedisError { .. } => "redis_error",
            Self::Hold { .. } => "hold",
        }
    }

    /// Whether connections to `target` can have this fault.
    #[must_use]
    pub const fn applies_to(&self, target: Target) -> bool {
        match self {
            Self::Answer { .. } | Self::Hold { .. } => matches!(target, Target::Qdrant | Target::Jina),
            Self::SqlError { .. } => matches!(target, Target::Postgres),
            Self::RedisError { .. } => matches!(target, Target::Redis),
            _ => true,
        }
    }

    /// Whether what it meets is requests, and not connections.
    #[must_use]
    pub const fn meets_requests(&self) -> bool {
        matches!(self, Self::Answer { .. } | Self::SqlError { .. } | Self::RedisError { .. } | Self::Hold { .. })
    }

    /// After how many requests it is over, if it is a matter of requests and not of time alone.
    #[must_use]
    pub const fn times(&self) -> Option<u64> {
        match self {
            Self::SqlError { times, .. } | Self::RedisError { times, .. } => *times,
            _ => None,
        }
    }

    /// The direction when none is given; `half_open` loses answers.
    #[must_use]
    pub const fn usual_direction(&self) -> Direction {
        match self {
            Self::HalfOpen => Direction::Down,
            _ => Direction::Both,
        }
    }
}

impl fmt::Display for NetworkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SqlError { sqlstate, .. } => write!(f, "{} {}", self.word(), sqlstate.text()),
            Self::RedisError { error, .. } => write!(f, "{} {error}", self.word()),
            _ => f.pad(self.word()),
        }
    }
}
