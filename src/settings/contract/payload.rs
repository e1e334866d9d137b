//! Paths of payload fields: `text`, `metadata.source`, and `_node_content|json.text` for a field inside a text that holds
//! JSON.

use serde_json::Value;

/// Leads from a text into the JSON that it holds.
const INTO_JSON: &str = "|json.";

/// Checks the path of a payload field.
///
/// # Errors
/// What is wrong with it.
pub fn check_payload_path(path: &str) -> Result<(), String> {
    let is_empty = |field: &str| field.split('.').any(|name| name.trim().is_empty());
    if path.split(INTO_JSON).any(is_empty) {
        return Err(format!("the path `{path}` has an empty name"));
    }
    if path.replace(INTO_JSON, "").contains('|') {
        return Err(format!("the path `{path}` has a `|` that is not followed by `json.` and a name"));
    }
    Ok(())
}

/// The field of `payload` at `path`; `None` if it is absent or null, or if a text on the way holds no JSON.
#[must_use]
pub fn payload_field(payload: &Value, path: &str) -> Option<Value> {
    // `a.b` is the field `b` inside the field `a`.
    let inside = |value: &Value, path: &str| path.split('.').fold(value, |inside, name| &inside[name]).clone();
    let mut parts = path.split(INTO_JSON);
    let first = inside(payload, parts.next()?);
    let found = parts.try_fold(first, |value, path| {
        let json: Value = serde_json::from_str(value.as_str()?).ok()?;
        Some(inside(&json, path))
    })?;
    (!found.is_null()).then_some(found)
}

/// Whether Qdrant itself can compare the field at `path`: it does not read JSON inside a text.
#[must_use]
pub(super) fn is_filterable(path: &str) -> bool {
    !path.contains(INTO_JSON)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_found_in_objects_and_in_texts_that_hold_json() {
        let node = json!({ "text": "A chunk.", "metadata": { "at": 7 } }).to_string();
        let payload = json!({ "a": 1, "metadata": { "loc": { "from": 3 } }, "_node_content": node, "none": null });
        for (path, wanted) in [
            ("a", Some(json!(1))),
            ("metadata.loc.from", Some(json!(3))),
            ("_node_content|json.text", Some(json!("A chunk."))),
            ("_node_content|json.metadata.at", Some(json!(7))),
            ("_node_content|json.absent", None),
            ("a|json.text", None),
            ("metadata.absent.from", None),
            ("none", None),
        ] {
            assert_eq!(payload_field(&payload, path), wanted, "{path}");
        }
    }

    #[rstest::rstest]
    #[case("text", true)]
    #[case("a.b|json.c.d", true)]
    #[case("", false)]
    #[case("a..b", false)]
    #[case("a|json.", false)]
    #[case("a|b", false)]
    #[case("a|yaml.b", false)]
    fn a_path_names_every_field_on_the_way(#[case] path: &str, #[case] is_valid: bool) {
        assert_eq!(check_payload_path(path).is_ok(), is_valid);
    }
}
