//! `[evidence]`: where the worker stores its results.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::payload::{is_filterable, payload_field};

/// `[evidence]`: where the worker stores its results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceContract {
    /// Points in Qdrant.
    pub qdrant: QdrantEvidence,
    /// Rows in Postgres, if the worker writes any.
    pub postgres: Option<PostgresEvidence>,
}

/// Points in Qdrant: the collection and the payload fields that identify a point. Nested fields are written with dots,
/// e.g. `metadata.source`, and fields inside a text that holds JSON as `_node_content|json.text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QdrantEvidence {
    /// Collection, if the worker has a fixed one.
    pub collection: Option<String>,
    /// Name of the vector; `None` for the unnamed vector.
    pub vector: Option<String>,
    /// Field with the document's id.
    pub document: String,
    /// Field with the chunk's index, counted from 0.
    pub chunk: Option<String>,
    /// Field with the place of the chunk in its document, such as its first character or line, if chunks have no index.
    pub offset: Option<String>,
    /// Field with the chunk's text.
    pub text: Option<String>,
    /// Field with the document's version.
    pub version: Option<String>,
    /// Only points with these values, by field, are chunks.
    pub filter: BTreeMap<String, Value>,
}

/// Rows in Postgres: the table and the columns that hold the state of a document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresEvidence {
    /// Table, if the worker has a fixed one.
    pub table: Option<String>,
    /// A query that returns the columns below, instead of a table; it may use placeholders for endpoints.
    pub query: Option<String>,
    /// Column with the document's id.
    pub id: String,
    /// Column with its status.
    pub status: String,
    /// The status of a document that is stored.
    pub done: String,
    /// The status of a document that has no text.
    pub skipped: Option<String>,
    /// The status of a document whose job failed permanently.
    pub failed: Option<String>,
    /// Column with the document's version.
    pub version: Option<String>,
    /// Column with the number of its chunks.
    pub chunks: Option<String>,
    /// Column with the error message.
    pub error: Option<String>,
}

impl Default for QdrantEvidence {
    fn default() -> Self {
        let key = |name: &str| Some(name.to_owned());
        Self {
            collection: None,
            vector: None,
            document: "document_id".to_owned(),
            chunk: key("chunk_index"),
            offset: None,
            text: key("text"),
            version: key("version"),
            filter: BTreeMap::new(),
        }
    }
}

impl QdrantEvidence {
    /// Whether a point with this payload is a chunk.
    #[must_use]
    pub fn is_chunk(&self, payload: &Value) -> bool {
        self.filter.iter().all(|(path, value)| payload_field(payload, path).as_ref() == Some(value))
    }

    /// The filter of Qdrant for all chunks, or for those of the document that the worker knows by this id; `None` if
    /// Qdrant cannot compare a field.
    #[must_use]
    pub fn qdrant_filter(&self, document: Option<&str>) -> Option<Value> {
        let own = document.map(|_| &self.document);
        if self.filter.keys().chain(own).any(|path| !is_filterable(path)) {
            return None;
        }
        let mut must: Vec<Value> =
            self.filter.iter().map(|(path, value)| json!({ "key": path, "match": { "value": value } })).collect();
        if let Some(id) = document {
            let is = |value: Value| json!({ "key": self.document, "match": { "value": value } });
            // The payload may hold a numeric id as a number or as a text.
            let number =
                id.parse::<i64>().ok().filter(|number| number.to_string() == id).map(|number| is(number.into()));
            must.push(match number {
                Some(number) => json!({ "should": [is(id.into()), number] }),
                None => is(id.into()),
            });
        }
        Some(json!({ "must": must }))
    }
}

impl Default for PostgresEvidence {
    fn default() -> Self {
        let column = |name: &str| Some(name.to_owned());
        Self {
            table: None,
            query: None,
            id: "id".to_owned(),
            status: "status".to_owned(),
            done: "ready".to_owned(),
            skipped: column("skipped"),
            failed: column("failed"),
            version: column("version"),
            chunks: column("chunks"),
            error: column("error"),
        }
    }
}

impl Default for EvidenceContract {
    fn default() -> Self {
        Self { qdrant: QdrantEvidence::default(), postgres: Some(PostgresEvidence::default()) }
    }
}
