//! Single requests that a service refuses: which ones, and with which error.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// An error code of SQL: five digits or capital letters (PostgreSQL, appendix A).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// Its five characters.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }

    /// What Postgres writes beside it.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self.text() {
            "08006" => "connection failure",
            "25006" => "cannot execute statement in a read-only transaction",
            "40001" => "could not serialize access due to concurrent update",
            "40P01" => "deadlock detected",
            "53100" => "could not extend file: No space left on device",
            "53200" => "out of memory",
            "53300" => "sorry, too many clients already",
            "55P03" => "canceling statement due to lock timeout",
            "57014" => "canceling statement due to statement timeout",
            "57P01" => "terminating connection due to administrator command",
            _ => "the statement failed",
        }
    }

    /// Whether the server closes the connection after it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        let text = self.text();
        text == "53300" || text.starts_with("08") || text.starts_with("57P")
    }
}

impl TryFrom<String> for SqlState {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match <[u8; 5]>::try_from(text.as_bytes()) {
            Ok(code) if code.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()) => Ok(Self(code)),
            _ => Err(format!("invalid SQLSTATE `{text}`: expected five digits or capital letters, e.g. \"40001\"")),
        }
    }
}

/// Which statements a fault of Postgres meets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Statements {
    /// Statements that change rows.
    #[default]
    Writes,
    /// `INSERT`, also with `ON CONFLICT`.
    Inserts,
    /// `UPDATE`.
    Updates,
    /// `DELETE`.
    Deletes,
    /// Statements that read rows.
    Reads,
}

/// An error that Redis answers a command with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RedisError {
    /// The server is a replica.
    ReadOnly,
    /// `maxmemory` is reached, and nothing may be evicted.
    Oom,
    /// The server has started and reads its data from disk.
    Loading,
    /// A script has run for too long.
    Busy,
    /// The key belongs to another node of a cluster.
    Moved,
    /// Fewer replicas are connected than a write needs.
    NoReplicas,
}

impl RedisError {
    /// Every error.
    pub const ALL: [Self; 6] = [Self::ReadOnly, Self::Oom, Self::Loading, Self::Busy, Self::Moved, Self::NoReplicas];

    /// Its first word in an answer.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ReadOnly => "READONLY",
            Self::Oom => "OOM",
            Self::Loading => "LOADING",
            Self::Busy => "BUSY",
            Self::Moved => "MOVED",
            Self::NoReplicas => "NOREPLICAS",
        }
    }

    /// What Redis writes after the word.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::ReadOnly => "You can't write against a read only replica.",
            Self::Oom => "command not allowed when used memory > 'maxmemory'.",
            Self::Loading => "Redis is loading the dataset in memory",
            Self::Busy => "Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            Self::Moved => "8191 127.0.0.1:1",
            Self::NoReplicas => "Not enough good replicas to write.",
        }
    }
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Which commands a fault of Redis meets. Commands that only concern the connection, such as `AUTH` and `INFO`, are never
/// met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Commands {
    /// All commands that read or write keys.
    All,
    /// Commands that write, scripts included.
    #[default]
    Writes,
    /// `EVAL`, `EVALSHA` and `FCALL`, with which BullMQ moves jobs.
    Scripts,
    /// Commands that wait for an element, with which BullMQ waits for jobs.
    Blocking,
}

/// Commands that concern the connection or the server, and read no key.
const CONNECTION: [&str; 23] = [
    "AUTH",
    "CLIENT",
    "CLUSTER",
    "COMMAND",
    "CONFIG",
    "DISCARD",
    "ECHO",
    "EXEC",
    "HELLO",
    "INFO",
    "MULTI",
    "PING",
    "PSUBSCRIBE",
    "PUNSUBSCRIBE",
    "QUIT",
    "RESET",
    "ROLE",
    "SCRIPT",
    "SELECT",
    "SUBSCRIBE",
    "TIME",
    "UNSUBSCRIBE",
    "UNWATCH",
];
/// Commands that read keys.
const READS: [&str; 43] = [
    "DBSIZE",
    "EVALSHA_RO",
    "EVAL_RO",
    "EXISTS",
    "FCALL_RO",
    "GET",
    "GETRANGE",
    "HEXISTS",
    "HGET",
    "HGETALL",
    "HKEYS",
    "HLEN",
    "HMGET",
    "HSCAN",
    "HVALS",
    "KEYS",
    "LINDEX",
    "LLEN",
    "LPOS",
    "LRANGE",
    "MEMORY",
    "MGET",
    "OBJECT",
    "PTTL",
    "SCAN",
    "SCARD",
    "SISMEMBER",
    "SMEMBERS",
    "SSCAN",
    "STRLEN",
    "TTL",
    "TYPE",
    "WATCH",
    "XLEN",
    "XRANGE",
    "XREAD",
    "XREVRANGE",
    "ZCARD",
    "ZCOUNT",
    "ZRANGE",
    "ZRANGEBYSCORE",
    "ZREVRANGE",
    "ZSCORE",
];
const SCRIPTS: [&str; 3] = ["EVAL", "EVALSHA", "FCALL"];
const BLOCKING: [&str; 8] = ["BLMOVE", "BLMPOP", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZMPOP", "BZPOPMAX", "BZPOPMIN"];

impl Commands {
    /// Whether the command with this name is among them.
    #[must_use]
    pub fn has(self, name: &[u8]) -> bool {
        let is_in = |names: &[&str]| names.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
        match self {
            Self::All => !is_in(&CONNECTION),
            Self::Writes => !is_in(&CONNECTION) && !is_in(&READS),
            Self::Scripts => is_in(&SCRIPTS),
            Self::Blocking => is_in(&BLOCKING),
        }
    }
}

/// A kind of requests to Qdrant, over REST and gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Requests {
    /// Requests that remove points, and batches of changes that may remove some.
    Removals,
    /// Requests that store points, and batches of changes that may store some.
    Upserts,
    /// Requests that read, count or search points.
    Reads,
    /// Requests for the list of collections, for what a collection is like, and whether it exists.
    CollectionInfo,
}

