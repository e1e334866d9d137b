//! Migrations of the Supabase CLI: files in a directory, and the records of applied migrations in the database.
//!
//! A file is called `VERSION_NAME.sql`. The table `supabase_migrations.schema_migrations` records version, name and
//! statements. `suites/tests/cli/supabase_cli.rs` compares both with what the CLI does.

mod files;
mod split;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub use files::{Files, FilesError, Local, read};
pub use split::{Statement, Unusable, split};

/// Query whether the table of applied migrations exists; the column is `there`.
pub const HISTORY_EXISTS: &str = "select to_regclass('supabase_migrations.schema_migrations') is not null as there";
/// Query for the applied migrations; the column is `migration`. It is JSON, because two columns of the table are
/// missing in old databases.
pub const HISTORY: &str =
    "select to_jsonb(migration) as migration from supabase_migrations.schema_migrations as migration";

/// An applied migration. Old databases did not record the statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its name, if it was recorded.
    pub name: Option<String>,
    /// Its statements, if they were recorded.
    pub statements: Option<Vec<String>>,
}

/// The state of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationState {
    /// Applied, and the file has the applied statements.
    Applied,
    /// Applied; the statements were not recorded.
    Unrecorded,
    /// Applied, but the file has different statements.
    Edited,
    /// Not applied yet.
    Pending,
    /// Not applied, and older than the newest applied migration.
    OutOfOrder,
    /// Applied, but not in the directory.
    Missing,
}

impl MigrationState {
    /// The state in words.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unrecorded => "applied, statements not recorded",
            Self::Edited => "edited since it was applied",
            Self::Pending => "pending",
            Self::OutOfOrder => "pending, older than the newest applied one",
            Self::Missing => "applied, not in the directory",
        }
    }
}

/// The applied migrations in the rows of [`HISTORY`], by version.
#[must_use]
pub fn applied(rows: &[Value]) -> BTreeMap<String, Applied> {
    let texts = |value: &Value| -> Option<Vec<String>> {
        value.as_array().map(|items| items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
    };
    let each = rows.iter().map(|row| &row["migration"]).filter_map(|row| {
        let applied = Applied { name: row["name"].as_str().map(str::to_owned), statements: texts(&row["statements"]) };
        Some((row["version"].as_str()?.to_owned(), applied))
    });
    each.collect()
}

/// The state of each migration of either side, in the order of versions.
#[must_use]
pub fn compare(local: &BTreeMap<String, Local>, applied: &BTreeMap<String, Applied>) -> Vec<(String, MigrationState)> {
    let newest = applied.keys().next_back();
    let versions: BTreeSet<&String> = local.keys().chain(applied.keys()).collect();
    let state_of = |version: &String| match (local.get(version), applied.get(version)) {
        (Some(local), Some(applied)) => match &applied.statements {
            Some(statements) if is_same_sql(statements, &local.text) => MigrationState::Applied,
            Some(_) => MigrationState::Edited,
            None => MigrationState::Unrecorded,
        },
        (Some(_), None) if newest.is_some_and(|newest| version < newest) => MigrationState::OutOfOrder,
        (Some(_), None) => MigrationState::Pending,
        (None, _) => MigrationState::Missing,
    };
    versions.into_iter().map(|version| (version.clone(), state_of(version))).collect()
}

/// Whether the recorded statements are those of a file.
#[must_use]
pub fn is_same_sql(statements: &[String], text: &str) -> bool {
    bare(&statements.concat()) == bare(text)
}

/// A text without the characters that are lost when a file is split into statements: whitespace and semicolons.
fn bare(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_whitespace() && *letter != ';' && *letter != '\u{feff}').collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_file_equals_its_statements_without_whitespace_and_semicolons() {
        assert!(is_same_sql(
            &["create table a ()-- b\nselect 1".to_owned()],
            "create table a ();\r\n\n-- b\nselect 1;\n"
        ));
        assert!(!is_same_sql(&["select 1".to_owned()], "select 2"));
    }

    #[test]
    fn each_migration_has_its_state() {
        let local = |text: &str| Local {
            name: String::new(),
            file: String::new(),
            path: PathBuf::new(),
            text: text.to_owned(),
        };
        let done = |text: Option<&str>| Applied { name: None, statements: text.map(|text| vec![text.to_owned()]) };
        let files = [("1", "a"), ("2", "b"), ("3", "c"), ("5", "e"), ("9", "z")];
        let local = files.map(|(version, text)| (version.to_owned(), local(text))).into();
        let history = [("1", Some("a")), ("2", Some("x")), ("3", None), ("6", Some("f"))];
        let applied = history.map(|(version, text)| (version.to_owned(), done(text))).into();
        let states: Vec<MigrationState> = compare(&local, &applied).into_iter().map(|(_, state)| state).collect();
        assert_eq!(
            states,
            [
                MigrationState::Applied,
                MigrationState::Edited,
                MigrationState::Unrecorded,
                MigrationState::OutOfOrder,
                MigrationState::Missing,
                MigrationState::Pending
            ]
        );
    }
}
