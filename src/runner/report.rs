//! Assembles the report of a run: its metadata, its environment and the judged cases.

use std::time::{Duration, Instant};

use secrecy::ExposeSecret;

use super::RunOptions;
use crate::outcome::{Coverage, EnvironmentRow, REPORT_VERSION, Report, RunVerdict, Totals};
use crate::settings::Endpoints;
use crate::stack::Stack;

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
        services: stack.services().to_vec(),
        environment: environment(endpoints),
        files: Vec::new(),
        notes: Vec::new(),
        cases: Vec::new(),
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
            value: if variable.secret { "********".to_owned() } else { variable.value.expose_secret().to_owned() },
            origin: "stack".to_owned(),
            secret: variable.secret,
        })
        .collect()
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
