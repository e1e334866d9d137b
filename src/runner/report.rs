//! Assembles the report of a run: its metadata, its environment and the judged cases.

use std::time::{Duration, Instant};

use secrecy::ExposeSecret;

use super::RunOptions;
use crate::outcome::{Coverage, EnvironmentRow, REPORT_VERSION, Report, RunVerdict, Totals};
use crate::redaction::{MASK, public_address};
use crate::settings::Endpoints;
use crate::stack::Stack;
use crate::stack::postgrest::{Postgrest, Program};

/// When the run started.
#[derive(Debug)]
pub(super) struct Clock {
    started_at: String,
    begun: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        let started_at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        Self { started_at, begun: Instant::now() }
    }
}

/// The report of a run on `stack`, without cases, and before its verdict and totals are settled.
pub(super) fn assemble(
    stack: &Stack,
    endpoints: &Endpoints,
    options: &RunOptions,
    suite_version: &str,
    clock: &Clock,
) -> Report {
    let (provider, provider_reason) = stack.provider();
    let mut services = stack.services().to_vec();
    if options.contract.worker.names_supabase() {
        services.push(Postgrest::record(Program::installed()));
    }
    Report {
        report_version: REPORT_VERSION,
        shakedown: env!("CARGO_PKG_VERSION").to_owned(),
        suite_version: suite_version.to_owned(),
        run: options.run.clone(),
        seed: options.seed,
        profile: options.profile.clone(),
        provider: provider.to_owned(),
        provider_reason: provider_reason.to_owned(),
        worker: options.contract.worker.program.to_string(),
        started_at: clock.started_at.clone(),
        duration_ms: millis(clock.begun.elapsed()),
        verdict: RunVerdict::Inconclusive,
        coverage: Coverage::default(),
        totals: Totals::default(),
        gate: options.gate.clone(),
        services,
        environment: environment(endpoints),
        files: Vec::new(),
        notes: Vec::new(),
        causes: Vec::new(),
        cases: Vec::new(),
        worker_profile: options.worker_profile.clone(),
        timelines: Vec::new(),
    }
}

/// The environment of worker and probes. The values of secrets are masked.
fn environment(endpoints: &Endpoints) -> Vec<EnvironmentRow> {
    endpoints
        .environment()
        .into_iter()
        .map(|variable| EnvironmentRow {
            name: variable.name.to_owned(),
            value: match variable.value.expose_secret() {
                _ if variable.secret => MASK.to_owned(),
                url if url.contains("://") => public_address(url),
                other => other.to_owned(),
            },
            origin: "stack".to_owned(),
            secret: variable.secret,
        })
        .collect()
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use crate::settings::{JinaEndpoint, Names, PostgresEndpoint, QdrantEndpoint, RedisEndpoint};

    use super::*;

    #[test]
    fn addresses_are_listed_without_passwords_and_tokens() {
        let text = |text: &str| text.to_owned();
        let rows = environment(&Endpoints {
            redis: RedisEndpoint { url: "redis://:hidden-1@h:1/0".into() },
            postgres: PostgresEndpoint { url: "postgres://u:hidden-2@h:1/d".into() },
            qdrant: QdrantEndpoint {
                url: text("https://u:hidden-3@h:6333/x?token=hidden-4"),
                grpc_url: text("https://hidden-5@h:6334"),
                api_key: Some("hidden-6".into()),
                vector: None,
            },
            jina: JinaEndpoint {
                base_url: text("https://h/v1?api_key=hidden-7"),
                api_key: Some("hidden-8".into()),
                model: text("m"),
                dimensions: 8,
            },
            names: Names { queue: text("q"), prefix: text("p"), collection: text("c"), table: text("t") },
        });
        let shown = format!("{rows:?}");
        assert!(!shown.contains("hidden"), "{shown}");
        assert!(shown.contains("https://h:6333/x") && shown.contains("https://h/v1"), "{shown}");
    }
}
