//! Requests to the embeddings API.

use std::collections::BTreeMap;

use super::finding::Finding;
use super::measure::{count, or_none, texts, tokens};
use super::scope::Scope;
use crate::settings::{ChunksContract, is_blank};
use crate::stack::jina::max_dimensions_of;

impl Scope<'_> {
    pub(super) fn max_texts_per_request(&self, most: f64) -> Finding {
        let mut finding = Finding::over("requests");
        let mut largest = 0;
        for (number, request) in self.observations.embeddings.requests.iter().enumerate() {
            finding.examine();
            largest = largest.max(request.texts.len());
            if count(request.texts.len() as u64) > most {
                finding.wrong(
                    format!("request {}", number + 1),
                    format!("{} texts, wanted at most {most}", request.texts.len()),
                );
            }
        }
        finding.fact("most texts in one request", largest);
        finding
    }

    pub(super) fn batches_filled(&self, size: f64) -> Finding {
        let mut finding = Finding::over("documents");
        for (step, document) in self.deliverable() {
            let texts = SentTexts::new(texts(step, document), &self.observations.contract.chunks);
            if texts.is_empty() {
                continue;
            }
            finding.examine();
            // A request belongs to the document whose chunks it carries; texts of several documents count for each.
            let requests: Vec<_> = self
                .observations
                .embeddings
                .requests
                .iter()
                .filter(|request| request.status == 200)
                .filter(|request| request.texts.iter().all(|text| texts.find(text).is_some()))
                .collect();
            let largest = requests.iter().map(|request| request.texts.len()).max().unwrap_or_default();
            let requests = requests.len();
            let chunks = step.snapshot.points_of(&document.id).len();
            let enough = (count(chunks as u64) / count(largest as u64).max(size)).ceil();
            let attempts: usize = self
                .observations
                .steps
                .iter()
                .map(|step| {
                    step.jobs.get(&document.id).map_or(0, |(_, job)| usize::try_from(job.attempts).unwrap_or(1).max(1))
                })
                .sum();
            if count(requests as u64) > enough * count(attempts as u64) && document.text.len() > 20_000 {
                finding.wrong(
                    &document.id,
                    format!(
                        "{requests} requests for {chunks} chunks, wanted at most {}",
                        enough * count(attempts as u64)
                    ),
                );
            }
        }
        finding
    }

    pub(super) fn max_requests_in_flight(&self, most: f64) -> Finding {
        let mut finding = Finding::over("requests");
        let mut peak = 0;
        for request in &self.observations.embeddings.requests {
            finding.examine();
            peak = peak.max(request.in_flight);
        }
        finding.fact("most requests at once", peak);
        if f64::from(peak) > most {
            finding.wrong("the embeddings API", format!("{peak} requests at once, wanted at most {most}"));
        }
        finding
    }

    pub(super) fn requests_well_formed(&self) -> Finding {
        let mut finding = Finding::over("requests");
        let wanted = &self.observations.embeddings.endpoint;
        let task = self.observations.contract.embeddings.task.as_deref();
        for (number, request) in self.observations.embeddings.requests.iter().enumerate() {
            finding.examine();
            let at = format!("request {}", number + 1);
            if let Some(reason) = &request.unreadable {
                finding.wrong(at, format!("is not valid JSON: {reason}"));
                continue;
            }
            if request.task.as_deref() != task {
                let (found, task) = (request.task.as_deref().unwrap_or("missing"), task.unwrap_or("none"));
                finding.wrong(at.clone(), format!("task is {found}, wanted {task}"));
            }
            // A request without dimensions gets vectors of the model's own size.
            let own = request.model.as_deref().and_then(max_dimensions_of);
            if request.dimensions.or(own) != Some(wanted.dimensions) {
                finding.wrong(
                    at.clone(),
                    format!("dimensions are {}, wanted {}", or_none(request.dimensions), wanted.dimensions),
                );
            }
            if !request.authorised {
                finding.wrong(at, "has no valid key");
            }
        }
        finding
    }

    pub(super) fn requests_untruncated(&self) -> Finding {
        let mut finding = Finding::over("requests");
        for (number, request) in self.observations.embeddings.requests.iter().enumerate() {
            finding.examine();
            if request.truncate {
                finding.wrong(format!("request {}", number + 1), "sets `truncate`, so that a long text loses its end");
            }
        }
        finding
    }

    pub(super) fn late_chunking_apart(&self) -> Finding {
        let mut finding = Finding::over("requests");
        let documents = || self.observations.steps.iter().flat_map(|step| &step.documents);
        let mut late = 0;
        for (number, request) in self.observations.embeddings.requests.iter().enumerate() {
            finding.examine();
            if !request.late_chunking {
                continue;
            }
            late += 1;
            // A text that no document has was altered on the way; other expectations report that.
            let known: Vec<&String> = request
                .texts
                .iter()
                .filter(|text| documents().any(|document| document.text.contains(text.as_str())))
                .collect();
            let has_all = |text: &str| known.iter().all(|part| text.contains(part.as_str()));
            if !known.is_empty() && !documents().any(|document| has_all(&document.text)) {
                finding.wrong(
                    format!("request {}", number + 1),
                    format!(
                        "has late chunking, and its {} texts belong to more than one document",
                        request.texts.len()
                    ),
                );
            }
        }
        finding.fact("requests with late chunking", late);
        finding
    }

    pub(super) fn requests_accepted(&self) -> Finding {
        let mut finding = Finding::over("requests");
        for (number, request) in self.observations.embeddings.requests.iter().enumerate() {
            finding.examine();
            if request.status != 200 {
                finding.wrong(format!("request {}", number + 1), format!("was answered with {}", request.status));
            }
        }
        finding
    }

    pub(super) fn max_tokens_wasted(&self, most: f64) -> Finding {
        let mut finding = Finding::over("texts sent");
        let stored = self.observations.steps.iter().flat_map(|step| step.snapshot.points.values().flatten());
        let stored: Vec<&str> = stored.map(|point| point.text.as_deref().unwrap_or_default()).collect();
        let texts = SentTexts::new(stored, &self.observations.contract.chunks);
        let mut needed = texts.counts();
        let mut wasted = 0;
        let accepted = self.observations.embeddings.requests.iter().filter(|request| request.status == 200);
        for text in accepted.flat_map(|request| request.texts.iter()) {
            finding.examine();
            match texts.find(text).and_then(|stored| needed.get_mut(stored)) {
                Some(left) if *left > 0 => *left -= 1,
                _ => wasted += tokens(text),
            }
        }
        finding.fact("tokens embedded without need", wasted);
        if count(wasted as u64) > most {
            finding.wrong(
                "the embeddings API",
                format!("{wasted} tokens were embedded that no stored chunk needed, wanted at most {most}"),
            );
        }
        finding
    }
}

