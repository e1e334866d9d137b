//! What may happen to connections.

use std::fmt;
use std::time::Duration;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
    /// Both ways.
    Both,
}

impl Direction {
    /// Whether what happens to `self` happens to bytes that go `way`.
    #[must_use]
    pub const fn covers(self, way: Self) -> bool {
        matches!((self, way), (Self::Both, _) | (Self::Up, Self::Up) | (Self::Down, Self::Down))
    }
}

/// One thing that happens to the connections of one service.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NetworkFault {
    /// Connections are reset, new ones as soon as they are accepted: attempts are seen, and get nowhere.
    Refuse,
    /// Connections that are open are reset, once; new ones are served.
    Cut,
    /// Bytes are taken and go nowhere, new connections are accepted and nothing answers. Nobody is told. A connection
    /// that lost bytes is reset when this ends: a stream with a hole in it would be worse than none.
    Blackhole,
    /// Bytes arrive later.
    Latency {
        /// By so much.
        delay: Duration,
        /// Give or take so much, evenly spread; the order of bytes is kept.
        jitter: Duration,
    },
    /// No more than so many bytes a second, for each connection and direction.
    Bandwidth {
        /// Bytes a second.
        rate: u64,
    },
    /// When one side closes, the other is told later.
    SlowClose {
        /// By so much.
        delay: Duration,
    },
    /// A connection is reset after so many bytes, also in the middle of a message.
    LimitData {
        /// Bytes, counted in each direction from when this begins.
        bytes: u64,
    },
    /// One direction goes on, the other loses its bytes: requests arrive and answers do not, or the reverse.
    HalfOpen,
    /// Refused and served in turn, beginning with refused.
    Flap {
        /// How long each turn is.
        period: Duration,
    },
}

impl NetworkFault {
    /// Its word in suites, reports and on the command line.
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
        }
    }

    /// The direction that is meant when none is given: with half a connection, answers are lost.
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
