//! `shakedown worker`: the reference worker as a process.

use std::io::Write;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::Common;
use super::failure::Failure;
use super::trace_export::TraceExport;
use crate::outcome::{Exit, Trace};
use crate::redaction::redact;
use crate::reference_worker::chunk::ChunkOptions;
use crate::reference_worker::{BreakerState, Breakers, Policy, WorkerConfig, WorkerPhase};
use crate::serve::CircuitState;
use crate::services::jina::Encoding;
use crate::settings::{Need, Settings};

/// Run the reference worker against the stack that the environment variables name, until SIGTERM
///
/// Every setting is a variable: see `shakedown env`. The log goes to standard error, one JSON object per line.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also serve /health/live, /health/ready and /metrics on this port of 127.0.0.1; it is ready while it takes jobs
    #[arg(long, value_name = "PORT")]
    health_port: Option<u16>,
}

/// How long to wait for the trace collector at the end, within the grace period.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs the worker; exit code 0 after SIGTERM or SIGINT.
pub(super) async fn run(args: Args, common: &Common) -> Result<Exit, Failure> {
    let settings = super::load(common.source().trusted())?;
    settings.validate(Need::Worker)?;
    let warn = |text: &str| tracing::warn!("{text}");
    let trace_export = TraceExport::reporting(&settings, "shakedown-worker", Box::new(warn))?;
    let config = config(&settings, trace_export.trace().clone())?;
    let filter = settings.get("RUST_LOG").unwrap_or("info");
    let filter = tracing_subscriber::EnvFilter::try_new(filter).map_err(|error| {
        Failure::usage(format!("invalid RUST_LOG `{filter}`: {error}; expected e.g. info or shakedown=debug"))
    })?;
    let log =
        tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(log_writer(&config));
    #[cfg(feature = "defects")]
    if config.defect == Some(crate::reference_worker::Defect::LogsPlainText) {
        tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    }
    // A second subscriber is refused, and the first stays.
    let _ = tracing::subscriber::set_global_default(log.finish());
    let _health = match args.health_port {
        Some(port) => Some(serve_health(port, config.phase.subscribe(), config.breakers.clone()).await?),
        None => None,
    };
    let left = crate::reference_worker::run(config)
        .await
        .map_err(|error| if error.is_configuration() { Failure::usage(error) } else { Failure::harness(error) })?;
    // Sending spans must not exceed the grace period.
    if let Some(lost) = trace_export.end_within(left.min(PATIENCE)).await {
        tracing::warn!("{lost}");
    }
    Ok(Exit::Ok)
}

/// The log without secrets, except for a planted defect, which the harness must be able to notice.
fn log_writer(config: &WorkerConfig) -> impl Fn() -> LogWriter + use<> {
    #[cfg(feature = "defects")]
    let masks = config.defect.is_none();
    #[cfg(not(feature = "defects"))]
    let masks = {
        let _ = config;
        true
    };
    move || LogWriter { masks }
}

/// Standard error, with one event in each call.
struct LogWriter {
    masks: bool,
}

impl Write for LogWriter {
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let text = if self.masks { redact(&text) } else { text.as_ref().into() };
        std::io::stderr().write_all(text.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Serves the worker's health until the handle is dropped.
async fn serve_health(
    port: u16,
    phase: tokio::sync::watch::Receiver<WorkerPhase>,
    breakers: Breakers,
) -> Result<AbortOnDropHandle<()>, Failure> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| {
        Failure::usage(format!("cannot listen on --health-port {port}: {error}; choose another port"))
    })?;
    let phase = move || match *phase.borrow() {
        WorkerPhase::Starting => Err("the worker waits for its services".to_owned()),
        WorkerPhase::Ready => Ok(()),
        WorkerPhase::Ending => Err("the worker is shutting down and takes no more jobs".to_owned()),
    };
    let circuits = move || breakers.all().into_iter().map(|(service, state)| (service, circuit(state))).collect();
    let routes = crate::serve::worker_routes(phase, circuits);
    let limits = crate::serve::ServerLimits::from_open_files();
    let never = tokio_util::sync::CancellationToken::new();
    Ok(AbortOnDropHandle::new(tokio::spawn(crate::serve::listen(listener, routes, limits, never))))
}

const fn circuit(state: BreakerState) -> CircuitState {
    match state {
        BreakerState::Closed => CircuitState::Closed,
        BreakerState::HalfOpen => CircuitState::HalfOpen,
        BreakerState::Open => CircuitState::Open,
    }
}

fn config(settings: &Settings, trace: Trace) -> Result<WorkerConfig, Failure> {
    let encoding = match settings.get("EMBED_ENCODING") {
        Some("float") => Encoding::Float,
        _ => Encoding::Base64,
    };
    Ok(WorkerConfig {
        endpoints: settings.endpoints()?,
        concurrency: settings.usize("WORKER_CONCURRENCY")?,
        lock: settings.duration("WORKER_LOCK_MS")?,
        stalled: settings.duration("WORKER_STALLED_MS")?,
        max_stalled: settings.u32("WORKER_MAX_STALLED")?,
        grace: settings.duration("WORKER_SHUTDOWN_GRACE_MS")?,
        startup: settings.duration("STARTUP_TIMEOUT_MS")?,
        embed_batch: settings.usize("EMBED_BATCH")?,
        embed_concurrency: settings.usize("EMBED_CONCURRENCY")?,
        encoding,
        policy: Policy {
            base: settings.duration("RETRY_BASE_MS")?,
            longest: settings.duration("RETRY_MAX_MS")?,
            attempts: settings.usize("RETRY_ATTEMPTS")?,
            window: settings.usize("BREAKER_WINDOW")?,
            open: settings.duration("BREAKER_OPEN_MS")?,
        },
        upsert_batch: settings.usize("UPSERT_BATCH")?,
        chunks: ChunkOptions { size: settings.usize("CHUNK_TOKENS")?, overlap: settings.usize("CHUNK_OVERLAP")? },
        tokenizer: settings.path("CHUNK_TOKENIZER"),
        defect: defect(settings)?,
        phase: tokio::sync::watch::Sender::default(),
        breakers: Breakers::default(),
        trace,
    })
}

#[cfg(feature = "defects")]
fn defect(settings: &Settings) -> Result<Option<crate::reference_worker::Defect>, Failure> {
    settings.get("SHAKEDOWN_DEFECT").map_or(Ok(None), |name| {
        let defect = crate::reference_worker::Defect::named(name);
        defect.map(Some).ok_or_else(|| Failure::usage(format!("SHAKEDOWN_DEFECT: unknown defect `{name}`")))
    })
}

#[cfg(not(feature = "defects"))]
#[expect(clippy::unnecessary_wraps, reason = "the other form of this function can fail")]
const fn defect(_settings: &Settings) -> Result<Option<crate::reference_worker::Defect>, Failure> {
    Ok(None)
}
