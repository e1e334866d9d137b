//! What a worker left behind, read from outside: points, rows, jobs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::services::ServiceError;
use crate::services::http::{Http, Key};
use crate::services::postgres::Postgres;
use crate::settings::{ENDPOINT_PLACES, Endpoints, EvidenceContract, PostgresEvidence, QdrantEvidence, Template};

const PAGE: usize = 256;

/// One point of the collection.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Its id as text.
    pub id: String,
    /// The document it belongs to, if it says so.
    pub document: Option<String>,
    /// The document's version, if it says so.
    pub version: Option<String>,
    /// The chunk's index, if it says so.
    pub chunk: Option<u64>,
    /// The chunk's text, if it says so.
    pub text: Option<String>,
    /// Its vector.
    pub vector: Vec<f32>,
}

/// One row of the table of documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it says, in the worker's own words.
    pub status: String,
    /// Whether that is the word for a document that is stored.
    pub done: bool,
    /// The document's version.
    pub version: Option<String>,
    /// How many chunks it says it has.
    pub chunks: Option<u64>,
    /// What went wrong.
    pub error: Option<String>,
}

/// Points and rows at one event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Points by document, each in the order of chunk index and id; those that name no document under "".
    pub points: BTreeMap<String, Vec<Point>>,
    /// Rows by document.
    pub rows: BTreeMap<String, Row>,
    /// Why there are no rows: what the contract names is not there.
    pub no_rows: Option<String>,
}

impl Snapshot {
    /// Reads every point and every row.
    pub(super) async fn take(
        endpoints: &Endpoints,
        evidence: &EvidenceContract,
        postgres: &Postgres,
        qdrant: &Http,
    ) -> Result<Self, ServiceError> {
        let rows = async {
            match &evidence.postgres {
                Some(contract) => rows(contract, endpoints, postgres).await,
                None => Ok(Ok(BTreeMap::new())),
            }
        };
        let (points, rows) = tokio::try_join!(points(endpoints, &evidence.qdrant, qdrant), rows)?;
        Ok(match rows {
            Ok(rows) => Self { points, rows, no_rows: None },
            Err(why) => Self { points, rows: BTreeMap::new(), no_rows: Some(why) },
        })
    }

    /// The points of one document.
    #[must_use]
    pub fn points_of(&self, document: &str) -> &[Point] {
        self.points.get(document).map_or(&[], Vec::as_slice)
    }
}

async fn points(
    endpoints: &Endpoints,
    keys: &QdrantEvidence,
    http: &Http,
) -> Result<BTreeMap<String, Vec<Point>>, ServiceError> {
    let path = format!("/collections/{}/points/scroll", endpoints.names.collection);
    let mut found: BTreeMap<String, Vec<Point>> = BTreeMap::new();
    let mut offset = Value::Null;
    loop {
        let mut request = json!({ "limit": PAGE, "with_payload": true, "with_vector": true });
        if !offset.is_null() {
            request["offset"] = offset;
        }
        let answer = http.send("POST", &path, &Key::Own, Some(&request)).await?;
        // A worker that makes its collection itself may not have done so yet.
        if answer.status.as_u16() == 404 {
            break;
        }
        let mut answer = http.accept("POST", &path, &answer)?;
        let mut result = answer["result"].take();
        for item in result["points"].as_array().into_iter().flatten() {
            let point = point(item, keys);
            found.entry(point.document.clone().unwrap_or_default()).or_default().push(point);
        }
        offset = result["next_page_offset"].take();
        if offset.is_null() {
            break;
        }
    }
    for points in found.values_mut() {
        points.sort_by(|left, right| (left.chunk, &left.id).cmp(&(right.chunk, &right.id)));
    }
    Ok(found)
}

fn point(item: &Value, keys: &QdrantEvidence) -> Point {
    // `a.b` is the field `b` inside the field `a`.
    let field = |key: &str| key.split('.').fold(&item["payload"], |inside, name| &inside[name]);
    let text = |key: &str| match field(key) {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let named = |key: &Option<String>| key.as_deref().and_then(text);
    let vector = match (&item["vector"], &keys.vector) {
        (Value::Object(vectors), Some(name)) => vectors.get(name).unwrap_or(&Value::Null),
        // The only one of a table of one; which name it has was not said.
        (Value::Object(vectors), None) => vectors.values().next().unwrap_or(&Value::Null),
        (other, _) => other,
    };
    Point {
        id: item["id"].as_str().map_or_else(|| item["id"].to_string(), ToOwned::to_owned),
        document: text(&keys.document),
        version: named(&keys.version),
        chunk: keys.chunk.as_deref().and_then(|key| field(key).as_u64()),
        text: named(&keys.text),
        vector: vector.as_array().map_or_else(Vec::new, |numbers| {
            #[expect(clippy::cast_possible_truncation, reason = "vectors are f32 on both sides")]
            numbers.iter().map(|number| number.as_f64().unwrap_or(f64::NAN) as f32).collect()
        }),
    }
}

/// The query that gives every row: `id`, `status`, `version`, `chunks` and `error`, the last three null where the
/// contract names no column.
pub(super) fn query(contract: &PostgresEvidence, endpoints: &Endpoints) -> Result<String, String> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let text = |name: &str| format!("{}::text", quoted(name));
    let optional = |name: &Option<String>, cast: &str| {
        name.as_deref().map_or_else(|| format!("null::{cast}"), |name| format!("{}::{cast}", quoted(name)))
    };
    let from = match &contract.query {
        Some(query) => {
            let template = Template::parse(query, ENDPOINT_PLACES, false).map_err(|error| error.to_string())?;
            format!(
                "({}) as evidence",
                template.fill(|place| endpoints.place(place))?.trim_end_matches([';', ' ', '\n'])
            )
        }
        None => endpoints.names.table.clone(),
    };
    Ok(format!(
        "select {} as id, {} as status, {} as version, {} as chunks, {} as error from {from}",
        text(&contract.id),
        text(&contract.status),
        optional(&contract.version, "text"),
        optional(&contract.chunks, "bigint"),
        optional(&contract.error, "text"),
    ))
}

/// Every row, by document; or what Postgres says of a relation that is not there.
pub(super) async fn rows(
    contract: &PostgresEvidence,
    endpoints: &Endpoints,
    postgres: &Postgres,
) -> Result<Result<BTreeMap<String, Row>, String>, ServiceError> {
    let query = query(contract, endpoints).map_err(|place| ServiceError::Refused {
        service: "postgres",
        detail: format!("`{place}` in the query of [evidence] has no value"),
    })?;
    let text = |row: &Value, key: &str| row[key].as_str().map(ToOwned::to_owned);
    let rows = match postgres.rows(&query).await {
        // A worker that makes its table itself may not have done so yet.
        Err(ServiceError::Refused { detail, .. })
            if detail.contains("relation") && detail.contains("does not exist") =>
        {
            return Ok(Err(detail));
        }
        other => other?,
    };
    Ok(Ok(rows
        .iter()
        .map(|row| {
            let id = text(row, "id").unwrap_or_default();
            let status = text(row, "status").unwrap_or_default();
            let row = Row {
                done: status == contract.done,
                status,
                version: text(row, "version"),
                chunks: row["chunks"].as_u64(),
                error: text(row, "error"),
            };
            (id, row)
        })
        .collect()))
}
