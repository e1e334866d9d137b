//! A difference from the desired state, and what setup does about it.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::File;
use super::qdrant::Task as QdrantTask;

/// What setup does about a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It does not exist and will be created.
    Create,
    /// It will be changed in place.
    Change,
    /// It cannot be changed: a new one will be created beside it and replace it.
    Recreate,
    /// It differs and will be left unchanged.
    Drift,
}

impl Action {
    /// Its name.
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

/// A difference from the desired state.
#[derive(Debug, Clone)]
pub struct Change {
    /// `bullmq`, `postgres`, `qdrant`, `jina` or `files`.
    pub service: &'static str,
    /// What kind of thing: `queue`, `collection`, `index` …
    pub kind: &'static str,
    /// Its name.
    pub what: String,
    /// What setup does about it.
    pub action: Action,
    /// The differences, one line each.
    pub details: Vec<String>,
    /// What would be destroyed or taken out of use, if anything.
    pub destroys: Option<String>,
    pub(super) task: Task,
}

/// How a change is made.
#[derive(Debug, Clone)]
pub(super) enum Task {
    /// No action.
    Nothing,
    /// Fields of the queue's `meta` key.
    Queue(Vec<Field>),
    /// SQL statements that run together.
    Sql(String),
    /// A role, and the variable with its password.
    Role { statements: String, name: String, password: Option<String> },
    /// The pending migrations.
    Migrate(PathBuf),
    /// A change in Qdrant.
    Qdrant(Box<QdrantTask>),
    /// A file.
    File(File),
}

/// A field of the queue's `meta` key.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) value: String,
    /// Whether a value that another program has written is kept.
    pub(super) only_if_absent: bool,
}

impl Task {
    /// Whether it may reveal further differences, so that the state must be read again.
    pub(super) fn needs_replan(&self) -> bool {
        match self {
            Self::Migrate(_) | Self::Role { .. } => true,
            Self::Qdrant(task) => matches!(task.as_ref(), QdrantTask::Rebuild(_)),
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

    /// A difference that is left unchanged, and the reason to report it.
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

    /// Whether setup would do something.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.action != Action::Drift
    }

    /// Whether both are the same change.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.kind, &self.what, self.action, &self.details) == (other.kind, &other.what, other.action, &other.details)
    }

    /// The change as JSON; programs may rely on the keys.
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
