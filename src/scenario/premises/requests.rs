//! Premises about requests to the embeddings API: abnormal answers, and what the worker sends after them.

use std::collections::{BTreeMap, BTreeSet};

use super::run::Run;
use super::seen::{Seen, counted};
use crate::stack::jina::JinaRequest;

/// How many characters of the end of a text tell which document it is of. A worker may put a prefix before it.
const TAIL: usize = 60;

/// Whether the answer is the one that a good request gets.
pub(super) fn is_accepted(request: &JinaRequest) -> bool {
    request.status == 200 && !request.disturbed
}

impl Run<'_> {
    fn requests(&self) -> &[JinaRequest] {
        &self.observations.embeddings.requests
    }

    pub(super) fn abnormal_answers(&self, least: u64) -> Seen {
        let number = self.requests().iter().filter(|request| request.disturbed).count();
        Seen::at_least(least, number, format!("{} answered abnormally", were(number)))
    }

    pub(super) fn refused_in_a_row(&self, least: u64) -> Seen {
        let (mut row, mut longest) = (0, 0);
        for request in self.requests() {
            row = if request.status == 429 || request.status >= 500 { row + 1 } else { 0 };
            longest = longest.max(row);
        }
        Seen::at_least(least, longest, format!("at most {} refused in a row", were(longest)))
    }

    pub(super) fn retried(&self) -> Seen {
        let mut refused: BTreeSet<&str> = BTreeSet::new();
        let mut again: BTreeSet<&str> = BTreeSet::new();
        for request in self.requests() {
            let texts = request.texts.iter().map(String::as_str);
            if is_accepted(request) {
                again.extend(texts.filter(|text| refused.contains(text)));
            } else {
                refused.extend(texts);
            }
        }
        let what = format!(
            "of {} with an abnormal answer, {} accepted later",
            counted(refused.len(), "text"),
            if again.len() == 1 { "1 was".to_owned() } else { format!("{} were", again.len()) }
        );
        Seen::at_least(1, again.len(), what)
    }

    pub(super) fn refused_midway(&self) -> Seen {
        let documents: BTreeMap<&str, String> = self
            .observations
            .steps
            .iter()
            .flat_map(|step| &step.documents)
            .map(|document| (document.id.as_str(), words(&document.text)))
            .collect();
        // A document's requests are those whose first text it contains.
        let document_of = |request: &JinaRequest| {
            let first = words(request.texts.first()?);
            let skipped = first.chars().count().saturating_sub(TAIL);
            let tail: String = first.chars().skip(skipped).collect();
            documents.iter().find(|(_, text)| text.contains(&tail)).map(|(document, _)| *document)
        };
        let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, request) in self.requests().iter().enumerate() {
            if !is_accepted(request)
                && let Some(document) = document_of(request)
            {
                refused.insert(document, number);
            }
        }
        for (document, last) in &refused {
            let before = self.requests()[..*last].iter().filter(|request| is_accepted(request));
            let accepted = before.filter(|request| document_of(request) == Some(document)).count();
            if accepted > 0 {
                let what = format!("a request of {document} was refused after {} accepted", were(accepted));
                return Seen::new(true, what);
            }
        }
        let refused = refused.len();
        Seen::new(
            false,
            format!("{} with a refused request had no accepted one before it", counted(refused, "document")),
        )
    }
}

/// A text without its white space: workers replace newlines.
fn words(text: &str) -> String {
    text.split_whitespace().collect()
}

/// `1 request was`, `3 requests were`.
fn were(number: usize) -> String {
    format!("{} {}", counted(number, "request"), if number == 1 { "was" } else { "were" })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{TestRun, request};
    use super::super::testing::premise;
    use crate::stack::jina::JinaRequest;

    /// A run with requests for these texts, each answered with this status.
    fn requested(requests: &[(&str, u16)]) -> TestRun {
        TestRun::two_documents().edit(|seen| {
            let one = |(number, (text, status)): (usize, &(&str, u16))| JinaRequest {
                status: *status,
                disturbed: *status != 200,
                ..request(number as u64 * 10, &[text])
            };
            seen.embeddings.requests = requests.iter().enumerate().map(one).collect();
        })
    }

    #[test]
    fn requests_are_answered_abnormally() {
        premise("{ abnormal_answers = 2 }")
            .met_by(&requested(&[("a", 503), ("b", 400), ("a", 200)]), "2 requests were answered abnormally")
            .unmet_by(&requested(&[("a", 503), ("a", 200)]), "1 request was answered abnormally");
    }

    #[test]
    fn requests_are_refused_in_a_row() {
        premise("{ refused_in_a_row = 2 }")
            .met_by(&requested(&[("a", 503), ("b", 429), ("a", 200)]), "at most 2 requests were refused in a row")
            .unmet_by(&requested(&[("a", 503), ("b", 400), ("a", 503)]), "at most 1 request was refused in a row");
    }

    #[test]
    fn a_refused_text_is_accepted_later() {
        premise("\"retried\"")
            .met_by(&requested(&[("a", 503), ("a", 200)]), "of 1 text with an abnormal answer, 1 was accepted later")
            .unmet_by(
                &requested(&[("a", 503), ("b", 200)]),
                "of 1 text with an abnormal answer, 0 were accepted later",
            );
    }

    #[test]
    fn a_document_is_refused_after_a_part_of_it_was_accepted() {
        let (first, second) = ("First chunk.", "prefix: Second\nchunk.");
        let only = "Only chunk.";
        premise("\"refused_midway\"")
            .met_by(
                &requested(&[(first, 200), ("Second chunk.", 400)]),
                "a request of a.md was refused after 1 request was accepted",
            )
            .unmet_by(
                &requested(&[(first, 400), (only, 200)]),
                "1 document with a refused request had no accepted one before it",
            )
            .unmet_by(
                &requested(&[(only, 200), (second, 200)]),
                "0 documents with a refused request had no accepted one before it",
            );
    }
}
