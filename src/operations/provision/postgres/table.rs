//! A table that workers write, and its schema: created if missing, checked if it exists.

use serde_json::Value;

use super::{LOCK, RIGHTS, SERVICE, SetupError, enable_rls, grant_statements};
use crate::operations::provision::change::{Action, Change, Task};
use crate::operations::provision::step::Stop;
use crate::services::ServiceError;
use crate::services::postgres::Postgres;
use crate::settings::DesiredTable;

const KIND: &str = "table";
const ACCESS: &str = "access";

/// The schema, if missing.
pub(super) async fn schema(database: &Postgres, schema: &str) -> Result<Option<Change>, Stop> {
    let kind = "schema";
    let asked = format!("select exists (select from pg_namespace where nspname = lower('{schema}')) as there");
    let rows = database.rows(&asked).await.map_err(|error| Stop { kind, error: error.into() })?;
    if rows.iter().any(|row| row["there"] == Value::Bool(true)) {
        return Ok(None);
    }
    let task = Task::Sql(format!("{LOCK} create schema if not exists {schema}"));
    Ok(Some(Change::new(SERVICE, kind, schema, Action::Create, task)))
}

/// The state of a table, read in one round trip.
struct TableState<'a> {
    wanted: &'a DesiredTable,
    found: Value,
}

impl<'a> TableState<'a> {
    async fn read(database: &Postgres, wanted: &'a DesiredTable) -> Result<Self, ServiceError> {
        let table = &wanted.name;
        let rights: Vec<String> =
            RIGHTS.iter().map(|right| format!("'{right}', has_table_privilege(r.oid, c.oid, '{right}')")).collect();
        let roles: Vec<String> =
            wanted.serves.iter().chain(&wanted.hidden_from).map(|role| format!(", '{role}'")).collect();
        let query = format!(
            "select t.relkind::text as kind, t.relrowsecurity as secured, \
             exists (select from pg_policy where polrelid = t.oid) as policies, \
             (select json_agg(json_build_object('name', attname, 'type', format_type(atttypid, null), \
              'demanded', attnotnull and not atthasdef and attidentity = '')) \
              from pg_attribute where attrelid = t.oid and attnum > 0 and not attisdropped) as columns, \
             exists (select from pg_index join pg_attribute on attrelid = indrelid and attnum = indkey[0] \
              where indrelid = t.oid and indisunique and indnkeyatts = 1 and indpred is null and attname = '{key}') \
              as single, \
             (select json_object_agg(r.rolname, json_build_object( \
              'usage', has_schema_privilege(r.oid, c.relnamespace, 'usage'), {rights})) \
              from pg_roles r left join pg_class c on c.oid = t.oid where r.rolname in (null{roles})) as roles \
             from (select 1) as one left join pg_class t on t.oid = to_regclass('{table}')",
            key = wanted.key,
            rights = rights.join(", "),
            roles = roles.concat(),
        );
        let found = database.rows(&query).await?.into_iter().next().unwrap_or_default();
        Ok(Self { wanted, found })
    }

    fn role_exists(&self, role: &str) -> bool {
        self.found["roles"].get(role).is_some()
    }

    fn holds(&self, role: &str, right: &str) -> bool {
        self.found["roles"][role][right] == Value::Bool(true)
    }

