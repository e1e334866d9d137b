//! An existing collection that is left unchanged: checks the vectors and indexes that a worker needs.

use serde_json::Value;

use super::shape::Shape;
use super::{SERVICE, index};
use crate::operations::provision::SetupError;
use crate::operations::provision::change::Change;
use crate::operations::provision::step::Stop;
use crate::settings::DesiredCollection;

/// Missing indexes and notes. Another shape is an error.
pub(super) fn check(name: &str, wanted: &DesiredCollection, shape: &Shape, found: &Value) -> Result<Vec<Change>, Stop> {
    if !shape.compare(found).rebuild.is_empty() {
        return Err(Stop { kind: "collection", error: mismatch(name, shape, found) });
    }
    let mut changes = Vec::new();
    for (field, kind) in &wanted.indexes {
        match found["payload_schema"][field]["data_type"].as_str() {
            None => changes.push(index(name, field, kind, None)),
            Some(found) if found == kind => {}
            Some(found) => {
                let error = SetupError::Shape {
                    what: format!("the index on {field} of collection {name}"),
                    found: format!("is of type {found}"),
                    wanted: format!("{kind} is required"),
                    remedy: format!("DELETE /collections/{name}/index/{field}, then run setup again"),
                };
                return Err(Stop { kind: "index", error });
            }
        }
    }
    for (key, wanted) in [("m", wanted.m), ("ef_construct", wanted.ef_construct)] {
        let is = found["config"]["hnsw_config"][key].as_u64();
        if let Some(is) = is.filter(|is| *is != u64::from(wanted)) {
            let note = format!("hnsw {key} is {is} (default {wanted}); left unchanged");
            changes.push(Change::drift(SERVICE, "collection", name, note));
        }
    }
    Ok(changes)
}

/// The error for vectors that do not fit the worker's.
fn mismatch(name: &str, shape: &Shape, found: &Value) -> SetupError {
    let vectors = &found["config"]["params"]["vectors"];
    let vector = shape.vector();
    let own = vector.and_then(|vector| vectors.get(vector)).unwrap_or(vectors);
    let described = match (own["size"].as_u64(), own["distance"].as_str()) {
        (Some(size), Some(distance)) => format!("has vectors of {size} dimensions with distance {distance}"),
        _ => match vectors.as_object().filter(|vectors| !vectors.is_empty()) {
            Some(vectors) => {
                let keys: Vec<&str> = vectors.keys().map(String::as_str).collect();
                format!("has named vectors ({})", keys.join(", "))
            }
            None => "has no dense vectors".to_owned(),
        },
    };
    let which = vector.map_or_else(|| "one unnamed vector".to_owned(), |vector| format!("a vector named `{vector}`"));
    SetupError::Shape {
        what: format!("collection {name}"),
        found: described,
        wanted: format!("{which} of {} is required", shape.size_and_distance()),
        remedy: format!(
            "set QDRANT_COLLECTION to a new collection and ingest again, or correct EMBEDDING_DIMENSIONS; \
             {name} was not changed"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::settings::Distance;

    fn check_found(found: &Value) -> Result<Vec<Change>, SetupError> {
        let indexes = [("document_id", "keyword"), ("version", "keyword")];
        let wanted = DesiredCollection {
            indexes: BTreeMap::from(indexes.map(|(field, kind)| (field.to_owned(), kind.to_owned()))),
            ..DesiredCollection::new(8, Distance::Cosine)
        };
        check("c", &wanted, &Shape::new(&wanted, 8), found).map_err(|stop| stop.error)
    }

    fn collection_info(vectors: &Value, schema: &Value) -> Value {
        json!({ "config": { "params": { "vectors": vectors } }, "payload_schema": schema })
    }

    #[rstest]
    #[case(json!({ "size": 64, "distance": "Cosine" }), "64 dimensions with distance Cosine")]
    #[case(json!({ "size": 8, "distance": "Dot" }), "8 dimensions with distance Dot")]
    #[case(json!({ "dense": { "size": 8, "distance": "Cosine" } }), "named vectors (dense)")]
    #[case(json!({}), "no dense vectors")]
    fn a_collection_of_another_shape_is_refused_naming_both_and_the_remedy(#[case] vectors: Value, #[case] says: &str) {
        let error = check_found(&collection_info(&vectors, &json!({}))).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(says) && text.contains("8 dimensions with distance Cosine is required"), "{text}");
        assert!(error.remedy().unwrap().contains("was not changed"));
    }

    #[test]
    fn an_index_of_another_type_is_refused_and_a_missing_one_is_made() {
        let vectors = json!({ "size": 8, "distance": "Cosine" });
        let schema = json!({ "document_id": { "data_type": "keyword" }, "version": { "data_type": "text" } });
        let text = check_found(&collection_info(&vectors, &schema)).unwrap_err().to_string();
        assert!(text.contains("is of type text, but keyword is required"), "{text}");
        let schema = json!({ "document_id": { "data_type": "keyword" } });
        let changes = check_found(&collection_info(&vectors, &schema)).unwrap();
        assert_eq!(changes.iter().map(|change| change.what.as_str()).collect::<Vec<_>>(), ["version of c"]);
    }
}
