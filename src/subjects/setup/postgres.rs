//! Schema, table and rights in Postgres.
//!
//! Nothing is written to `supabase_migrations`: the Supabase CLI refuses to push when that table
//! names a migration that the project's directory does not have.

use serde_json::Value;

use super::{Done, Outcome, SetupError};
use crate::services::postgres::Postgres;
use crate::settings::{PostgresEndpoint, public_url};

/// Taken while something is created: two set-ups at once would otherwise trip over each other.
pub(in crate::subjects) const LOCK: &str = "select pg_advisory_xact_lock(7305808869231650);";

/// The columns that the reference worker writes, with the types it writes.
const COLUMNS: &[(&str, &str, &str)] = &[
    ("id", "text", "primary key"),
    ("version", "text", "not null"),
    ("status", "text", "not null check (status in ('processing', 'ready', 'skipped', 'failed'))"),
    ("chunks", "integer", "not null default 0"),
    ("tokens", "integer", "not null default 0"),
    ("source", "text", ""),
    ("error", "text", ""),
    ("created_at", "timestamp with time zone", "not null default now()"),
    ("updated_at", "timestamp with time zone", "not null default now()"),
];

/// Roles of Supabase that reach tables through the Data API, on behalf of anybody.
const STRANGERS: &[&str] = &["anon", "authenticated"];

/// Connects and checks that the server takes writes.
pub(in crate::subjects) async fn connect(endpoint: &PostgresEndpoint) -> Result<(Postgres, Done), SetupError> {
    let database = Postgres::connect(endpoint).await?;
    let server =
        one(&database, "select current_setting('server_version') as version, pg_is_in_recovery() as replica").await?;
    let address = public_url(&endpoint.url);
    if server["replica"] == Value::Bool(true) {
        return Err(SetupError::Shape {
            what: format!("Postgres at {address}"),
            found: "is a read replica".to_owned(),
            wanted: "tables are made on the primary".to_owned(),
            remedy: "let DATABASE_URL name the primary".to_owned(),
        });
    }
    let version = server["version"].as_str().and_then(|text| text.split(' ').next()).unwrap_or("?");
    Ok((database, Done::new(format!("Postgres {version} at {address}"), Outcome::Unchanged)))
}

/// The schema of the table.
pub(super) async fn schema(database: &Postgres, table: &str) -> Result<((), Done), SetupError> {
    let schema = table.split_once('.').map_or("public", |(schema, _)| schema);
    let exists = format!("select exists (select from pg_namespace where nspname = lower('{schema}')) as there");
    let outcome = if one(database, &exists).await?["there"] == Value::Bool(true) {
        Outcome::Unchanged
    } else {
        database.execute(&format!("{LOCK} create schema if not exists {schema}")).await?;
        Outcome::Created
    };
    Ok(((), Done::new(format!("schema {schema}"), outcome)))
}

/// The table. Gives whether it was created here.
pub(super) async fn table(database: &Postgres, table: &str) -> Result<(bool, Done), SetupError> {
    let kind = format!("select (select relkind::text from pg_class where oid = to_regclass('{table}')) as kind");
    let kind = one(database, &kind).await?;
    let created = kind["kind"].is_null();
    if created {
        let columns: Vec<String> =
            COLUMNS.iter().map(|(name, kind, rule)| format!("{name} {kind} {rule}").trim_end().to_owned()).collect();
        // Row level security in the same breath: at no moment may the Data API read the table.
        let statements = format!(
            "{LOCK} create table if not exists {table} ({}); alter table {table} enable row level security;",
            columns.join(", ")
        );
        database.execute(&statements).await?;
    } else if !matches!(kind["kind"].as_str(), Some("r" | "p")) {
        return Err(shape(table, "is a view or another thing that is not a table", "a table is wanted"));
    }
    validate(database, table).await?;
    let outcome = if created { Outcome::Created } else { Outcome::Unchanged };
    Ok((created, Done::new(format!("table {table}"), outcome)))
}

fn shape(table: &str, found: impl Into<String>, wanted: impl Into<String>) -> SetupError {
    SetupError::Shape {
        what: format!("table {table}"),
        found: found.into(),
        wanted: wanted.into(),
        remedy: format!("let DOCUMENTS_TABLE name a table that does not exist yet, or alter {table} in a migration"),
    }
}

