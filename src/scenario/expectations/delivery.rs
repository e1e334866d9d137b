//! Which documents are stored: whole, once, or not at all.

use std::collections::BTreeSet;

use super::super::assessment::{self, DocumentOutcome};
use super::super::observations::JobState;
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
            let baseline = self.assessment.baseline_points(document).unwrap_or_default();
            all.extend(
                assessment::doubles(points, baseline).into_iter().map(|(chunk, extra)| (document, chunk, extra)),
            );
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
            if job.attempts > 1 {
                finding.wrong(
                    &document.id,
                    format!("its job took {} attempts, and a rejected text stays rejected", job.attempts),
                );
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
