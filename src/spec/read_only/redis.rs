//! Which Redis commands only read.

use super::refusal::NotReadOnly;

/// Flags of a command, as `COMMAND INFO` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandFlags {
    /// The server says that it only reads.
    Readonly,
    /// The server says that it writes.
    Write,
    /// Neither: a command for the connection, the server or a script.
    Neither,
}

/// Refuses a command that is not known to only read.
///
/// `flags` are those of the server that will run it, or `None` if they are unknown: then those of Redis 7.0 hold.
///
/// # Errors
/// The command may write, or change the server or the connection.
pub fn check_redis(words: &[String], flags: Option<CommandFlags>) -> Result<(), NotReadOnly> {
    let name = command_name(words);
    let reads = match flags {
        Some(CommandFlags::Write) => false,
        Some(CommandFlags::Readonly) => true,
        Some(CommandFlags::Neither) => is_state(&name),
        None => is_state(&name) || READONLY.iter().any(|known| is_command(&name, known)),
    };
    if reads {
        return Ok(());
    }
    let shown = words.first().map_or_else(String::new, |word| word.to_ascii_uppercase());
    let hint = match shown.as_str() {
        "EVAL" => "; EVAL_RO runs a script that only reads (Redis 7)",
        "EVALSHA" => "; EVALSHA_RO runs a script that only reads (Redis 7)",
        "FCALL" => "; FCALL_RO runs a function that only reads (Redis 7)",
        _ => "",
    };
    Err(NotReadOnly::new(format!("the Redis command {shown} may write{hint}")))
}

/// The name of the subcommand in `COMMAND INFO`, such as `config|get`; `None` for a command without subcommands.
#[must_use]
pub fn subcommand(words: &[String]) -> Option<String> {
    let [name, subcommand] = words.get(..2)? else { return None };
    let name = name.to_ascii_lowercase();
    let has_subcommands =
        STATE.iter().chain(READONLY).any(|known| known.split_once(' ').is_some_and(|(command, _)| command == name));
    has_subcommands.then(|| format!("{name}|{}", subcommand.to_ascii_lowercase()))
}

/// The first two words in lower case: a command, and its subcommand or first argument.
fn command_name(words: &[String]) -> String {
    words.iter().take(2).map(|word| word.to_ascii_lowercase()).collect::<Vec<_>>().join(" ")
}

fn is_state(name: &str) -> bool {
    STATE.iter().any(|known| is_command(name, known))
}

/// Whether `name` is the command `known`, which is one word, or a command and its subcommand.
fn is_command(name: &str, known: &str) -> bool {
    if known == "command" {
        return name == known;
    }
    name == known || (!known.contains(' ') && name.split(' ').next() == Some(known))
}

/// Commands that read the state of the server or of the connection. They have neither the flag `readonly`, which is
/// about keys, nor `write`.
const STATE: &[&str] = &[
    "acl cat",
    "acl dryrun",
    "acl getuser",
    "acl list",
    "acl users",
    "acl whoami",
    "client getname",
    "client getredir",
    "client id",
    "client info",
    "client list",
    "client trackinginfo",
    "cluster count-failure-reports",
    "cluster countkeysinslot",
    "cluster getkeysinslot",
    "cluster info",
    "cluster keyslot",
    "cluster links",
    "cluster myid",
    "cluster nodes",
    "cluster replicas",
    "cluster shards",
    "cluster slaves",
    "cluster slots",
    "command",
    "command count",
    "command docs",
    "command getkeys",
    "command getkeysandflags",
    "command info",
    "command list",
    "config get",
    "echo",
    "function dump",
    "function list",
    "function stats",
    "info",
    "lastsave",
    "latency doctor",
    "latency graph",
    "latency histogram",
    "latency history",
    "latency latest",
    "memory doctor",
    "memory malloc-stats",
    "memory stats",
    "module list",
    "ping",
    "pubsub channels",
    "pubsub numpat",
    "pubsub numsub",
    "pubsub shardchannels",
    "pubsub shardnumsub",
    "role",
    "script exists",
    "slowlog get",
    "slowlog len",
    "time",
];

