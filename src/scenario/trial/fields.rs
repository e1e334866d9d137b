//! The fields of payloads, and which of them hold what the contract looks for.

use std::collections::BTreeMap;

use serde_json::Value;

/// Every field of a payload that is not an object, by its path with dots.
fn fields<'a>(payload: &'a Value, path: &str, found: &mut BTreeMap<String, Vec<&'a Value>>) {
    let Value::Object(inside) = payload else {
        if !path.is_empty() {
            found.entry(path.to_owned()).or_default().push(payload);
        }
        return;
    };
    for (name, value) in inside {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        fields(value, &path, found);
    }
}

/// The fields of the points of one document.
#[derive(Debug)]
pub(super) struct Fields<'a>(BTreeMap<String, Vec<&'a Value>>);

impl<'a> Fields<'a> {
    pub(super) fn of(payloads: &'a [Value]) -> Self {
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
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let document = plain(document);
        let length = |values: &[&Value]| {
            let texts = values.iter().filter_map(|value| value.as_str()).map(&plain);
            texts.filter(|text| document.contains(text.as_str())).map(|text| text.len()).max().unwrap_or(0)
        };
        let longest = self.0.iter().max_by_key(|(_, values)| length(values));
        // A title may be a part of the text too.
        longest.filter(|(_, values)| length(values) >= 32).map(|(name, _)| name.clone())
    }

    /// The field whose values number the points from 0.
    pub(super) fn with_numbers(&self) -> Option<String> {
        self.first(|values| {
            let mut numbers: Vec<u64> = values.iter().filter_map(|value| value.as_u64()).collect();
            numbers.sort_unstable();
            numbers.len() > 1 && numbers.iter().enumerate().all(|(at, number)| *number == at as u64)
        })
    }

    fn first(&self, holds: impl Fn(&[&Value]) -> bool) -> Option<String> {
        self.0.iter().find(|(_, values)| holds(values)).map(|(name, _)| name.clone())
    }
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
    fn a_field_that_does_not_exist_is_not_found() {
        let payloads = [json!({ "title": "A sentence", "at": 7 }), json!({ "title": "A sentence", "at": 9 })];
        let fields = Fields::of(&payloads);
        assert_eq!(fields.with_id("a.md"), None);
        assert_eq!(fields.with_text("A sentence that is long"), None);
        assert_eq!(fields.with_numbers(), None);
    }
}
