//! The fields of payloads, and which of them hold what the contract looks for.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::words::single_spaced;

/// Every field of a payload that is not an object, by its path as the contract writes it: with dots, and with `|json.`
/// into a text that holds JSON.
fn fields(payload: &Value, path: &str, found: &mut BTreeMap<String, Vec<Value>>) {
    let mut descend = |inside: &serde_json::Map<String, Value>, path: &str| {
        for (name, value) in inside {
            fields(value, &format!("{path}{name}"), found);
        }
    };
    match payload {
        Value::Object(inside) if path.is_empty() => descend(inside, ""),
        Value::Object(inside) => descend(inside, &format!("{path}.")),
        other => {
            if let Some(Value::Object(inside)) = other.as_str().and_then(|text| serde_json::from_str(text).ok()) {
                descend(&inside, &format!("{path}|json."));
            }
            found.entry(path.to_owned()).or_default().push(other.clone());
        }
    }
}

/// The fields of the points of one document.
#[derive(Debug)]
pub(super) struct Fields(BTreeMap<String, Vec<Value>>);

impl Fields {
    pub(super) fn of(payloads: &[Value]) -> Self {
        let mut found = BTreeMap::new();
        for payload in payloads {
            fields(payload, "", &mut found);
        }
        Self(found)
    }

    /// Their paths.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// The field that has `id` as its value.
    pub(super) fn with_id(&self, id: &str) -> Option<String> {
        self.first(|values| values.iter().any(|value| value.as_str() == Some(id)))
    }

    /// The field with the longest texts that are parts of `document`.
    pub(super) fn with_text(&self, document: &str) -> Option<String> {
        let document = single_spaced(document);
        let length = |values: &[Value]| {
            let texts = values.iter().filter_map(|value| value.as_str()).map(single_spaced);
            texts.filter(|text| document.contains(text.as_str())).map(|text| text.len()).max().unwrap_or(0)
        };
        let longest = self.0.iter().max_by_key(|(_, values)| length(values));
        // A title may be a part of the text too.
        longest.filter(|(_, values)| length(values) >= 32).map(|(name, _)| name.clone())
    }

    /// The field whose values number the points from 0.
    pub(super) fn with_numbers(&self) -> Option<String> {
        self.first(|values| {
            let numbers = numbers(values);
            numbers.len() > 1 && numbers.iter().enumerate().all(|(at, number)| *number == at as u64)
        })
    }

    /// The field whose values are places in a document of so many bytes: the first is 0, and they are not mere indices.
    pub(super) fn with_offsets(&self, length: usize) -> Option<String> {
        self.first(|values| {
            let numbers = numbers(values);
            let differ = numbers.windows(2).all(|pair| pair[0] < pair[1]);
            let last = numbers.last().copied().unwrap_or_default();
            differ && numbers.first() == Some(&0) && last > numbers.len() as u64 && last < length as u64
        })
    }

    fn first(&self, holds: impl Fn(&[Value]) -> bool) -> Option<String> {
        self.0.iter().find(|(_, values)| holds(values)).map(|(name, _)| name.clone())
    }
}

/// The whole numbers among values, in their order.
fn numbers(values: &[Value]) -> Vec<u64> {
    let mut numbers: Vec<u64> = values.iter().filter_map(Value::as_u64).collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fields_of_nested_payloads_are_found_by_their_values() {
        let text = "A sentence that is long enough\nto be a chunk. And another one that is long enough too.";
        let payloads = [
            json!({ "content": "A sentence that is long enough to be a chunk.", "metadata": { "source": "a.md", "at": 0 } }),
            json!({ "content": "And another one that is long enough too.", "metadata": { "source": "a.md", "at": 1 } }),
        ];
        let fields = Fields::of(&payloads);
        assert_eq!(fields.names(), ["content", "metadata.at", "metadata.source"]);
        assert_eq!(fields.with_id("a.md").as_deref(), Some("metadata.source"));
        assert_eq!(fields.with_text(text).as_deref(), Some("content"));
        assert_eq!(fields.with_numbers().as_deref(), Some("metadata.at"));
    }

    #[test]
    fn fields_inside_a_text_and_places_in_the_document_are_found() {
        let node = |at: u64| json!({ "text": format!("A sentence that is long enough to be chunk {at}."), "at": at });
        let payloads = [0, 40].map(|at| json!({ "_node": node(at).to_string(), "doc": "a.md" }));
        let fields = Fields::of(&payloads);
        assert_eq!(fields.names(), ["_node", "_node|json.at", "_node|json.text", "doc"]);
        let text = "A sentence that is long enough to be chunk 0. A sentence that is long enough to be chunk 40.";
        assert_eq!(fields.with_text(text).as_deref(), Some("_node|json.text"));
        assert_eq!(fields.with_offsets(text.len()).as_deref(), Some("_node|json.at"));
        assert_eq!((fields.with_offsets(30), fields.with_numbers()), (None, None), "too far, and no indices");
    }

    #[test]
    fn a_field_that_does_not_exist_is_not_found() {
        let payloads = [json!({ "title": "A sentence", "at": 7 }), json!({ "title": "A sentence", "at": 9 })];
        let fields = Fields::of(&payloads);
        assert_eq!(fields.with_id("a.md"), None);
        assert_eq!(fields.with_text("A sentence that is long"), None);
        assert_eq!(fields.with_numbers(), None);
    }
}
