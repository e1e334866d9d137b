//! Traces of a verb: whether there are any, and that they are sent before the program ends.

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::failure::Failure;
use super::signals::asked_to_end;
use crate::outcome::Trace;
use crate::settings::Settings;
use crate::telemetry::{Exporter, Tell};

/// The name under which the harness's own spans are shown.
const SERVICE: &str = "shakedown";
/// How long the end of the program may wait for the collector.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is traced, and the exporter, if there is to be one.
pub(super) struct Traced {
    exporter: Option<Exporter>,
    trace: Trace,
    /// What is to be said at the end: in between it would stand in the way of the progress.
    said: Arc<Mutex<Option<String>>>,
}

impl Traced {
    /// Traces if the settings say where to; says at the end what was lost.
    pub(super) fn start(settings: &Settings) -> Result<Self, Failure> {
        let said = Arc::<Mutex<Option<String>>>::default();
        let kept = Arc::clone(&said);
        let tell: Tell = Box::new(move |text| {
            kept.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| text.to_owned());
        });
        Ok(Self { said, ..Self::telling(settings, SERVICE, tell)? })
    }

    /// Traces if the settings say where to, as of the service `service`; tells at once what is lost.
    pub(super) fn telling(settings: &Settings, service: &'static str, tell: Tell) -> Result<Self, Failure> {
        let (exporter, trace) = match settings.telemetry()? {
            Some(telemetry) => {
                let (exporter, trace) = Exporter::start(&telemetry, service, tell).map_err(Failure::usage)?;
                (Some(exporter), trace)
            }
            None => (None, Trace::off()),
        };
        Ok(Self { exporter, trace, said: Arc::default() })
    }

    /// Where spans begin.
    pub(super) const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Sends what is left, says what is lost, and keeps nobody waiting who asks for the end.
    pub(super) async fn end(self) {
        if self.exporter.is_none() {
            return;
        }
        let Ok(asked) = asked_to_end() else { return };
        let said = Arc::clone(&self.said);
        let lost = tokio::select! {
            lost = self.end_within(PATIENCE) => lost,
            () = asked => None,
        };
        let said = said.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(text) = said.or(lost) {
            // Nobody to tell is no reason to fail.
            let _ = writeln!(std::io::stderr(), "note: {text}");
        }
    }

    /// Sends what is left; gives what is lost.
    pub(super) async fn end_within(self, patience: Duration) -> Option<String> {
        match self.exporter {
            Some(exporter) => exporter.end(patience).await,
            None => None,
        }
    }
}
