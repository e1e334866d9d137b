//! `{{place}}` in `shakedown.toml`: substitution and nothing else.

use std::fmt;

/// What a place may be called when the worker's environment is filled in.
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
    "worker.port",
];

/// What a place may be called when a job is filled in.
pub const DOCUMENT_PLACES: &[&str] =
    &["document.id", "document.text", "document.path", "document.url", "document.source", "document.version"];

/// Prefix of places that stand for an environment variable: `{{env.NAME}}`.
pub(super) const ENV: &str = "env.";

/// Text with places to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(String),
}

/// Why text is not a template, as a fragment that names the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("`{{{{` is opened and never closed")]
    Open,
    /// A place that does not exist.
    #[error("there is no place `{{{{{name}}}}}`{}", meant.as_ref().map_or_else(String::new, |meant| format!("; did you mean `{{{{{meant}}}}}`?")))]
    Unknown {
        /// What was written.
        name: String,
        /// The one that was probably meant.
        meant: Option<String>,
    },
}

impl Template {
    /// Reads `text`, in which only `places` and, where `env` says so, `{{env.NAME}}` may occur.
    pub fn parse(text: &str, places: &[&str], env: bool) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, behind) = after.split_once("}}").ok_or(TemplateError::Open)?;
            let name = name.trim();
            let variable = env && name.strip_prefix(ENV).is_some_and(|name| !name.is_empty());
            if !variable && !places.contains(&name) {
                let meant = super::table::similar(name, places.iter().map(|place| (*place).to_owned()));
                return Err(TemplateError::Unknown { name: name.to_owned(), meant });
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

    /// Text in which nothing is to be filled in, whatever it looks like.
    #[must_use]
    pub fn literal(text: &str) -> Self {
        Self(vec![Part::Text(text.to_owned())])
    }

    /// A place and nothing else.
    #[must_use]
    pub(super) fn place(name: &str) -> Self {
        Self(vec![Part::Place(name.to_owned())])
    }

    /// Its places, in order.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Place(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Whether it has this place.
    #[must_use]
    pub fn mentions(&self, place: &str) -> bool {
        self.places().any(|name| name == place)
    }

    /// Whether nothing is to be filled in.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// The text with every place replaced by what `lookup` gives for its name.
    ///
    /// The error is the name of the first place that has no value.
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
    fn places_are_replaced_and_text_is_kept() {
        let template = Template::parse("a{{ redis.url }}b{{qdrant.key}}", ENDPOINT_PLACES, false).unwrap();
        assert_eq!(template.to_string(), "a{{redis.url}}b{{qdrant.key}}");
        assert_eq!(template.fill(|name| Some(format!("<{name}>"))), Ok("a<redis.url>b<qdrant.key>".to_owned()));
        assert_eq!(template.fill(|_| None), Err("redis.url".to_owned()));
    }

    #[test]
    fn a_misspelt_place_is_refused_with_the_one_that_was_meant() {
        let error = Template::parse("{{redis.ulr}}", ENDPOINT_PLACES, false).unwrap_err().to_string();
        assert_eq!(error, "there is no place `{{redis.ulr}}`; did you mean `{{redis.url}}`?");
        assert_eq!(Template::parse("{{redis.url", ENDPOINT_PLACES, false), Err(TemplateError::Open));
    }

    #[test]
    fn variables_are_places_only_where_they_are_allowed() {
        assert!(Template::parse("{{env.HOME}}", &[], true).is_ok());
        assert!(Template::parse("{{env.HOME}}", &[], false).is_err());
    }

    #[test]
    fn a_document_that_looks_like_a_template_is_not_filled_in_again() {
        let template = Template::parse("{{document.text}}", DOCUMENT_PLACES, false).unwrap();
        assert_eq!(template.fill(|_| Some("{{redis.url}}".to_owned())), Ok("{{redis.url}}".to_owned()));
    }
}
