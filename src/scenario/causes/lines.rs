//! Lines that show a cause: of the workers' output, and of the reasons of failed jobs.

use std::collections::{BTreeMap, BTreeSet};

use super::super::assessment::Assessment;
use super::super::jobs::document_of;
use super::super::observations::JobState;
use super::run_cause::{MAX_EVIDENCE, MAX_LINE, MAX_SUBJECT, RunCause, shortened};
use super::table::VOCABULARY;

/// How many lines after the first one may show that a row's `then` applies: a stack trace has as many.
const FOLLOWING: usize = 30;
/// Longer lines are not examined beyond this, in bytes.
const LONGEST: usize = 64 << 10;

/// The lines of a run that match a row of the vocabulary.
pub(super) struct Lines {
    /// By row and subject.
    causes: BTreeMap<(usize, Option<String>), RunCause>,
}

impl Lines {
    /// The lines of all workers, the reasons of failed jobs and attempts, and the errors in rows. Documents that the
    /// embeddings API rejects fail as they should, so their reasons show no cause.
    pub(super) fn of_run(assessment: &Assessment) -> Self {
        let observations = &assessment.observations;
        let mut lines = Self { causes: BTreeMap::new() };
        let documents: BTreeMap<&str, bool> = observations
            .steps
            .iter()
            .flat_map(|step| step.documents.iter().map(|document| (document.id.as_str(), document.rejected)))
            .collect();
        let is_expected = |document: &str| documents.get(document).copied().unwrap_or_default();
        for (_, event) in &observations.queue.events {
            let Some(reason) = event.detail.as_deref().filter(|_| event.what != "completed") else { continue };
            let document = event.job.as_deref().and_then(|job| document_of(job, documents.keys().copied()));
            if !document.is_some_and(is_expected) {
                lines.add_reason(reason, document);
            }
        }
        for step in &observations.steps {
            for (document, (state, job)) in &step.jobs {
                let reason = job.failed_reason.as_deref().filter(|_| *state != JobState::Completed);
                if let Some(reason) = reason.filter(|_| !is_expected(document)) {
                    lines.add_reason(reason, Some(document));
                }
            }
        }
        lines.add_output(&observations.workers.log);
        lines
    }

    /// The lines of an output alone.
    pub(super) fn of_output(output: &str) -> Self {
        let mut lines = Self { causes: BTreeMap::new() };
        lines.add_output(output);
        lines
    }

    /// The causes of a row, one for each subject.
    pub(super) fn of_row(&self, row: usize) -> Vec<&RunCause> {
        self.causes.iter().filter(|((place, _), _)| *place == row).map(|(_, cause)| cause).collect()
    }

    fn add_reason(&mut self, reason: &str, document: Option<&str>) {
        for line in reason.lines().map(beginning) {
            for (row, subject) in VOCABULARY.matching(line) {
                if VOCABULARY.continues(row, reason.lines()) {
                    self.add(row, subject, line, document);
                }
            }
        }
    }

    fn add_output(&mut self, output: &str) {
        let mut rest = output.lines();
        while let Some(line) = rest.next().map(beginning) {
            for (row, subject) in VOCABULARY.matching(line) {
                if VOCABULARY.continues(row, std::iter::once(line).chain(rest.clone().take(FOLLOWING).map(beginning))) {
                    self.add(row, subject, line, None);
                }
            }
        }
    }

    fn add(&mut self, row: usize, subject: Option<String>, line: &str, document: Option<&str>) {
        let subject = subject.map(|subject| shortened(&subject, MAX_SUBJECT));
        let cause = self.causes.entry((row, subject.clone())).or_insert_with(|| RunCause {
            row,
            subject,
            evidence: Vec::new(),
            documents: BTreeSet::new(),
        });
        cause.documents.extend(document.map(ToOwned::to_owned));
        if cause.evidence.len() < MAX_EVIDENCE {
            let line = shortened(line, MAX_LINE);
            if !cause.evidence.contains(&line) {
                cause.evidence.push(line);
            }
        }
    }
}

/// At most [`LONGEST`] bytes of a line.
fn beginning(line: &str) -> &str {
    &line[..line.floor_char_boundary(LONGEST)]
}
