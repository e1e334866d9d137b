//! Applies the migrations of a directory to a database: each file completely or not at all, one run at a time.

mod apply;
mod error;
mod locks;
mod progress;
mod transaction;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::apply::Pending;
pub use self::error::MigrateError;
use self::locks::Watch;
pub use self::progress::{MigratedFile, Options, Progress};
use crate::services::migrations::{self, Applied, HISTORY, HISTORY_EXISTS, Local, MigrationState};
use crate::services::postgres::Postgres;
use crate::services::postgres_session::Session;
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

/// Both sides, and the status of each migration.
#[derive(Debug)]
pub struct History {
    /// The files, by version.
    pub local: BTreeMap<String, Local>,
    /// SQL files that are no migrations, because their names do not match `VERSION_NAME.sql`.
    pub left_out: Vec<String>,
    /// The migrations that the database records, by version.
    pub applied: BTreeMap<String, Applied>,
    /// The status of each, in the order of versions.
    pub states: Vec<(String, MigrationState)>,
}

impl History {
    /// An error if a file that is to be applied contains what no server executes.
    ///
    /// # Errors
    /// It does.
    pub fn check(&self) -> Result<(), MigrateError> {
        self.waiting().try_for_each(|pending| pending.check())
    }

    /// The files that are not applied, in the order of versions.
    fn waiting(&self) -> impl Iterator<Item = Pending<'_>> {
        let wanted = |state: MigrationState| matches!(state, MigrationState::Pending | MigrationState::OutOfOrder);
        let versions = self.states.iter().filter(move |(_, state)| wanted(*state)).map(|(version, _)| version);
        versions.filter_map(|version| {
            let local = self.local.get(version)?;
            Some(Pending { version, local, statements: migrations::split(&local.text) })
        })
    }
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
    let files = migrations::read(directory)?;
    let local = files.migrations;
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
    Ok(History { local, left_out: files.left_out, applied, states })
}

/// Applies pending migrations in the order of versions; calls `on_progress` before each file, and when a statement waits.
///
/// # Errors
/// Directory and database conflict, a statement fails, or Postgres cannot be reached. Files applied before the error
/// remain applied.
pub async fn migrate(
    endpoint: &PostgresEndpoint,
    directory: &Path,
    options: Options,
    mut on_progress: impl FnMut(Progress<'_>),
) -> Result<Vec<MigratedFile>, MigrateError> {
    if !options.dry_run && !Postgres::keeps_session(endpoint).await? {
        return Err(MigrateError::Pooler);
    }
    let mut session = Session::open(endpoint).await?;
    let done = migrate_locked(&mut session, (endpoint, directory), options, &mut on_progress).await;
    // The lock ends with the session, also after an error.
    session.close().await;
    done
}

async fn migrate_locked(
    session: &mut Session,
    (endpoint, directory): (&PostgresEndpoint, &Path),
    options: Options,
    on_progress: &mut impl FnMut(Progress<'_>),
) -> Result<Vec<MigratedFile>, MigrateError> {
    if !options.dry_run {
        lock(session, options.lock_wait_s).await?;
    }
    let history = read_history(session, directory).await?;
    history.left_out.iter().for_each(|file| on_progress(Progress::LeftOut(file)));
    let pending = pending(&history, options.include_all)?;
    if !options.dry_run && !pending.is_empty() {
        session.run(CREATE_HISTORY).await?;
    }
    let mut watch = Watch::new(endpoint, session).await?;
    let mut all = Vec::new();
    for file in pending {
        let done = MigratedFile {
            file: file.local.file.clone(),
            statements: file.statements.len(),
            transactional: file.is_transactional(),
        };
        on_progress(Progress::File(&done));
        if !options.dry_run {
            file.apply(session, &mut watch, options, on_progress).await?;
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

/// The pending migrations, if directory and database are compatible and each file can be applied.
fn pending(history: &History, include_all: bool) -> Result<Vec<Pending<'_>>, MigrateError> {
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
    let pending: Vec<Pending<'_>> = history.waiting().collect();
    pending.iter().try_for_each(Pending::check)?;
    Ok(pending)
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
    use super::*;

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
