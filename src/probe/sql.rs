//! A Postgres query.

use serde_json::Value;

use super::{Context, Observation, ProbeError};
use crate::services::ServiceError;
use crate::services::postgres::Postgres;
use crate::spec::SqlProbe;
use crate::spec::read_only::check_sql;

pub(super) async fn observe(probe: &SqlProbe, context: &Context) -> Result<Observation, ProbeError> {
    if probe.keeps_session {
        let kept = Postgres::keeps_session(&context.endpoints.postgres).await?;
        return Ok(Observation::new("whether a connection keeps its server process between transactions", kept));
    }
    let query = context.template().fill(&probe.query)?;
    if !context.writes {
        // Values have taken the places of the placeholders since the suite was read.
        check_sql(&query).map_err(|reason| ProbeError::Undecided(format!("{reason}; the query was not sent")))?;
    }
    let rows = if probe.wrong_password {
        let unauthorised = Postgres::connect_with_wrong_password(&context.endpoints.postgres).await?;
        let rows = unauthorised.read_all(std::slice::from_ref(&query)).await.pop();
        unauthorised.close().await;
        rows.unwrap_or_else(|| Ok(Vec::new()))
    } else if context.writes {
        written(probe, &query, context).await?
    } else {
        // Both at the same time, so that they are sent in one batch.
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

/// The rows of a query after statements that write. The clean-up statements run in any case.
async fn written(
    probe: &SqlProbe,
    query: &str,
    context: &Context,
) -> Result<Result<Vec<Value>, ServiceError>, ProbeError> {
    let template = context.template();
    let fill = |statements: &[String]| statements.iter().map(|text| template.fill(text)).collect::<Result<Vec<_>, _>>();
    let (before, after) = (fill(&probe.before)?, fill(&probe.after)?);
    let postgres = Postgres::connect(&context.own.postgres).await?;
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
    // A failed clean-up matters more than the rows.
    Ok(cleaned.and(rows))
}

/// An error unless the user has the privileges of `role`.
async fn has_role(role: &str, context: &Context) -> Result<(), ProbeError> {
    let name = role.replace('\'', "''");
    let query = format!("select current_user::text as name, pg_has_role(current_user, '{name}', 'usage') as has");
    let rows = context.clients.rows(&query).await?;
    let row = rows.first().unwrap_or(&Value::Null);
    if row["has"] == true {
        return Ok(());
    }
    let user = row["name"].as_str().unwrap_or("the user");
    Err(ProbeError::Undecided(format!("{user} cannot see the sessions of other users; run GRANT {role} TO {user}")))
}
