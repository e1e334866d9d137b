//! A cause that one scenario run shows.

use std::collections::BTreeSet;

use super::table::{Row, VOCABULARY};
use crate::redaction::redact;

/// Maximum number of lines of evidence that one run adds to a cause.
pub(super) const MAX_EVIDENCE: usize = 2;
/// Maximum length of a line of evidence, and of a subject, in characters.
pub(super) const MAX_LINE: usize = 240;
pub(super) const MAX_SUBJECT: usize = 160;

/// A cause that the observations of one scenario run show.
#[derive(Debug, Clone)]
pub struct RunCause {
    /// The place of its row in the vocabulary.
    pub(super) row: usize,
    /// What it is about, such as a missing column.
    pub(super) subject: Option<String>,
    /// What was observed, without secrets.
    pub evidence: Vec<String>,
    /// The documents that it was seen with; empty if it is about the run.
    pub(super) documents: BTreeSet<String>,
}

/// What was computed of a run: a sentence, and the documents it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) seen: String,
    pub(super) subject: Option<String>,
    pub(super) documents: BTreeSet<String>,
}

impl Sighting {
    /// Something about the run as a whole.
    pub(super) fn of_run(seen: impl Into<String>) -> Self {
        Self { seen: seen.into(), subject: None, documents: BTreeSet::new() }
    }

    /// Something about documents, such as `stored more than once`; `None` if there are none.
    pub(super) fn of_documents(documents: impl IntoIterator<Item = impl Into<String>>, what: &str) -> Option<Self> {
        let documents: BTreeSet<String> = documents.into_iter().map(Into::into).collect();
        let first = documents.first()?;
        let noun = if documents.len() == 1 { "document" } else { "documents" };
        let seen = format!("{} {noun} {what}, such as {first}", documents.len());
        Some(Self { seen, subject: None, documents })
    }

    pub(super) fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }
}

impl RunCause {
    pub(super) fn vocabulary(&self) -> Option<&'static Row> {
        VOCABULARY.rows.get(self.row)
    }

    /// Its name, with the subject if it has one.
    #[must_use]
    pub fn id(&self) -> String {
        let name = self.vocabulary().map_or("", |row| row.id.as_str());
        match self.vocabulary().filter(|row| row.sentence.contains("{subject}")).and(self.subject.as_ref()) {
            None => name.to_owned(),
            Some(subject) => {
                let plain = |letter: char| if letter.is_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
                let words: String = subject.chars().take(60).map(plain).collect();
                let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
                format!("{name}:{}", words.join("-"))
            }
        }
    }

    /// The cause in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let sentence = self.vocabulary().map_or("", |row| row.sentence.as_str());
        sentence.replace("{subject}", self.subject.as_deref().unwrap_or_default())
    }

    /// How to fix it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        self.vocabulary().map_or("", |row| row.remedy.as_str())
    }

    /// How to fix it with libraries, by their name in the manifest.
    pub fn libraries(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let libraries = self.vocabulary().into_iter().flat_map(|row| &row.libraries);
        libraries.map(|(library, remedy)| (library.as_str(), remedy.as_str()))
    }

    /// Entries of the failure catalogue and URLs.
    #[must_use]
    pub fn source(&self) -> &'static str {
        self.vocabulary().map_or("", |row| row.source.as_str())
    }
}

/// A text without secrets, in one line of at most `most` characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let line = redact(text).split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().nth(most).is_some() { line.chars().take(most).chain(['…']).collect() } else { line }
}
