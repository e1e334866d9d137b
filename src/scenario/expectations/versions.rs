//! What a new version, a repetition or a removal changes, and what it leaves alone.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::evidence::Point;
use super::super::observations::{JobState, StepRecord};
use super::finding::Finding;
use super::measure::state_phrase;
use super::scope::Scope;
use crate::settings::PointIds;

impl Scope<'_> {
    pub(super) fn unchanged(&self) -> Finding {
        let mut finding = Finding::over("documents");
        let [.., before, after] = self.observations.steps.as_slice() else {
            finding.undecided = Some("the scenario has only one step, and so nothing to compare".to_owned());
            return finding;
        };
        let needs_ids = self.observations.contract.chunks.ids == Some(PointIds::Stable);
        for (_, document) in self.last() {
            finding.examine();
            let other_ids = changed_ids(before, after, &document.id).filter(|_| needs_ids);
            if let Some(what) = other_ids.or_else(|| changed_contents(before, after, &document.id)) {
                finding.wrong(&document.id, what);
            }
            if before.snapshot.rows.get(&document.id) != after.snapshot.rows.get(&document.id) {
                finding.wrong(&document.id, "its row has changed");
            }
        }
        finding
    }

    pub(super) fn point_ids_kept(&self) -> Finding {
        let mut finding = Finding::over("documents");
        let [.., before, after] = self.observations.steps.as_slice() else {
            finding.undecided = Some("the scenario has only one step, and so nothing to compare".to_owned());
            return finding;
        };
        for (_, document) in self.last() {
            finding.examine();
            if let Some(what) = changed_ids(before, after, &document.id) {
                finding.wrong(&document.id, what);
            }
        }
        finding
    }

    pub(super) fn no_stale_chunks(&self) -> Finding {
        let contract = &self.observations.contract.chunks;
        let mut finding = Finding::over("documents");
        for (step, document) in self.deliverable() {
            finding.examine();
            let points = step.snapshot.points_of(&document.id);
            let versions: BTreeSet<_> = points.iter().map(|point| point.version.as_deref().unwrap_or("none")).collect();
            if versions.len() > 1 {
                finding.wrong(&document.id, format!("has points of {} versions at the same time", versions.len()));
            }
            let current = contract.without_dropped(&document.text);
            let is_stale = |text: &str| !current.contains(contract.without_dropped(text).as_ref());
            let stale = points.iter().filter(|point| point.text.as_deref().is_some_and(is_stale)).count();
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

/// How the ids of a document's points differ between two steps; `None` if they do not.
fn changed_ids(before: &StepRecord, after: &StepRecord, document: &str) -> Option<String> {
    fn ids<'a>(step: &'a StepRecord, document: &str) -> BTreeSet<&'a str> {
        step.snapshot.points_of(document).iter().map(|point| point.id.as_str()).collect()
    }
    let (old, new) = (ids(before, document), ids(after, document));
    (old != new).then(|| {
        let added = new.difference(&old).count();
        format!("{} points before, {} after, {added} of them new", old.len(), new.len())
    })
}

