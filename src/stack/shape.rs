//! The shape of Supabase (roles, schemas, table of migrations) for a Postgres without it.

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use super::error::StackError;

/// A part of the shape.
struct Part {
    /// Its file in `fixtures/supabase`.
    file: &'static str,
    sql: &'static str,
    /// A query whether it exists, as it does in Supabase's image.
    exists: &'static str,
}

/// All parts, in the order in which they are applied.
const SHAPE: [Part; 3] = [
    Part {
        file: "roles.sql",
        sql: include_str!("../../fixtures/supabase/roles.sql"),
        exists: "select exists (select from pg_roles where rolname = 'service_role')",
    },
    Part {
        file: "schemas.sql",
        sql: include_str!("../../fixtures/supabase/schemas.sql"),
        exists: "select exists (select from pg_namespace where nspname = 'auth')",
    },
    Part {
        file: "migrations.sql",
        sql: include_str!("../../fixtures/supabase/migrations.sql"),
        exists: "select exists (select from pg_namespace where nspname = 'supabase_migrations')",
    },
];

/// A script for `psql` that applies the missing parts when an image initialises its database.
pub(super) fn script() -> String {
    let part = |part: &Part| format!("{} as there \\gset\n\\if :there\n\\else\n{}\\endif\n", part.exists, part.sql);
    let parts: Vec<String> = SHAPE.iter().map(part).collect();
    format!("-- The shape of Supabase for a Postgres without it. Written by `shakedown compose`.\n{}", parts.join("\n"))
}

/// Applies the missing parts.
pub(super) async fn apply(url: &SecretString) -> Result<(), StackError> {
    let fail = |file, error: sqlx::Error| StackError::Shape { file, reason: error.to_string() };
    let first = SHAPE[0].file;
    let options: PgConnectOptions = url.expose_secret().parse().map_err(|error| fail(first, error))?;
    let mut connection: PgConnection =
        options.disable_statement_logging().connect().await.map_err(|error| fail(first, error))?;
    for part in SHAPE {
        let exists: bool =
            sqlx::query_scalar(part.exists).fetch_one(&mut connection).await.map_err(|error| fail(part.file, error))?;
        if !exists {
            sqlx::raw_sql(part.sql).execute(&mut connection).await.map_err(|error| fail(part.file, error))?;
        }
    }
    // The server closes its side anyway.
    let _ = connection.close().await;
    Ok(())
}