/// Stored texts, by what was sent for each: the same text, or one with the differences that the contract permits.
struct SentTexts<'a> {
    /// The texts with their blanks merged where that is permitted, and how often each is stored.
    stored: BTreeMap<String, usize>,
    contract: &'a ChunksContract,
}

impl<'a> SentTexts<'a> {
    fn new(texts: Vec<&str>, contract: &'a ChunksContract) -> Self {
        let mut found = Self { stored: BTreeMap::new(), contract };
        for text in texts {
            let text = found.form(text);
            *found.stored.entry(text).or_default() += 1;
        }
        found
    }

    fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }

    fn counts(&self) -> BTreeMap<&str, usize> {
        self.stored.iter().map(|(text, count)| (text.as_str(), *count)).collect()
    }

    fn form(&self, text: &str) -> String {
        if self.contract.trims() || self.contract.embedded.newlines_replaced {
            let text = self.contract.without_dropped(text);
            text.split(is_blank).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
        } else {
            text.to_owned()
        }
    }

    /// The stored text for which `sent` was sent.
    fn find(&self, sent: &str) -> Option<&str> {
        let sent = self.form(sent);
        if let Some((text, _)) = self.stored.get_key_value(&sent) {
            return Some(text);
        }
        let ends = self.stored.keys().filter(|text| self.contract.embedded.prefix && !text.is_empty());
        ends.filter(|text| sent.ends_with(*text)).max_by_key(|text| text.len()).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{TestRun, request};
    use super::super::testing::check;
    use crate::settings::ChunksContract;
    use crate::stack::jina::JinaRequest;

    const NO_REQUESTS: &str = "there were no requests to evaluate";

    /// The run after `edit` has changed its first request.
    fn edit_first(run: &TestRun, edit: impl FnOnce(&mut JinaRequest)) -> TestRun {
        run.edit(|seen| edit(&mut seen.embeddings.requests[0]))
    }

    /// The run with one more request.
    fn and_request(run: &TestRun, request: JinaRequest) -> TestRun {
        run.edit(|seen| seen.embeddings.requests.push(request))
    }

    #[test]
    fn the_texts_of_a_request_are_bounded() {
        let run = TestRun::two_documents();
        check("max_texts_per_request = 2")
            .passes(&run)
            .fails(&and_request(&run, request(1, &["a", "b", "c"])), "request 3: 3 texts, wanted at most 2")
            .is_unknown(&TestRun::ingested(&[]), NO_REQUESTS);
    }

    #[test]
    fn a_long_document_must_take_as_few_requests_as_its_batches_need() {
        let (first, second) = ("a".repeat(12_000), "b".repeat(12_000));
        let run = TestRun::ingested(&[("long.md", &[&first, &second])]);
        let one_by_one =
            run.edit(|seen| seen.embeddings.requests = vec![request(0, &[&first]), request(1, &[&second])]);
        check("batches_filled = 2")
            .passes(&run)
            .fails(&one_by_one, "long.md: 2 requests for 2 chunks, wanted at most 1")
            .passes(&one_by_one.edit_step(|step| step.job("long.md").attempts = 2))
            .is_unknown(&TestRun::ingested(&[]), "there were no documents to evaluate");
    }

    #[test]
    fn the_requests_at_the_same_time_are_bounded() {
        let run = TestRun::two_documents();
        check("max_requests_in_flight = 1")
            .passes(&run)
            .fails(
                &edit_first(&run, |request| request.in_flight = 2),
                "the embeddings API: 2 requests at once, wanted at most 1",
            )
            .is_unknown(&TestRun::ingested(&[]), NO_REQUESTS);
    }

    #[test]
    fn a_request_must_name_task_dimensions_and_a_valid_key() {
        let run = TestRun::two_documents();
        check("requests_well_formed = true")
            .passes(&run)
            .fails(
                &edit_first(&run, |request| request.task = None),
                "request 1: task is missing, wanted retrieval.passage",
            )
            .fails(&edit_first(&run, |request| request.dimensions = Some(16)), "request 1: dimensions are 16, wanted 8")
            .fails(
                &edit_first(&run, |request| request.dimensions = None),
                "request 1: dimensions are missing, wanted 8",
            )
            .passes(&edit_first(&run, |request| request.dimensions = None).edit(|seen| {
                seen.embeddings.endpoint.dimensions = 1024;
                seen.embeddings.requests.truncate(1);
            }))
            .fails(&edit_first(&run, |request| request.authorised = false), "request 1: has no valid key")
            .fails(
                &edit_first(&run, |request| {
                    request.unreadable = Some("lone surrogate".to_owned());
                    (request.task, request.dimensions) = (None, None);
                }),
                "request 1: is not valid JSON: lone surrogate",
            )
            .passes(&edit_first(&run, |request| request.task = None).edit(|seen| {
                seen.contract.embeddings.task = None;
                seen.embeddings.requests.truncate(1);
            }))
            .fails(
                &run.edit(|seen| seen.contract.embeddings.task = None),
                "request 1: task is retrieval.passage, wanted none (and 1 more)",
            )
            .is_unknown(&TestRun::ingested(&[]), NO_REQUESTS);
    }

    #[test]
    fn no_request_may_permit_truncation() {
        let run = TestRun::two_documents();
        check("requests_untruncated = true")
            .passes(&run)
            .fails(
                &edit_first(&run, |request| request.truncate = true),
                "request 1: sets `truncate`, so that a long text loses its end",
            )
            .is_unknown(&TestRun::ingested(&[]), NO_REQUESTS);
    }

    #[test]
    fn late_chunking_may_not_mix_documents() {
        let run = TestRun::two_documents();
        let late = |texts: &[&str]| and_request(&run, JinaRequest { late_chunking: true, ..request(1, texts) });
        check("late_chunking_apart = true")
            .passes(&late(&["First chunk. ", "Second chunk."]))
            .fails(
                &late(&["Second chunk.", "Only chunk."]),
                "request 3: has late chunking, and its 2 texts belong to more than one document",
            )
            .is_unknown(&TestRun::ingested(&[]), NO_REQUESTS);
    }

    #[test]
    fn every_request_must_be_accepted() {
        let run = TestRun::two_documents();
        check("requests_accepted = true")
            .passes(&run)
            .fails(&edit_first(&run, |request| request.status = 429), "request 1: was answered with 429")
            .is_unknown(&TestRun::ingested(&[]), NO_REQUESTS);
    }

    #[test]
    fn tokens_that_no_stored_chunk_needs_are_wasted() {
        let run = TestRun::ingested(&[("a.md", &["one two three"])]);
        let again = and_request(&run, request(1, &["one two three"]));
        let altered = TestRun::ingested(&[("a.md", &["one\ntwo three"])])
            .edit(|seen| seen.embeddings.requests = vec![request(0, &["title: a\n\none two three"])]);
        check("max_tokens_wasted = 0")
            .passes(&run)
            .fails(&again, "the embeddings API: 3 tokens were embedded that no stored chunk needed, wanted at most 0")
            .passes(&altered.edit(|seen| seen.contract.chunks = ChunksContract::default()))
            .fails(&altered, "the embeddings API: 7 tokens were embedded that no stored chunk needed, wanted at most 0")
            .is_unknown(&TestRun::ingested(&[]), "there were no texts sent to evaluate");
    }
}
