//! The collection and its payload indexes in Qdrant, over REST.

use serde_json::{Value, json};

use super::{Done, Outcome, SetupError};
use crate::services::http::{Http, Key};
use crate::settings::QdrantEndpoint;

const DISTANCE: &str = "Cosine";
const HNSW: [(&str, u64); 2] = [("m", 16), ("ef_construct", 100)];

/// The payload fields that are filtered by, with their types.
const INDEXES: &[(&str, &str)] = &[
    ("document_id", "keyword"),
    ("version", "keyword"),
    ("source", "keyword"),
    ("model", "keyword"),
    ("chunk_index", "integer"),
    ("chunk_count", "integer"),
];

/// Connects, and reads something that the key protects.
pub(in crate::subjects) async fn connect(endpoint: &QdrantEndpoint) -> Result<(Http, Done), SetupError> {
    let http = Http::qdrant(endpoint)?;
    let root = http.call("GET", "/", None).await?;
    http.call("GET", "/collections", None).await?;
    let version = root["version"].as_str().unwrap_or("?").to_owned();
    Ok((http, Done::new(format!("Qdrant {version} at {}", endpoint.url), Outcome::Unchanged)))
}

async fn look(http: &Http, name: &str) -> Result<Option<Value>, SetupError> {
    let path = format!("/collections/{name}");
    if http.send("GET", &path, &Key::Own, None).await?.status.as_u16() == 404 {
        return Ok(None);
    }
    Ok(Some(http.call("GET", &path, None).await?["result"].take()))
}

/// The collection. Gives whether it was created here.
pub(super) async fn collection(
    http: &Http,
    name: &str,
    size: u32,
    vector: Option<&str>,
) -> Result<(bool, Done), SetupError> {
    let found = look(http, name).await?;
    let created = found.is_none();
    let found = if let Some(found) = found {
        found
    } else {
        let params = json!({ "size": size, "distance": DISTANCE });
        let wanted = json!({
            "vectors": vector.map_or_else(|| params.clone(), |vector| json!({ vector: params })),
            "hnsw_config": serde_json::Map::from_iter(HNSW.map(|(key, value)| (key.to_owned(), Value::from(value)))),
        });
        let answer = http.send("PUT", &format!("/collections/{name}"), &Key::Own, Some(&wanted)).await?;
        // 409: another set-up was faster, and what it made is validated like any other.
        if !answer.status.is_success() && answer.status.as_u16() != 409 {
            http.call("PUT", &format!("/collections/{name}"), Some(&wanted)).await?;
        }
        look(http, name).await?.unwrap_or_default()
    };
    judge(name, &found, size, vector)?;
    let outcome = if created { Outcome::Created } else { Outcome::Unchanged };
    let mut done = Done::new(format!("collection {name}: {size} dimensions, {DISTANCE}"), outcome);
    for (key, wanted) in HNSW {
        if let Some(value) = found["config"]["hnsw_config"][key].as_u64().filter(|value| *value != wanted) {
            done = done.note(format!("hnsw {key} is {value}, where {wanted} is usual; it was left as it is"));
        }
    }
    Ok((created, done))
}

/// Refuses a collection whose vectors are not those that a worker will send.
fn judge(name: &str, found: &Value, size: u32, vector: Option<&str>) -> Result<(), SetupError> {
    let vectors = &found["config"]["params"]["vectors"];
    let vectors = vector.and_then(|vector| vectors.get(vector)).unwrap_or(vectors);
    let described = match (vectors["size"].as_u64(), vectors["distance"].as_str()) {
        (Some(found), Some(distance)) if found == u64::from(size) && distance == DISTANCE => return Ok(()),
        (Some(found), Some(distance)) => format!("has vectors of {found} dimensions with distance {distance}"),
        _ => match vectors.as_object().filter(|vectors| !vectors.is_empty()) {
            Some(vectors) => {
                let keys: Vec<&str> = vectors.keys().map(String::as_str).collect();
                format!("has named vectors ({})", keys.join(", "))
            }
            None => "has no dense vectors".to_owned(),
        },
    };
    Err(SetupError::Shape {
        what: format!("collection {name}"),
        found: described,
        wanted: match vector {
            Some(vector) => {
                format!("a vector named `{vector}` of {size} dimensions with distance {DISTANCE} is wanted")
            }
            None => format!("one unnamed vector of {size} dimensions with distance {DISTANCE} is wanted"),
        },
        remedy: format!(
            "let QDRANT_COLLECTION name a new collection and ingest again, or let EMBEDDING_DIMENSIONS fit; \
             {name} was not touched"
        ),
    })
}

