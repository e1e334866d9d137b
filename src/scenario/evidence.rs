//! Reads the points and rows a worker stored, from Qdrant and Postgres directly.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::services::ServiceError;
use crate::services::http::{Http, Key};
use crate::services::postgres::Postgres;
use crate::settings::{ENDPOINT_PLACES, Endpoints, EvidenceContract, PostgresEvidence, QdrantEvidence, Template};

/// Points per scroll request.
const PAGE: usize = 256;

/// One point of the collection.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Its id as text.
    pub id: String,
    /// The id of its document; absent if the payload has none.
    pub document: Option<String>,
    /// The version of its document; absent if the payload has none.
    pub version: Option<String>,
    /// The index of its chunk; absent if the payload has none.
    pub chunk: Option<u64>,
    /// The text of its chunk; absent if the payload has none.
    pub text: Option<String>,
    /// Its vector.
    pub vector: Vec<f32>,
}

/// One row of the documents table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its status, as the worker wrote it.
    pub status: String,
    /// Whether the status is the one of the contract for a stored document.
    pub done: bool,
    /// The document's version.
    pub version: Option<String>,
    /// The number of chunks in the row.
    pub chunks: Option<u64>,
    /// The error in the row.
    pub error: Option<String>,
}

/// How much is stored of each document at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredCounts {
    /// The number of points by document.
    pub points: BTreeMap<String, usize>,
    /// The documents whose row says that they are stored.
    pub done: BTreeSet<String>,
}

impl StoredCounts {
    /// Reads it from Qdrant and Postgres.
    pub(super) async fn read(
        endpoints: &Endpoints,
        evidence: &EvidenceContract,
        postgres: &Postgres,
        qdrant: &Http,
    ) -> Result<Self, ServiceError> {
        let points = read_points(endpoints, &evidence.qdrant, qdrant, false).await?;
        let rows = match &evidence.postgres {
            Some(contract) => read_rows(contract, endpoints, postgres).await?.unwrap_or_default(),
            None => BTreeMap::new(),
        };
        Ok(Self {
            points: points.into_iter().map(|(document, points)| (document, points.len())).collect(),
            done: rows.into_iter().filter(|(_, row)| row.done).map(|(document, _)| document).collect(),
        })
    }
}

/// All points and rows at one time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Points by document, sorted by chunk index and id; points without a document are under "".
    pub points: BTreeMap<String, Vec<Point>>,
    /// Rows by document.
    pub rows: BTreeMap<String, Row>,
    /// Why there are no rows: the error of Postgres about a missing relation.
    pub no_rows: Option<String>,
}

impl Snapshot {
    /// Reads every point and every row.
    pub(super) async fn read(
        endpoints: &Endpoints,
        evidence: &EvidenceContract,
        postgres: &Postgres,
        qdrant: &Http,
    ) -> Result<Self, ServiceError> {
        let rows = async {
            match &evidence.postgres {
                Some(contract) => read_rows(contract, endpoints, postgres).await,
                None => Ok(Ok(BTreeMap::new())),
            }
        };
        let (points, rows) = tokio::try_join!(read_points(endpoints, &evidence.qdrant, qdrant, true), rows)?;
        Ok(match rows {
            Ok(rows) => Self { points, rows, no_rows: None },
            Err(missing) => Self { points, rows: BTreeMap::new(), no_rows: Some(missing) },
        })
    }

    /// The points of one document.
    #[must_use]
    pub fn points_of(&self, document: &str) -> &[Point] {
        self.points.get(document).map_or(&[], Vec::as_slice)
    }
}

/// Reads all points, by document.
pub(super) async fn read_points(
    endpoints: &Endpoints,
    keys: &QdrantEvidence,
    http: &Http,
    with_vectors: bool,
) -> Result<BTreeMap<String, Vec<Point>>, ServiceError> {
    let path = format!("/collections/{}/points/scroll", endpoints.names.collection);
    let mut found: BTreeMap<String, Vec<Point>> = BTreeMap::new();
    let mut offset = Value::Null;
    loop {
        let mut request = json!({ "limit": PAGE, "with_payload": true, "with_vector": with_vectors });
        if !offset.is_null() {
            request["offset"] = offset;
        }
        let answer = http.send("POST", &path, &Key::Own, Some(&request)).await?;
        // A worker that creates its own collection may not have created it yet.
        if answer.status.as_u16() == 404 {
            break;
        }
        let mut answer = http.accept("POST", &path, &answer)?;
        let mut result = answer["result"].take();
        for item in result["points"].as_array().into_iter().flatten() {
            let point = parse_point(item, keys);
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

fn parse_point(item: &Value, keys: &QdrantEvidence) -> Point {
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
        // The contract names no vector, so the point has only one.
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

/// The SQL query for all rows: `id`, `status`, `version`, `chunks` and `error`. The last three are null where the
/// contract names no column. The error is the name of a placeholder without a value.
fn rows_query(contract: &PostgresEvidence, endpoints: &Endpoints) -> Result<String, String> {
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

/// Reads all rows, by document. The inner error is the message of Postgres about a missing relation.
pub(super) async fn read_rows(
    contract: &PostgresEvidence,
    endpoints: &Endpoints,
    postgres: &Postgres,
) -> Result<Result<BTreeMap<String, Row>, String>, ServiceError> {
    let query = rows_query(contract, endpoints).map_err(|place| ServiceError::Refused {
        service: "postgres",
        detail: format!("placeholder `{place}` in the query of [evidence] has no value"),
    })?;
    let text = |row: &Value, key: &str| row[key].as_str().map(ToOwned::to_owned);
    let rows = match postgres.rows(&query).await {
        // A worker that creates its own table may not have created it yet.
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
