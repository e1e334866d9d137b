//! Reads the points and rows a worker stored, from Qdrant and Postgres directly.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::document_ids::DocumentIds;
use crate::services::ServiceError;
use crate::services::http::{Http, Key};
use crate::services::postgres::Postgres;
use crate::settings::{
    ENDPOINT_PLACES, Endpoints, EvidenceContract, PostgresEvidence, QdrantEvidence, Template, payload_field,
};

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
    /// The place of its chunk in the document, where chunks have no index; absent if the payload has none.
    pub offset: Option<u64>,
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
        ids: &DocumentIds,
    ) -> Result<Self, ServiceError> {
        let stored = Snapshot::read_with(endpoints, evidence, postgres, qdrant, ids, false).await?;
        Ok(Self {
            points: stored.points.into_iter().map(|(document, points)| (document, points.len())).collect(),
            done: stored.rows.into_iter().filter(|(_, row)| row.done).map(|(document, _)| document).collect(),
        })
    }
}

/// All points and rows at one time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Points by document, sorted by chunk index or offset and by id; points without a document are under "".
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
        ids: &DocumentIds,
    ) -> Result<Self, ServiceError> {
        Self::read_with(endpoints, evidence, postgres, qdrant, ids, true).await
    }

    /// Like [`Snapshot::read`]; without vectors it takes less time.
    async fn read_with(
        endpoints: &Endpoints,
        evidence: &EvidenceContract,
        postgres: &Postgres,
        qdrant: &Http,
        ids: &DocumentIds,
        with_vectors: bool,
    ) -> Result<Self, ServiceError> {
        let rows = async {
            match &evidence.postgres {
                Some(contract) => read_rows(contract, endpoints, postgres).await,
                None => Ok(Ok(BTreeMap::new())),
            }
        };
        let (points, rows) = tokio::try_join!(read_points(endpoints, &evidence.qdrant, qdrant, with_vectors), rows)?;
        let points = points.into_iter().map(|(id, points)| (ids.name(&id), points)).collect();
        Ok(match rows {
            Ok(rows) => {
                Self { points, rows: rows.into_iter().map(|(id, row)| (ids.name(&id), row)).collect(), no_rows: None }
            }
            Err(missing) => Self { points, rows: BTreeMap::new(), no_rows: Some(missing) },
        })
    }

    /// The points of one document.
    #[must_use]
    pub fn points_of(&self, document: &str) -> &[Point] {
        self.points.get(document).map_or(&[], Vec::as_slice)
    }
}

/// Reads all chunks, by the document's id in the payload.
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
        let items = result["points"].as_array().into_iter().flatten();
        for item in items.filter(|item| keys.is_chunk(&item["payload"])) {
            let point = parse_point(item, keys);
            found.entry(point.document.clone().unwrap_or_default()).or_default().push(point);
        }
        offset = result["next_page_offset"].take();
        if offset.is_null() {
            break;
        }
    }
    for points in found.values_mut() {
        points.sort_by(|left, right| (left.chunk, left.offset, &left.id).cmp(&(right.chunk, right.offset, &right.id)));
    }
    Ok(found)
}

fn parse_point(item: &Value, keys: &QdrantEvidence) -> Point {
    let field = |key: &str| payload_field(&item["payload"], key);
    let text = |key: &str| match field(key)? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let number = |key: &Option<String>| key.as_deref().and_then(field).and_then(|value| value.as_u64());
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
        chunk: number(&keys.chunk),
        offset: number(&keys.offset),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_by_the_paths_of_the_contract() {
        let keys = QdrantEvidence {
            document: "ref_doc_id".to_owned(),
            chunk: None,
            offset: Some("_node_content|json.start_char_idx".to_owned()),
            text: Some("_node_content|json.text".to_owned()),
            version: None,
            filter: [("kind".to_owned(), json!("chunk"))].into(),
            ..QdrantEvidence::default()
        };
        let node = json!({ "text": "A chunk.", "start_char_idx": 40 }).to_string();
        let payload = json!({ "ref_doc_id": 7, "_node_content": node, "kind": "chunk" });
        let point = parse_point(&json!({ "id": 3, "payload": payload, "vector": [1.0] }), &keys);
        assert_eq!(point.document.as_deref(), Some("7"));
        assert_eq!((point.chunk, point.offset, point.text.as_deref()), (None, Some(40), Some("A chunk.")));
        assert!(keys.is_chunk(&payload));
        assert!(!keys.is_chunk(&json!({ "ref_doc_id": 7, "kind": "summary" })), "another kind of point is no chunk");
    }

    #[test]
    fn a_filter_of_qdrant_finds_numeric_ids_of_either_kind() {
        let keys = QdrantEvidence { document: "id".to_owned(), ..QdrantEvidence::default() };
        let is = |value: Value| json!({ "key": "id", "match": { "value": value } });
        let filter = |id: &str| keys.qdrant_filter(Some(id)).unwrap();
        assert_eq!(filter("a.md"), json!({ "must": [is("a.md".into())] }));
        assert_eq!(filter("7"), json!({ "must": [{ "should": [is("7".into()), is(7.into())] }] }));
        assert_eq!(filter("007"), json!({ "must": [is("007".into())] }), "no number is written like this");
        let inside = QdrantEvidence { document: "node|json.id".to_owned(), ..QdrantEvidence::default() };
        assert_eq!(inside.qdrant_filter(Some("a.md")), None);
    }
}
