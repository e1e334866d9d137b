//! Probe kinds as data: what to observe, not how.

mod generic;
mod http;
mod interop;
mod jina;
mod queue;
mod redis;
mod search;
mod settings;
mod setup;
mod sql;

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

pub use generic::{CommandProbe, CommandYield, DnsProbe, DnsYield, TcpProbe, TcpYield, TlsBefore, TlsProbe, TlsYield};
pub use http::{Auth, HttpProbe, HttpStep, HttpYield};
pub use interop::{InteropJob, InteropProbe, InteropWant};
pub use jina::{JinaProbe, JinaYield};
pub use queue::{QueueCanary, QueueFact, QueueProbe, QueueStateProbe};
pub use redis::{RedisProbe, RedisYield};
pub use search::{SearchFact, SearchProbe};
pub use settings::{ConsistencyProbe, EnvProbe, EnvYield, Rule};
pub use setup::{IngestionProbe, SetupProbe, SetupYield};
pub use sql::{MigrationsFact, MigrationsProbe, SqlProbe};

/// One observation of the stack. Only reads, unless the case has `writes = true`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// A Redis command.
    Redis(RedisProbe),
    /// A Postgres query.
    Sql(SqlProbe),
    /// An HTTP request to Qdrant, Jina or Supabase.
    Http(HttpProbe),
    /// A setting, as the run resolved it.
    Env(EnvProbe),
    /// Settings, compared with each other.
    Consistency(ConsistencyProbe),
    /// A BullMQ canary: private jobs on a private queue.
    Queue(QueueProbe),
    /// The state of a BullMQ queue that is in use.
    QueueState(QueueStateProbe),
    /// The quality and speed of searches in the collection.
    Search(SearchProbe),
    /// The migrations of a directory, compared with those of the database.
    Migrations(MigrationsProbe),
    /// One call of the embeddings API.
    Jina(JinaProbe),
    /// `shakedown setup`, run as a process with names of its own.
    Setup(SetupProbe),
    /// A tiny document, ingested by the reference worker with names of its own.
    Ingestion(IngestionProbe),
    /// Jobs of each BullMQ library, processed by each of the others.
    Interop(InteropProbe),
    /// A TCP connection to an address.
    Tcp(TcpProbe),
    /// The addresses of a host name.
    Dns(DnsProbe),
    /// A server's certificate.
    Tls(TlsProbe),
    /// A program's exit code or output.
    Command(CommandProbe),
}

impl Probe {
    /// The name of the kind in suites.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Redis(_) => "redis",
            Self::Sql(_) => "sql",
            Self::Http(_) => "http",
            Self::Env(_) => "env",
            Self::Consistency(_) => "consistency",
            Self::Queue(_) => "queue",
            Self::QueueState(_) => "queue-state",
            Self::Search(_) => "search",
            Self::Migrations(_) => "migrations",
            Self::Jina(_) => "jina",
            Self::Setup(_) => "setup",
            Self::Ingestion(_) => "ingestion",
            Self::Interop(_) => "interop",
            Self::Tcp(_) => "tcp",
            Self::Dns(_) => "dns",
            Self::Tls(_) => "tls",
            Self::Command(_) => "command",
        }
    }
}

/// What `shakedown explain` shows after `looks at`.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(probe) => {
                write!(f, "Redis: {}", probe.command.join(" "))?;
                probe.field.iter().try_for_each(|field| write!(f, ", its field {field}"))?;
                probe.yields.iter().try_for_each(|yields| write!(f, ", {yields}"))
            }
            Self::Sql(probe) if probe.keeps_session => {
                f.write_str("Postgres: several sessions, each with a few transactions")
            }
            Self::Sql(probe) => write!(f, "Postgres: {}", on_one_line(&probe.query)),
            Self::Http(probe) => {
                let method = probe.method.as_deref().unwrap_or("GET");
                write!(f, "{}: {method} {}", probe.service, probe.path)
            }
            Self::Env(probe) => write!(f, "the setting {}", probe.variable),
            Self::Consistency(probe) => write!(f, "the settings together: {}", probe.rule),
            Self::Queue(probe) => write!(f, "a private queue: {}", probe.canary),
            Self::QueueState(probe) => write!(f, "the queue: {}", probe.yields),
            Self::Search(probe) => write!(f, "searches for 16 stored vectors: {}", probe.yields),
            Self::Migrations(probe) => write!(f, "migrations of the directory and the database: {}", probe.yields),
            Self::Jina(probe) => write!(f, "a call of the embeddings API: {}", probe.yields),
            Self::Interop(probe) => {
                let names: Vec<&str> = probe.jobs.iter().map(|job| job.name.as_str()).collect();
                write!(f, "jobs of each BullMQ library for each of the others: {}", names.join(", "))
            }
            Self::Tcp(probe) => write!(f, "a connection to {}: {}", probe.address, probe.yields),
            Self::Dns(probe) => write!(f, "the host name {}: {}", probe.host, probe.yields),
            Self::Tls(probe) => write!(f, "the certificate of {}: {}", probe.address, probe.yields),
            Self::Command(probe) => {
                write!(f, "the program `{}`: {}", on_one_line(&probe.command.join(" ")), probe.yields)
            }
            Self::Ingestion(probe) => {
                write!(f, "the ingestion of a tiny document under names of its own, within {} s", probe.within_s)
            }
            Self::Setup(probe) => {
                let times = if probe.times == 1 { "once".to_owned() } else { format!("{} times", probe.times) };
                write!(f, "`shakedown setup`, run {times}: {}", probe.yields)
            }
        }
    }
}

/// `text` with every run of blanks and line breaks replaced by one blank.
fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Check, Suites};

    #[test]
    fn every_built_in_probe_is_described_without_names_from_the_code() {
        for case in &Suites::builtin().unwrap().cases {
            let Check::Probe(probe, _) = &case.check else { continue };
            let sentence = probe.to_string();
            assert!(!sentence.contains("Some(") && !sentence.ends_with("None"), "{}: {sentence}", case.id);
            // Commands, queries, paths and variables may hold anything.
            if matches!(**probe, Probe::Redis(_) | Probe::Sql(_) | Probe::Http(_) | Probe::Env(_) | Probe::Command(_)) {
                continue;
            }
            let last = sentence.rsplit(": ").next().unwrap();
            assert!(!last.contains('{'), "{}: {sentence}", case.id);
            let camel_case = last.split_whitespace().find(|word| {
                let word = word.trim_end_matches("'s").trim_matches(',');
                !["BullMQ", "KiB", "REST", "TLS", "URLs"].contains(&word)
                    && word != "gRPC"
                    && word.chars().skip(1).any(char::is_uppercase)
            });
            assert_eq!(camel_case, None, "{}: {sentence}", case.id);
        }
    }
}
