//! Why migrations were not applied.

use std::path::PathBuf;

use crate::services::ServiceError;
use crate::services::migrations::{FilesError, Unusable};
use crate::services::postgres_session::SessionError;

/// Why migrations were not applied.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The files cannot be applied.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A new file cannot be written.
    #[error("{}: {cause}; set MIGRATIONS_DIR or --dir to the directory of migrations", path.display())]
    Directory {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        cause: std::io::Error,
    },
    /// The database has applied migrations that the directory lacks.
    #[error(
        "the database has applied migrations that the directory lacks: {}; fetch them (`supabase migration fetch`), or \
         mark them as reverted (`supabase migration repair --status reverted VERSION`)", versions.join(", ")
    )]
    Missing {
        /// Their versions.
        versions: Vec<String>,
    },
    /// Files are older than the newest applied migration.
    #[error(
        "these migrations are older than the newest applied one: {}; give them a new version (`shakedown db new`), or \
         apply them with --include-all", files.join(", ")
    )]
    OutOfOrder {
        /// Their files.
        files: Vec<String>,
    },
    /// A file contains what no server executes. Nothing of any file was applied.
    #[error("{file}:{line}: {cause}; nothing was applied")]
    Unusable {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// What it contains.
        cause: Unusable,
    },
    /// A statement failed. Nothing of its file is applied, unless the file had to run outside of a transaction.
    #[error("{file}:{line}: {cause}{}{}", if *partial { "; the statements before it remain applied, because the file cannot run in a transaction" } else { "; nothing of this file was applied" }, remedy.as_ref().map_or_else(String::new, |remedy| format!("; {remedy}")))]
    Statement {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// Postgres' error.
        cause: Box<SessionError>,
        /// Whether earlier statements of the file remain applied.
        partial: bool,
        /// What to do, if it is known.
        remedy: Option<String>,
    },
    /// An index that was built concurrently cannot be used, and `if not exists` does not build it again.
    #[error("{file}:{line}: the index {index} is invalid; run `drop index {index}`, then apply the file again")]
    InvalidIndex {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// The index with its schema.
        index: String,
    },
    /// Another run holds the lock.
    #[error("another process is applying migrations and did not finish within {0} s; try again when it has finished")]
    Locked(u64),
    /// The lock would not last from one file to the next.
    #[error(
        "DATABASE_URL points to a pooler in transaction mode, which cannot hold the lock that separates two runs; use the \
         session pooler (port 5432) or the database's own address"
    )]
    Pooler,
    /// Postgres cannot be reached, or refuses a statement other than a migration.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl From<ServiceError> for MigrateError {
    fn from(error: ServiceError) -> Self {
        Self::Session(error.into())
    }
}
