//! A thing that is not as described, and what becomes of it.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{File, qdrant};

/// What becomes of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is not there, and will be made.
    Create,
    /// It will be changed where it is.
    Change,
    /// It cannot be changed: another one will be made beside it and take its place.
    Recreate,
    /// It is not as described, and will not be touched.
    Drift,
}

impl Action {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Recreate => "re-create",
            Self::Drift => "drift",
        }
    }
}

/// One thing that is not as described.
#[derive(Debug, Clone)]
pub struct Change {
    /// `bullmq`, `postgres`, `qdrant`, `jina` or `files`.
    pub service: &'static str,
    /// What kind of thing: `queue`, `collection`, `index` …
    pub kind: &'static str,
    /// Which one.
    pub what: String,
    /// What becomes of it.
    pub action: Action,
    /// What is different, or will be, one line each.
    pub details: Vec<String>,
    /// What would be destroyed, or taken out of use; none for most.
    pub destroys: Option<String>,
    pub(super) task: Task,
}

/// How a change is made.
#[derive(Debug, Clone)]
pub(super) enum Task {
    /// Not at all.
    Nothing,
    /// Fields of the queue's `meta` key.
    Queue(Vec<Field>),
    /// Statements that belong together.
    Sql(String),
    /// A role, and the variable with its password.
    Role { statements: String, name: String, password: Option<String> },
    /// The migrations that are pending.
    Migrate(PathBuf),
    /// Something in Qdrant.
    Qdrant(Box<qdrant::Task>),
    /// A file.
    File(File),
}

/// A field of the queue's `meta` key.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) value: String,
    /// Whether what another one has written there is left.
    pub(super) only_if_absent: bool,
}

impl Task {
    /// Whether other things look different once it is done, so that they are looked at again.
    pub(super) fn needs_replan(&self) -> bool {
        match self {
            Self::Migrate(_) | Self::Role { .. } => true,
            Self::Qdrant(task) => matches!(task.as_ref(), qdrant::Task::Rebuild(_)),
            Self::Nothing | Self::Queue(_) | Self::Sql(_) | Self::File(_) => false,
        }
    }
}

impl Change {
    pub(super) fn new(
        service: &'static str,
        kind: &'static str,
        what: impl Into<String>,
        action: Action,
        task: Task,
    ) -> Self {
        Self { service, kind, what: what.into(), action, details: Vec::new(), destroys: None, task }
    }

    /// Something that will not be touched, and why it is told.
    pub(super) fn drift(
        service: &'static str,
        kind: &'static str,
        what: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(service, kind, what, Action::Drift, Task::Nothing).detail(detail)
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    pub(super) fn details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
        self
    }

    /// Whether there is anything to do.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.action != Action::Drift
    }

    /// Whether it is the same thing to do.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.kind, &self.what, self.action, &self.details) == (other.kind, &other.what, other.action, &other.details)
    }

    /// The change as JSON, with the keys that programs may rely on.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "service": self.service,
            "kind": self.kind,
            "what": self.what,
            "action": self.action.word(),
            "details": self.details,
            "destroys": self.destroys,
        })
    }
}
