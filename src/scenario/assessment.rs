//! The assessment: the outcome of every document, from its job, row and points, with a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

pub use super::document_outcome::DocumentOutcome;
use super::documents::Document;
use super::evidence::{Point, Row};
use super::observations::{JobState, Observations, StepRecord};
use super::stored_chunks::{chunk_name, doubles, missing_chunks};
use super::vectors::{VectorMatch, VectorMatches};
use crate::spec::Step;

/// The outcome of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentAssessment {
    /// The document.
    pub document: String,
    /// Its outcome.
    pub outcome: DocumentOutcome,
    /// The reason; empty for the outcomes stable, rejected, skipped and removed.
    pub why: String,
}

/// A scenario run with the run to compare it with, and the outcome of every document.
#[derive(Debug)]
pub struct Assessment {
    /// What was observed of the run.
    pub observations: Observations,
    /// The run over the same documents without faults.
    pub baseline: Option<Arc<Self>>,
    documents: OnceLock<Vec<DocumentAssessment>>,
    vectors: OnceLock<VectorMatches>,
}

impl Assessment {
    /// The assessment of a run, compared with `baseline`.
    #[must_use]
    pub fn new(observations: Observations, baseline: Option<Arc<Self>>) -> Self {
        Self { observations, baseline, documents: OnceLock::new(), vectors: OnceLock::new() }
    }

    /// The outcome of every document of the last step, and of every stored document that no step ingested. It is
    /// computed on the first call.
    pub fn documents(&self) -> &[DocumentAssessment] {
        self.documents.get_or_init(|| self.assess_documents())
    }

    /// The vectors of the stored points, compared with the texts that were sent. They are compared on the first call.
    pub fn vectors(&self) -> &VectorMatches {
        self.vectors.get_or_init(|| VectorMatches::of(&self.observations))
    }

    /// The points of `document` in the baseline, empty if it stored none; `None` without a baseline.
    pub(super) fn baseline_points(&self, document: &str) -> Option<&[Point]> {
        let baseline = self.baseline.as_ref()?;
        Some(baseline.observations.last().map_or(&[], |step| step.snapshot.points_of(document)))
    }

    /// The most points of `document` after any step of the baseline; 0 without a baseline.
    pub(super) fn most_baseline_points(&self, document: &str) -> usize {
        let steps = self.baseline.iter().flat_map(|baseline| &baseline.observations.steps);
        steps.map(|step| step.snapshot.points_of(document).len()).max().unwrap_or(0)
    }

    fn assess_documents(&self) -> Vec<DocumentAssessment> {
        let observations = &self.observations;
        let Some(step) = observations.last() else { return Vec::new() };
        let assessed = |document: &str, (outcome, why): (DocumentOutcome, String)| DocumentAssessment {
            document: document.to_owned(),
            outcome,
            why,
        };
        let mut assessments: Vec<DocumentAssessment> = step
            .documents
            .iter()
            .map(|document| assessed(&document.id, self.assess_document(step, document)))
            .collect();
        let known: BTreeSet<&str> = observations
            .steps
            .iter()
            .flat_map(|step| step.documents.iter().map(|document| document.id.as_str()))
            .collect();
        for (document, points) in &step.snapshot.points {
            if !known.contains(document.as_str()) {
                let why = format!("{} points of a document that was never ingested", points.len());
                assessments.push(assessed(document, (DocumentOutcome::Orphaned, why)));
            }
        }
        assessments
    }

