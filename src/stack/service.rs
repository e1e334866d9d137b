//! The four services of a stack.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A service of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Redis or Valkey, which holds the queue.
    Redis,
    /// Postgres in the shape of Supabase.
    Postgres,
    /// Qdrant.
    Qdrant,
    /// Jina or its mock.
    Jina,
}

impl Service {
    /// All of them, in dependency order.
    pub const ALL: [Self; 4] = [Self::Redis, Self::Postgres, Self::Qdrant, Self::Jina];

    /// Its name in suites, reports and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::Qdrant => "qdrant",
            Self::Jina => "jina",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