/// Whether the worker can write its rows; a table of the same name may be somebody else's.
async fn validate(database: &Postgres, table: &str) -> Result<(), SetupError> {
    let query = format!(
        "select attname as name, format_type(atttypid, null) as type, \
         attnotnull and not atthasdef and attidentity = '' as demanded \
         from pg_attribute where attrelid = to_regclass('{table}') and attnum > 0 and not attisdropped"
    );
    let columns = database.rows(&query).await?;
    let column = |name: &str| columns.iter().find(|column| column["name"] == name);
    let mut wrong = Vec::new();
    for (name, wanted, _) in COLUMNS {
        match column(name).and_then(|column| column["type"].as_str()) {
            None => wrong.push(format!("has no column {name}")),
            Some(found) if found == *wanted || (*wanted == "text" && found == "character varying") => {}
            Some(found) => wrong.push(format!("has {name} as {found} instead of {wanted}")),
        }
    }
    let foreign = columns.iter().filter(|column| column["demanded"] == Value::Bool(true));
    for name in foreign.filter_map(|column| column["name"].as_str()) {
        if !COLUMNS.iter().any(|(known, ..)| *known == name) {
            wrong.push(format!("demands a value for {name}, which the worker does not know"));
        }
    }
    if !wrong.is_empty() {
        return Err(shape(table, wrong.join(", "), "the worker writes rows of another shape"));
    }
    let unique = format!(
        "select exists (select from pg_index join pg_attribute on attrelid = indrelid and attnum = indkey[0] \
         where indrelid = to_regclass('{table}') and indisunique and indnkeyatts = 1 and indpred is null \
         and attname = 'id') as there"
    );
    if one(database, &unique).await?["there"] == Value::Bool(true) {
        Ok(())
    } else {
        Err(shape(table, "may hold the same id twice", "the worker needs a primary or unique key on id alone"))
    }
}

/// Row level security, and rights for `service_role` and nobody else, where Supabase's roles exist.
///
/// In a table that was there before, rights of strangers are taken away only when no policy uses
/// them: with one, somebody gave them on purpose.
pub(super) async fn access(database: &Postgres, table: &str, created: bool) -> Result<((), Done), SetupError> {
    let schema = table.split_once('.').map_or("public", |(schema, _)| schema);
    let known = database
        .rows("select rolname as name from pg_roles where rolname in ('service_role', 'anon', 'authenticated')")
        .await?;
    let known: Vec<&str> = known.iter().filter_map(|role| role["name"].as_str()).collect();
    let held = |role: &str, rights: &[&str]| {
        let rights: Vec<String> =
            rights.iter().map(|right| format!("has_table_privilege('{role}', oid, '{right}')")).collect();
        rights
    };
    let has_service_role = known.contains(&"service_role");
    let served = if has_service_role {
        let mut rights = held("service_role", &["SELECT", "INSERT", "UPDATE", "DELETE"]);
        rights.push("has_schema_privilege('service_role', relnamespace, 'USAGE')".to_owned());
        rights.join(" and ")
    } else {
        "true".to_owned()
    };
    let strangers: Vec<&str> = STRANGERS.iter().copied().filter(|role| known.contains(role)).collect();
    // TRUNCATE is not bound by row level security, so it counts as much as SELECT.
    let all = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"];
    let exposed: Vec<String> = strangers.iter().flat_map(|role| held(role, &all)).collect();
    let exposed = if exposed.is_empty() { "false".to_owned() } else { exposed.join(" or ") };
    let question = format!(
        "select relrowsecurity as secured, {served} as served, {exposed} as exposed, \
         exists (select from pg_policy where polrelid = pg_class.oid) as policies \
         from pg_class where oid = to_regclass('{table}')"
    );
    let state = one(database, &question).await?;
    let is = |state: &Value, key: &str| state[key] == Value::Bool(true);

    let mut statements = Vec::new();
    let mut notes = Vec::new();
    if !is(&state, "secured") {
        statements.push(format!("alter table {table} enable row level security"));
    }
    if !is(&state, "served") {
        statements.push(format!("grant usage on schema {schema} to service_role"));
        statements.push(format!("grant select, insert, update, delete on {table} to service_role"));
    }
    if is(&state, "exposed") {
        if is(&state, "policies") {
            notes.push(format!("policies let {} reach {table}; they were left as they are", strangers.join(" and ")));
        } else {
            statements.push(format!("revoke all on {table} from public, {}", strangers.join(", ")));
        }
    }
    if !statements.is_empty() {
        database.execute(&format!("{LOCK} {}", statements.join("; "))).await?;
        let state = one(database, &question).await?;
        if !is(&state, "secured") || !is(&state, "served") {
            return Err(shape(table, "did not take row level security or grants", "both are needed"));
        }
    }
    let outcome = match (created, statements.is_empty()) {
        (true, _) => Outcome::Created,
        (false, true) => Outcome::Unchanged,
        (false, false) => Outcome::Changed,
    };
    let what = if has_service_role { "row level security, rights for service_role" } else { "row level security" };
    Ok(((), Done { what: what.to_owned(), outcome, notes }))
}

/// The one row of a query.
async fn one(database: &Postgres, query: &str) -> Result<Value, SetupError> {
    Ok(database.rows(query).await?.into_iter().next().unwrap_or(Value::Null))
}