/// How the contents of a document's points differ between two steps, whatever their ids; `None` if they do not.
fn changed_contents(before: &StepRecord, after: &StepRecord, document: &str) -> Option<String> {
    let (old, new) = (before.snapshot.points_of(document), after.snapshot.points_of(document));
    let is_same = |left: &Point, right: &Point| {
        let place = |point: &Point| (point.chunk, point.offset);
        place(left) == place(right) && left.text == right.text && left.vector == right.vector
    };
    let mut left: Vec<&Point> = old.iter().collect();
    let mut changed = 0;
    for point in new {
        match left.iter().position(|former| is_same(former, point)) {
            Some(place) => drop(left.swap_remove(place)),
            None => changed += 1,
        }
    }
    (changed > 0 || !left.is_empty())
        .then(|| format!("{} points before, {} after, {changed} of them with other contents", old.len(), new.len()))
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::TestRun;
    use super::super::testing::check;
    use crate::settings::{ChunksContract, PointIds};

    #[test]
    fn the_last_step_may_change_nothing() {
        let run = TestRun::two_documents();
        let ordinary = run.edit(|seen| seen.contract.chunks = ChunksContract::default());
        check("unchanged = true")
            .passes(&run.then(|_| {}))
            .fails(
                &run.then(|step| "new".clone_into(&mut step.points("a.md")[0].id)),
                "a.md: 2 points before, 2 after, 1 of them new",
            )
            .fails(&run.then(|step| step.row("b.md").version = None), "b.md: its row has changed")
            .passes(&ordinary.then(|step| "new".clone_into(&mut step.points("a.md")[0].id)))
            .fails(
                &ordinary.then(|step| step.points("a.md")[0].text = Some("Other.".to_owned())),
                "a.md: 2 points before, 2 after, 1 of them with other contents",
            )
            .fails(
                &ordinary.then(|step| step.duplicate("b.md")).edit_step(|step| step.row("b.md").chunks = Some(1)),
                "b.md: 1 points before, 2 after, 1 of them with other contents",
            )
            .is_unknown(&run, "the scenario has only one step, and so nothing to compare");
    }

    #[test]
    fn the_ids_of_points_stay_unless_the_contract_says_that_they_are_replaced() {
        let run = TestRun::two_documents();
        let replaced = run.edit(|seen| seen.contract.chunks.ids = Some(PointIds::Replaced));
        check("point_ids_kept = true")
            .passes(&run.then(|_| {}))
            .fails(
                &run.then(|step| "new".clone_into(&mut step.points("a.md")[0].id)),
                "a.md: 2 points before, 2 after, 1 of them new",
            )
            .is_skipped(&replaced.then(|_| {}), "the ids of points are replaced")
            .is_unknown(&run, "the scenario has only one step, and so nothing to compare");
    }

    #[test]
    fn no_point_of_an_older_version_may_be_left() {
        let run = TestRun::two_documents();
        check("no_stale_chunks = true")
            .passes(&run)
            .fails(
                &run.edit_step(|step| step.points("a.md")[1].version = Some("v0".to_owned())),
                "a.md: has points of 2 versions at the same time",
            )
            .fails(
                &run.edit_step(|step| step.points("a.md")[1].text = Some("Old chunk.".to_owned())),
                "a.md: 1 points have a text that the document no longer contains",
            )
            .is_unknown(&TestRun::ingested(&[]), "there were no documents to evaluate");
    }

    #[test]
    fn the_number_of_points_may_not_drop_during_a_step() {
        let run = TestRun::two_documents();
        check("points_never_drop = true")
            .passes(&run.then(|step| step.least_points = Some(3)))
            .fails(
                &run.then(|step| step.least_points = Some(2)),
                "the collection: held 2 points at one moment, and 3 before: searches missed documents",
            )
            .is_unknown(&run, "there were no observations of the collection to evaluate");
    }

    #[test]
    fn nothing_of_a_removed_document_may_be_left() {
        let run = TestRun::two_documents();
        let removed = run.then(|step| step.remove("a.md"));
        let left = run.then(|step| {
            let points = step.points("a.md").clone();
            step.remove("a.md");
            step.snapshot.points.insert("a.md".to_owned(), points);
        });
        check("deleted = true")
            .passes(&removed)
            .fails(&left, "a.md: 2 points are still stored after its removal")
            .is_unknown(&TestRun::ingested(&[]), "there were no removed documents to evaluate");
    }

    #[test]
    fn a_removal_may_not_change_other_documents() {
        let run = TestRun::two_documents();
        let removed = run.then(|step| step.remove("a.md"));
        check("other_documents_unchanged = true")
            .passes(&removed)
            .fails(
                &removed.edit_step(|step| step.points("b.md").clear()),
                "b.md: had 1 points, and has 0 since others were removed",
            )
            .fails(
                &removed.edit_step(|step| drop(step.snapshot.rows.remove("b.md"))),
                "b.md: its row is gone since others were removed",
            )
            .is_unknown(&run, "there were no documents that the last step did not touch to evaluate");
    }

    #[test]
    fn the_previous_version_must_stay_when_the_new_one_is_refused() {
        let run = TestRun::two_documents();
        let kept = run.then(|step| {
            let points = step.points("a.md").clone();
            step.fail("a.md", "422: rejected");
            *step.points("a.md") = points;
        });
        check("previous_version_kept = true")
            .passes(&kept)
            .fails(
                &run.then(|step| step.fail("a.md", "422: rejected")),
                "a.md: its new version was refused, and 2 of 2 points of the previous version are gone",
            )
            .fails(
                &kept.edit_step(|step| {
                    let mut added = step.points("a.md")[0].clone();
                    "new".clone_into(&mut added.id);
                    step.points("a.md").push(added);
                }),
                "a.md: its new version was refused, and 1 points of it are stored",
            )
            .is_unknown(&run, "the scenario has only one step, and so no previous version");
    }
}
