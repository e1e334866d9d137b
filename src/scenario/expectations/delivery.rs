//! Whether each document arrived, once, and where database and vectors agree on it.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::assessment::{self, DocumentOutcome};
use super::super::evidence::Point;
use super::super::run::{JobState, StepRecord};
use super::{Finding, Scope, count};
use crate::spec::Range;

impl<'a> Scope<'a> {
    pub(super) fn delivered(&self) -> Finding {
        let mut finding = Finding::over("documents with text");
        let wanted: BTreeSet<&str> = self.good().map(|(_, document)| document.id.as_str()).collect();
        for document in assessment::assess(self.observations)
            .into_iter()
            .filter(|document| wanted.contains(document.document.as_str()))
        {
            finding.look();
            match document.outcome {
                DocumentOutcome::Stable | DocumentOutcome::Recovered | DocumentOutcome::Duplicated => {}
                // There may be others that can be decided.
                DocumentOutcome::Indeterminate => {
                    finding.undecided = Some(format!("{}: {}", document.document, document.why));
                }
                outcome => finding.wrong(document.document, format!("{outcome}: {}", document.why)),
            }
        }
        finding
    }

    pub(super) fn documents_intact(&self) -> Finding {
        let mut finding = Finding::over("documents in the ledger");
        let chosen = |document: &str| self.documents_matching.is_none_or(|globs| globs.is_match(document));
        for document in assessment::assess(self.observations).into_iter().filter(|document| chosen(&document.document))
        {
            finding.look();
            match document.outcome.is_ok() {
                Some(true) => {}
                Some(false) => finding.wrong(document.document, format!("{}: {}", document.outcome, document.why)),
                None => finding.undecided = Some(format!("{}: {}", document.document, document.why)),
            }
        }
        finding
    }

    pub(super) fn jobs_completed(&self) -> Finding {
        let mut finding = Finding::over("jobs");
        for (step, document) in self.last().filter(|(_, document)| !document.rejected) {
            finding.look();
            let (state, job) = &step.jobs[&document.id];
            if *state != JobState::Completed {
                let reason = job.failed_reason.as_deref().unwrap_or("no reason given");
                finding.wrong(&document.id, format!("{state:?}, {} attempts, {reason}", job.attempts));
            }
        }
        finding
    }

