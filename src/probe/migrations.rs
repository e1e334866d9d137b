//! The migrations of a directory, compared with those applied to the database.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::services::migrations::{
    self, Applied, FilesError, HISTORY, HISTORY_EXISTS, Local, MigrationState, Statement,
};
use crate::spec::{MigrationsFact, MigrationsProbe};

pub(super) async fn observe(probe: &MigrationsProbe, context: &Context) -> Result<Observation, ProbeError> {
    use secrecy::ExposeSecret;
    let given = context
        .given
        .as_ref()
        .ok_or_else(|| ProbeError::Missing("a throwaway database has no migrations".to_owned()))?;
    let name = given.value("MIGRATIONS_DIR").map_or("supabase/migrations", |value| value.expose_secret());
    let directory = given.directory.join(name);
    let files = match migrations::read(&directory) {
        Ok(files) => files,
        Err(FilesError::Unreadable { cause, .. }) => {
            return Err(ProbeError::Missing(format!("no migrations in {}: {cause}", directory.display())));
        }
        Err(error) if probe.yields == MigrationsFact::Unusable => {
            return Ok(Observation::new(UNUSABLE, vec![error.to_string()]));
        }
        Err(error) => return Err(ProbeError::Undecided(error.to_string())),
    };
    let local = files.migrations;
    let applied = match applied(context).await? {
        Some(applied) => applied,
        None if !matches!(
            probe.yields,
            MigrationsFact::NotInDirectory | MigrationsFact::OutOfOrder | MigrationsFact::Edited
        ) =>
        {
            BTreeMap::new()
        }
        None => {
            let missing = "the database has no table supabase_migrations.schema_migrations";
            return Err(ProbeError::Missing(missing.to_owned()));
        }
    };
    let states = migrations::compare(&local, &applied);
    let in_state = |wanted: &[MigrationState]| -> Vec<String> {
        let title = |version: &String| match (local.get(version), applied.get(version)) {
            (Some(local), _) => local.file.clone(),
            (None, Some(Applied { name: Some(name), .. })) => format!("{version}_{name}"),
            (None, _) => version.clone(),
        };
        states.iter().filter(|(_, state)| wanted.contains(state)).map(|(version, _)| title(version)).collect()
    };
    let (what, seen): (&str, Vec<String>) = match probe.yields {
        MigrationsFact::NotApplied => (
            "migrations in the directory that are not applied",
            in_state(&[MigrationState::Pending, MigrationState::OutOfOrder]),
        ),
        MigrationsFact::NotInDirectory => {
            ("applied migrations that are not in the directory", in_state(&[MigrationState::Missing]))
        }
        MigrationsFact::OutOfOrder => (
            "unapplied migrations that are older than the newest applied migration",
            in_state(&[MigrationState::OutOfOrder]),
        ),
        MigrationsFact::Unusable => {
            let pending = local.iter().filter(|(version, _)| !applied.contains_key(*version)).map(|(_, file)| file);
            (UNUSABLE, pending.filter_map(unusable).collect())
        }
        MigrationsFact::LeftOut => ("SQL files that are no migrations", files.left_out),
        MigrationsFact::Edited => {
            let (edited, unrecorded) = (in_state(&[MigrationState::Edited]), in_state(&[MigrationState::Unrecorded]));
            if edited.is_empty() && !unrecorded.is_empty() {
                return Err(ProbeError::Undecided(format!(
                    "the statements of these migrations were not recorded: {}",
                    unrecorded.join(", ")
                )));
            }
            ("migrations whose file differs from the applied statements", edited)
        }
    };
    let mut observation = Observation::new(what, seen);
    observation.also.push(Evidence::seen("migrations in the directory", local.len()));
    observation.also.push(Evidence::seen("migrations applied", applied.len()));
    Ok(observation)
}

const UNUSABLE: &str = "files of the directory that cannot be applied";

/// Why a file cannot be applied, with its line.
fn unusable(local: &Local) -> Option<String> {
    let (line, what) = migrations::split(&local.text).iter().find_map(Statement::unusable)?;
    Some(format!("{}:{line}: {what}", local.file))
}

/// The applied migrations; `None` if none was ever recorded.
async fn applied(context: &Context) -> Result<Option<BTreeMap<String, Applied>>, ProbeError> {
    if context.clients.rows(HISTORY_EXISTS).await?.first().is_none_or(|row| row["there"] != Value::Bool(true)) {
        return Ok(None);
    }
    Ok(Some(migrations::applied(&context.clients.rows(HISTORY).await?)))
}
