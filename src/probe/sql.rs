//! A Postgres query.

use serde_json::Value;

use super::{Context, Observation, ProbeError};
use crate::services::ServiceError;
use crate::services::postgres::Postgres;
use crate::spec::SqlProbe;

pub(super) async fn observe(probe: &SqlProbe, context: &Context) -> Result<Observation, ProbeError> {
    if probe.keeps_session {
        let kept = Postgres::keeps_session(&context.endpoints.postgres).await?;
        return Ok(Observation::new("whether a connection keeps its server between transactions", kept));
    }
    let query = context.template().fill(&probe.query)?;
    let rows = if probe.wrong_password {
        let stranger = Postgres::connect_with_wrong_password(&context.endpoints.postgres).await?;
        let rows = stranger.rows(&query).await;
        stranger.close().await;
        rows
    } else if context.writes {
        written(probe, &query, context).await?
    } else {
        // Both at once: they go together.
        let permitted = async {
            match &probe.needs_role {
                Some(role) => has_role(role, context).await,
                None => Ok(()),
            }
        };
        let (permitted, rows) = tokio::join!(permitted, context.clients.rows(&query));
        permitted?;
        rows
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

/// What a query sees after statements that write; what they made is taken away whatever happened.
async fn written(
    probe: &SqlProbe,
    query: &str,
    context: &Context,
) -> Result<Result<Vec<Value>, ServiceError>, ProbeError> {
    let template = context.template();
    let fill = |statements: &[String]| statements.iter().map(|text| template.fill(text)).collect::<Result<Vec<_>, _>>();
    let (before, after) = (fill(&probe.before)?, fill(&probe.after)?);
    let postgres = Postgres::connect(&context.endpoints.postgres).await?;
    let mut done = Ok(());
    for statement in &before {
        done = postgres.execute(statement).await;
        if done.is_err() {
            break;
        }
    }
    let rows = match done {
        Ok(()) => postgres.rows(query).await,
        Err(error) => Err(error),
    };
    let mut cleaned = Ok(());
    for statement in &after {
        cleaned = cleaned.and(postgres.execute(statement).await);
    }
    postgres.close().await;
    // That what was made is still there is worse than what was seen.
    Ok(cleaned.and(rows))
}

/// Whether the user has what `role` may do.
async fn has_role(role: &str, context: &Context) -> Result<(), ProbeError> {
    let name = role.replace('\'', "''");
    let query = format!("select current_user::text as name, pg_has_role(current_user, '{name}', 'usage') as has");
    let rows = context.clients.rows(&query).await?;
    let row = rows.first().unwrap_or(&Value::Null);
    if row["has"] == true {
        return Ok(());
    }
    let user = row["name"].as_str().unwrap_or("the user");
    Err(ProbeError::Undecided(format!("{user} does not see what others do; GRANT {role} TO {user}")))
}
