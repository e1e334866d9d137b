//! Spans go to a collector, by OTLP over HTTP: in the background, a batch at a time, and never in the way.
//!
//! A collector that is slow or dead costs nothing but the spans: nobody waits for it, except for a moment at the end.

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
use crate::settings::{Telemetry, TelemetryProtocol, public_url};

/// Spans in a request, at most.
const BATCH: usize = 512;
/// How long a span may wait for others to go with.
const GATHER: Duration = Duration::from_secs(1);

/// Why spans cannot be exported at all.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The address of the collector is no address.
    #[error("{variable} is `{shown}`, to which no request can be sent: {problem}; for example {variable}={example}")]
    Endpoint {
        /// The variable that names it.
        variable: &'static str,
        /// Its value, without credentials.
        shown: String,
        /// What is wrong.
        problem: String,
        /// What would be right.
        example: &'static str,
    },
    /// No client could be made.
    #[error("no client for the collector of traces could be made: {0}")]
    Client(#[from] reqwest::Error),
}

/// Whoever is told, in one line, that spans are lost.
pub type Tell = Box<dyn Fn(&str) + Send>;

/// An exporter that runs until it is ended. Dropped, it leaves what it has not sent.
#[derive(Debug)]
pub struct Exporter {
    task: AbortOnDropHandle<()>,
    ending: CancellationToken,
    lost: Arc<AtomicU64>,
}

impl Exporter {
    /// Begins to export what is traced with the handle returned beside it, as of a service of the name `service` if
    /// nobody chose another. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// See [`TelemetryError`].
    pub fn start(telemetry: &Telemetry, service: &'static str, tell: Tell) -> Result<(Self, Trace), TelemetryError> {
        let mut exporter = exporter(telemetry)?;
        exporter.set_resource(&resource(telemetry, service));
        let shown = public_url(&telemetry.endpoint);
        let collector = Collector { exporter, shown, variable: telemetry.variable, tell, deaf: false };
        let (trace, Spans { ended, lost }) = Trace::channel();
        let ending = CancellationToken::new();
        let task = AbortOnDropHandle::new(tokio::spawn(export(ended, collector, ending.clone())));
        Ok((Self { task, ending, lost }, trace.below(telemetry.parent.as_ref().and_then(|parent| parent.parse().ok()))))
    }

    /// Sends what is left, and waits at most `patience` for that; what ends from now on is not exported any more.
    /// Gives what is lost, in one line.
    pub async fn end(self, patience: Duration) -> Option<String> {
        self.ending.cancel();
        let late = timeout(patience, self.task).await.is_err();
        let lost = self.lost.load(Ordering::Relaxed);
        if late {
            return Some(format!("the last spans are lost: the collector did not take them within {patience:?}"));
        }
        (lost > 0).then(|| format!("{lost} spans are lost: the collector did not take them as fast as they were made"))
    }
}

/// A collector, and who is told that it takes nothing.
struct Collector {
    exporter: SpanExporter,
    shown: String,
    variable: &'static str,
    tell: Tell,
    /// Whether it did not take the last batch: that is told once.
    deaf: bool,
}

impl Collector {
    async fn send(&mut self, batch: Vec<SpanRecord>) {
        match self.exporter.export(batch.into_iter().map(span::data).collect()).await {
            Ok(()) => self.deaf = false,
            Err(_) if self.deaf => {}
            Err(error) => {
                self.deaf = true;
                let (shown, variable) = (&self.shown, self.variable);
                (self.tell)(&format!(
                    "spans are lost: {shown} does not take them ({error}); check {variable}, or unset it"
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

/// The next spans that go together; none once everything is to end and is sent.
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
    let client = reqwest::Client::builder()
        .timeout(telemetry.timeout)
        // Spans and the collector's key go where somebody said, and nowhere else.
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
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
            // It would repeat the address, with the password in it.
            ExporterBuildError::InvalidConfiguration(_) => "it is not written as HTTP wants it".to_owned(),
            ExporterBuildError::InternalFailure(problem) => problem,
        },
        example: "http://127.0.0.1:4318",
    })
}

/// What is said of the origin of every span. The variables that say it have been read already.
fn resource(telemetry: &Telemetry, service: &'static str) -> Resource {
    let said = telemetry.attributes.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let named = telemetry.attributes.iter().any(|(name, _)| name == "service.name");
    let name = telemetry.service.clone().or_else(|| (!named).then(|| service.to_owned()));
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attributes(said)
        .with_attributes(name.map(|name| KeyValue::new("service.name", name)))
        .build()
}
