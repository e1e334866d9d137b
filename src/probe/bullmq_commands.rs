//! The Redis commands that BullMQ needs.

/// The commands that BullMQ's scripts and clients use, with arguments; `{k}` stands for a key of the queue. An ACL user
/// without one of them cannot run a worker (suites/FAILURES.md#redis.acl).
pub(super) const COMMANDS: &[&str] = &[
    "EVALSHA x 0",
    "EVAL x 0",
    "INFO",
    "PING",
    "CLIENT SETNAME x",
    "CLIENT LIST",
    "BZPOPMIN {k} 1",
    "XADD {k} * a b",
    "XREAD STREAMS {k} 0",
    "XTRIM {k} MAXLEN 1",
    "SCAN 0",
    "EXISTS {k}",
    "TYPE {k}",
    "DEL {k}",
    "RENAME {k} {k}",
    "SET {k} x",
    "GET {k}",
    "INCR {k}",
    "PEXPIRE {k} 1",
    "PTTL {k}",
    "PERSIST {k}",
    "HSET {k} a b",
    "HMSET {k} a b",
    "HGET {k} a",
    "HMGET {k} a",
    "HGETALL {k}",
    "HDEL {k} a",
    "HEXISTS {k} a",
    "HLEN {k}",
    "HINCRBY {k} a 1",
    "LPUSH {k} a",
    "RPUSH {k} a",
    "LPOP {k}",
    "RPOP {k}",
    "RPOPLPUSH {k} {k}",
    "LREM {k} 0 a",
    "LLEN {k}",
    "LRANGE {k} 0 1",
    "LINDEX {k} 0",
    "LSET {k} 0 a",
    "LTRIM {k} 0 1",
    "LPOS {k} a",
    "SADD {k} a",
    "SREM {k} a",
    "SMEMBERS {k}",
    "SISMEMBER {k} a",
    "SCARD {k}",
    "ZADD {k} 1 a",
    "ZREM {k} a",
    "ZSCORE {k} a",
    "ZCARD {k}",
    "ZCOUNT {k} 0 1",
    "ZRANGE {k} 0 1",
    "ZREVRANGE {k} 0 1",
    "ZRANGEBYSCORE {k} 0 1",
    "ZREVRANGEBYSCORE {k} 1 0",
    "ZREMRANGEBYRANK {k} 0 1",
    "ZREMRANGEBYSCORE {k} 0 1",
    "ZPOPMIN {k}",
    "MULTI",
    "EXEC",
];

/// Whether BullMQ needs a command, given its name in INFO commandstats. PING, INFO and CLIENT SETNAME do not count:
/// they are refused to unauthenticated clients too, so a refusal need not concern a worker.
pub(super) fn needs(name: &str) -> bool {
    let mut needed = COMMANDS.iter().filter(|command| !matches!(**command, "PING" | "INFO" | "CLIENT SETNAME x"));
    needed.any(|command| {
        let mut words = command.split(' ');
        let first = words.next().unwrap_or_default();
        let known =
            if first == "CLIENT" { format!("{first}|{}", words.next().unwrap_or_default()) } else { first.to_owned() };
        known.eq_ignore_ascii_case(name)
    })
}

/// The words of a command, with `key` as its key.
pub(super) fn words<'a>(command: &'a str, key: &'a str) -> impl Iterator<Item = String> + 'a {
    command.split(' ').map(move |word| word.replace("{k}", key))
}

/// The name of a command, without its arguments.
pub(super) fn short(command: &str) -> String {
    command.split(" {k}").next().unwrap_or(command).to_owned()
}
