//! Events of the engine. The engine never prints; listeners do.

use std::time::Duration;

use super::record::CaseRecord;
use super::trace::{Span, Trace};

/// One thing that happened during a run.
#[derive(Debug, Clone)]
pub enum Event {
    /// The provider was selected.
    Provider {
        /// `native`, `containers` or `remote`.
        name: String,
        /// Why this provider.
        reason: String,
    },
    /// A service responded in its own protocol.
    ServiceReady {
        /// `redis`, `postgres`, `qdrant`, `jina`.
        service: String,
        /// The version that the service reports.
        version: String,
        /// Time since it was started.
        after: Duration,
    },
    /// The whole stack is ready.
    StackReady {
        /// Time since the provider started.
        after: Duration,
    },
    /// The cases are planned and about to run.
    Planned {
        /// Number of cases.
        cases: usize,
    },
    /// A case started.
    CaseStarted {
        /// Case id.
        id: String,
    },
    /// A case has its verdict.
    CaseFinished {
        /// The record of the case.
        record: Box<CaseRecord>,
    },
    /// Progress information, such as what a scenario is doing.
    Note {
        /// One line, no secret.
        text: String,
    },
    /// Information that is shown even where notes are hidden, such as a step that may take long.
    Remark {
        /// One line, no secret.
        text: String,
    },
    /// Clean-up started.
    TearingDown,
    /// Clean-up finished.
    TornDown {
        /// Resources that could not be removed, one line each.
        left: Vec<String>,
    },
}

/// Sends events to a listener, and starts spans. Cheap to clone; a closed or missing listener is not an error.
#[derive(Debug, Clone, Default)]
pub struct Events {
    listener: Option<tokio::sync::mpsc::UnboundedSender<Event>>,
    trace: Trace,
}

impl Events {
    /// Events that are sent to the returned receiver.
    #[must_use]
    pub fn channel() -> (Self, tokio::sync::mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        (Self { listener: Some(sender), trace: Trace::off() }, receiver)
    }

    /// Events without a listener.
    #[must_use]
    pub const fn silent() -> Self {
        Self { listener: None, trace: Trace::off() }
    }

    /// The same listener, with spans below `span`.
    #[must_use]
    pub fn within(&self, span: &Span) -> Self {
        Self { listener: self.listener.clone(), trace: span.trace().clone() }
    }

    /// Starts spans.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Sends `event` to the listener, if there is one.
    pub fn send(&self, event: Event) {
        if let Some(sender) = &self.listener {
            // A closed listener misses the event; the report still contains it.
            let _ = sender.send(event);
        }
    }

    /// Sends an [`Event::Note`].
    pub fn note(&self, text: impl Into<String>) {
        self.send(Event::Note { text: text.into() });
    }
}
