//! Faults of the connections between the worker and a service.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

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

/// A kind of requests to Qdrant, over REST and gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Requests {
    /// Requests that remove points, and batches of changes that may remove some.
    Removals,
}

impl Requests {
    /// Whether a request to this path is of this kind.
    #[must_use]
    pub fn has(self, path: &str) -> bool {
        // REST: `/collections/a/points/delete`; gRPC: `/qdrant.Points/Delete`.
        let path = path.trim_end_matches('/').to_ascii_lowercase();
        match self {
            Self::Removals => {
                ["points/delete", "points/batch", "points/updatebatch"].iter().any(|end| path.ends_with(end))
            }
        }
    }
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
            Self::Hold { .. } => "hold",
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
        f.pad(self.word())
    }
}
