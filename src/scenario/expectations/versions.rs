//! What a new version, a repetition or a removal changes, and what it leaves alone.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::observations::{JobState, StepRecord};
use super::finding::Finding;
use super::measure::state_phrase;
use super::scope::Scope;

impl<'a> Scope<'a> {
    pub(super) fn unchanged(&self) -> Finding {
        let mut finding = Finding::over("documents");
        let [.., before, after] = self.observations.steps.as_slice() else {
            finding.undecided = Some("the scenario has only one step, and so nothing to compare".to_owned());
            return finding;
        };
        let ids = |step: &'a StepRecord, document: &str| -> BTreeSet<&'a str> {
            step.snapshot.points_of(document).iter().map(|point| point.id.as_str()).collect()
        };
        for (_, document) in self.last() {
            finding.examine();
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
                finding.wrong(&document.id, "its row has changed");
            }
        }
        finding
    }

    pub(super) fn no_stale_chunks(&self) -> Finding {
        let mut finding = Finding::over("documents");
        for (step, document) in self.deliverable() {
            finding.examine();
            let points = step.snapshot.points_of(&document.id);
            let versions: BTreeSet<_> = points.iter().map(|point| point.version.as_deref().unwrap_or("none")).collect();
            if versions.len() > 1 {
                finding.wrong(&document.id, format!("has points of {} versions at the same time", versions.len()));
            }
            let stale = points
                .iter()
                .filter(|point| point.text.as_deref().is_some_and(|text| !document.text.contains(text)))
                .count();
            if stale > 0 {
                finding.wrong(&document.id, format!("{stale} points have a text that the document no longer contains"));
            }
        }
        finding
    }

    pub(super) fn points_never_drop(&self) -> Finding {
        let mut finding = Finding::over("observations of the collection");
        for pair in self.observations.steps.windows(2) {
            let Some(least) = pair[1].least_points else { continue };
            finding.examine();
            let before: usize = pair[0].snapshot.points.values().map(Vec::len).sum();
            finding.fact("points before, and fewest seen", json!([before, least]));
            if least < before as u64 {
                finding.wrong(
                    "the collection",
                    format!("held {least} points at one moment, and {before} before: searches missed documents"),
                );
            }
        }
        finding
    }

    pub(super) fn deleted(&self) -> Finding {
        let mut finding = Finding::over("removed documents");
        for (step, document) in self.last() {
            finding.examine();
            if step.jobs[&document.id].0 != JobState::Completed {
                finding.wrong(
                    &document.id,
                    format!("the job of its removal {}, wanted completed", state_phrase(step.jobs[&document.id].0)),
                );
            }
            let points = step.snapshot.points_of(&document.id).len();
            if points > 0 {
                finding.wrong(&document.id, format!("{points} points are still stored after its removal"));
            }
            if let Some(row) = step.snapshot.rows.get(&document.id).filter(|row| row.done) {
                finding.wrong(&document.id, format!("its row still says `{}`", row.status));
            }
        }
        finding
    }

    pub(super) fn other_documents_unchanged(&self) -> Finding {
        let mut finding = Finding::over("documents that the last step did not touch");
        let [.., before, after] = self.observations.steps.as_slice() else { return finding };
        let touched: BTreeSet<&str> = after.documents.iter().map(|document| document.id.as_str()).collect();
        let others = before.documents.iter().filter(|document| !touched.contains(document.id.as_str()));
        for document in others.filter(|document| self.is_selected(document)) {
            finding.examine();
            let (old, new) = (before.snapshot.points_of(&document.id), after.snapshot.points_of(&document.id));
            if old != new {
                finding.wrong(
                    &document.id,
                    format!("had {} points, and has {} since others were removed", old.len(), new.len()),
                );
            }
            if before.snapshot.rows.get(&document.id) != after.snapshot.rows.get(&document.id) {
                let what = after.snapshot.rows.get(&document.id).map_or("is gone", |_| "has changed");
                finding.wrong(&document.id, format!("its row {what} since others were removed"));
            }
        }
        finding
    }

    pub(super) fn previous_version_kept(&self) -> Finding {
        let mut finding = Finding::over("documents whose new version was refused");
        let [.., before, after] = self.observations.steps.as_slice() else {
            finding.undecided = Some("the scenario has only one step, and so no previous version".to_owned());
            return finding;
        };
        for (_, document) in self.last().filter(|(step, document)| step.jobs[&document.id].0 == JobState::Failed) {
            finding.examine();
            let (old, new) = (before.snapshot.points_of(&document.id), after.snapshot.points_of(&document.id));
            let lost = old.iter().filter(|point| !new.contains(point)).count();
            let added = new.iter().filter(|point| !old.contains(point)).count();
            if lost > 0 {
                finding.wrong(
                    &document.id,
                    format!(
                        "its new version was refused, and {lost} of {} points of the previous version are gone",
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
}
