//! What the engine says while it works. The engine never prints; listeners do.

use std::time::Duration;

use super::{CaseRecord, Span, Trace};

/// One thing that happened during a run.
#[derive(Debug, Clone)]
pub enum Event {
    /// The provider was chosen, with the reason why.
    Provider {
        /// `native`, `containers` or `remote`.
        name: String,
        /// Why this one.
        reason: String,
    },
    /// One service answered by its own protocol.
    ServiceReady {
        /// `redis`, `postgres`, `qdrant`, `jina`.
        service: String,
        /// Version as the service itself says.
        version: String,
        /// Time since it was started.
        after: Duration,
    },
    /// The whole stack is ready.
    StackReady {
        /// Time since the provider began.
        after: Duration,
    },
    /// Cases are about to run.
    Planned {
        /// How many cases.
        cases: usize,
    },
    /// A case began.
    CaseStarted {
        /// Case id.
        id: String,
    },
    /// A case has its verdict.
    CaseFinished {
        /// The whole record.
        record: Box<CaseRecord>,
    },
    /// Something a reader may want to know, such as what a scenario is doing.
    Note {
        /// One line, no secret.
        text: String,
    },
    /// Something that may take long, or that a reader would wonder about: worth a line even where notes are not shown.
    Remark {
        /// One line, no secret.
        text: String,
    },
    /// Clean-up has begun.
    TearingDown,
    /// Clean-up has ended.
    TornDown {
        /// What could not be removed, one line each.
        left: Vec<String>,
    },
}

/// Where events go, and where what is done is traced. Cheap to clone; a closed or absent listener is not an error.
#[derive(Debug, Clone, Default)]
pub struct Events {
    listener: Option<tokio::sync::mpsc::UnboundedSender<Event>>,
    trace: Trace,
}

impl Events {
    /// Events that are sent to the receiver returned beside it.
    #[must_use]
    pub fn channel() -> (Self, tokio::sync::mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        (Self { listener: Some(sender), trace: Trace::off() }, receiver)
    }

    /// Events nobody listens to.
    #[must_use]
    pub const fn silent() -> Self {
        Self { listener: None, trace: Trace::off() }
    }

    /// The same events, of work that is traced below `span`.
    #[must_use]
    pub fn within(&self, span: &Span) -> Self {
        Self { listener: self.listener.clone(), trace: span.trace().clone() }
    }

    /// Where spans begin.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Says `event` to the listener, if there is one.
    pub fn say(&self, event: Event) {
        if let Some(sender) = &self.listener {
            // A listener that has gone away misses the event; the report still has it.
            let _ = sender.send(event);
        }
    }

    /// Says a [`Event::Note`].
    pub fn note(&self, text: impl Into<String>) {
        self.say(Event::Note { text: text.into() });
    }
}
