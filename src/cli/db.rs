//! `shakedown db`: inspect a database and apply its migrations.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::Common;
use super::failure::Failure;
use super::print::{Format, note, print};
use crate::operations::database::{self, History, MigrateError, MigratedFile, Options, Progress};
use crate::outcome::Exit;
use crate::redaction::printable_line;
use crate::services::ServiceError;
use crate::services::migrations::MigrationState;
use crate::services::postgres_session::{Answer, SessionError};
use crate::settings::{PostgresEndpoint, Settings};

/// Inspect the database of `DATABASE_URL`, and apply its migrations
///
/// Migrations have the file names and the records of the Supabase CLI (`VERSION_name.sql`), so you can use both tools on
/// one database. Exit codes: 0 done, or nothing to do; 1 migrations are pending or do not match, or a statement failed;
/// 2 bad usage; 3 no answer.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List tables and views with columns, row level security, grants and estimated row counts
    Tables {
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Run one statement that only reads, in a read-only transaction
    Query {
        /// The SQL, or - for standard input
        #[arg(value_name = "SQL")]
        text: String,
        /// Allow any SQL, also SQL that writes
        #[arg(long)]
        write: bool,
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Compare the migration files with the applied migrations, by version and by content
    Migrations {
        #[command(flatten)]
        directory: Directory,
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Apply the pending migrations: each file in one transaction if possible, and one runner at a time
    Migrate {
        #[command(flatten)]
        directory: Directory,
        /// Also apply files that are older than the newest applied one
        #[arg(long)]
        include_all: bool,
        /// Print what would be applied, and apply nothing
        #[arg(long)]
        dry_run: bool,
        /// How long to wait for another runner, and for each lock in the database, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        wait: u64,
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Create an empty migration, with the current time as its version
    New {
        /// Name of the migration
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        directory: Directory,
    },
}

/// Why a SQL file is left out.
const NO_MIGRATION: &str = "not a migration, because its name is not VERSION_NAME.sql";

#[derive(Debug, clap::Args)]
struct Directory {
    /// Directory of the migrations [default: `MIGRATIONS_DIR`, else supabase/migrations]
    #[arg(long = "dir", value_name = "DIR")]
    path: Option<PathBuf>,
}

impl Directory {
    fn resolve(&self, settings: &Settings) -> PathBuf {
        let named = || settings.get("MIGRATIONS_DIR").map(PathBuf::from);
        self.path.clone().or_else(named).unwrap_or_default()
    }
}

pub(super) async fn run(args: Args, common: &Common) -> Result<Exit, Failure> {
    let settings = super::load(common.source())?;
    match args.what {
        What::Tables { format } => {
            let answer = database::tables(&postgres(&settings)?).await.map_err(|error| session_failure(&error))?;
            print(&format_answer(&answer, format));
            Ok(Exit::Ok)
        }
        What::Query { text, write, format } => {
            let text = if text == "-" { standard_input()? } else { text };
            let answer =
                database::query(&postgres(&settings)?, &text, write).await.map_err(|error| session_failure(&error))?;
            print(&format_answer(&answer, format));
            Ok(Exit::Ok)
        }
        What::Migrations { directory, format } => {
            let history = database::history(&postgres(&settings)?, &directory.resolve(&settings))
                .await
                .map_err(migrate_failure)?;
            print(&format_history(&history, format));
            let settled = |state: MigrationState| matches!(state, MigrationState::Applied | MigrationState::Unrecorded);
            let all = history.states.iter().all(|(_, state)| settled(*state));
            Ok(if all { Exit::Ok } else { Exit::NotConformant })
        }
        What::Migrate { directory, include_all, dry_run, wait, format } => {
            let options = Options { include_all, dry_run, lock_wait_s: wait };
            let quiet = format == Format::Json;
            let mut left_out = Vec::new();
            let say = |progress: Progress<'_>| match progress {
                Progress::File(done) if !quiet => print(&line(done, dry_run)),
                Progress::File(_) => {}
                Progress::LeftOut(file) => left_out.push(file.to_owned()),
                Progress::Waiting { file, line, blocked_by } => {
                    note(&format!("{file}:{line} waits for a lock, which is held by {blocked_by}"));
                }
            };
            let directory = directory.resolve(&settings);
            let done =
                database::migrate(&postgres(&settings)?, &directory, options, say).await.map_err(migrate_failure)?;
            match format {
                Format::Json => print(&format!("{:#}\n", as_json(&done, &left_out, dry_run))),
                Format::Text if done.is_empty() => print("nothing is pending\n"),
                Format::Text => {}
            }
            for file in left_out.iter().filter(|_| !quiet) {
                note(&format!("left out {file}: {NO_MIGRATION}"));
            }
            Ok(Exit::Ok)
        }
        What::New { name, directory } => {
            let path = database::new_file(&directory.resolve(&settings), &name, jiff::Timestamp::now())
                .map_err(migrate_failure)?;
            let path = std::path::absolute(&path).unwrap_or(path);
            print(&format!("created {}\n", path.display()));
            Ok(Exit::Ok)
        }
    }
}

fn postgres(settings: &Settings) -> Result<PostgresEndpoint, Failure> {
    Ok(settings.postgres()?)
}

fn standard_input() -> Result<String, Failure> {
    if std::io::stdin().is_terminal() {
        return Err(Failure::usage("`-` reads the SQL from standard input, which is a terminal: pipe a file into it"));
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::usage(format!("cannot read standard input: {error}")))?;
    Ok(text)
}

/// The exit code of an error: 1 if Postgres refused the statement, 3 if it did not answer.
fn session_failure(error: &SessionError) -> Failure {
    let exit = match error {
        SessionError::Refused { .. } => Exit::NotConformant,
        SessionError::NotReadOnly(_) => {
            return Failure::usage(format!("{error}; add --write to run it all the same"));
        }
        SessionError::Service(ServiceError::Unauthorised { .. }) => Exit::Usage,
        SessionError::Service(_) => Exit::Inconclusive,
    };
    Failure { exit, report: miette::miette!("{error}") }
}

fn migrate_failure(error: MigrateError) -> Failure {
    match error {
        MigrateError::Session(error) => session_failure(&error),
        MigrateError::Directory { .. }
        | MigrateError::Files(_)
        | MigrateError::Unusable { .. }
        | MigrateError::Pooler => Failure::usage(error),
        MigrateError::Locked(_) => Failure::harness(error),
        MigrateError::Missing { .. }
        | MigrateError::OutOfOrder { .. }
        | MigrateError::InvalidIndex { .. }
        | MigrateError::Statement { .. } => Failure { exit: Exit::NotConformant, report: miette::miette!("{error}") },
    }
}

fn line(done: &MigratedFile, dry_run: bool) -> String {
    let verb = if dry_run { "would apply" } else { "applying" };
    let way = if done.transactional {
        "in one transaction"
    } else {
        "statement by statement, because one cannot run in a transaction"
    };
    format!("{verb} {}: {} statements, {way}\n", done.file, done.statements)
}

fn as_json(done: &[MigratedFile], left_out: &[String], dry_run: bool) -> Value {
    let each = done.iter().map(
        |done| json!({ "file": done.file, "statements": done.statements, "in_one_transaction": done.transactional }),
    );
    json!({ "dry_run": dry_run, "migrations": each.collect::<Vec<_>>(), "left_out": left_out })
}

fn format_history(history: &History, format: Format) -> String {
    let name = |version: &String| {
        let local = history.local.get(version).map(|local| local.name.clone());
        local.or_else(|| history.applied.get(version)?.name.clone())
    };
    let rows = history
        .states
        .iter()
        .map(|(version, state)| vec![Some(version.clone()), name(version), Some(state.word().to_owned())]);
    let left_out = history.left_out.iter().map(|file| vec![None, Some(file.clone()), Some(NO_MIGRATION.to_owned())]);
    let rows = rows.chain(left_out);
    let columns = ["version", "name", "state"].map(str::to_owned).to_vec();
    format_answer(&Answer { columns, rows: rows.collect(), count: 0 }, format)
}

/// An answer as a table, or as a list of objects.
fn format_answer(answer: &Answer, format: Format) -> String {
    if format == Format::Json {
        let row = |row: &Vec<Option<String>>| -> Value {
            let pairs = answer.columns.iter().cloned().zip(row.iter().map(|value| json!(value)));
            pairs.collect::<serde_json::Map<_, _>>().into()
        };
        return format!("{:#}\n", Value::Array(answer.rows.iter().map(row).collect()));
    }
    if answer.columns.is_empty() {
        return format!("no rows returned; {} rows affected\n", answer.count);
    }
    let cell = |value: Option<&str>| printable_line(&value.unwrap_or("-").replace('\n', " ")).into_owned();
    let mut lines: Vec<Vec<String>> = vec![answer.columns.iter().map(|name| cell(Some(name))).collect()];
    lines.extend(answer.rows.iter().map(|row| row.iter().map(|value| cell(value.as_deref())).collect()));
    let width = |place: usize| lines.iter().map(|line| console::measure_text_width(&line[place])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..answer.columns.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(value, width)| console::pad_str(value, *width, console::Alignment::Left, None).into_owned())
            .collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}
