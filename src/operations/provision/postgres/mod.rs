//! Extensions, roles, schemas, tables, migrations, row level security and grants.

mod table;

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::SetupError;
use super::change::{Action, Change, Task};
use super::step::{Found, Stop};
use crate::operations::database::{self, Options};
use crate::services::ServiceError;
use crate::services::migrations::MigrationState;
use crate::services::postgres::Postgres;
use crate::settings::{Desired, DesiredGrant, DesiredPostgres, DesiredRole, PostgresEndpoint, public_url};

const SERVICE: &str = "postgres";
/// Held while something is created: two concurrent setups would conflict otherwise.
const LOCK: &str = "select pg_advisory_xact_lock(7305808869231650);";
/// Seconds to wait for another run of migrations.
const LOCK_WAIT_S: u64 = 30;
/// Every privilege on a table, by Postgres' names.
const RIGHTS: [&str; 7] = ["select", "insert", "update", "delete", "truncate", "references", "trigger"];

/// Connects and checks that the server accepts writes.
pub(super) async fn connect(endpoint: &PostgresEndpoint) -> Result<(Postgres, Found), SetupError> {
    let database = Postgres::connect(endpoint).await?;
    let server = database
        .rows("select current_setting('server_version') as version, pg_is_in_recovery() as replica")
        .await?
        .pop()
        .unwrap_or_default();
    let address = public_url(&endpoint.url);
    if server["replica"] == Value::Bool(true) {
        return Err(SetupError::Shape {
            what: format!("Postgres at {address}"),
            found: "is a read replica".to_owned(),
            wanted: "setup creates tables on the primary".to_owned(),
            remedy: "set DATABASE_URL to the primary".to_owned(),
        });
    }
    let version = server["version"].as_str().and_then(|text| text.split(' ').next()).unwrap_or("?");
    Ok((database, Found::new(format!("Postgres {version} at {address}"))))
}

pub(super) async fn changes(
    database: &Postgres,
    endpoint: &PostgresEndpoint,
    desired: &Desired,
) -> Result<Vec<Change>, Stop> {
    let Some(wanted) = &desired.postgres else { return Ok(Vec::new()) };
    let mut changes = Vec::new();
    if !wanted.extensions.is_empty() {
        changes.extend(extensions(database, wanted).await?);
    }
    if !wanted.roles.is_empty() {
        changes.extend(roles(database, wanted).await?);
    }
    for schema in &wanted.schemas {
        changes.extend(table::schema(database, schema).await?);
    }
    for table in &wanted.tables {
        changes.extend(table::changes(database, table).await?);
    }
    if let Some(directory) = &wanted.migrations {
        changes.extend(migrations(endpoint, directory).await?);
    }
    for table in &wanted.rls {
        changes.extend(row_security(database, table).await?);
    }
    for grant in &wanted.grants {
        changes.extend(grants(database, grant).await?);
    }
    Ok(changes)
}

async fn extensions(database: &Postgres, wanted: &DesiredPostgres) -> Result<Vec<Change>, ServiceError> {
    let found = database.rows("select extname as name from pg_extension").await?;
    let schema = wanted.extension_schema.as_deref();
    let missing = wanted.extensions.iter().filter(|name| !found.iter().any(|row| row["name"] == name.as_str()));
    let change = |name: &String| {
        let statements = schema.map_or_else(
            || format!("{LOCK} create extension if not exists \"{name}\""),
            |schema| {
                format!(
                    "{LOCK} create schema if not exists {schema}; \
                     create extension if not exists \"{name}\" with schema {schema}"
                )
            },
        );
        let change = Change::new(SERVICE, "extension", name.clone(), Action::Create, Task::Sql(statements));
        change.details(schema.map(|schema| format!("in schema {schema}")))
    };
    Ok(missing.map(change).collect())
}

async fn roles(database: &Postgres, wanted: &DesiredPostgres) -> Result<Vec<Change>, ServiceError> {
    let found =
        database.rows("select rolname as name, rolcanlogin as login, rolbypassrls as bypass from pg_roles").await?;
    let mut changes = Vec::new();
    for (name, role) in &wanted.roles {
        let existing = found.iter().find(|row| row["name"] == name.as_str());
        let DesiredRole { login, bypass_rls, password } = role;
        let mut statements = String::new();
        let mut details = Vec::new();
        for (wanted, field, on, off) in
            [(*login, "login", "login", "nologin"), (*bypass_rls, "bypass", "bypassrls", "nobypassrls")]
        {
            // A new role has neither.
            if existing.map_or(Some(false), |row| row[field].as_bool()) != Some(wanted) {
                let word = if wanted { on } else { off };
                statements = format!("{statements} alter role {name} {word};");
                details.push(word.to_owned());
            }
        }
        if existing.is_some() && details.is_empty() {
            continue;
        }
        let mut task = Task::Role { statements: statements.clone(), name: name.clone(), password: None };
        let mut action = Action::Change;
        if existing.is_none() {
            action = Action::Create;
            if let Some(variable) = password {
                details.push(format!("password from {variable}"));
            }
            // CREATE ROLE has no IF NOT EXISTS.
            let made = format!(
                "do $$ begin if not exists (select from pg_roles where rolname = '{name}') then create role {name}; \
                 end if; end $$;{statements}"
            );
            task = Task::Role { statements: made, name: name.clone(), password: password.clone() };
        }
        changes.push(Change::new(SERVICE, "role", name.clone(), action, task).details(details));
    }
    Ok(changes)
}

