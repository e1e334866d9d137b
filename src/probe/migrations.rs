//! The migrations of a directory, compared with those that the database says it has.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::services::migrations::{self, Applied, HISTORY, HISTORY_EXISTS, Standing};
use crate::spec::{MigrationsFact, MigrationsProbe};

pub(super) async fn observe(probe: &MigrationsProbe, context: &Context) -> Result<Observation, ProbeError> {
    use secrecy::ExposeSecret;
    let given = context
        .given
        .as_ref()
        .ok_or_else(|| ProbeError::Missing("a throwaway database has no migrations of anybody's".to_owned()))?;
    let name = given.value("MIGRATIONS_DIR").map_or("supabase/migrations", |value| value.expose_secret());
    let directory = given.directory.join(name);
    let local = migrations::read(&directory)
        .map_err(|error| ProbeError::Missing(format!("there are no migrations in {}: {error}", directory.display())))?;
    let applied = match applied(context).await? {
        Some(applied) => applied,
        None if probe.yields == MigrationsFact::NotApplied => BTreeMap::new(),
        None => {
            let missing = "the database has no table supabase_migrations.schema_migrations";
            return Err(ProbeError::Missing(missing.to_owned()));
        }
    };
    let standings = migrations::compare(&local, &applied);
    let of = |wanted: &[Standing]| -> Vec<String> {
        let title = |version: &String| match (local.get(version), applied.get(version)) {
            (Some(local), _) => local.file.clone(),
            (None, Some(Applied { name: Some(name), .. })) => format!("{version}_{name}"),
            (None, _) => version.clone(),
        };
        standings.iter().filter(|(_, standing)| wanted.contains(standing)).map(|(version, _)| title(version)).collect()
    };
    let (what, seen): (&str, Vec<String>) = match probe.yields {
        MigrationsFact::NotApplied => (
            "migrations of the directory that the database does not have",
            of(&[Standing::Pending, Standing::OutOfOrder]),
        ),
        MigrationsFact::NotInDirectory => {
            ("migrations of the database that the directory does not have", of(&[Standing::Missing]))
        }
        MigrationsFact::OutOfOrder => (
            "migrations of the directory that are older than the newest applied one, and are not applied",
            of(&[Standing::OutOfOrder]),
        ),
        MigrationsFact::Edited => {
            let (edited, untold) = (of(&[Standing::Edited]), of(&[Standing::Unrecorded]));
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

/// `None` where no migration was ever recorded.
async fn applied(context: &Context) -> Result<Option<BTreeMap<String, Applied>>, ProbeError> {
    if context.clients.rows(HISTORY_EXISTS).await?.first().is_none_or(|row| row["there"] != Value::Bool(true)) {
        return Ok(None);
    }
    Ok(Some(migrations::applied(&context.clients.rows(HISTORY).await?)))
}
