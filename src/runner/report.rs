//! Assembles the report of a run: metadata, environment, timelines, and the worker output that is kept.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;

use super::run::Engine;
use crate::outcome::{
    CaseRecord, Coverage, EnvironmentRow, REPORT_VERSION, Report, RunVerdict, Timeline, Totals, Word,
};
use crate::redaction::{MASK, printable, public_address, redact};
use crate::scenario;
use crate::settings::Endpoints;

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

/// The report of the judged cases, before its verdict and totals are settled.
pub(super) fn assemble(engine: &Engine<'_>, suite_version: &str, clock: &Clock, cases: Vec<CaseRecord>) -> Report {
    let options = engine.options;
    let (provider, provider_reason) = engine.stack.provider();
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
        services: engine.stack.services().to_vec(),
        environment: environment(&engine.endpoints),
        files: Vec::new(),
        notes: Vec::new(),
        cases,
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

impl Engine<'_> {
    /// The timelines of the scenario runs with a case that did not pass. Their worker output is kept if the options say
    /// so.
    pub(super) fn timelines(&self, cases: &[CaseRecord], notes: &mut Vec<String>) -> Vec<Timeline> {
        let mut not_passed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for case in cases {
            let word = case.verdict.word();
            if let (Some(name), Word::Fail | Word::Warn | Word::Unknown | Word::Waived) = (&case.scenario, word) {
                not_passed.entry(name).or_default().push(case.id.clone());
            }
        }
        let mut timelines = Vec::new();
        for (name, cases) in not_passed {
            let Some(Ok(observations)) = self.scenario_runs.get(name).and_then(|cell| cell.get()) else { continue };
            timelines.push(scenario::timeline(name, cases, observations));
            notes.extend(self.keep_output(name, &redact(&observations.log)).err());
        }
        timelines
    }

    /// Writes the workers' output of a scenario run to the directory of the options, if there is one. The error is a
    /// note.
    pub(super) fn keep_output(&self, name: &str, output: &str) -> Result<(), String> {
        let Some(directory) = &self.options.keep_output else { return Ok(()) };
        let path = directory.join(format!("{name}.log"));
        std::fs::write(&path, printable(output).as_bytes())
            .map_err(|error| format!("cannot write {}: {error}", path.display()))
    }
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
