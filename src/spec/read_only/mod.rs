//! What a probe may do if its case does not say `writes = true`, and what `db query` may do without `--write`.
//!
//! Suites are checked when they are read, with placeholders in place of values, and again with the values before a
//! request is sent. The service is a second barrier: see `services::postgres` for the read-only transaction.

mod redis;
mod refusal;
mod sql;

pub use redis::{CommandFlags, check_redis, subcommand};
pub use refusal::NotReadOnly;
pub use sql::{SqlKind, check_sql};

use super::probe::{HttpProbe, Probe};

/// Refuses a probe that is not known to only read.
///
/// # Errors
/// It has statements or requests before or after, or its query, command or request may write.
pub fn check_probe(probe: &Probe) -> Result<(), NotReadOnly> {
    match probe {
        Probe::Sql(probe) => {
            if !probe.before.is_empty() || !probe.after.is_empty() {
                return Err(NotReadOnly::new("`before` and `after` run statements that write"));
            }
            if probe.keeps_session {
                return Ok(());
            }
            match check_sql(&without_placeholders(&probe.query))? {
                SqlKind::Query => Ok(()),
                SqlKind::Other => Err(NotReadOnly::new("`query` takes a SELECT")),
            }
        }
        // With `yields`, the engine decides what is sent; `latency-ms` sends the command.
        Probe::Redis(probe) => check_redis(&probe.command, None),
        Probe::Http(probe) => check_http(probe),
        _ => Ok(()),
    }
}

/// Refuses a request that is not known to only read: RFC 9110 calls GET, HEAD and OPTIONS safe.
fn check_http(probe: &HttpProbe) -> Result<(), NotReadOnly> {
    if !probe.before.is_empty() || !probe.after.is_empty() {
        return Err(NotReadOnly::new("`before` and `after` send requests that write"));
    }
    let method = probe.method.as_deref().unwrap_or("GET");
    if matches!(method, "GET" | "HEAD" | "OPTIONS") {
        return Ok(());
    }
    Err(NotReadOnly::new(format!("the HTTP method {method} may write; GET, HEAD and OPTIONS only read")))
}

/// A query with a name in place of each placeholder. A placeholder is a name or a part of a text, never syntax.
fn without_placeholders(query: &str) -> String {
    let mut text = String::with_capacity(query.len());
    let mut rest = query;
    while let Some(start) = rest.find("{{") {
        let Some(end) = rest[start..].find("}}") else { break };
        text.push_str(&rest[..start]);
        text.push_str("placeholder");
        rest = &rest[start + end + 2..];
    }
    text + rest
}
