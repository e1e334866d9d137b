//! Where the points and the row of the first document are, compared with what the contract says.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::clients::ServiceClients;
use super::super::documents::Document;
use super::super::evidence::{Point, read_points, read_rows};
use super::failure::{PointsProblem, RowProblem, TrialFailure};
use super::fields::Fields;
use crate::services::ServiceError;
use crate::services::http::Key;
use crate::settings::{PostgresEvidence, similar};

/// How long points and rows may lag behind the end of the job: some workers leave them to a job of another queue.
const LAG: Duration = Duration::from_secs(10);
/// How long they may lag once points are there that are not as the contract says: others may follow.
const FIELD_LAG: Duration = Duration::from_secs(3);
/// Interval of polling them.
const POLL: Duration = Duration::from_millis(50);
/// The number of points whose payloads are read to list their fields.
const POINTS: usize = 64;
/// How many names a message lists.
const NAMES: usize = 12;
/// Schemas of Postgres and of Supabase, which hold no table of the user.
const SYSTEM_SCHEMAS: &str = "'pg_catalog', 'information_schema', 'auth', 'storage', 'realtime', 'vault', 'extensions', \
                              'graphql', 'graphql_public', 'supabase_functions', 'supabase_migrations', 'drizzle'";

/// The points of the document, or why they or its row are not where the contract says.
pub(super) async fn find_stored(
    clients: &ServiceClients,
    document: &Document,
) -> Result<Result<Vec<Point>, TrialFailure>, ServiceError> {
    let begun = Instant::now();
    loop {
        let found = find_once(clients, document).await?;
        let lag = found.as_ref().map_or_else(lag, |_| Duration::ZERO);
        if begun.elapsed() >= lag {
            return Ok(found);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// For how long a failure may pass by itself.
const fn lag(failure: &TrialFailure) -> Duration {
    match failure {
        TrialFailure::Points(PointsProblem::NoPoints { .. })
        | TrialFailure::Row(RowProblem::NoRow { .. } | RowProblem::OtherStatus { .. } | RowProblem::NoTable { .. }) => {
            LAG
        }
        TrialFailure::Points(_) => FIELD_LAG,
        _ => Duration::ZERO,
    }
}

async fn find_once(
    clients: &ServiceClients,
    document: &Document,
) -> Result<Result<Vec<Point>, TrialFailure>, ServiceError> {
    let points = match find_points(clients, document).await? {
        Ok(points) => points,
        Err(problem) => return Ok(Err(TrialFailure::Points(problem))),
    };
    if let Some(contract) = &clients.contract.evidence.postgres
        && let Some(problem) = find_row(clients, contract, document).await?
    {
        return Ok(Err(TrialFailure::Row(problem)));
    }
    Ok(Ok(points))
}

async fn find_points(
    clients: &ServiceClients,
    document: &Document,
) -> Result<Result<Vec<Point>, PointsProblem>, ServiceError> {
    let contract = &clients.contract.evidence.qdrant;
    let mut by_document = read_points(&clients.endpoints, contract, &clients.qdrant, true).await?;
    if by_document.is_empty() {
        return no_points(clients).await.map(Err);
    }
    let all: Vec<&Point> = by_document.values().flatten().collect();
    let has_offset = all.iter().any(|point| point.offset.is_some());
    let (has_chunk, has_text) = (all.iter().any(|p| p.chunk.is_some()), all.iter().any(|p| p.text.is_some()));
    let has_version = all.iter().any(|point| point.version.is_some());
    let value = all.iter().find_map(|point| point.document.clone());
    let id = clients.contract.queue.document.id.of(&document.id);
    let own = by_document.remove(&id);
    let payloads = payloads(clients).await?;
    let fields = Fields::of(&payloads);
    let no_field = |key, field: &str, instead| PointsProblem::NoField {
        key,
        field: field.to_owned(),
        seen: fields.names().into_iter().take(NAMES).collect(),
        instead,
    };
    let Some(points) = own else {
        let instead = fields.with_id(&id);
        let field = contract.document.clone();
        return Ok(Err(match value {
            None => no_field("document", &field, instead),
            Some(value) => PointsProblem::OtherDocument { field, value, document: id, instead },
        }));
    };
    let missing = |key, field: &Option<String>, has: bool, instead: Option<String>| {
        field.as_deref().filter(|_| !has).map(|field| no_field(key, field, instead))
    };
    let problem = missing("chunk", &contract.chunk, has_chunk, fields.with_numbers())
        .or_else(|| missing("offset", &contract.offset, has_offset, fields.with_offsets(document.text.len())))
        .or_else(|| missing("text", &contract.text, has_text, fields.with_text(&document.text)))
        .or_else(|| {
            let instead = contract.version.as_ref().and_then(|field| similar(field, fields.names()));
            missing("version", &contract.version, has_version, instead)
        });
    Ok(problem.map_or(Ok(points), Err))
}

/// Where points are instead, if the collection of the contract has none.
async fn no_points(clients: &ServiceClients) -> Result<PointsProblem, ServiceError> {
    let wanted = &clients.endpoints.names.collection;
    let answer = clients.qdrant.call("GET", "/collections", None).await?;
    let names = answer["result"]["collections"].as_array().into_iter().flatten();
    let names: Vec<String> = names.filter_map(|item| item["name"].as_str().map(ToOwned::to_owned)).collect();
    let mut elsewhere = Vec::new();
    for name in names.iter().filter(|name| *name != wanted) {
        let path = format!("/collections/{name}/points/count");
        let answer = clients.qdrant.call("POST", &path, Some(&json!({ "exact": true }))).await?;
        let points = answer["result"]["count"].as_u64().unwrap_or(0);
        if points > 0 {
            elsewhere.push((name.clone(), points));
        }
    }
    Ok(PointsProblem::NoPoints { collection: wanted.clone(), exists: names.contains(wanted), elsewhere })
}

/// The payloads of some points.
async fn payloads(clients: &ServiceClients) -> Result<Vec<Value>, ServiceError> {
    let path = format!("/collections/{}/points/scroll", clients.endpoints.names.collection);
    let body = json!({ "limit": POINTS, "with_payload": true, "with_vector": false });
    let answer = clients.qdrant.send("POST", &path, &Key::Own, Some(&body)).await?;
    let mut answer = clients.qdrant.accept("POST", &path, &answer)?;
    let points = answer["result"]["points"].as_array_mut();
    Ok(points.into_iter().flatten().map(|point| point["payload"].take()).collect())
}

/// What is wrong with the row of the document, if anything.
async fn find_row(
    clients: &ServiceClients,
    contract: &PostgresEvidence,
    document: &Document,
) -> Result<Option<RowProblem>, ServiceError> {
    let rows = match read_rows(contract, &clients.endpoints, &clients.postgres).await {
        Ok(Ok(rows)) => rows,
        Ok(Err(message)) => {
            let query = format!(
                "select table_schema || '.' || table_name as name from information_schema.tables \
                 where table_schema not in ({SYSTEM_SCHEMAS}) order by 1"
            );
            return Ok(Some(RowProblem::NoTable { message, tables: names(clients, &query).await? }));
        }
        Err(ServiceError::Refused { detail, .. }) => {
            let Some((key, column)) = missing_column(contract, &detail) else {
                return Ok(Some(RowProblem::Unreadable { message: detail }));
            };
            return Ok(Some(RowProblem::NoColumn { key, column, columns: columns(clients, contract).await? }));
        }
        Err(error) => return Err(error),
    };
    let id = clients.contract.queue.document.id.of(&document.id);
    let Some(row) = rows.get(&id) else {
        return Ok(Some(RowProblem::NoRow {
            column: contract.id.clone(),
            document: id,
            others: rows.into_keys().take(3).collect(),
        }));
    };
    let status = || RowProblem::OtherStatus { status: row.status.clone(), done: contract.done.clone() };
    Ok((!row.done).then(status))
}

/// The key and the column of the contract that Postgres misses.
fn missing_column(contract: &PostgresEvidence, message: &str) -> Option<(&'static str, String)> {
    let keys = [
        ("id", Some(&contract.id)),
        ("status", Some(&contract.status)),
        ("version", contract.version.as_ref()),
        ("chunks", contract.chunks.as_ref()),
        ("error", contract.error.as_ref()),
    ];
    let mut named = keys.into_iter().filter_map(|(key, column)| Some((key, column?)));
    let found = named.find(|(_, column)| message.contains(&format!("column \"{column}\" does not exist")));
    found.map(|(key, column)| (key, column.clone()))
}

/// The columns of the table of the contract; none for a query.
async fn columns(clients: &ServiceClients, contract: &PostgresEvidence) -> Result<Vec<String>, ServiceError> {
    if contract.query.is_some() {
        return Ok(Vec::new());
    }
    let (schema, table) = clients.endpoints.names.table.split_once('.').unwrap_or(("public", ""));
    let literal = |text: &str| format!("'{}'", text.trim_matches('"').replace('\'', "''"));
    let query = format!(
        "select column_name as name from information_schema.columns where table_schema = {} and table_name = {} \
         order by ordinal_position",
        literal(schema),
        literal(table)
    );
    names(clients, &query).await
}

async fn names(clients: &ServiceClients, query: &str) -> Result<Vec<String>, ServiceError> {
    let rows = clients.postgres.rows(query).await?;
    Ok(rows.iter().filter_map(|row| row["name"].as_str().map(ToOwned::to_owned)).take(2 * NAMES).collect())
}
