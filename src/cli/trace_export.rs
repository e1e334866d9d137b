//! Trace export of a verb: started if it is configured, and flushed before the program ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::failure::Failure;
use super::print::note;
use super::signals::end_signal;
use crate::outcome::Trace;
use crate::settings::Settings;
use crate::telemetry::{Exporter, WarningHandler};

/// The name under which the harness's own spans are shown.
const SERVICE: &str = "shakedown";
/// How long the program waits for the collector at the end.
const PATIENCE: Duration = Duration::from_secs(3);

/// The trace of a verb, and its exporter if one is configured.
pub(super) struct TraceExport {
    exporter: Option<Exporter>,
    trace: Trace,
    /// The first problem; printed at the end, because it would disturb the progress.
    problem: Arc<Mutex<Option<String>>>,
}

impl TraceExport {
    /// Starts the exporter if the settings name a collector; prints problems at the end.
    pub(super) fn start(settings: &Settings) -> Result<Self, Failure> {
        let problem = Arc::<Mutex<Option<String>>>::default();
        let kept = Arc::clone(&problem);
        let warn: WarningHandler = Box::new(move |text| {
            kept.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| text.to_owned());
        });
        Ok(Self { problem, ..Self::reporting(settings, SERVICE, warn)? })
    }

    /// The same for the service `service`; passes warnings to `warn` at once.
    pub(super) fn reporting(settings: &Settings, service: &'static str, warn: WarningHandler) -> Result<Self, Failure> {
        let (exporter, trace) = match settings.telemetry()? {
            Some(telemetry) => {
                let (exporter, trace) = Exporter::start(&telemetry, service, warn).map_err(Failure::usage)?;
                (Some(exporter), trace)
            }
            None => (None, Trace::off()),
        };
        Ok(Self { exporter, trace, problem: Arc::default() })
    }

    /// The trace in which spans begin.
    pub(super) const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Sends the remaining spans, and prints the problem if there was one. A signal ends the wait.
    pub(super) async fn end(self) {
        if self.exporter.is_none() {
            return;
        }
        let Ok(asked) = end_signal() else { return };
        let problem = Arc::clone(&self.problem);
        let lost = tokio::select! {
            lost = self.end_within(PATIENCE) => lost,
            () = asked => None,
        };
        let problem = problem.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(text) = problem.or(lost) {
            note(&format!("note: {text}"));
        }
    }

    /// Sends the remaining spans; returns what was lost.
    pub(super) async fn end_within(self, patience: Duration) -> Option<String> {
        match self.exporter {
            Some(exporter) => exporter.end(patience).await,
            None => None,
        }
    }
}
