//! Exports spans to a collector by OTLP over HTTP, in the background and in batches.
//!
//! If the collector is slow or unreachable, spans are lost; no other work waits for it, except for a limited time at
//! the end.

mod span;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Compression, ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::SpanExporter as _;
use secrecy::ExposeSecret;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::outcome::{SpanRecord, Spans, Trace};
use crate::services::http_client;
use crate::settings::{Telemetry, TelemetryProtocol, public_url};

/// Most spans in a request.
const BATCH: usize = 512;
/// How long a span waits for a batch to fill.
const GATHER: Duration = Duration::from_secs(1);

/// Why the exporter cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The URL of the collector is invalid.
    #[error("{variable} is `{shown}`, which is not a valid endpoint: {problem}; for example {variable}={example}")]
    Endpoint {
        /// The variable that sets it.
        variable: &'static str,
        /// Its value, without credentials.
        shown: String,
        /// What is wrong.
        problem: String,
        /// A valid value.
        example: &'static str,
    },
    /// The HTTP client cannot be created.
    #[error("cannot create an HTTP client for the trace collector: {0}")]
    Client(#[from] reqwest::Error),
}

/// Receives one line when spans are lost.
pub type WarningHandler = Box<dyn Fn(&str) + Send>;

/// An exporter that runs until [`Exporter::end`]. If it is dropped, unsent spans are lost.
#[derive(Debug)]
pub struct Exporter {
    task: AbortOnDropHandle<()>,
    ending: CancellationToken,
    lost: Arc<AtomicU64>,
}

impl Exporter {
    /// Starts to export the spans of the returned [`Trace`], with the service name `service` unless the settings have
    /// another. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// See [`TelemetryError`].
    pub fn start(
        telemetry: &Telemetry,
        service: &'static str,
        warn: WarningHandler,
    ) -> Result<(Self, Trace), TelemetryError> {
        let mut exporter = exporter(telemetry)?;
        exporter.set_resource(&resource(telemetry, service));
        let shown = public_url(&telemetry.endpoint);
        let collector = Collector { exporter, shown, variable: telemetry.variable, warn, failing: false };
        let (trace, Spans { ended, lost }) = Trace::channel();
        let ending = CancellationToken::new();
        let task = AbortOnDropHandle::new(tokio::spawn(export(ended, collector, ending.clone())));
        Ok((Self { task, ending, lost }, trace.below(telemetry.parent.as_ref().and_then(|parent| parent.parse().ok()))))
    }

    /// Exports the remaining spans and waits at most `limit` for that. Spans that end later are not exported.
    /// Returns one line if spans were lost.
    pub async fn end(self, limit: Duration) -> Option<String> {
        self.ending.cancel();
        let late = timeout(limit, self.task).await.is_err();
        let lost = self.lost.load(Ordering::Relaxed);
        if late {
            return Some(format!(
                "the last spans are lost: the collector did not accept them within {} s",
                limit.as_secs_f64()
            ));
        }
        (lost > 0)
            .then(|| format!("{lost} spans are lost: the collector did not accept them as fast as they were created"))
    }
}

/// The collector, with the receiver of warnings.
struct Collector {
    exporter: SpanExporter,
    shown: String,
    variable: &'static str,
    warn: WarningHandler,
    /// Whether the last batch failed: consecutive failures are reported once.
    failing: bool,
}

impl Collector {
    async fn send(&mut self, batch: Vec<SpanRecord>) {
        match self.exporter.export(batch.into_iter().map(span::data).collect()).await {
            Ok(()) => self.failing = false,
            Err(_) if self.failing => {}
            Err(error) => {
                self.failing = true;
                let (shown, variable) = (&self.shown, self.variable);
                (self.warn)(&format!(
                    "spans are lost: {shown} does not accept them ({error}); check {variable}, or unset it"
                ));
            }
        }
    }
}

async fn export(mut ended: mpsc::Receiver<SpanRecord>, mut collector: Collector, ending: CancellationToken) {
    loop {
        let batch = gather(&mut ended, &ending).await;
        if batch.is_empty() {
            return;
        }
        collector.send(batch).await;
    }
}

/// The next batch of spans; empty at the end.
async fn gather(ended: &mut mpsc::Receiver<SpanRecord>, ending: &CancellationToken) -> Vec<SpanRecord> {
    let mut batch = Vec::new();
    let mut until = None;
    while batch.len() < BATCH {
        let room = BATCH - batch.len();
        tokio::select! {
            () = ending.cancelled(), if !ended.is_closed() => ended.close(),
            taken = ended.recv_many(&mut batch, room) => {
                if taken == 0 {
                    break;
                }
                until.get_or_insert_with(|| Instant::now() + GATHER);
            }
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => break,
        }
    }
    batch
}

fn exporter(telemetry: &Telemetry) -> Result<SpanExporter, TelemetryError> {
    let client = http_client::client(telemetry.timeout)?;
    let headers: HashMap<String, String> =
        telemetry.headers.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect();
    let builder = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(telemetry.endpoint.expose_secret())
        .with_timeout(telemetry.timeout)
        .with_protocol(match telemetry.protocol {
            TelemetryProtocol::Protobuf => Protocol::HttpBinary,
            TelemetryProtocol::Json => Protocol::HttpJson,
        })
        .with_headers(headers);
    let builder = if telemetry.gzip { builder.with_compression(Compression::Gzip) } else { builder };
    builder.build().map_err(|error| TelemetryError::Endpoint {
        variable: telemetry.variable,
        shown: public_url(&telemetry.endpoint),
        problem: match error {
            // The message would repeat the URL with its password.
            ExporterBuildError::InvalidConfiguration(_) => "it is not a valid URL".to_owned(),
            ExporterBuildError::InternalFailure(problem) => problem,
        },
        example: "http://127.0.0.1:4318",
    })
}

/// The resource of every span. Its variables are part of `telemetry`.
fn resource(telemetry: &Telemetry, service: &'static str) -> Resource {
    let attributes = telemetry.attributes.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let named = telemetry.attributes.iter().any(|(name, _)| name == "service.name");
    let name = telemetry.service.clone().or_else(|| (!named).then(|| service.to_owned()));
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attributes(attributes)
        .with_attributes(name.map(|name| KeyValue::new("service.name", name)))
        .build()
}