    /// The existing roles that need access.
    fn served_roles(&self) -> impl Iterator<Item = &'a str> {
        self.wanted.serves.iter().map(String::as_str).filter(|role| self.role_exists(role))
    }

    /// The existing roles that must not have access.
    fn public_roles(&self) -> Vec<&'a str> {
        self.wanted.hidden_from.iter().map(String::as_str).filter(|role| self.role_exists(role)).collect()
    }

    fn grant(&self, role: &str) -> String {
        grant_statements(&self.wanted.name, role, &["select", "insert", "update", "delete"])
    }

    fn revoke(&self, public_roles: &[&str]) -> String {
        format!("revoke all on {} from public, {};", self.wanted.name, public_roles.join(", "))
    }

    /// Creates the table and its access rules in one step: the Data API must not read it at any moment.
    fn create(&self) -> Change {
        let DesiredTable { name, columns, .. } = self.wanted;
        let columns: Vec<String> = columns
            .iter()
            .map(|column| format!("{} {} {}", column.name, column.kind, column.rule).trim_end().to_owned())
            .collect();
        let mut statements = vec![
            LOCK.to_owned(),
            format!("create table if not exists {name} ({});", columns.join(", ")),
            enable_rls(name),
        ];
        statements.extend(self.served_roles().map(|role| self.grant(role)));
        let public_roles = self.public_roles();
        if !public_roles.is_empty() {
            statements.push(self.revoke(&public_roles));
        }
        Change::new(SERVICE, KIND, name, Action::Create, Task::Sql(statements.join(" ")))
    }

    fn mismatch(&self, found: impl Into<String>, wanted: &str) -> Stop {
        let name = &self.wanted.name;
        let remedy = format!("set DOCUMENTS_TABLE to a table that does not exist yet, or alter {name} in a migration");
        let error =
            SetupError::Shape { what: format!("table {name}"), found: found.into(), wanted: wanted.to_owned(), remedy };
        Stop { kind: KIND, error }
    }

    /// Whether the worker can write its rows; a table of the same name may belong to another program.
    fn check(&self) -> Result<(), Stop> {
        if !matches!(self.found["kind"].as_str(), Some("r" | "p")) {
            return Err(self.mismatch("is not a table but, e.g., a view", "a table is required"));
        }
        let found = self.found["columns"].as_array().map_or(&[][..], Vec::as_slice);
        let mut wrong = Vec::new();
        for wanted in &self.wanted.columns {
            let (name, kind) = (wanted.name.as_str(), wanted.kind.as_str());
            match found.iter().find(|column| column["name"] == name).and_then(|column| column["type"].as_str()) {
                None => wrong.push(format!("has no column {name}")),
                Some(found) if found == kind || (kind == "text" && found == "character varying") => {}
                Some(found) => wrong.push(format!("has column {name} of type {found} instead of {kind}")),
            }
        }
        let foreign = found.iter().filter(|column| column["demanded"] == Value::Bool(true));
        for name in foreign.filter_map(|column| column["name"].as_str()) {
            if !self.wanted.columns.iter().any(|known| known.name == name) {
                wrong.push(format!("requires a value for {name}, which the worker does not write"));
            }
        }
        if !wrong.is_empty() {
            return Err(self.mismatch(wrong.join(", "), "the worker writes other columns"));
        }
        if self.found["single"] != Value::Bool(true) {
            let key = &self.wanted.key;
            let wanted = format!("the worker needs a primary or unique key on {key} alone");
            return Err(self.mismatch(format!("allows duplicate values of {key}"), &wanted));
        }
        Ok(())
    }

    /// Enables row level security, grants privileges to the roles served and revokes them from public roles, if these
    /// exist.
    ///
    /// In an existing table, the privileges of public roles are revoked only if there is no policy: with a policy, they
    /// were granted on purpose.
    fn access(&self) -> Vec<Change> {
        let table = &self.wanted.name;
        let (mut statements, mut details, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        if self.found["secured"] != Value::Bool(true) {
            statements.push(enable_rls(table));
            details.push("row level security: on".to_owned());
        }
        let needed = ["select", "insert", "update", "delete", "usage"];
        for role in self.served_roles().filter(|role| !needed.iter().all(|right| self.holds(role, right))) {
            statements.push(self.grant(role));
            details.push(format!("grants to {role}"));
        }
        let public_roles = self.public_roles();
        // TRUNCATE ignores row level security, so it counts as much as SELECT.
        if public_roles.iter().any(|role| RIGHTS.iter().any(|right| self.holds(role, right))) {
            let names = public_roles.join(" and ");
            if self.found["policies"] == Value::Bool(true) {
                let note = format!("policies give {names} access to {table}; left unchanged");
                changes.push(Change::drift(SERVICE, ACCESS, table, note));
            } else {
                statements.push(self.revoke(&public_roles));
                details.push(format!("revoked from {names}"));
            }
        }
        if !statements.is_empty() {
            let task = Task::Sql(format!("{LOCK} {}", statements.join(" ")));
            changes.push(Change::new(SERVICE, ACCESS, table, Action::Change, task).details(details));
        }
        changes
    }
}

pub(super) async fn changes(database: &Postgres, wanted: &DesiredTable) -> Result<Vec<Change>, Stop> {
    let state = TableState::read(database, wanted).await.map_err(|error| Stop { kind: KIND, error: error.into() })?;
    if state.found["kind"].is_null() {
        return Ok(vec![state.create()]);
    }
    state.check()?;
    Ok(state.access())
}
