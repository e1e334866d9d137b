//! The migrations of a directory, compared with those that the database says it has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::spec::{MigrationsFact, MigrationsProbe};

/// A migration of the directory.
struct Local {
    file: String,
    text: String,
}

/// A migration that the database says it has; old databases do not say with which statements.
struct Applied {
    name: Option<String>,
    statements: Option<Vec<String>>,
}

pub(super) async fn observe(probe: &MigrationsProbe, context: &Context) -> Result<Observation, ProbeError> {
    use secrecy::ExposeSecret;
    let given = context
        .given
        .as_ref()
        .ok_or_else(|| ProbeError::Missing("a throwaway database has no migrations of anybody's".to_owned()))?;
    let name = given.value("MIGRATIONS_DIR").map_or("supabase/migrations", |value| value.expose_secret());
    let directory = given.directory.join(name);
    let local = read(&directory)
        .map_err(|error| ProbeError::Missing(format!("there are no migrations in {}: {error}", directory.display())))?;
    let Some(applied) = applied(context).await? else {
        let applied_nothing = matches!(probe.yields, MigrationsFact::NotApplied);
        if applied_nothing {
            let all: Vec<String> = local.into_values().map(|migration| migration.file).collect();
            return Ok(Observation::new("migrations of the directory that the database does not have", all));
        }
        return Err(ProbeError::Missing("the database has no table supabase_migrations.schema_migrations".to_owned()));
    };
    let newest = applied.keys().next_back();
    let title =
        |version: &String| local.get(version).map_or_else(|| version.clone(), |migration| migration.file.clone());
    let (what, seen): (&str, Vec<String>) = match probe.yields {
        MigrationsFact::NotApplied => (
            "migrations of the directory that the database does not have",
            local.keys().filter(|version| !applied.contains_key(*version)).map(title).collect(),
        ),
        MigrationsFact::NotInDirectory => (
            "migrations of the database that the directory does not have",
            applied
                .iter()
                .filter(|(version, _)| !local.contains_key(*version))
                .map(|(version, applied)| match &applied.name {
                    Some(name) => format!("{version}_{name}"),
                    None => version.clone(),
                })
                .collect(),
        ),
        MigrationsFact::OutOfOrder => (
            "migrations of the directory that are older than the newest applied one, and are not applied",
            local
                .keys()
                .filter(|version| !applied.contains_key(*version) && newest.is_some_and(|newest| *version < newest))
                .map(title)
                .collect(),
        ),
        MigrationsFact::Edited => {
            let pairs = local.iter().filter_map(|(version, migration)| Some((migration, applied.get(version)?)));
            let (mut edited, mut untold) = (Vec::new(), Vec::new());
            for (migration, applied) in pairs {
                match &applied.statements {
                    Some(statements) if bare(&statements.concat()) != bare(&migration.text) => {
                        edited.push(migration.file.clone());
                    }
                    Some(_) => {}
                    None => untold.push(migration.file.clone()),
                }
            }
            if edited.is_empty() && !untold.is_empty() {
                return Err(ProbeError::Undecided(format!(
                    "with which statements these were applied was not recorded: {}",
                    untold.join(", ")
                )));
            }
            ("migrations whose file says something else than what was applied", edited)
        }
    };
    let mut observation = Observation::new(what, seen);
    observation.also.push(Evidence::seen("migrations in the directory", local.len()));
    observation.also.push(Evidence::seen("migrations applied", applied.len()));
    Ok(observation)
}

/// The files that the Supabase CLI takes for migrations, `^([0-9]+)_(.*)\.sql$`, by version.
fn read(directory: &Path) -> std::io::Result<BTreeMap<String, Local>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let Some((version, _)) = file.strip_suffix(".sql").and_then(|stem| stem.split_once('_')) else { continue };
        if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let text = String::from_utf8_lossy(&std::fs::read(entry.path())?).into_owned();
        found.insert(version.to_owned(), Local { file, text });
    }
    Ok(found)
}

/// `None` where no migration was ever recorded.
async fn applied(context: &Context) -> Result<Option<BTreeMap<String, Applied>>, ProbeError> {
    let there = "select to_regclass('supabase_migrations.schema_migrations') is not null as there";
    if context.lines.rows(there).await?.first().is_none_or(|row| row["there"] != Value::Bool(true)) {
        return Ok(None);
    }
    // The two columns beside `version` came later; as JSON, what is not there is null.
    let all = "select to_jsonb(migration) as migration from supabase_migrations.schema_migrations as migration";
    let rows = context.lines.rows(all).await?;
    let texts = |value: &Value| -> Option<Vec<String>> {
        value.as_array().map(|items| items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
    };
    let applied = rows.iter().map(|row| &row["migration"]).filter_map(|row| {
        let applied = Applied { name: row["name"].as_str().map(str::to_owned), statements: texts(&row["statements"]) };
        Some((row["version"].as_str()?.to_owned(), applied))
    });
    Ok(Some(applied.collect()))
}

/// A text without what the CLI drops when it splits a file into statements: blanks and semicolons between them.
fn bare(text: &str) -> String {
    let dropped: BTreeSet<char> = [';', '\u{feff}'].into();
    text.chars().filter(|letter| !letter.is_whitespace() && !dropped.contains(letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_migrations_are_passed_over() {
        let place = tempfile::tempdir().unwrap();
        for file in ["20240101000000_one.sql", "2_two_words.sql", "README.md", "x_three.sql", "_four.sql", "5.sql"] {
            std::fs::write(place.path().join(file), "select 1;").unwrap();
        }
        let found: Vec<String> = read(place.path()).unwrap().into_keys().collect();
        assert_eq!(found, ["2", "20240101000000"]);
    }

    #[test]
    fn a_text_and_its_statements_are_the_same_without_what_stands_between_them() {
        assert_eq!(bare("create table a ();\r\n\n-- b\nselect 1;\n"), bare("create table a ()-- b\nselect 1"));
        assert_ne!(bare("select 1"), bare("select 2"));
    }
}
