//! Requests to the embeddings API.

use std::collections::{BTreeMap, BTreeSet};

use super::super::observations::PASSAGE_TASK;
use super::finding::Finding;
use super::measure::{count, or_none, texts, tokens};
use super::scope::Scope;

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
            let texts: BTreeSet<&str> = texts(step, document).into_iter().collect();
            if texts.is_empty() {
                continue;
            }
            finding.examine();
            // A request belongs to the document whose chunks it carries; texts of several documents count for each.
            let requests = self
                .observations
                .embeddings
                .requests
                .iter()
                .filter(|request| request.status == 200)
                .filter(|request| request.texts.iter().all(|text| texts.contains(text.as_str())))
                .count();
            let chunks = step.snapshot.points_of(&document.id).len();
            let enough = (count(chunks as u64) / size).ceil();
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
        for (number, request) in self.observations.embeddings.requests.iter().enumerate() {
            finding.examine();
            let at = format!("request {}", number + 1);
            if request.task.as_deref() != Some(PASSAGE_TASK) {
                finding.wrong(
                    at.clone(),
                    format!("task is {}, wanted {PASSAGE_TASK}", request.task.as_deref().unwrap_or("missing")),
                );
            }
            if request.dimensions != Some(wanted.dimensions) {
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
        let mut needed: BTreeMap<&str, usize> = BTreeMap::new();
        for step in &self.observations.steps {
            for point in step.snapshot.points.values().flatten() {
                *needed.entry(point.text.as_deref().unwrap_or_default()).or_default() += 1;
            }
        }
        let mut wasted = 0;
        for text in self
            .observations
            .embeddings
            .requests
            .iter()
            .filter(|request| request.status == 200)
            .flat_map(|request| request.texts.iter())
        {
            finding.examine();
            match needed.get_mut(text.as_str()) {
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