    fn assess_document(&self, step: &StepRecord, document: &Document) -> (DocumentOutcome, String) {
        let observations = &self.observations;
        let (state, job) = &step.jobs[&document.id];
        let points = step.snapshot.points_of(&document.id);
        let row = step.snapshot.rows.get(&document.id);
        if step.step == Step::Delete {
            return assess_removed(*state, row, points.len());
        }
        if !document.has_text() {
            return assess_empty(*state, row, observations.contract.evidence.postgres.is_some(), points.len());
        }
        if document.rejected {
            return assess_rejected(*state, row, points.len());
        }
        let lost = |why: String| (DocumentOutcome::Lost, why);
        match state {
            JobState::Unfinished => {
                let children = failed_children(observations).unwrap_or_default();
                return lost(format!("its job never ended ({} attempts){children}", job.attempts));
            }
            JobState::Missing => return lost("its job vanished from Redis".to_owned()),
            JobState::Failed => {
                let reason = job.failed_reason.as_deref().unwrap_or("no reason given");
                return lost(format!("its job failed: {reason}"));
            }
            JobState::Completed if points.is_empty() => {
                return lost("its job completed but it has no points".to_owned());
            }
            JobState::Completed => {}
        }
        let mut wrong_count = None;
        if let Some(contract) = &observations.contract.evidence.postgres {
            let Some(row) = row else { return lost("its job completed but it has no row".to_owned()) };
            if !row.done {
                return lost(format!("its job completed but its row says `{}`", row.status));
            }
            if contract.chunks.is_some() && row.chunks != Some(points.len() as u64) {
                let chunks = row.chunks.map_or_else(|| "no number of".to_owned(), |chunks| chunks.to_string());
                wrong_count = Some(format!("{} points, but the row says {chunks} chunks", points.len()));
            }
        }
        let baseline = self.baseline_points(&document.id);
        if let Some(baseline) = baseline {
            if baseline.is_empty() {
                let why = "the baseline stored nothing of it: there is nothing to compare with";
                return (DocumentOutcome::Indeterminate, why.to_owned());
            }
            if let Some(why) = missing_chunks(baseline, points) {
                return lost(why);
            }
        }
        // A missing chunk is the more specific reason, so the wrong count comes after it.
        if let Some(why) = wrong_count.or_else(|| self.wrong_vector(&document.id, points)) {
            return (DocumentOutcome::Corrupted, why);
        }
        if let Some((chunk, _)) = doubles(points, baseline, Some(document)).first() {
            return (DocumentOutcome::Duplicated, format!("{chunk} is stored more than once"));
        }
        if job.attempts > 1 || job.starts > 1 || job.stalls > 0 {
            let why = format!("{} attempts, started {} times, stalled {} times", job.attempts, job.starts, job.stalls);
            return (DocumentOutcome::Recovered, why);
        }
        (DocumentOutcome::Stable, String::new())
    }

    /// The first chunk whose vector does not belong to its text, or was given for a text that the contract excludes.
    fn wrong_vector(&self, document: &str, points: &[Point]) -> Option<String> {
        let name =
            |point: &Point| format!("the vector of {} is not the one given for its text", chunk_name(point.chunk));
        points.iter().find_map(|point| match self.vectors().get(document, point).0 {
            VectorMatch::Own | VectorMatch::NoText => None,
            VectorMatch::Wrong(mismatch) => Some(format!("{}: {mismatch}", name(point))),
            VectorMatch::Differs(differences) => differences
                .iter()
                .find(|difference| !difference.is_permitted(&self.observations.contract.chunks))
                .map(|difference| format!("{}: {difference}", name(point))),
        })
    }
}

/// The failed jobs of further queues, in words, if jobs wait for their children: such a job ends only with its children.
fn failed_children(observations: &Observations) -> Option<String> {
    let queue = &observations.queue;
    if queue.counts.waiting_children == 0 {
        return None;
    }
    let (name, other) = queue.others.iter().find(|(_, other)| !other.failed.is_empty())?;
    let reason = other.failed.values().next()?;
    Some(format!("; jobs wait for their children, and {} of the queue {name} failed: {reason}", other.failed.len()))
}

/// The number of documents by outcome: `18 stable, 2 recovered`.
#[must_use]
pub fn summary(assessments: &[DocumentAssessment]) -> String {
    let mut counts: BTreeMap<DocumentOutcome, usize> = BTreeMap::new();
    for document in assessments {
        *counts.entry(document.outcome).or_default() += 1;
    }
    counts.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect::<Vec<_>>().join(", ")
}

/// Assesses a document that the step removed.
fn assess_removed(state: JobState, row: Option<&Row>, points: usize) -> (DocumentOutcome, String) {
    let unexpected = |why: String| (DocumentOutcome::Unexpected, why);
    match (state, row.filter(|row| row.done)) {
        _ if points > 0 => unexpected(format!("it was removed, but {points} points are stored")),
        (_, Some(row)) => unexpected(format!("it was removed, but its row says `{}`", row.status)),
        (JobState::Completed, None) => (DocumentOutcome::Removed, String::new()),
        (state, None) => unexpected(format!("the job of its removal is {}", state.word())),
    }
}

