//! Faults of the embeddings API: answers beside those of the scenario.
//!
//! Evidence: the requests that the mock did not answer as it should while the fault was in force.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};

use super::super::documents::Document;
use super::super::harness::ScenarioError;
use super::driver::{FaultDriver, RunContext};
use super::record::Evidence;
use crate::spec::Target;
use crate::spec::jina::{Behaviour, When};

pub(super) struct JinaDriver {
    behaviours: Vec<Behaviour>,
    /// Disturbed requests before the fault.
    before: usize,
    /// Disturbed requests since it began; `None` until measured.
    disturbed: Option<usize>,
}

impl JinaDriver {
    pub(super) fn new(behaviours: &[Behaviour]) -> Self {
        Self { behaviours: behaviours.to_vec(), before: 0, disturbed: None }
    }
}

impl FaultDriver for JinaDriver {
    fn targets(&self) -> Vec<Target> {
        vec![Target::Jina]
    }

    fn is_immediate(&self) -> bool {
        true
    }

    fn inject<'a>(&'a mut self, context: &'a mut RunContext) -> BoxFuture<'a, Result<(), ScenarioError>> {
        self.before = context.clients.disturbed();
        context.clients.behave(&with_ends(&self.behaviours, &context.documents));
        ready(Ok(())).boxed()
    }

    fn measure<'a>(&'a mut self, context: &'a RunContext) -> BoxFuture<'a, ()> {
        self.disturbed = Some(context.clients.disturbed().saturating_sub(self.before));
        ready(()).boxed()
    }

    fn revert<'a>(&'a mut self, context: &'a mut RunContext) -> BoxFuture<'a, Result<(), ScenarioError>> {
        context.clients.behave(&[]);
        ready(Ok(())).boxed()
    }

    fn evidence(&self, _context: &RunContext, _lasted: Option<(Duration, Duration)>) -> Evidence {
        self.disturbed
            .map_or_else(Evidence::nothing, |requests| Evidence::new(format!("{requests} requests"), requests > 0))
    }
}

/// The behaviours, with the ends of the documents where they are about these.
fn with_ends(behaviours: &[Behaviour], documents: &[Document]) -> Vec<Behaviour> {
    let resolve = |behaviour: &Behaviour| match behaviour.when {
        When::DocumentEnds => {
            let ends = documents.iter().filter_map(|document| end(&document.text));
            ends.map(|end| Behaviour { when: When::TextContains(end.to_owned()), ..behaviour.clone() }).collect()
        }
        _ => vec![behaviour.clone()],
    };
    behaviours.iter().flat_map(resolve).collect()
}

/// The shortest end of a text that occurs nowhere else in it: what only its last chunks have. It is part of one line, because
/// workers change line breaks. `None` for a text of blanks.
fn end(text: &str) -> Option<&str> {
    /// Shorter ends may be in other documents.
    const SHORTEST: usize = 12;
    let text = text.trim_end();
    let line = text.lines().next_back().map(str::trim_start).filter(|line| !line.is_empty())?;
    let starts = line.char_indices().rev().map(|(start, _)| &line[start..]).skip(SHORTEST - 1);
    Some(starts.into_iter().find(|end| text.find(end) == text.rfind(end)).unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::jina::Answer;

    #[test]
    fn the_end_of_a_document_is_what_no_other_part_of_it_has() {
        assert_eq!(end("One sentence. Another sentence."), Some("er sentence."));
        assert_eq!(end("ditto, and so on\nditto, and so on\n"), Some("ditto, and so on"), "the whole line");
        assert_eq!(end("short\n"), Some("short"));
        assert_eq!(end(" \n"), None);
    }

    #[test]
    fn a_behaviour_about_ends_applies_to_requests_with_the_end_of_any_document() {
        let document = |id: &str, text: &str| Document { id: id.to_owned(), text: text.to_owned(), rejected: false };
        let documents = [document("a.md", "First chunk.\nThe end of a."), document("b.md", "The end of b, too.")];
        let ends = Behaviour { when: When::DocumentEnds, answer: Answer::Malformed };
        let all = Behaviour { when: When::All, answer: Answer::Nan };
        let resolved = with_ends(&[ends, all.clone()], &documents);
        let applies = |text: &str| resolved[..2].iter().any(|behaviour| behaviour.when.applies(1, &[text.to_owned()]));
        assert_eq!((resolved.len(), &resolved[2]), (3, &all));
        assert!(
            applies("prefix: First chunk. The end of a.") && applies("The end of b, too.") && !applies("First chunk.")
        );
    }
}
