//! Which documents are stored: whole, once, or not at all.

use std::collections::BTreeSet;

use super::super::assessment::DocumentOutcome;
use super::super::observations::JobState;
use super::super::stored_chunks::doubles;
use super::finding::Finding;
use super::measure::{count, state_phrase};
use super::scope::Scope;

impl Scope<'_> {
    pub(super) fn documents_intact(&self) -> Finding {
        let mut finding = Finding::over("documents");
        let is_selected = |document: &str| self.documents_matching.is_none_or(|globs| globs.is_match(document));
        for document in self.assessment.documents().iter().filter(|document| is_selected(&document.document)) {
            finding.examine();
            match document.outcome.is_ok() {
                Some(true) => {}
                Some(false) => finding.wrong(&document.document, format!("{}: {}", document.outcome, document.why)),
                None => finding.undecided = Some(format!("{}: {}", document.document, document.why)),
            }
        }
        finding
    }

    pub(super) fn delivered(&self) -> Finding {
        let mut finding = Finding::over("documents with text");
        let wanted: BTreeSet<&str> = self.deliverable().map(|(_, document)| document.id.as_str()).collect();
        for document in
            self.assessment.documents().iter().filter(|document| wanted.contains(document.document.as_str()))
        {
            finding.examine();
            match document.outcome {
                DocumentOutcome::Stable | DocumentOutcome::Recovered | DocumentOutcome::Duplicated => {}
                // There may be others that can be decided.
                DocumentOutcome::Indeterminate => {
                    finding.undecided = Some(format!("{}: {}", document.document, document.why));
                }
                outcome => finding.wrong(&document.document, format!("{outcome}: {}", document.why)),
            }
        }
        finding
    }

    pub(super) fn all_or_nothing(&self) -> Finding {
        let mut finding = Finding::over("documents with text");
        let wanted: BTreeSet<&str> = self.deliverable().map(|(_, document)| document.id.as_str()).collect();
        let step = self.observations.last();
        let mut failed = 0;
        for document in
            self.assessment.documents().iter().filter(|document| wanted.contains(document.document.as_str()))
        {
            finding.examine();
            let Some(step) = step else { continue };
            let points = step.snapshot.points_of(&document.document).len();
            let row = step.snapshot.rows.get(&document.document);
            let (row, done) = row.map_or(("none", false), |row| (row.status.as_str(), row.done));
            match (document.outcome, step.jobs[&document.document].0) {
                (DocumentOutcome::Stable | DocumentOutcome::Recovered, _) => {}
                (DocumentOutcome::Lost, JobState::Failed) if points == 0 && !done => failed += 1,
                (DocumentOutcome::Lost, JobState::Failed) => finding.wrong(
                    &document.document,
                    format!("its job failed, and {points} points are stored; its row says `{row}`"),
                ),
                (outcome, _) => finding.wrong(&document.document, format!("{outcome}: {}", document.why)),
            }
        }
        finding.fact("documents whose job failed and whose row says so", failed);
        finding
    }

    pub(super) fn max_duplicates(&self, most: f64) -> Finding {
        let mut finding = Finding::over("points");
        let mut all = Vec::new();
        for (document, points) in self.observations.last().iter().flat_map(|step| &step.snapshot.points) {
            if self.documents_matching.is_some_and(|globs| !globs.is_match(document.as_str())) {
                continue;
            }
            finding.examined += points.len();
            let baseline = self.assessment.baseline_points(document);
            let source =
                self.observations.last().and_then(|step| step.documents.iter().find(|own| own.id == *document));
            let doubles = doubles(points, baseline, source);
            all.extend(doubles.into_iter().map(|(chunk, extra)| (document, chunk, extra)));
        }
        let extra: usize = all.iter().map(|(_, _, extra)| extra).sum();
        finding.fact("duplicates", extra);
        if count(extra as u64) > most {
            for (document, chunk, extra) in all {
                finding.wrong(document, format!("{chunk} is stored {} times", extra + 1));
            }
        }
        finding
    }

    pub(super) fn empty_skipped(&self) -> Finding {
        let mut finding = Finding::over("documents without text");
        let sent: BTreeSet<&str> = self
            .observations
            .embeddings
            .requests
            .iter()
            .flat_map(|request| request.texts.iter().map(String::as_str))
            .collect();
        for (step, document) in self.last().filter(|(_, document)| !document.has_text()) {
            finding.examine();
            let row = step.snapshot.rows.get(&document.id);
            match (self.observations.contract.evidence.postgres.as_ref().and_then(|rows| rows.skipped.as_deref()), row)
            {
                (None, _) => {}
                (Some(_), None) => finding.wrong(&document.id, "has no row that says that it was skipped"),
                (Some(skipped), Some(row)) if row.status != skipped => {
                    finding.wrong(&document.id, format!("its row says `{}`, wanted `{skipped}`", row.status));
                }
                (Some(_), Some(_)) => {}
            }
            let points = step.snapshot.points_of(&document.id).len();
            if points > 0 {
                finding.wrong(&document.id, format!("has {points} points but no text"));
            }
            if sent.contains(document.text.as_str()) {
                finding.wrong(&document.id, "was sent to the embeddings API, which rejects empty input");
            }
            if step.jobs[&document.id].0 != JobState::Completed {
                finding.wrong(
                    &document.id,
                    format!("its job {}, wanted completed", state_phrase(step.jobs[&document.id].0)),
                );
            }
        }
        if self
            .observations
            .embeddings
            .requests
            .iter()
            .any(|request| request.texts.iter().any(|text| text.trim().is_empty()))
        {
            finding.wrong("the embeddings API", "was sent a text of nothing but blanks");
        }
        finding
    }

    pub(super) fn writes_awaited(&self) -> Finding {
        let mut finding = Finding::over("readable changes of points");
        let Some(writes) = self.observations.network.writes else {
            finding.undecided = Some("qdrant was not reached through a proxy: name it in `watch`".to_owned());
            return finding;
        };
        finding.examined = usize::try_from(writes.total()).unwrap_or(usize::MAX);
        if writes.not_awaited > 0 {
            let total = writes.total();
            finding.wrong("qdrant", format!("{} of {total} changes were not waited for", writes.not_awaited));
        }
        finding
    }

    pub(super) fn payload_complete(&self) -> Finding {
        let mut finding = Finding::over("points");
        for (document, point) in self.points() {
            finding.examine();
            let mut missing = Vec::new();
            if point.document.is_none() {
                missing.push("document");
            }
            let keys = &self.observations.contract.evidence.qdrant;
            if point.chunk.is_none() && keys.chunk.is_some() {
                missing.push("chunk");
            }
            if point.offset.is_none() && keys.offset.is_some() {
                missing.push("offset");
            }
            if point.text.is_none() && keys.text.is_some() {
                missing.push("text");
            }
            if !missing.is_empty() {
                let at = if document.is_empty() { format!("point {}", point.id) } else { document.to_owned() };
                finding.wrong(at, format!("the payload does not name its {}", missing.join(", ")));
            }
        }
        finding
    }

    pub(super) fn only_rejected_fail(&self) -> Finding {
        let mut finding = Finding::over("rejected documents");
        for (step, document) in self.last() {
            let (state, job) = &step.jobs[&document.id];
            if !document.rejected {
                continue;
            }
            finding.examine();
            if *state != JobState::Failed {
                finding
                    .wrong(&document.id, format!("its job {}, although its text was rejected", state_phrase(*state)));
            }
            if job.failed_reason.as_deref().unwrap_or_default().is_empty() {
                finding.wrong(&document.id, "its job has no failed reason");
            }
            if let Some(row) = step.snapshot.rows.get(&document.id).filter(|row| row.done) {
                finding.wrong(&document.id, format!("its row says `{}`", row.status));
            }
        }
        finding
    }

    pub(super) fn nothing_completed(&self) -> Finding {
        let mut finding = Finding::over("documents with text");
        for (step, document) in self.last().filter(|(_, document)| document.has_text()) {
            finding.examine();
            let (state, _) = &step.jobs[&document.id];
            let points = step.snapshot.points_of(&document.id).len();
            if *state == JobState::Completed {
                finding.wrong(
                    &document.id,
                    format!("its job completed with {points} points, although it could not be embedded"),
                );
            }
            if let Some(row) = step.snapshot.rows.get(&document.id).filter(|row| row.done) {
                finding
                    .wrong(&document.id, format!("its row says `{}`, although it could not be embedded", row.status));
            }
            if points > 0 {
                finding.wrong(&document.id, format!("{points} points are stored, although it could not be embedded"));
            }
        }
        finding
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::observations::JobState;
    use super::super::super::testing::TestRun;
    use super::super::testing::check;
    use crate::faults::Writes;

    /// A run without the second chunk of `a.md`.
    fn without_a_chunk() -> TestRun {
        let whole = TestRun::two_documents();
        whole.edit_step(|step| step.points("a.md").truncate(1)).compared_with(&whole)
    }

    fn duplicated() -> TestRun {
        TestRun::two_documents().edit_step(|step| step.duplicate("a.md"))
    }

    /// A run whose baseline stored nothing of `a.md`.
    fn with_an_empty_baseline() -> TestRun {
        let whole = TestRun::two_documents();
        whole.compared_with(&whole.edit_step(|step| step.points("a.md").clear()))
    }

    #[test]
    fn every_document_must_be_stored_whole_and_once() {
        let run = TestRun::two_documents();
        check("documents = \"intact\"")
            .passes(&run.compared_with(&run))
            .fails(
                &without_a_chunk(),
                "a.md: lost: 1 of 2 baseline chunks are missing (the first is chunk 1); 0 points are not in the baseline",
            )
            .fails(&duplicated(), "a.md: duplicated: chunk 0 is stored more than once")
            .fails(
                &run.edit_step(|step| {
                    let points = step.points("a.md").clone();
                    step.snapshot.points.insert("old.md".to_owned(), points);
                }),
                "old.md: orphaned: 2 points of a document that was never ingested",
            )
            .is_unknown(
                &with_an_empty_baseline(),
                "a.md: the baseline stored nothing of it: there is nothing to compare with",
            );
    }

    #[test]
    fn every_document_with_text_must_be_delivered() {
        check("delivered = \"all\"")
            .passes(&duplicated())
            .fails(
                &TestRun::two_documents().edit_step(|step| step.fail("a.md", "no answer")),
                "a.md: lost: its job failed: no answer",
            )
            .is_unknown(
                &with_an_empty_baseline(),
                "a.md: the baseline stored nothing of it: there is nothing to compare with",
            );
    }

    #[test]
    fn a_document_is_stored_whole_or_failed_with_nothing_stored() {
        let run = TestRun::two_documents();
        let failed = run.edit_step(|step| step.fail("a.md", "no answer"));
        let half = run.edit_step(|step| {
            let points = step.points("a.md")[..1].to_vec();
            step.fail("a.md", "no answer");
            *step.points("a.md") = points;
        });
        check("all_or_nothing = true")
            .passes(&run)
            .fails(&half, "a.md: its job failed, and 1 points are stored; its row says `failed`")
            .passes(&failed)
            .is_unknown(&TestRun::ingested(&[]), "there were no documents with text to evaluate");
    }

    #[test]
    fn duplicates_are_points_of_the_same_chunk() {
        check("max_duplicates = 0")
            .passes(&TestRun::two_documents())
            .fails(&duplicated(), "a.md: chunk 0 is stored 2 times")
            .is_unknown(&TestRun::ingested(&[]), "there were no points to evaluate");
    }

    #[test]
    fn a_document_without_text_must_be_skipped() {
        let run = TestRun::ingested(&[("empty.md", &[])]);
        check("empty_skipped = true")
            .passes(&run)
            .fails(
                &run.edit_step(|step| "ready".clone_into(&mut step.row("empty.md").status)),
                "empty.md: its row says `ready`, wanted `skipped`",
            )
            .fails(
                &run.edit_step(|step| *step.state("empty.md") = JobState::Missing),
                "empty.md: its job disappeared from Redis, wanted completed",
            )
            .is_unknown(&TestRun::two_documents(), "there were no documents without text to evaluate");
    }

    #[test]
    fn changes_of_points_must_be_waited_for() {
        let run = TestRun::two_documents();
        let writes = |not_awaited| run.edit(|seen| seen.network.writes = Some(Writes { awaited: 2, not_awaited }));
        check("writes_awaited = true")
            .passes(&writes(0))
            .fails(&writes(1), "qdrant: 1 of 3 changes were not waited for")
            .is_unknown(&run, "qdrant was not reached through a proxy: name it in `watch`");
    }

    #[test]
    fn a_payload_must_name_document_chunk_and_text() {
        let run = TestRun::two_documents();
        check("payload_complete = true")
            .passes(&run)
            .fails(
                &run.edit_step(|step| (step.points("a.md")[0].chunk, step.points("a.md")[0].text) = (None, None)),
                "a.md: the payload does not name its chunk, text",
            )
            .is_unknown(&TestRun::ingested(&[]), "there were no points to evaluate");
    }

    #[test]
    fn the_job_of_a_rejected_document_must_fail_with_a_reason() {
        let run = TestRun::two_documents();
        let rejected = run.edit_step(|step| {
            step.document("a.md").rejected = true;
            step.fail("a.md", "422: rejected");
        });
        check("only_rejected_fail = true")
            // Further attempts are a waste, which another case judges.
            .passes(&rejected.edit_step(|step| step.job("a.md").attempts = 3))
            .fails(
                &rejected.edit_step(|step| *step.state("a.md") = JobState::Unfinished),
                "a.md: its job never ended, although its text was rejected",
            )
            .fails(
                &rejected.edit_step(|step| step.job("a.md").failed_reason = None),
                "a.md: its job has no failed reason",
            )
            .is_unknown(&run, "there were no rejected documents to evaluate");
    }

    #[test]
    fn nothing_may_be_reported_as_done_if_it_cannot_be_embedded() {
        let run = TestRun::ingested(&[("a.md", &["Only chunk."])]);
        let failed = run.edit_step(|step| step.fail("a.md", "no answer"));
        check("nothing_completed = true")
            .passes(&failed)
            .fails(
                &failed.edit_step(|step| *step.state("a.md") = JobState::Completed),
                "a.md: its job completed with 0 points, although it could not be embedded",
            )
            .fails(
                &failed.edit_step(|step| step.row("a.md").done = true),
                "a.md: its row says `failed`, although it could not be embedded",
            )
            .is_unknown(&TestRun::ingested(&[]), "there were no documents with text to evaluate");
    }
}
