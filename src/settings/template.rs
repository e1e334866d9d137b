//! `{{placeholder}}` in `shakedown.toml`: substitution only.

use std::fmt;

use serde_json::Value;

use super::suggest::similar;

/// Placeholders in the worker's environment.
pub const ENDPOINT_PLACES: &[&str] = &[
    "redis.url",
    "redis.host",
    "redis.port",
    "redis.user",
    "redis.password",
    "redis.db",
    "postgres.url",
    "postgres.host",
    "postgres.port",
    "postgres.user",
    "postgres.password",
    "postgres.database",
    "postgres.schema",
    "postgres.table",
    "qdrant.url",
    "qdrant.grpc_url",
    "qdrant.host",
    "qdrant.port",
    "qdrant.grpc_port",
    "qdrant.key",
    "qdrant.collection",
    "jina.url",
    "jina.key",
    "jina.model",
    "jina.dimensions",
    "queue.name",
    "queue.prefix",
    "supabase.url",
    "supabase.anon_key",
    "supabase.service_key",
    "worker.port",
    "sidecar.port",
];

/// The placeholder with the number of a document's job: the newest job of a document has the highest.
pub const SEQUENCE: &str = "document.sequence";

/// Placeholders in a job.
pub const DOCUMENT_PLACES: &[&str] = &[
    "document.id",
    "document.text",
    "document.path",
    "document.url",
    "document.source",
    "document.version",
    SEQUENCE,
    "document.uuid",
    "document.name",
    "document.mime",
    "document.bytes",
    "document.sha256",
];

/// Placeholders in the statement of `[queue] before` besides those of a job.
pub const TABLE_PLACES: &[&str] = &["postgres.schema", "postgres.table"];

/// Prefix of placeholders for environment variables: `{{env.NAME}}`.
pub(super) const ENV: &str = "env.";

/// Text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(String),
}

/// Why text is not a valid template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("`{{{{` is never closed")]
    Open,
    /// An unknown placeholder.
    #[error("unknown placeholder `{{{{{name}}}}}`{}", suggestion.as_ref().map_or_else(String::new, |suggestion| format!("; did you mean `{{{{{suggestion}}}}}`?")))]
    Unknown {
        /// The name that was written.
        name: String,
        /// The most similar known name.
        suggestion: Option<String>,
    },
}

impl Template {
    /// Parses `text`, which may use `places` and, if `env` is true, `{{env.NAME}}`.
    pub fn parse(text: &str, places: &[&str], env: bool) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, behind) = after.split_once("}}").ok_or(TemplateError::Open)?;
            let name = name.trim();
            let variable = env && name.strip_prefix(ENV).is_some_and(|name| !name.is_empty());
            if !variable && !places.contains(&name) {
                let suggestion = similar(name, places.iter().map(|place| (*place).to_owned()));
                return Err(TemplateError::Unknown { name: name.to_owned(), suggestion });
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Place(name.to_owned()));
            rest = behind;
        }
        if !rest.is_empty() || parts.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// Text without placeholders, whatever it looks like.
    #[must_use]
    pub fn literal(text: &str) -> Self {
        Self(vec![Part::Text(text.to_owned())])
    }

    /// A single placeholder.
    #[must_use]
    pub(super) fn place(name: &str) -> Self {
        Self(vec![Part::Place(name.to_owned())])
    }

    /// The names of its placeholders, in order.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Place(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Whether it uses this placeholder.
    #[must_use]
    pub fn mentions(&self, place: &str) -> bool {
        self.places().any(|name| name == place)
    }

    /// Whether it has no placeholders.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// The text with every placeholder replaced by the value that `lookup` returns for its name.
    ///
    /// The error is the name of the first placeholder without a value.
    pub fn fill(&self, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        self.0.iter().try_fold(String::new(), |mut text, part| {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Place(name) => text.push_str(&lookup(name).ok_or_else(|| name.clone())?),
            }
            Ok(text)
        })
    }
}

impl Template {
    /// Like [`Template::fill`], but a single placeholder keeps the kind of its value: a number stays a number.
    ///
    /// The error is the name of the first placeholder without a value.
    pub fn fill_value(&self, lookup: impl Fn(&str) -> Option<Value>) -> Result<Value, String> {
        if let [Part::Place(name)] = self.0.as_slice() {
            return lookup(name).ok_or_else(|| name.clone());
        }
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        self.fill(|name| lookup(name).map(text)).map(Value::String)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Place(name) => write!(f, "{{{{{name}}}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_and_text_is_kept() {
        let template = Template::parse("a{{ redis.url }}b{{qdrant.key}}", ENDPOINT_PLACES, false).unwrap();
        assert_eq!(template.to_string(), "a{{redis.url}}b{{qdrant.key}}");
        assert_eq!(template.fill(|name| Some(format!("<{name}>"))), Ok("a<redis.url>b<qdrant.key>".to_owned()));
        assert_eq!(template.fill(|_| None), Err("redis.url".to_owned()));
    }

    #[test]
    fn a_misspelt_placeholder_is_refused_with_a_suggestion() {
        let error = Template::parse("{{redis.ulr}}", ENDPOINT_PLACES, false).unwrap_err().to_string();
        assert_eq!(error, "unknown placeholder `{{redis.ulr}}`; did you mean `{{redis.url}}`?");
        assert_eq!(Template::parse("{{redis.url", ENDPOINT_PLACES, false), Err(TemplateError::Open));
    }

    #[test]
    fn variables_are_placeholders_only_where_they_are_allowed() {
        assert!(Template::parse("{{env.HOME}}", &[], true).is_ok());
        assert!(Template::parse("{{env.HOME}}", &[], false).is_err());
    }

    #[test]
    fn a_single_placeholder_keeps_the_kind_of_its_value() {
        let value = |text: &str| {
            Template::parse(text, DOCUMENT_PLACES, false).unwrap().fill_value(|_| Some(serde_json::json!(7))).unwrap()
        };
        assert_eq!(value("{{document.bytes}}"), serde_json::json!(7));
        assert_eq!(value("{{document.bytes}} bytes"), serde_json::json!("7 bytes"));
    }

    #[test]
    fn a_document_that_looks_like_a_template_is_not_filled_in_again() {
        let template = Template::parse("{{document.text}}", DOCUMENT_PLACES, false).unwrap();
        assert_eq!(template.fill(|_| Some("{{redis.url}}".to_owned())), Ok("{{redis.url}}".to_owned()));
    }
}