/// Commands with the flag `readonly` in Redis 7.0.
const READONLY: &[&str] = &[
    "bitcount",
    "bitfield_ro",
    "bitpos",
    "dbsize",
    "dump",
    "eval_ro",
    "evalsha_ro",
    "exists",
    "expiretime",
    "fcall_ro",
    "geodist",
    "geohash",
    "geopos",
    "georadius_ro",
    "georadiusbymember_ro",
    "geosearch",
    "get",
    "getbit",
    "getrange",
    "hexists",
    "hget",
    "hgetall",
    "hkeys",
    "hlen",
    "hmget",
    "hrandfield",
    "hscan",
    "hstrlen",
    "hvals",
    "keys",
    "lcs",
    "lindex",
    "llen",
    "lolwut",
    "lpos",
    "lrange",
    "memory usage",
    "mget",
    "object encoding",
    "object freq",
    "object idletime",
    "object refcount",
    "pexpiretime",
    "pfcount",
    "pttl",
    "randomkey",
    "scan",
    "scard",
    "sdiff",
    "sinter",
    "sintercard",
    "sismember",
    "smembers",
    "smismember",
    "sort_ro",
    "srandmember",
    "sscan",
    "strlen",
    "substr",
    "sunion",
    "touch",
    "ttl",
    "type",
    "xinfo consumers",
    "xinfo groups",
    "xinfo stream",
    "xlen",
    "xpending",
    "xrange",
    "xread",
    "xrevrange",
    "zcard",
    "zcount",
    "zdiff",
    "zinter",
    "zintercard",
    "zlexcount",
    "zmscore",
    "zrandmember",
    "zrange",
    "zrangebylex",
    "zrangebyscore",
    "zrank",
    "zrevrange",
    "zrevrangebylex",
    "zrevrangebyscore",
    "zrevrank",
    "zscan",
    "zscore",
    "zunion",
];

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[rstest]
    #[case("GET a")]
    #[case("hgetall a")]
    #[case("INFO server")]
    #[case("CONFIG GET timeout")]
    #[case("COMMAND")]
    #[case("CLIENT GETREDIR")]
    #[case("LATENCY HISTOGRAM")]
    #[case("CLUSTER KEYSLOT a")]
    #[case("XINFO STREAM a")]
    #[case("EVAL_RO return 0")]
    fn a_reading_command_is_permitted(#[case] command: &str) {
        check_redis(&words(command), None).unwrap();
    }

    #[rstest]
    #[case("SET a b")]
    #[case("CONFIG SET timeout 1")]
    #[case("CONFIG RESETSTAT")]
    #[case("EVAL return 0")]
    #[case("ACL SETUSER a")]
    #[case("SHUTDOWN")]
    #[case("FLUSHALL")]
    #[case("PUBLISH a b")]
    #[case("SELECT 1")]
    #[case("SORT a")]
    #[case("MODULE.WRITE a")]
    #[case("SCRIPT FLUSH")]
    #[case("COMMAND RESET")]
    #[case("")]
    fn another_command_is_refused(#[case] command: &str) {
        check_redis(&words(command), None).unwrap_err();
    }

    #[test]
    fn every_known_command_is_one_word_or_two() {
        for known in STATE.iter().chain(READONLY) {
            assert!(known.split(' ').count() <= 2 && !known.contains(char::is_control), "{known:?}");
        }
    }

    #[test]
    fn the_flags_of_the_server_win() {
        check_redis(&words("GRAPH.RO_QUERY a"), Some(CommandFlags::Readonly)).unwrap();
        check_redis(&words("GET a"), Some(CommandFlags::Write)).unwrap_err();
        check_redis(&words("PING"), Some(CommandFlags::Neither)).unwrap();
        check_redis(&words("CONFIG SET a b"), Some(CommandFlags::Neither)).unwrap_err();
    }
}
