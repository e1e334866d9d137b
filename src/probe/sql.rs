//! A Postgres query.

use serde_json::Value;

use super::{Context, Observation, ProbeError};
use crate::services::postgres::Postgres;
use crate::spec::SqlProbe;

pub(super) async fn observe(probe: &SqlProbe, context: &Context) -> Result<Observation, ProbeError> {
    let query = context.template().fill(&probe.query)?;
    if let Some(role) = &probe.needs_role {
        has_role(role, context).await?;
    }
    let rows = if probe.wrong_password {
        let stranger = Postgres::connect_with_wrong_password(&context.endpoints.postgres).await?;
        let rows = stranger.rows(&query).await;
        stranger.close().await;
        rows
    } else {
        context.lines.rows(&query).await
    };
    let value = match rows?.as_slice() {
        [Value::Object(row)] if row.len() == 1 => row.values().next().cloned().unwrap_or(Value::Null),
        rows => Value::Array(
            rows.iter()
                .map(|row| match row {
                    Value::Object(table) if table.len() == 1 => table.values().next().cloned().unwrap_or(Value::Null),
                    other => other.clone(),
                })
                .collect(),
        ),
    };
    Ok(Observation::new(query.split_whitespace().collect::<Vec<_>>().join(" "), value))
}

/// Whether the user has what `role` may do.
async fn has_role(role: &str, context: &Context) -> Result<(), ProbeError> {
    let name = role.replace('\'', "''");
    let query = format!("select current_user::text as name, pg_has_role(current_user, '{name}', 'usage') as has");
    let rows = context.lines.rows(&query).await?;
    let row = rows.first().unwrap_or(&Value::Null);
    if row["has"] == true {
        return Ok(());
    }
    let user = row["name"].as_str().unwrap_or("the user");
    Err(ProbeError::Undecided(format!("{user} does not see what others do; GRANT {role} TO {user}")))
}