/// The payload indexes.
pub(super) async fn indexes(http: &Http, name: &str, created: bool) -> Result<((), Done), SetupError> {
    let found = look(http, name).await?.unwrap_or_default();
    let missing = missing(name, &found["payload_schema"])?;
    for (field, kind) in &missing {
        let wanted = json!({ "field_name": field, "field_schema": kind });
        http.call("PUT", &format!("/collections/{name}/index?wait=true"), Some(&wanted)).await?;
    }
    if !missing.is_empty() {
        let found = look(http, name).await?.unwrap_or_default();
        let still = self::missing(name, &found["payload_schema"])?;
        if !still.is_empty() {
            return Err(SetupError::Shape {
                what: format!("collection {name}"),
                found: format!("took indexes and does not have them: {}", fields(&still)),
                wanted: "each must be there once Qdrant has said so".to_owned(),
                remedy: "read Qdrant's log; run setup again when it is healthy".to_owned(),
            });
        }
    }
    let outcome = match (missing.is_empty(), created) {
        (true, _) => Outcome::Unchanged,
        (false, true) => Outcome::Created,
        (false, false) => Outcome::Changed,
    };
    Ok(((), Done::new(format!("indexes on {}", fields(INDEXES)), outcome)))
}

fn fields(indexes: &[(&str, &str)]) -> String {
    indexes.iter().map(|(field, _)| *field).collect::<Vec<_>>().join(", ")
}

/// The indexes that are not there; one of another type is an error.
fn missing(name: &str, schema: &Value) -> Result<Vec<(&'static str, &'static str)>, SetupError> {
    let mut missing = Vec::new();
    for (field, kind) in INDEXES {
        match schema[*field]["data_type"].as_str() {
            None => missing.push((*field, *kind)),
            Some(found) if found == *kind => {}
            Some(found) => {
                return Err(SetupError::Shape {
                    what: format!("the index on {field} of collection {name}"),
                    found: format!("is of type {found}"),
                    wanted: format!("{kind} is wanted"),
                    remedy: format!("DELETE /collections/{name}/index/{field}, then run setup again"),
                });
            }
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_vectors(vectors: &Value) -> Value {
        json!({ "config": { "params": { "vectors": vectors } } })
    }

    #[test]
    fn a_collection_of_the_right_shape_is_taken() {
        assert!(judge("c", &with_vectors(&json!({ "size": 8, "distance": "Cosine" })), 8, None).is_ok());
    }

    #[test]
    fn a_collection_of_another_shape_is_refused_naming_both_and_the_remedy() {
        for (vectors, wanted) in [
            (json!({ "size": 64, "distance": "Cosine" }), "64 dimensions with distance Cosine"),
            (json!({ "size": 8, "distance": "Dot" }), "8 dimensions with distance Dot"),
            (json!({ "dense": { "size": 8, "distance": "Cosine" } }), "named vectors (dense)"),
            (json!({}), "no dense vectors"),
        ] {
            let error = judge("c", &with_vectors(&vectors), 8, None).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(wanted) && text.contains("8 dimensions with distance Cosine is wanted"), "{text}");
            assert!(error.remedy().unwrap().contains("was not touched"));
        }
    }

    #[test]
    fn an_index_of_another_type_is_refused() {
        let schema = json!({ "document_id": { "data_type": "keyword" }, "version": { "data_type": "text" } });
        assert!(missing("c", &schema).unwrap_err().to_string().contains("is of type text, but keyword is wanted"));
        let schema = json!({ "document_id": { "data_type": "keyword" } });
        assert_eq!(missing("c", &schema).unwrap().len(), INDEXES.len() - 1);
    }
}