impl Requests {
    /// Whether a request with this method and path is of this kind.
    #[must_use]
    pub fn has(self, method: &str, path: &str) -> bool {
        // REST: `POST /collections/a/points/delete`; gRPC: `POST /qdrant.Points/Delete`.
        let path = path.trim_end_matches('/').to_ascii_lowercase();
        let is_one_of = |ends: &[&str]| ends.iter().any(|end| path.ends_with(end));
        let is_batch = is_one_of(&["points/batch", "points/updatebatch"]);
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let is_points = parts.len() == 3 && parts[0] == "collections" && parts[2] == "points";
        match self {
            Self::Removals => is_batch || is_one_of(&["points/delete"]),
            Self::Upserts => is_batch || is_one_of(&["qdrant.points/upsert"]) || (is_points && method == "PUT"),
            Self::Reads => {
                let words = ["scroll", "count", "query", "search", "recommend", "get", "facet"];
                let reads = |word: &&str| is_one_of(&[&format!("points/{word}"), &format!("points/{word}/batch")]);
                words.iter().any(reads) || (is_points && method == "POST")
            }
            Self::CollectionInfo => {
                let is_rest = parts[0] == "collections" && (parts.len() <= 2 || is_one_of(&["/exists"]));
                let words = ["get", "list", "collectionexists"];
                (method == "GET" && is_rest) || words.iter().any(|word| path == format!("/qdrant.collections/{word}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn an_sqlstate_has_five_characters() {
        let state = SqlState::try_from("40P01".to_owned()).unwrap();
        assert_eq!((state.text(), state.message(), state.is_fatal()), ("40P01", "deadlock detected", false));
        assert!(SqlState::try_from("08006".to_owned()).unwrap().is_fatal());
        for invalid in ["4000", "40p01", "400011", "40 01"] {
            let reason = SqlState::try_from(invalid.to_owned()).unwrap_err();
            assert!(reason.starts_with(&format!("invalid SQLSTATE `{invalid}`")), "{reason}");
        }
    }

    #[rstest]
    #[case("evalsha", [true, true, true, false])]
    #[case("BZPOPMIN", [true, true, false, true])]
    #[case("HSET", [true, true, false, false])]
    #[case("HGETALL", [true, false, false, false])]
    #[case("EVALSHA_RO", [true, false, false, false])]
    #[case("INFO", [false; 4])]
    #[case("EXEC", [false; 4])]
    fn commands_belong_to_kinds(#[case] name: &str, #[case] kinds: [bool; 4]) {
        let all = [Commands::All, Commands::Writes, Commands::Scripts, Commands::Blocking];
        assert_eq!(all.map(|commands| commands.has(name.as_bytes())), kinds);
    }

    #[rstest]
    #[case("PUT", "/collections/a/points", Some(Requests::Upserts))]
    #[case("POST", "/qdrant.Points/Upsert", Some(Requests::Upserts))]
    #[case("POST", "/collections/a/points", Some(Requests::Reads))]
    #[case("POST", "/collections/a/points/scroll", Some(Requests::Reads))]
    #[case("POST", "/collections/a/points/search/batch", Some(Requests::Reads))]
    #[case("POST", "/qdrant.Points/Count", Some(Requests::Reads))]
    #[case("POST", "/collections/a/points/delete", Some(Requests::Removals))]
    #[case("POST", "/qdrant.Points/Delete", Some(Requests::Removals))]
    #[case("GET", "/collections/a", Some(Requests::CollectionInfo))]
    #[case("GET", "/collections", Some(Requests::CollectionInfo))]
    #[case("GET", "/collections/a/exists", Some(Requests::CollectionInfo))]
    #[case("POST", "/qdrant.Collections/Get", Some(Requests::CollectionInfo))]
    #[case("PUT", "/collections/a", None)]
    #[case("PUT", "/collections/a/index", None)]
    #[case("DELETE", "/collections/points", None)]
    #[case("POST", "/qdrant.Collections/Create", None)]
    fn requests_belong_to_one_kind(#[case] method: &str, #[case] path: &str, #[case] kind: Option<Requests>) {
        let all = [Requests::Removals, Requests::Upserts, Requests::Reads, Requests::CollectionInfo];
        let has: Vec<Requests> = all.into_iter().filter(|requests| requests.has(method, path)).collect();
        assert_eq!(has, Vec::from_iter(kind), "{method} {path}");
    }
}