/// Assesses a document whose text the embeddings API rejects.
fn assess_rejected(state: JobState, row: Option<&Row>, points: usize) -> (DocumentOutcome, String) {
    match (state, points, row.filter(|row| row.done)) {
        (JobState::Failed, 0, None) => (DocumentOutcome::Rejected, String::new()),
        (JobState::Failed, 0, Some(row)) => (
            DocumentOutcome::Unexpected,
            format!("the embeddings API rejects its text, but its row says `{}`", row.status),
        ),
        (state, points, _) => (
            DocumentOutcome::Unexpected,
            format!(
                "the embeddings API rejects its text, but its job is {} and {points} points are stored",
                state.word()
            ),
        ),
    }
}

/// Assesses a document without text. It is skipped only if its row says so, or its job where the contract has no rows.
fn assess_empty(state: JobState, row: Option<&Row>, has_rows: bool, points: usize) -> (DocumentOutcome, String) {
    let unexpected = |why: String| (DocumentOutcome::Unexpected, why);
    match (state, row) {
        _ if points > 0 => unexpected(format!("it has {points} points but no text")),
        (JobState::Unfinished, _) => (DocumentOutcome::Lost, "its job never ended".to_owned()),
        (JobState::Missing, _) => (DocumentOutcome::Lost, "its job vanished from Redis".to_owned()),
        (_, Some(row)) if row.done => unexpected(format!("it has no text, but its row says `{}`", row.status)),
        (_, None) if has_rows => unexpected("it has no text, and no row marks it as skipped".to_owned()),
        (JobState::Failed, None) => unexpected("it has no text, and its job failed".to_owned()),
        (_, Some(_)) | (JobState::Completed, None) => (DocumentOutcome::Skipped, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::observations::OtherQueue;
    use super::super::testing::TestRun;
    use super::*;

    /// The outcome of `a.md`, and the reason.
    fn assessed(run: &TestRun) -> (DocumentOutcome, String) {
        let assessment = run.assessment();
        let found = assessment.documents().iter().find(|document| document.document == "a.md").unwrap();
        (found.outcome, found.why.clone())
    }

    #[test]
    fn nothing_of_a_removed_document_is_stored() {
        let run = TestRun::two_documents();
        let removed = run.then(|step| {
            step.step = Step::Delete;
            step.remove("a.md");
        });
        assert_eq!(assessed(&removed), (DocumentOutcome::Removed, String::new()));
        let unexpected = |run: &TestRun, why: &str| {
            assert_eq!(assessed(run), (DocumentOutcome::Unexpected, why.to_owned()));
        };
        let failed = removed.edit_step(|step| *step.state("a.md") = JobState::Failed);
        unexpected(&failed, "the job of its removal is failed");
        let left = run.edit_step(|step| step.step = Step::Delete);
        unexpected(&left, "it was removed, but 2 points are stored");
    }

    #[test]
    fn a_document_has_the_outcome_that_job_row_and_points_show() {
        let run = TestRun::two_documents();
        let rejected = run.edit_step(|step| {
            step.document("a.md").rejected = true;
            step.fail("a.md", "422: rejected");
        });
        let empty = TestRun::ingested(&[("a.md", &[])]);
        for (run, outcome, why) in [
            (run.compared_with(&run), DocumentOutcome::Stable, ""),
            (
                run.edit_step(|step| step.job("a.md").starts = 2),
                DocumentOutcome::Recovered,
                "1 attempts, started 2 times, stalled 0 times",
            ),
            (rejected.clone(), DocumentOutcome::Rejected, ""),
            (
                rejected.edit_step(|step| step.row("a.md").done = true),
                DocumentOutcome::Unexpected,
                "the embeddings API rejects its text, but its row says `failed`",
            ),
            (empty, DocumentOutcome::Skipped, ""),
            (
                run.edit_step(|step| *step.state("a.md") = JobState::Unfinished),
                DocumentOutcome::Lost,
                "its job never ended (1 attempts)",
            ),
            (
                run.edit_step(|step| *step.state("a.md") = JobState::Unfinished).edit(|seen| {
                    seen.queue.counts.waiting_children = 1;
                    let failed = [("7".to_owned(), "Bad Request".to_owned())].into();
                    seen.queue.others.insert("embeddings".to_owned(), OtherQueue { failed, ..OtherQueue::default() });
                }),
                DocumentOutcome::Lost,
                "its job never ended (1 attempts); jobs wait for their children, and 1 of the queue embeddings failed: Bad \
                 Request",
            ),
            (
                run.edit_step(|step| *step.state("a.md") = JobState::Missing),
                DocumentOutcome::Lost,
                "its job vanished from Redis",
            ),
            (
                run.edit_step(|step| step.points("a.md").clear()),
                DocumentOutcome::Lost,
                "its job completed but it has no points",
            ),
            (
                run.edit_step(|step| drop(step.snapshot.rows.remove("a.md"))),
                DocumentOutcome::Lost,
                "its job completed but it has no row",
            ),
            (
                run.edit_step(|step| step.duplicate("a.md")),
                DocumentOutcome::Duplicated,
                "chunk 0 is stored more than once",
            ),
            (
                run.edit_step(|step| step.points("a.md")[1].vector.reverse()),
                DocumentOutcome::Corrupted,
                "the vector of chunk 1 is not the one given for its text: it is that of no text that was sent",
            ),
            (
                run.edit_step(|step| step.row("a.md").chunks = None),
                DocumentOutcome::Corrupted,
                "2 points, but the row says no number of chunks",
            ),
            (
                run.compared_with(&run.edit(|seen| seen.steps.clear())),
                DocumentOutcome::Indeterminate,
                "the baseline stored nothing of it: there is nothing to compare with",
            ),
        ] {
            assert_eq!(assessed(&run), (outcome, why.to_owned()));
        }
    }

    #[test]
    fn a_stored_document_that_no_step_ingested_is_orphaned() {
        let run = TestRun::two_documents();
        let removed_before = run.then(|step| {
            let points = step.points("b.md").clone();
            step.remove("a.md");
            step.snapshot.points.insert("old.md".to_owned(), points);
        });
        let assessment = removed_before.assessment();
        let orphaned: Vec<&DocumentAssessment> =
            assessment.documents().iter().filter(|document| document.outcome == DocumentOutcome::Orphaned).collect();
        assert_eq!(orphaned.len(), 1, "b.md was ingested by the first step: {orphaned:?}");
        assert_eq!(orphaned[0].document, "old.md");
    }

    #[test]
    fn a_document_without_text_is_skipped_only_if_its_row_or_job_says_so() {
        let row = |done: bool| Row { status: "a word".to_owned(), done, version: None, chunks: None, error: None };
        let outcome = |state, row: Option<Row>, has_rows, points| assess_empty(state, row.as_ref(), has_rows, points).0;
        for (state, seen, has_rows, points, wanted) in [
            (JobState::Completed, Some(row(false)), true, 0, DocumentOutcome::Skipped),
            (JobState::Completed, None, false, 0, DocumentOutcome::Skipped),
            (JobState::Completed, None, true, 0, DocumentOutcome::Unexpected),
            (JobState::Completed, Some(row(true)), true, 0, DocumentOutcome::Unexpected),
            (JobState::Completed, Some(row(false)), true, 2, DocumentOutcome::Unexpected),
            (JobState::Failed, None, false, 0, DocumentOutcome::Unexpected),
            (JobState::Unfinished, None, true, 0, DocumentOutcome::Lost),
            (JobState::Missing, Some(row(false)), true, 0, DocumentOutcome::Lost),
        ] {
            assert_eq!(
                outcome(state, seen.clone(), has_rows, points),
                wanted,
                "{state:?} {seen:?} {has_rows} {points}"
            );
        }
    }

    #[test]
    fn a_summary_counts_each_outcome() {
        let assessed = |outcome| DocumentAssessment { document: String::new(), outcome, why: String::new() };
        let assessments = [DocumentOutcome::Recovered, DocumentOutcome::Stable, DocumentOutcome::Stable].map(assessed);
        assert_eq!(summary(&assessments), "2 stable, 1 recovered");
    }
}
