//! How migrations are applied, and what is told of it meanwhile.

/// How to migrate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Apply migrations older than the newest applied one too.
    pub include_all: bool,
    /// Report what would be applied, and apply nothing.
    pub dry_run: bool,
    /// Seconds to wait for another run, and for each lock that others hold in the database.
    pub lock_wait_s: u64,
}

/// A migration that was applied, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigratedFile {
    /// Its file.
    pub file: String,
    /// Number of statements.
    pub statements: usize,
    /// Whether all of them ran in one transaction.
    pub transactional: bool,
}

/// What happens while migrations are applied.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// A SQL file is no migration, because its name does not match `VERSION_NAME.sql`.
    LeftOut(&'a str),
    /// A file is about to be applied.
    File(&'a MigratedFile),
    /// A statement waits for a lock.
    Waiting {
        /// The file.
        file: &'a str,
        /// The line of the statement, from 1.
        line: usize,
        /// Who holds the lock.
        blocked_by: &'a str,
    },
}
