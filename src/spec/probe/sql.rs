//! Probes of Postgres.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// A query. One row of one column is the value itself, anything else a list of rows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlProbe {
    /// The query, a single SELECT.
    #[serde(default)]
    pub query: String,
    /// A role that the user must have for a complete answer, such as `pg_read_all_stats`: without it Postgres silently
    /// leaves out the activity of other users.
    #[serde(default)]
    pub needs_role: Option<String>,
    /// Connect with a wrong password.
    #[serde(default)]
    pub wrong_password: bool,
    /// Instead of the query's answer: whether a connection keeps its server session from one transaction to the next.
    #[serde(default)]
    pub keeps_session: bool,
    /// Statements to run before the query; the case must have `writes = true`.
    #[serde(default)]
    pub before: Vec<String>,
    /// Statements to run afterwards in any case; they remove what was created.
    #[serde(default)]
    pub after: Vec<String>,
}

/// Which difference between the directory and the database is the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MigrationsFact {
    /// Versions that the directory has and the database does not.
    NotApplied,
    /// Versions that the database has and the directory does not.
    NotInDirectory,
    /// Versions that both have, with different statements.
    Edited,
    /// Versions of the directory that are not applied and older than the newest applied one.
    OutOfOrder,
    /// Files that cannot be applied: two of one version, another encoding, commands of psql.
    Unusable,
    /// SQL files whose names are not `VERSION_NAME.sql`.
    LeftOut,
}

/// The migrations in `MIGRATIONS_DIR`, compared with `supabase_migrations.schema_migrations`. Only reads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MigrationsProbe {
    /// Which difference is the value.
    pub yields: MigrationsFact,
}

impl fmt::Display for MigrationsFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotApplied => "in the directory, not applied",
            Self::NotInDirectory => "applied, not in the directory",
            Self::Edited => "edited after they were applied",
            Self::OutOfOrder => "not applied, older than the newest applied one",
            Self::Unusable => "files that cannot be applied",
            Self::LeftOut => "files whose names are not recognised",
        })
    }
}
