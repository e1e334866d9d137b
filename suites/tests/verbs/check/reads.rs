//! What a check sends to each service, recorded on the way; and whether a command or a statement only reads.

use std::collections::BTreeSet;

use secrecy::ExposeSecret;
use shakedown::settings::Endpoints;
use url::Url;

use crate::support::harness::runtime;
use crate::support::recorder::Recorder;

/// Recorders before every service.
pub(super) struct Recorders {
    pub(super) redis: Recorder,
    pub(super) postgres: Recorder,
    pub(super) qdrant: Recorder,
    pub(super) jina: Recorder,
}

impl Recorders {
    pub(super) fn before(endpoints: &mut Endpoints) -> Self {
        let start = |url: &str| {
            let url = Url::parse(url).unwrap();
            let upstream = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
            runtime().block_on(Recorder::start("127.0.0.1:0", Some(upstream)))
        };
        let recorders = Self {
            redis: start(endpoints.redis.url.expose_secret()),
            postgres: start(endpoints.postgres.url.expose_secret()),
            qdrant: start(&endpoints.qdrant.url),
            jina: start(&endpoints.jina.base_url),
        };
        endpoints.redis.url = moved(endpoints.redis.url.expose_secret(), &recorders.redis).into();
        endpoints.postgres.url = moved(endpoints.postgres.url.expose_secret(), &recorders.postgres).into();
        let qdrant = moved(&endpoints.qdrant.url, &recorders.qdrant);
        qdrant.trim_end_matches('/').clone_into(&mut endpoints.qdrant.url);
        endpoints.jina.base_url = moved(&endpoints.jina.base_url, &recorders.jina);
        recorders
    }
}

/// `url`, with the recorder's address in it.
pub(super) fn moved(url: &str, recorder: &Recorder) -> String {
    let mut url = Url::parse(url).unwrap();
    url.set_ip_host(recorder.address.ip()).unwrap();
    url.set_port(Some(recorder.address.port())).unwrap();
    url.to_string()
}

/// Commands that change nothing and cost little, whatever they are given.
const READS: &[&str] = &[
    "AUTH", "EXISTS", "GET", "HELLO", "HEXISTS", "HGET", "HLEN", "HMGET", "HSTRLEN", "INFO", "LLEN", "PING", "PTTL",
    "SELECT", "TIME", "TTL", "TYPE", "XLEN", "ZCARD", "ZCOUNT", "ZSCORE",
];
const READS_OF_TWO_WORDS: &[&str] = &[
    "ACL DRYRUN",
    "ACL WHOAMI",
    "CLIENT LIST",
    "CLIENT SETINFO",
    "CLIENT SETNAME",
    "CLUSTER INFO",
    "CLUSTER KEYSLOT",
    "COMMAND INFO",
    "CONFIG GET",
    "MEMORY USAGE",
];

pub(super) fn only_reads(words: &[String]) -> bool {
    let name = words[0].to_uppercase();
    let two = format!("{name} {}", words.get(1).map(|word| word.to_uppercase()).unwrap_or_default());
    let number = |place: usize| words.get(place).and_then(|word| word.parse::<i64>().ok());
    READS.contains(&name.as_str())
        || READS_OF_TWO_WORDS.contains(&two.as_str())
        // Ranges have two ends, and not many between them.
        || (["LRANGE", "ZRANGE", "ZREVRANGE"].contains(&name.as_str())
            && matches!((number(2), number(3)), (Some(from), Some(to)) if (from >= 0) == (to >= 0) && to - from < 50))
        || (name == "SCAN" && words.iter().any(|word| word.eq_ignore_ascii_case("COUNT")))
}

/// The statements of a text, without what stands between quotation marks.
pub(super) fn bare(text: &str) -> Vec<String> {
    let bare: String = text.split('\'').step_by(2).collect::<Vec<_>>().join("''");
    bare.split(';').map(|part| part.trim().to_lowercase()).filter(|part| !part.is_empty()).collect()
}

pub(super) fn only_selects(statement: &str) -> bool {
    let harmless = ["begin read only", "commit", "rollback"].contains(&statement)
        || statement.starts_with("select ")
        || statement.starts_with("show ")
        || statement.starts_with("set local statement_timeout")
        || statement.starts_with("set local standard_conforming_strings");
    let words: BTreeSet<&str> = statement.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let changing = [
        "insert",
        "update",
        "delete",
        "truncate",
        "create",
        "alter",
        "drop",
        "grant",
        "revoke",
        "copy",
        "nextval",
        "setval",
        "pg_terminate_backend",
        "pg_cancel_backend",
        "pg_advisory_lock",
        "lo_create",
        "into",
    ];
    harmless && changing.iter().all(|word| !words.contains(word))
}