/// Creates or changes a role; a new role gets its password.
pub(super) async fn role(
    database: &Postgres,
    name: &str,
    statements: &str,
    password: Option<(&String, Option<&SecretString>)>,
) -> Result<(), SetupError> {
    let mut text = format!("{LOCK} {statements}");
    match password {
        Some((variable, None)) => {
            return Err(SetupError::Shape {
                what: format!("role {name}"),
                found: "has no password".to_owned(),
                wanted: format!("{variable}, which must hold it, is not set"),
                remedy: format!("set {variable} in the environment or in .env, then run setup again"),
            });
        }
        Some((_, Some(password))) => {
            let quoted = password.expose_secret().replace('\\', "\\\\").replace('\'', "''");
            text = format!("{text} alter role {name} password E'{quoted}'");
        }
        None => {}
    }
    Ok(database.execute(&text).await?)
}

async fn migrations(endpoint: &PostgresEndpoint, directory: &Path) -> Result<Vec<Change>, SetupError> {
    let history = database::history(endpoint, directory).await?;
    history.check()?;
    let what = directory.display().to_string();
    let files = |wanted: MigrationState| -> Vec<String> {
        let matching = history.states.iter().filter(|(_, state)| *state == wanted);
        matching
            .map(|(version, _)| {
                let local = history.local.get(version).map(|local| local.file.clone());
                local.unwrap_or_else(|| version.clone())
            })
            .collect()
    };
    let mut changes = Vec::new();
    for state in [MigrationState::Missing, MigrationState::OutOfOrder, MigrationState::Edited] {
        for file in files(state) {
            let detail = format!("{file}: {}", state.word());
            changes.push(Change::drift(SERVICE, "migrations", what.clone(), detail));
        }
    }
    let pending = files(MigrationState::Pending);
    if !pending.is_empty() {
        let task = Task::Migrate(directory.to_owned());
        changes.insert(0, Change::new(SERVICE, "migrations", what, Action::Change, task).details(pending));
    }
    Ok(changes)
}

/// Applies pending migrations.
pub(super) async fn migrate(endpoint: &PostgresEndpoint, directory: &Path) -> Result<(), SetupError> {
    let options = Options { lock_wait_s: LOCK_WAIT_S, ..Options::default() };
    database::migrate(endpoint, directory, options, |_| {}).await?;
    Ok(())
}

async fn row_security(database: &Postgres, table: &str) -> Result<Option<Change>, ServiceError> {
    let rows = database
        .rows(&format!("select relrowsecurity as secured from pg_class where oid = to_regclass('{table}')"))
        .await?;
    if rows.first().is_some_and(|row| row["secured"] == Value::Bool(true)) {
        return Ok(None);
    }
    let task = Task::Sql(format!("{LOCK} {}", enable_rls(table)));
    let change = Change::new(SERVICE, "rls", table, Action::Change, task).detail("row level security: on");
    Ok(Some(if rows.is_empty() { change.detail(MISSING_TABLE) } else { change }))
}

fn schema_of(table: &str) -> &str {
    table.split_once('.').map_or("public", |(schema, _)| schema)
}

/// The statement that enables row level security.
fn enable_rls(table: &str) -> String {
    format!("alter table {table} enable row level security;")
}

/// The statements that grant these privileges, and usage of the schema.
fn grant_statements(table: &str, role: &str, rights: &[&str]) -> String {
    let reach = format!("grant usage on schema {} to {role};", schema_of(table));
    if rights.is_empty() { reach } else { format!("{reach} grant {} on {table} to {role};", rights.join(", ")) }
}

/// Detail of a table that a migration must create first.
const MISSING_TABLE: &str = "the table does not exist yet";

async fn grants(database: &Postgres, grant: &DesiredGrant) -> Result<Vec<Change>, ServiceError> {
    let DesiredGrant { to, on, rights } = grant;
    let held: Vec<String> =
        RIGHTS.iter().map(|right| format!("has_table_privilege(r.oid, c.oid, '{right}') as \"{right}\"")).collect();
    let rows = database
        .rows(&format!(
            "select {}, has_schema_privilege(r.oid, c.relnamespace, 'usage') as usage, \
             r.rolsuper or c.relowner = r.oid as everything \
             from pg_class c cross join pg_roles r where c.oid = to_regclass('{on}') and r.rolname = '{to}'",
            held.join(", ")
        ))
        .await?;
    let existing = rows.first();
    let holds = |right: &str| existing.is_some_and(|row| row[right] == Value::Bool(true));
    let missing: Vec<&str> = rights.iter().map(String::as_str).filter(|right| !holds(right)).collect();
    let what = format!("{to} on {on}");
    let mut changes = Vec::new();
    if !missing.is_empty() || !holds("usage") {
        let statements = format!("{LOCK} {}", grant_statements(on, to, &missing));
        let mut details = Vec::new();
        if !missing.is_empty() {
            details.push(missing.join(", "));
        }
        if !holds("usage") {
            details.push(format!("usage of schema {}", schema_of(on)));
        }
        if existing.is_none() {
            details.push("the role or the table does not exist yet".to_owned());
        }
        changes
            .push(Change::new(SERVICE, "grant", what.clone(), Action::Change, Task::Sql(statements)).details(details));
    }
    let more: Vec<&str> =
        RIGHTS.into_iter().filter(|right| holds(right) && !rights.iter().any(|own| own == right)).collect();
    if !more.is_empty() && !holds("everything") {
        let detail = format!("also has {}, not described in shakedown.toml", more.join(", "));
        changes.push(Change::drift(SERVICE, "grant", what, detail));
    }
    Ok(changes)
}
