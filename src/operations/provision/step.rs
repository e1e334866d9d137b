//! The steps of a setup, and why a step failed.

use std::fmt;

use serde_json::{Value, json};

use crate::operations::database::MigrateError;
use crate::outcome::Exit;
use crate::services::ServiceError;
use crate::services::postgres_session::SessionError;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The service failed or refused.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// An existing thing has another shape than a worker needs.
    #[error("{what} {found}, but {wanted}")]
    Shape {
        /// The thing.
        what: String,
        /// Its shape.
        found: String,
        /// The required shape.
        wanted: String,
        /// The remedy.
        remedy: String,
    },
    /// Migrations could not be applied.
    #[error(transparent)]
    Migrations(Box<MigrateError>),
    /// It would destroy something without consent.
    #[error("{what}: refused without consent: {why}")]
    NotAgreed {
        /// The refused change.
        what: String,
        /// What would be destroyed.
        why: String,
        /// How to consent.
        remedy: String,
    },
    /// A file could not be written.
    #[error("{} cannot be written: {cause}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// The system's error.
        cause: std::io::Error,
    },
}

impl From<MigrateError> for SetupError {
    fn from(error: MigrateError) -> Self {
        Self::Migrations(Box::new(error))
    }
}

/// The missing permission, as far as the service's error shows it.
fn grant(service: &str) -> &'static str {
    match service {
        "redis" => {
            "the user in REDIS_URL lacks permission: ask an administrator to run `ACL SETUSER USER +@all -@admin ~PREFIX:*` \
             with the prefix of the queue, then run setup again: it resumes where it stopped"
        }
        "postgres" => {
            "the role in DATABASE_URL lacks permission: ask the owner to grant it (`grant create on database D to ROLE` for \
             schemas and extensions, `grant create on schema S to ROLE` for tables, `alter role ROLE createrole` for roles; \
             row level security and grants need the owner of the table), then run setup again: it resumes where it stopped"
        }
        "qdrant" => {
            "QDRANT_API_KEY is read-only: use a key with manage access, then run setup again: it resumes where it stopped"
        }
        _ => "run setup with the credentials of a user who may create schemas, tables, collections and keys",
    }
}

impl SetupError {
    /// The remedy, if the message does not contain it.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Shape { remedy, .. } | Self::NotAgreed { remedy, .. } => Some(remedy),
            Self::Service(ServiceError::Denied { service, .. }) => Some(grant(service)),
            Self::Migrations(error) => match error.as_ref() {
                MigrateError::Statement { cause, .. } if cause.sqlstate() == Some("42501") => Some(grant("postgres")),
                MigrateError::Session(cause) if cause.sqlstate() == Some("42501") => Some(grant("postgres")),
                _ => None,
            },
            Self::File { .. } => {
                Some("grant this user write access there, then run setup again: it resumes where it stopped")
            }
            Self::Service(ServiceError::Refused { .. } | ServiceError::TimedOut { .. }) => {
                Some("fix what the service reports, then run setup again: it resumes where it stopped")
            }
            // The messages of these two contain the remedy.
            Self::Service(
                ServiceError::Unreachable { .. } | ServiceError::OwnLimit { .. } | ServiceError::Unauthorised { .. },
            ) => None,
        }
    }

    /// 1 for another shape, 2 for wrong credentials, 3 for a failed service.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Shape { .. } => Exit::NotConformant,
            Self::Service(ServiceError::Unauthorised { .. }) | Self::NotAgreed { .. } => Exit::Usage,
            Self::Service(_) | Self::File { .. } => Exit::Inconclusive,
            Self::Migrations(error) => match error.as_ref() {
                MigrateError::Directory { .. }
                | MigrateError::Files(_)
                | MigrateError::Unusable { .. }
                | MigrateError::Pooler
                | MigrateError::Session(SessionError::Service(ServiceError::Unauthorised { .. })) => Exit::Usage,
                MigrateError::Locked(_) | MigrateError::Session(SessionError::Service(_)) => Exit::Inconclusive,
                _ => Exit::NotConformant,
            },
        }
    }
}

/// The outcome of a step.
#[derive(Debug)]
pub enum Outcome {
    /// It did not exist and was created.
    Created,
    /// It existed and was changed.
    Changed,
    /// It existed as desired.
    Unchanged,
    /// It could not be created or changed.
    Failed(SetupError),
    /// It was skipped.
    Skipped {
        /// The step that failed.
        prerequisite: String,
    },
}

impl Outcome {
    /// Its name.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Failed(_) => "failed",
            Self::Skipped { .. } => "skipped",
        }
    }
}

/// One step, done or not.
#[derive(Debug)]
pub struct Step {
    /// `redis`, `bullmq`, `postgres` or `qdrant`.
    pub service: &'static str,
    /// What it prepares, such as `table`.
    pub name: &'static str,
    /// Its subject: a name, a version, an address; never a secret.
    pub what: String,
    /// Its outcome.
    pub outcome: Outcome,
    /// Notes for the user, one sentence each.
    pub notes: Vec<String>,
}

impl Step {
    /// The step as JSON; programs may rely on the keys.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut step = json!({
            "service": self.service,
            "step": self.name,
            "action": self.outcome.word(),
            "what": self.what,
            "notes": self.notes,
        });
        match &self.outcome {
            Outcome::Failed(error) => {
                step["problem"] = error.to_string().into();
                step["remedy"] = error.remedy().into();
            }
            Outcome::Skipped { prerequisite } => step["prerequisite"] = prerequisite.clone().into(),
            Outcome::Created | Outcome::Changed | Outcome::Unchanged => {}
        }
        step
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9} {:<11} {:<9} ", self.service, self.name, self.outcome.word())?;
        match &self.outcome {
            Outcome::Skipped { prerequisite } => write!(f, "{prerequisite} failed"),
            _ => f.write_str(&self.what),
        }
    }
}

/// A connected service, with notes for the user.
pub(super) struct Found {
    pub(super) what: String,
    pub(super) notes: Vec<String>,
}

impl Found {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), notes: Vec::new() }
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// Why setup stopped, and at which kind of thing.
pub(super) struct Stop {
    pub(super) kind: &'static str,
    pub(super) error: SetupError,
}

/// The kind of a failure before a thing was read.
pub(super) const STATE: &str = "state";

impl<E: Into<SetupError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self { kind: STATE, error: error.into() }
    }
}
