//! Substitution of `{{name}}` in suites; there are no loops and no conditions.

use std::collections::BTreeMap;

/// A placeholder without a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown placeholder `{{{{{name}}}}}`: expected one of {}", known.join(", "))]
pub struct TemplateError {
    /// The placeholder.
    pub name: String,
    /// The known placeholders.
    pub known: Vec<String>,
}

/// The values of placeholders.
#[derive(Debug, Clone, Default)]
pub struct Template(BTreeMap<String, String>);

impl Template {
    /// A template over `values`.
    pub fn new<K: Into<String>, V: Into<String>>(values: impl IntoIterator<Item = (K, V)>) -> Self {
        Self(values.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// `text` with every `{{name}}` replaced.
    pub fn fill(&self, text: &str) -> Result<String, TemplateError> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            let Some(end) = rest[start..].find("}}") else { break };
            let name = rest[start + 2..start + end].trim();
            let value = self.0.get(name).ok_or_else(|| TemplateError { name: name.to_owned(), known: self.known() })?;
            filled.push_str(&rest[..start]);
            filled.push_str(value);
            rest = &rest[start + end + 2..];
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// The placeholders that a message lists; variables of the environment (`env.…`) would be too many.
    fn known(&self) -> Vec<String> {
        self.0.keys().filter(|name| !name.starts_with("env.")).cloned().collect()
    }

    /// Fills every text inside a JSON value.
    pub fn fill_json(&self, value: &serde_json::Value) -> Result<serde_json::Value, TemplateError> {
        use serde_json::Value;
        Ok(match value {
            Value::String(text) => Value::String(self.fill(text)?),
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.fill_json(item)).collect::<Result<_, _>>()?)
            }
            Value::Object(table) => Value::Object(
                table.iter().map(|(key, value)| Ok((key.clone(), self.fill_json(value)?))).collect::<Result<_, _>>()?,
            ),
            other => other.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_an_unknown_one_is_named() {
        let template = Template::new([("queue.name", "ingest"), ("queue.prefix", "bull")]);
        assert_eq!(template.fill("{{queue.prefix}}:{{ queue.name }}:meta").unwrap(), "bull:ingest:meta");
        assert_eq!(template.fill("no placeholder, {{ open").unwrap(), "no placeholder, {{ open");
        let error = template.fill("{{queue.nme}}").unwrap_err();
        assert_eq!(error.to_string(), "unknown placeholder `{{queue.nme}}`: expected one of queue.name, queue.prefix");
    }
}