    pub(super) fn recovered(&self, most: f64) -> Finding {
        let mut finding = Finding::over("steps");
        finding.look();
        let late = self.observations.steps.iter().any(|step| !step.settled);
        // The last step knows of the last fault.
        let recovered = self.observations.last().and_then(|step| step.recovered).filter(|_| !late);
        match recovered {
            Some(after) if after.as_secs_f64() <= most * self.observations.timeout_factor => {}
            Some(after) => {
                let (after, most) = (after.as_secs_f64(), most * self.observations.timeout_factor);
                finding.wrong("recovery", format!("{after:.1} s after the last fault, wanted {most} s"));
            }
            None if self.observations.faults.is_empty() => finding.undecided = Some("nothing was broken".to_owned()),
            None => finding.wrong("recovery", "the jobs had not all ended when the scenario was given up"),
        }
        if let Some(after) = recovered {
            finding.fact("recovered after the last fault, in ms", u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        }
        finding
    }

    pub(super) fn queue_drained(&self) -> Finding {
        let mut finding = Finding::over("queues");
        finding.look();
        let counts = &self.observations.counts;
        if counts.pending() > 0 {
            finding.wrong("the queue", format!("still holds {} jobs: {counts:?}", counts.pending()));
        }
        finding.fact("completed, failed", json!([counts.completed, counts.failed]));
        finding
    }

    pub(super) fn attempts(&self, most: f64) -> Finding {
        let mut finding = Finding::over("jobs");
        for (step, document) in self.last() {
            finding.look();
            let (_, job) = &step.jobs[&document.id];
            if count(job.attempts) > most {
                let reason = job.failed_reason.as_deref().unwrap_or("no reason given");
                finding.wrong(&document.id, format!("{} attempts, last reason: {reason}", job.attempts));
            }
        }
        finding
    }

    pub(super) fn executions(&self, most: f64) -> Finding {
        let mut finding = Finding::over("jobs");
        let mut highest = 0;
        for (step, document) in self.last() {
            finding.look();
            let (_, job) = &step.jobs[&document.id];
            highest = highest.max(job.starts);
            if count(job.starts) > most {
                finding.wrong(&document.id, format!("its job was begun {} times, wanted at most {most}", job.starts));
            }
        }
        finding.fact("most times that a job was begun", highest);
        finding
    }

    pub(super) fn stalls(&self, range: Range) -> Finding {
        let mut finding = Finding::over("jobs");
        let mut stalls = 0;
        for (step, document) in self.last() {
            finding.look();
            stalls += step.jobs[&document.id].1.stalls;
        }
        finding.fact("times that jobs stalled", stalls);
        if !range.holds(count(stalls)) {
            finding.wrong("the jobs", format!("stalled {stalls} times, wanted {range}"));
        }
        finding
    }

    pub(super) fn points_never_drop(&self) -> Finding {
        let mut finding = Finding::over("looks at the collection");
        for pair in self.observations.steps.windows(2) {
            let Some(least) = pair[1].least_points else { continue };
            finding.look();
            let before: usize = pair[0].snapshot.points.values().map(Vec::len).sum();
            finding.fact("points before, and fewest seen", json!([before, least]));
            if least < before as u64 {
                finding.wrong(
                    "the collection",
                    format!("held {least} points at one event, and {before} before: documents could not be found"),
                );
            }
        }
        finding
    }

    pub(super) fn all_or_nothing(&self) -> Finding {
        let mut finding = Finding::over("documents with text");
        let wanted: BTreeSet<&str> = self.good().map(|(_, document)| document.id.as_str()).collect();
        let step = self.observations.last();
        let mut failed = 0;
        for document in assessment::assess(self.observations)
            .into_iter()
            .filter(|document| wanted.contains(document.document.as_str()))
        {
            finding.look();
            let Some(step) = step else { continue };
            let points = step.snapshot.points_of(&document.document).len();
            let row = step.snapshot.rows.get(&document.document);
            let (row, done) = row.map_or(("none", false), |row| (row.status.as_str(), row.done));
            match (document.outcome, step.jobs[&document.document].0) {
                (DocumentOutcome::Stable | DocumentOutcome::Recovered, _) => {}
                (DocumentOutcome::Lost, JobState::Failed) if points == 0 && !done => failed += 1,
                (DocumentOutcome::Lost, JobState::Failed) => finding.wrong(
                    document.document,
                    format!("its job failed, and {points} points are stored; its row says `{row}`"),
                ),
                (outcome, _) => finding.wrong(document.document, format!("{outcome}: {}", document.why)),
            }
        }
        finding.fact("documents that failed, and say so", failed);
        finding
    }

    /// Where `failures` are asked for alone, a document whose job completed decides nothing.
    pub(super) fn row_status_matches_job(&self, failures: bool) -> Finding {
        let mut finding =
            Finding::over(if failures { "documents whose job failed for good" } else { "documents whose job ended" });
        let Some(contract) = &self.observations.evidence.postgres else { return finding };
        let failed = contract.failed.as_deref().unwrap_or_default();
        for (step, document) in self.last() {
            let has_failed = match step.jobs[&document.id].0 {
                JobState::Failed => true,
                JobState::Completed if !failures && document.has_text() => false,
                _ => continue,
            };
            finding.look();
            let (what, wanted) =
                if has_failed { ("failed for good", failed) } else { ("completed", contract.done.as_str()) };
            let Some(row) = step.snapshot.rows.get(&document.id) else {
                finding.wrong(&document.id, format!("its job {what}, and no row says so"));
                continue;
            };
            let told = if has_failed { row.status == failed } else { row.done };
            if !told {
                finding.wrong(
                    &document.id,
                    format!("its job {what}, and its row says `{}`, wanted `{wanted}`", row.status),
                );
            } else if has_failed && contract.error.is_some() && row.error.as_deref().unwrap_or_default().is_empty() {
                finding.wrong(&document.id, format!("its row says `{failed}`, and not why"));
            }
        }
        finding
    }

    pub(super) fn row_after_points(&self) -> Finding {
        let mut finding = Finding::over("rows that were seen to say that a document is stored");
        for step in &self.observations.steps {
            finding.looked_at += step.seen_done.len();
            for (document, seen) in &step.seen_done {
                if let Some(seen) = seen {
                    finding.wrong(document, seen.clone());
                }
            }
        }
        finding
    }

    pub(super) fn return_bytes(&self, most: f64) -> Finding {
        let mut finding = Finding::over("jobs");
        let mut largest = 0;
        for (document, (_, job)) in self.observations.steps.iter().flat_map(|step| &step.jobs) {
            finding.look();
            let bytes = job.returnvalue.as_ref().map_or(0, String::len);
            largest = largest.max(bytes);
            if count(bytes as u64) > most {
                finding.wrong(document, format!("its job returned {bytes} bytes, wanted at most {most}"));
            }
        }
        finding.fact("most bytes that a job returned", largest);
        finding
    }

    pub(super) fn notes_bytes(&self, most: f64) -> Finding {
        let mut finding = Finding::over("jobs");
        let mut largest = 0;
        for (document, (_, job)) in self.observations.steps.iter().flat_map(|step| &step.jobs) {
            let Some(bytes) = job.notes else { continue };
            finding.look();
            largest = largest.max(bytes);
            if count(bytes) > most {
                finding.wrong(document, format!("{bytes} bytes were noted on its job, wanted at most {most}"));
            }
        }
        finding.fact("most bytes that were noted on a job", largest);
        finding
    }

    pub(super) fn nothing_completed(&self) -> Finding {
        let mut finding = Finding::over("documents with text");
        for (step, document) in self.last().filter(|(_, document)| document.has_text()) {
            finding.look();
            let (state, _) = &step.jobs[&document.id];
            let points = step.snapshot.points_of(&document.id).len();
            if *state == JobState::Completed {
                finding.wrong(
                    &document.id,
                    format!("its job completed, with {points} points, and it could not be embedded"),
                );
            }
            if let Some(row) = step.snapshot.rows.get(&document.id).filter(|row| row.done) {
                finding.wrong(&document.id, format!("its row says `{}`, and it could not be embedded", row.status));
            }
            if points > 0 {
                finding.wrong(&document.id, format!("{points} points are stored, and it could not be embedded"));
            }
        }
        finding
    }

    pub(super) fn duplicates(&self, most: f64) -> Finding {
        let mut finding = Finding::over("points");
        let baseline = self.observations.baseline.as_ref().and_then(|baseline| baseline.last());
        let mut all = Vec::new();
        for (document, points) in self.observations.last().iter().flat_map(|step| &step.snapshot.points) {
            if self.documents_matching.is_some_and(|globs| !globs.is_match(document.as_str())) {
                continue;
            }
            finding.looked_at += points.len();
            let baseline = baseline.map_or(&[][..], |step| step.snapshot.points_of(document));
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
        let sent: BTreeSet<&str> =
            self.observations.requests.iter().flat_map(|request| request.texts.iter().map(String::as_str)).collect();
        for (step, document) in self.last().filter(|(_, document)| !document.has_text()) {
            finding.look();
            let row = step.snapshot.rows.get(&document.id);
            match (self.observations.evidence.postgres.as_ref().and_then(|rows| rows.skipped.as_deref()), row) {
                (None, _) => {}
                (Some(_), None) => finding.wrong(&document.id, "has no row: it was skipped without a word"),
                (Some(skipped), Some(row)) if row.status != skipped => {
                    finding.wrong(&document.id, format!("its row says `{}`, wanted `{skipped}`", row.status));
                }
                (Some(_), Some(_)) => {}
            }
            let points = step.snapshot.points_of(&document.id).len();
            if points > 0 {
                finding.wrong(&document.id, format!("has {points} points, and no text"));
            }
            if sent.contains(document.text.as_str()) {
                finding.wrong(&document.id, "was sent to the embeddings API, which rejects empty input");
            }
            if step.jobs[&document.id].0 != JobState::Completed {
                finding.wrong(&document.id, format!("its job ended as {:?}", step.jobs[&document.id].0));
            }
        }
        if self.observations.requests.iter().any(|request| request.texts.iter().any(|text| text.trim().is_empty())) {
            finding.wrong("the embeddings API", "was sent a text without a letter");
        }
        finding
    }

    pub(super) fn writes_awaited(&self) -> Finding {
        let mut finding = Finding::over("changes of points that could be read");
        let Some(writes) = self.observations.writes else {
            finding.undecided = Some("no proxy stood before qdrant; name it in `watch`".to_owned());
            return finding;
        };
        finding.looked_at = usize::try_from(writes.total()).unwrap_or(usize::MAX);
        if writes.not_awaited > 0 {
            let of = writes.total();
            finding.wrong("qdrant", format!("{} of {of} changes were not waited for", writes.not_awaited));
        }
        finding
    }

    pub(super) fn rows_agree(&self) -> Finding {
        let mut finding = Finding::over("rows");
        // Where the contract names no column with the version, rows say nothing of it.
        let names_version = self.observations.evidence.postgres.as_ref().is_some_and(|rows| rows.version.is_some());
        for (step, document) in self.good() {
            finding.look();
            let points = step.snapshot.points_of(&document.id);
            match step.snapshot.rows.get(&document.id) {
                None => finding.wrong(&document.id, format!("{} points and no row", points.len())),
                Some(row) => {
                    if row.chunks != Some(points.len() as u64) {
                        finding.wrong(
                            &document.id,
                            format!("the row says {:?} chunks, there are {} points", row.chunks, points.len()),
                        );
                    }
                    let differs = |point: &Point| point.version.is_some() && point.version != row.version;
                    if names_version && points.iter().any(differs) {
                        finding.wrong(&document.id, "points are of another version than the row");
                    }
                }
            }
        }
        let known: BTreeSet<&str> = self
            .observations
            .last()
            .into_iter()
            .flat_map(|step| step.documents.iter().map(|document| document.id.as_str()))
            .collect();
        for (document, _) in self.points() {
            if !known.contains(document) {
                finding.wrong(format!("`{document}`"), "orphaned: points of a document that was never ingested");
            }
        }
        finding
    }

    pub(super) fn payload(&self) -> Finding {
        let mut finding = Finding::over("points");
        for (document, point) in self.points() {
            finding.look();
            let mut missing = Vec::new();
            if point.document.is_none() {
                missing.push("document");
            }
            let keys = &self.observations.evidence.qdrant;
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

    pub(super) fn deleted(&self) -> Finding {
        let mut finding = Finding::over("documents that were removed");
        for (step, document) in self.last() {
            finding.look();
            if step.jobs[&document.id].0 != JobState::Completed {
                finding.wrong(&document.id, format!("the job of its removal ended as {:?}", step.jobs[&document.id].0));
            }
            let points = step.snapshot.points_of(&document.id).len();
            if points > 0 {
                finding.wrong(&document.id, format!("{points} points are still there after its removal"));
            }
            if let Some(row) = step.snapshot.rows.get(&document.id).filter(|row| row.done) {
                finding.wrong(&document.id, format!("its row still says `{}`", row.status));
            }
        }
        finding
    }

    pub(super) fn other_documents_unchanged(&self) -> Finding {
        let mut finding = Finding::over("documents that the last step was not about");
        let [.., before, after] = self.observations.steps.as_slice() else { return finding };
        let concerned: BTreeSet<&str> = after.documents.iter().map(|document| document.id.as_str()).collect();
        let others = before.documents.iter().filter(|document| !concerned.contains(document.id.as_str()));
        for document in others.filter(|document| self.chosen(document)) {
            finding.look();
            let (old, new) = (before.snapshot.points_of(&document.id), after.snapshot.points_of(&document.id));
            if old != new {
                finding.wrong(
                    &document.id,
                    format!("had {} points, and has {} since others were removed", old.len(), new.len()),
                );
            }
            if before.snapshot.rows.get(&document.id) != after.snapshot.rows.get(&document.id) {
                let said = after.snapshot.rows.get(&document.id).map_or("is gone", |_| "has changed");
                finding.wrong(&document.id, format!("its row {said} since others were removed"));
            }
        }
        finding
    }

    pub(super) fn previous_version_kept(&self) -> Finding {
        let mut finding = Finding::over("documents whose new version was refused");
        let [.., before, after] = self.observations.steps.as_slice() else {
            finding.undecided = Some("the scenario has one step; there is no former version".to_owned());
            return finding;
        };
        for (_, document) in self.last().filter(|(step, document)| step.jobs[&document.id].0 == JobState::Failed) {
            finding.look();
            let (old, new) = (before.snapshot.points_of(&document.id), after.snapshot.points_of(&document.id));
            let lost = old.iter().filter(|point| !new.contains(point)).count();
            let added = new.iter().filter(|point| !old.contains(point)).count();
            if lost > 0 {
                finding.wrong(
                    &document.id,
                    format!(
                        "its new version was refused, and {lost} of {} points of the former one are gone",
                        old.len()
                    ),
                );
            } else if added > 0 {
                finding
                    .wrong(&document.id, format!("its new version was refused, and {added} points of it are stored"));
            }
        }
        finding
    }

    pub(super) fn unchanged(&self) -> Finding {
        let mut finding = Finding::over("documents");
        let [.., before, after] = self.observations.steps.as_slice() else {
            finding.undecided = Some("the scenario has one step; there is nothing to compare it with".to_owned());
            return finding;
        };
        let ids = |step: &'a StepRecord, document: &str| -> BTreeSet<&'a str> {
            step.snapshot.points_of(document).iter().map(|point| point.id.as_str()).collect()
        };
        for (_, document) in self.last() {
            finding.look();
            let (old, new) = (ids(before, &document.id), ids(after, &document.id));
            if old != new {
                finding.wrong(
                    &document.id,
                    format!(
                        "{} points before, {} after, {} of them new",
                        old.len(),
                        new.len(),
                        new.difference(&old).count()
                    ),
                );
            }
            if before.snapshot.rows.get(&document.id) != after.snapshot.rows.get(&document.id) {
                finding.wrong(&document.id, "its row is another one than before");
            }
        }
        finding
    }

    pub(super) fn stale_tail(&self) -> Finding {
        let mut finding = Finding::over("documents");
        for (step, document) in self.good() {
            finding.look();
            let points = step.snapshot.points_of(&document.id);
            let versions: BTreeSet<_> = points.iter().map(|point| point.version.as_deref().unwrap_or("none")).collect();
            if versions.len() > 1 {
                finding.wrong(&document.id, format!("points of {} versions are served side by side", versions.len()));
            }
            let foreign = points
                .iter()
                .filter(|point| point.text.as_deref().is_some_and(|text| !document.text.contains(text)))
                .count();
            if foreign > 0 {
                finding.wrong(&document.id, format!("{foreign} points hold text that the document no longer has"));
            }
        }
        finding
    }

    pub(super) fn poison(&self) -> Finding {
        let mut finding = Finding::over("poison documents");
        for (step, document) in self.last() {
            let (state, job) = &step.jobs[&document.id];
            if !document.rejected {
                continue;
            }
            finding.look();
            if *state != JobState::Failed {
                finding.wrong(&document.id, format!("its job ended as {state:?}, although its text was rejected"));
            }
            if job.attempts > 1 {
                finding
                    .wrong(&document.id, format!("was tried {} times: a rejected text stays rejected", job.attempts));
            }
            if job.failed_reason.as_deref().unwrap_or_default().is_empty() {
                finding.wrong(&document.id, "failed without a reason");
            }
            if let Some(row) = step.snapshot.rows.get(&document.id).filter(|row| row.done) {
                finding.wrong(&document.id, format!("its row says `{}`", row.status));
            }
        }
        finding
    }
}
