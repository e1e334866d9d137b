//! Supabase's roles, schemas and table of migrations, for a Postgres that does not have them.

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use super::StackError;

/// A part of Supabase's shape.
struct Part {
    /// Its file in `fixtures/supabase`.
    file: &'static str,
    sql: &'static str,
    /// A query that says whether it is there already, as in Supabase's own image.
    there: &'static str,
}

/// All parts, in the order in which they are laid down.
const SHAPE: [Part; 3] = [
    Part {
        file: "roles.sql",
        sql: include_str!("../../fixtures/supabase/roles.sql"),
        there: "select exists (select from pg_roles where rolname = 'service_role')",
    },
    Part {
        file: "schemas.sql",
        sql: include_str!("../../fixtures/supabase/schemas.sql"),
        there: "select exists (select from pg_namespace where nspname = 'auth')",
    },
    Part {
        file: "migrations.sql",
        sql: include_str!("../../fixtures/supabase/migrations.sql"),
        there: "select exists (select from pg_namespace where nspname = 'supabase_migrations')",
    },
];

/// A script for `psql` that lays down what is missing: for the initialisation of an image.
pub(super) fn script() -> String {
    let part = |part: &Part| format!("{} as there \\gset\n\\if :there\n\\else\n{}\\endif\n", part.there, part.sql);
    let parts: Vec<String> = SHAPE.iter().map(part).collect();
    format!(
        "-- Supabase's shape, for a Postgres that does not have it. Written by `shakedown compose`.\n{}",
        parts.join("\n")
    )
}

/// Lays down what is missing.
pub(super) async fn lay_down(url: &SecretString) -> Result<(), StackError> {
    let fail = |file, error: sqlx::Error| StackError::Shape { file, reason: error.to_string() };
    let first = SHAPE[0].file;
    let options: PgConnectOptions = url.expose_secret().parse().map_err(|error| fail(first, error))?;
    let mut connection: PgConnection =
        options.disable_statement_logging().connect().await.map_err(|error| fail(first, error))?;
    for part in SHAPE {
        let there: bool =
            sqlx::query_scalar(part.there).fetch_one(&mut connection).await.map_err(|error| fail(part.file, error))?;
        if !there {
            sqlx::raw_sql(part.sql).execute(&mut connection).await.map_err(|error| fail(part.file, error))?;
        }
    }
    // The server closes its side in any case.
    let _ = connection.close().await;
    Ok(())
}
