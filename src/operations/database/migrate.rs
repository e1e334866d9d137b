//! Applies the migrations of a directory to a database: each file completely or not at all, one run at a time.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::services::ServiceError;
use crate::services::migrations::{self, Applied, HISTORY, HISTORY_EXISTS, Local, MigrationState, Statement};
use crate::services::postgres::Postgres;
use crate::services::postgres_session::{Session, SessionError};
use crate::settings::PostgresEndpoint;

/// The advisory lock that separates two runs: `shakedow` in eight letters.
const LOCK: i64 = 0x7368_616b_6564_6f77;
/// Pause between two attempts to take the lock.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// As the Supabase CLI creates it; two of the columns came later.
const CREATE_HISTORY: &str = "create schema if not exists supabase_migrations; \
    create table if not exists supabase_migrations.schema_migrations (version text not null primary key); \
    alter table supabase_migrations.schema_migrations add column if not exists statements text[]; \
    alter table supabase_migrations.schema_migrations add column if not exists name text";

/// Why migrations were not applied.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The directory cannot be read or written.
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
    /// A statement failed. Nothing of its file is applied, unless the file had to run outside of a transaction.
    #[error("{file}:{line}: {cause}{}", if *partial { "; the statements before it remain applied, because the file cannot run in a transaction" } else { "; nothing of this file was applied" })]
    Statement {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// Postgres' error.
        cause: SessionError,
        /// Whether earlier statements of the file remain applied.
        partial: bool,
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

/// Both sides, and the status of each migration.
#[derive(Debug)]
pub struct History {
    /// The files, by version.
    pub local: BTreeMap<String, Local>,
    /// The migrations that the database records, by version.
    pub applied: BTreeMap<String, Applied>,
    /// The status of each, in the order of versions.
    pub states: Vec<(String, MigrationState)>,
}

/// How to migrate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Apply migrations older than the newest applied one too.
    pub include_all: bool,
    /// Report what would be applied, and apply nothing.
    pub dry_run: bool,
    /// Seconds to wait for another run.
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

/// Compares a directory with a database.
///
/// # Errors
/// The directory cannot be read, or Postgres cannot be reached.
pub async fn history(endpoint: &PostgresEndpoint, directory: &Path) -> Result<History, MigrateError> {
    let mut session = Session::open(endpoint).await?;
    let found = read_history(&mut session, directory).await;
    session.close().await;
    found
}

async fn read_history(session: &mut Session, directory: &Path) -> Result<History, MigrateError> {
    let local =
        migrations::read(directory).map_err(|cause| MigrateError::Directory { path: directory.to_owned(), cause })?;
    let exists = session.run(HISTORY_EXISTS).await?;
    let mut applied = BTreeMap::new();
    if exists.rows.first().is_some_and(|row| row[0].as_deref() == Some("t")) {
        let rows = session.run(HISTORY).await?.rows;
        let rows: Vec<serde_json::Value> = rows
            .iter()
            .filter_map(|row| serde_json::from_str(row.first()?.as_deref()?).ok())
            .map(|migration: serde_json::Value| serde_json::json!({ "migration": migration }))
            .collect();
        applied = migrations::applied(&rows);
    }
    let states = migrations::compare(&local, &applied);
    Ok(History { local, applied, states })
}

/// Applies pending migrations in the order of versions; calls `on_file` before each file.
///
/// # Errors
/// Directory and database conflict, a statement fails, or Postgres cannot be reached. Files applied before the error
/// remain applied.
pub async fn migrate(
    endpoint: &PostgresEndpoint,
    directory: &Path,
    options: Options,
    mut on_file: impl FnMut(&MigratedFile),
) -> Result<Vec<MigratedFile>, MigrateError> {
    if !options.dry_run && !Postgres::keeps_session(endpoint).await? {
        return Err(MigrateError::Pooler);
    }
    let mut session = Session::open(endpoint).await?;
    let done = migrate_locked(&mut session, directory, options, &mut on_file).await;
    // The lock ends with the session, also after an error.
    session.close().await;
    done
}

async fn migrate_locked(
    session: &mut Session,
    directory: &Path,
    options: Options,
    on_file: &mut impl FnMut(&MigratedFile),
) -> Result<Vec<MigratedFile>, MigrateError> {
    if !options.dry_run {
        lock(session, options.lock_wait_s).await?;
    }
    let history = read_history(session, directory).await?;
    let pending = pending(&history, options.include_all)?;
    if !options.dry_run && !pending.is_empty() {
        session.run(CREATE_HISTORY).await?;
    }
    let mut all = Vec::new();
    for (version, local) in pending {
        let statements = migrations::split(&local.text);
        let transactional = statements.iter().all(|statement| runs_in_a_transaction(&statement.text));
        let done = MigratedFile { file: local.file.clone(), statements: statements.len(), transactional };
        on_file(&done);
        if !options.dry_run {
            apply(session, version, local, &statements, transactional).await?;
        }
        all.push(done);
    }
    Ok(all)
}

/// Polls for the lock instead of waiting in the database: a waiting session has an open transaction, which would in
/// turn block `CREATE INDEX CONCURRENTLY` of the other run.
async fn lock(session: &mut Session, wait_s: u64) -> Result<(), MigrateError> {
    let deadline = Instant::now() + Duration::from_secs(wait_s);
    loop {
        let answer = session.run(&format!("select pg_try_advisory_lock({LOCK})")).await?;
        if answer.rows.first().is_some_and(|row| row[0].as_deref() == Some("t")) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(MigrateError::Locked(wait_s));
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// The pending migrations, if directory and database are compatible.
fn pending(history: &History, include_all: bool) -> Result<Vec<(&String, &Local)>, MigrateError> {
    let in_state = |wanted: MigrationState| {
        history.states.iter().filter(move |(_, state)| *state == wanted).map(|(version, _)| version)
    };
    let versions: Vec<String> = in_state(MigrationState::Missing).cloned().collect();
    if !versions.is_empty() {
        return Err(MigrateError::Missing { versions });
    }
    let file = |version: &String| history.local.get(version).map(|local| local.file.clone());
    let files: Vec<String> = in_state(MigrationState::OutOfOrder).filter_map(file).collect();
    if !files.is_empty() && !include_all {
        return Err(MigrateError::OutOfOrder { files });
    }
    let wanted = |state: MigrationState| matches!(state, MigrationState::Pending | MigrationState::OutOfOrder);
    let pending = history.states.iter().filter(|(_, state)| wanted(*state));
    Ok(pending.filter_map(|(version, _)| history.local.get_key_value(version)).collect())
}

async fn apply(
    session: &mut Session,
    version: &str,
    local: &Local,
    statements: &[Statement],
    transactional: bool,
) -> Result<(), MigrateError> {
    if transactional {
        session.run("begin").await?;
    }
    for (place, statement) in statements.iter().enumerate() {
        if let Err(cause) = session.run(&statement.text).await {
            if transactional {
                // A lost session has rolled back.
                let _ = session.run("rollback").await;
            }
            let line = statement.line + lines_before(&statement.text, &cause);
            let partial = !transactional && place > 0;
            return Err(MigrateError::Statement { file: local.file.clone(), line, cause, partial });
        }
    }
    let texts: Vec<&str> = statements.iter().map(|statement| statement.text.as_str()).collect();
    let record = format!(
        "insert into supabase_migrations.schema_migrations (version, name, statements) values ({}, {}, {})",
        quote(version),
        quote(&local.name),
        text_array(&texts)
    );
    let recorded = session.run(&record).await;
    if transactional {
        let end = if recorded.is_ok() { "commit" } else { "rollback" };
        session.run(end).await?;
    }
    recorded?;
    Ok(())
}

/// Lines of the statement before the position of Postgres' error.
fn lines_before(text: &str, error: &SessionError) -> usize {
    let SessionError::Refused { position: Some(position), .. } = error else {
        // Comments before a statement did not fail.
        return text.lines().take_while(|line| line.trim().is_empty() || line.trim_start().starts_with("--")).count();
    };
    text.chars().take(position.saturating_sub(1)).filter(|letter| *letter == '\n').count()
}

/// Whether a statement may run inside a transaction.
fn runs_in_a_transaction(statement: &str) -> bool {
    let words: Vec<String> = strip_comments(statement)
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
        .take(6)
        .map(str::to_lowercase)
        .collect();
    !OUTSIDE_TRANSACTION.iter().any(|alone| {
        let begins = alone.split(' ').zip(&words).all(|(wanted, word)| wanted == "*" || wanted == word);
        begins && words.len() >= alone.split(' ').count()
    })
}

/// Beginnings of statements that cannot run inside a transaction, or that begin or end one; `*` is any word (PostgreSQL
/// documentation, the notes on each command).
const OUTSIDE_TRANSACTION: &[&str] = &[
    "abort",
    "alter system",
    "begin",
    "commit",
    "create database",
    "create index concurrently",
    "create subscription",
    "create tablespace",
    "create unique index concurrently",
    "drop database",
    "drop index concurrently",
    "drop subscription",
    "drop tablespace",
    "end",
    "reindex * concurrently",
    "reindex database",
    "reindex system",
    "rollback",
    "savepoint",
    "start transaction",
    "vacuum",
];

/// A statement without the comments before it.
fn strip_comments(statement: &str) -> &str {
    let mut rest = statement.trim_start();
    loop {
        let next = if rest.starts_with("--") {
            rest.find('\n').map_or("", |end| &rest[end..])
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or("", |end| &rest[end + 2..])
        } else {
            return rest;
        };
        rest = next.trim_start();
    }
}

/// A text as an SQL literal.
fn quote(text: &str) -> String {
    // A backslash has the same meaning under every setting only in the escape form.
    if text.contains('\\') {
        return format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"));
    }
    format!("'{}'", text.replace('\'', "''"))
}

fn text_array(texts: &[&str]) -> String {
    let items: Vec<String> = texts.iter().map(|text| quote(text)).collect();
    format!("array[{}]::text[]", items.join(", "))
}

/// Creates an empty migration in `directory` with the time as its version; returns its path.
///
/// # Errors
/// The name has no letter or digit, or the file cannot be created.
pub fn new_file(directory: &Path, name: &str, now: jiff::Timestamp) -> Result<PathBuf, MigrateError> {
    let words: Vec<String> = name
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let refuse = |path: &Path, cause| MigrateError::Directory { path: path.to_owned(), cause };
    if words.is_empty() {
        let cause = std::io::Error::new(std::io::ErrorKind::InvalidInput, "the name has no letter or digit");
        return Err(refuse(Path::new(name), cause));
    }
    std::fs::create_dir_all(directory).map_err(|cause| refuse(directory, cause))?;
    let path = directory.join(format!("{}_{}.sql", now.strftime("%Y%m%d%H%M%S"), words.join("_")));
    let mut file = std::fs::File::create_new(&path).map_err(|cause| refuse(&path, cause))?;
    file.write_all(format!("-- {}\n", words.join(" ")).as_bytes()).map_err(|cause| refuse(&path, cause))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("create index concurrently a on b (c)", false)]
    #[case("-- now\ncreate unique index concurrently a on b (c)", false)]
    #[case("/* now */ drop index concurrently a", false)]
    #[case("reindex table concurrently a", false)]
    #[case("vacuum", false)]
    #[case("begin", false)]
    #[case("create index a on concurrently (c)", true)]
    #[case("create table vacuum (a int)", true)]
    #[case("do $$ begin perform 1; end $$", true)]
    fn statements_that_cannot_run_in_a_transaction_are_recognised(#[case] statement: &str, #[case] runs: bool) {
        assert_eq!(runs_in_a_transaction(statement), runs);
    }

    #[rstest]
    #[case("it's", "'it''s'")]
    #[case(r"a\b'", r"E'a\\b'''")]
    fn texts_become_sql_literals(#[case] text: &str, #[case] wanted: &str) {
        assert_eq!(quote(text), wanted);
    }

    #[test]
    fn an_error_is_located_by_line() {
        let at = |position| SessionError::Refused { code: String::new(), message: String::new(), hint: None, position };
        assert_eq!(lines_before("-- é\nselect\n  wrong", &at(Some(15))), 2);
        assert_eq!(lines_before("-- one\n\nselect 1", &at(None)), 2);
    }

    #[test]
    fn a_new_migration_has_a_readable_name_and_overwrites_nothing() {
        let place = tempfile::tempdir().unwrap();
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let path = new_file(&place.path().join("deep"), "Add harbour/names!", now).unwrap();
        assert_eq!(path.file_name().unwrap(), "20260102030405_add_harbour_names.sql");
        assert!(new_file(&place.path().join("deep"), "add harbour names", now).is_err());
        assert!(new_file(place.path(), "…", now).unwrap_err().to_string().contains("no letter"));
    }
}
