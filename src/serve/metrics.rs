//! The results in the text format of Prometheus.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{prometheus_text, text as openmetrics_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Status;
use super::circuit::CircuitState;
use super::status_store::{Known, StatusStore};
use crate::outcome::Word;

/// The two text formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The format of Prometheus, which every scraper reads.
    Prometheus,
    /// `OpenMetrics`, on request.
    OpenMetrics,
}

impl Form {
    /// The form that the header `Accept` asks for.
    pub(super) fn accepted(accept: Option<&str>) -> Self {
        let asks = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
        if asks { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The content type.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    fn encode(self, registry: &Registry) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        match self {
            Self::Prometheus => prometheus_text::encode(&mut text, registry)?,
            Self::OpenMetrics => openmetrics_text::encode(&mut text, registry)?,
        }
        Ok(text)
    }
}

/// The names of all metrics. `monitoring` uses no others.
pub(super) const VERDICT: &str = "shakedown_case_verdict";
pub(super) const DURATION: &str = "shakedown_case_duration_seconds";
pub(super) const UP: &str = "shakedown_service_up";
pub(super) const LATENCY: &str = "shakedown_service_latency_seconds";
pub(super) const STATUS: &str = "shakedown_service_status";
pub(super) const CIRCUIT: &str = "shakedown_service_circuit";
pub(super) const JOBS: &str = "shakedown_queue_jobs";
pub(super) const OLDEST: &str = "shakedown_queue_oldest_waiting_seconds";
pub(super) const POINTS: &str = "shakedown_collection_points";
pub(super) const LAST_CHECK: &str = "shakedown_last_check_timestamp_seconds";
pub(super) const LAST_SUCCESS: &str = "shakedown_last_success_timestamp_seconds";
pub(super) const CHECKS: &str = "shakedown_checks";

/// The value of [`VERDICT`] for each word.
pub(super) const fn number(word: Word) -> u8 {
    match word {
        Word::Pass => 0,
        Word::Warn => 1,
        Word::Fail => 2,
        Word::Unknown => 3,
        Word::Skip => 4,
        Word::Waived => 5,
    }
}

type Labels = Vec<(String, String)>;
type Number = Gauge<f64, AtomicU64>;

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn family(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, Number> {
    let family = Family::<Labels, Number>::default();
    registry.register(name, help, family.clone());
    family
}

fn single(registry: &mut Registry, name: &str, help: &str, value: Option<f64>) {
    if let Some(value) = value {
        let gauge = Number::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    }
}

/// All metrics, as text.
///
/// # Errors
/// Never, as far as writing to a string cannot fail.
pub(super) fn text(status_store: &StatusStore, form: Form) -> Result<String, std::fmt::Error> {
    let registry = registry(&status_store.read());
    form.encode(&registry)
}

/// The metrics of a worker, as text.
///
/// # Errors
/// Never, as far as writing to a string cannot fail.
pub(super) fn worker_text(
    ready: bool,
    circuits: &[(&'static str, CircuitState)],
    form: Form,
) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    single(&mut registry, "shakedown_worker_ready", "Whether the worker takes jobs", Some(f64::from(u8::from(ready))));
    let help = "State of the worker's circuit breaker for a service at the last call: 0 closed, 1 half open, 2 open";
    let circuit = family(&mut registry, "shakedown_worker_circuit", help);
    for (service, state) in circuits {
        circuit.get_or_create(&labels([("service", service)])).set(f64::from(state.number()));
    }
    form.encode(&registry)
}

#[expect(clippy::cast_precision_loss, reason = "counts and times that Prometheus keeps as such numbers")]
fn registry(known: &Known) -> Registry {
    let mut registry = Registry::default();
    let registry_ = &mut registry;
    let verdict = family(registry_, VERDICT, "Verdict of a case: 0 pass, 1 warn, 2 fail, 3 unknown, 4 skip, 5 waived");
    let duration = family(registry_, DURATION, "Duration of a case in the last check");
    for judged in known.cases.values() {
        let record = &judged.record;
        let of = labels([("case", &record.id), ("suite", &record.suite), ("level", record.level.word())]);
        verdict.get_or_create(&of).set(f64::from(number(record.verdict.word())));
        duration.get_or_create(&of).set(record.duration_ms as f64 / 1000.0);
    }
    let status = family(registry_, STATUS, "Status of a service: 0 pass, 1 warn, 2 fail");
    for (service, now) in known.services() {
        let value = match now {
            Status::Pass => 0.0,
            Status::Warn => 1.0,
            Status::Fail => 2.0,
        };
        status.get_or_create(&labels([("service", service)])).set(value);
    }
    let up = family(registry_, UP, "Whether a service answers");
    let latency = family(registry_, LATENCY, "Time that the service took to answer; absent without an answer");
    for (service, heartbeat) in &known.heartbeats {
        let of = labels([("service", service)]);
        up.get_or_create(&of).set(f64::from(u8::from(heartbeat.up)));
        if heartbeat.up {
            latency.get_or_create(&of).set(heartbeat.latency_us as f64 / 1_000_000.0);
        }
    }
    let circuits = family(
        registry_,
        CIRCUIT,
        "Circuit of a service: 0 closed, checks call it; 1 half open, the next check decides; 2 open, only heartbeats call it",
    );
    for (service, circuit) in &known.circuits {
        circuits.get_or_create(&labels([("service", service)])).set(f64::from(circuit.state().number()));
    }
    let jobs = family(registry_, JOBS, "Jobs of the queue by state");
    let oldest = family(registry_, OLDEST, "Age of the oldest waiting job, 0 when no job waits");
    if let Some(queue) = &known.queue {
        for (state, count) in queue.counts.by_state() {
            jobs.get_or_create(&labels([("queue", &known.targets.queue), ("state", state)])).set(count as f64);
        }
        let of = labels([("queue", &known.targets.queue)]);
        oldest.get_or_create(&of).set(queue.oldest_s.unwrap_or_default());
    }
    let points = family(registry_, POINTS, "Points in the collection");
    if let Some(count) = known.points {
        points.get_or_create(&labels([("collection", &known.targets.collection)])).set(count as f64);
    }
    let seconds = |ms: Option<i64>| ms.map(|ms| ms as f64 / 1000.0);
    single(registry_, LAST_CHECK, "Time of the end of the last check", seconds(known.last_check_ms));
    single(
        registry_,
        LAST_SUCCESS,
        "Time of the end of the last check in which no MUST failed",
        seconds(known.last_success_ms),
    );
    let checks: Counter = Counter::default();
    checks.inc_by(known.checks);
    registry_.register(CHECKS, "Number of finished checks", checks);
    registry
}
