//! What a worker left behind, read from outside: points, rows, jobs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::services::ServiceError;
use crate::services::http::Http;
use crate::services::postgres::Postgres;
use crate::settings::Endpoints;

const PAGE: usize = 256;

/// Under which payload keys a worker keeps what the evidence rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceKeys {
    /// The document's id.
    pub document: String,
    /// The chunk's index in its document.
    pub chunk: String,
    /// The chunk's text.
    pub text: String,
    /// The document's version.
    pub version: String,
}

impl Default for EvidenceKeys {
    fn default() -> Self {
        let key = ToOwned::to_owned;
        Self { document: key("document_id"), chunk: key("chunk_index"), text: key("text"), version: key("version") }
    }
}

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
    /// `ready`, `skipped`, `failed`, `processing`.
    pub status: String,
    /// The document's version.
    pub version: Option<String>,
    /// How many chunks it says it has.
    pub chunks: Option<u64>,
    /// What went wrong.
    pub error: Option<String>,
}

/// Points and rows at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Points by document, each in the order of chunk index and id; those that name no document under "".
    pub points: BTreeMap<String, Vec<Point>>,
    /// Rows by document.
    pub rows: BTreeMap<String, Row>,
}

impl Snapshot {
    /// Reads every point and every row.
    pub(super) async fn take(
        endpoints: &Endpoints,
        keys: &EvidenceKeys,
        postgres: &Postgres,
    ) -> Result<Self, ServiceError> {
        let (points, rows) = tokio::try_join!(points(endpoints, keys), rows(endpoints, postgres))?;
        Ok(Self { points, rows })
    }

    /// The points of one document.
    #[must_use]
    pub fn points_of(&self, document: &str) -> &[Point] {
        self.points.get(document).map_or(&[], Vec::as_slice)
    }
}

async fn points(endpoints: &Endpoints, keys: &EvidenceKeys) -> Result<BTreeMap<String, Vec<Point>>, ServiceError> {
    let http = Http::qdrant(&endpoints.qdrant)?;
    let path = format!("/collections/{}/points/scroll", endpoints.names.collection);
    let mut found: BTreeMap<String, Vec<Point>> = BTreeMap::new();
    let mut offset = Value::Null;
    loop {
        let mut request = json!({ "limit": PAGE, "with_payload": true, "with_vector": true });
        if !offset.is_null() {
            request["offset"] = offset;
        }
        let mut answer = http.call("POST", &path, Some(&request)).await?;
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

fn point(item: &Value, keys: &EvidenceKeys) -> Point {
    let text = |key: &str| item["payload"][key].as_str().map(ToOwned::to_owned);
    // A named vector stands in a table of one; which name it has is judged elsewhere.
    let vector = match &item["vector"] {
        Value::Object(named) => named.values().next().cloned().unwrap_or(Value::Null),
        other => other.clone(),
    };
    Point {
        id: item["id"].as_str().map_or_else(|| item["id"].to_string(), ToOwned::to_owned),
        document: text(&keys.document),
        version: text(&keys.version),
        chunk: item["payload"][&keys.chunk].as_u64(),
        text: text(&keys.text),
        vector: vector.as_array().map_or_else(Vec::new, |numbers| {
            #[expect(clippy::cast_possible_truncation, reason = "vectors are f32 on both sides")]
            numbers.iter().map(|number| number.as_f64().unwrap_or(f64::NAN) as f32).collect()
        }),
    }
}

async fn rows(endpoints: &Endpoints, postgres: &Postgres) -> Result<BTreeMap<String, Row>, ServiceError> {
    let query = format!("select id, status, version, chunks, error from {}", endpoints.names.table);
    let text = |row: &Value, key: &str| row[key].as_str().map(ToOwned::to_owned);
    Ok(postgres
        .rows(&query)
        .await?
        .iter()
        .map(|row| {
            let id = text(row, "id").unwrap_or_default();
            let status = text(row, "status").unwrap_or_default();
            (
                id,
                Row {
                    status,
                    version: text(row, "version"),
                    chunks: row["chunks"].as_u64(),
                    error: text(row, "error"),
                },
            )
        })
        .collect())
}
