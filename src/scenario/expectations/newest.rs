//! What is stored of a document whose jobs overlapped or ran in another order than they were added: the newest job holds.

use std::collections::BTreeMap;

use super::super::documents::Document;
use super::super::evidence::{Point, Row};
use super::super::observations::{JobState, StepRecord};
use super::super::stored_chunks;
use super::finding::Finding;
use super::measure::state_phrase;
use super::scope::Scope;
use crate::spec::Step;

/// A document with its newest job, and what is stored of it in the end.
struct Newest<'a> {
    /// The step that added the job.
    step: &'a StepRecord,
    document: &'a Document,
    points: &'a [Point],
    row: Option<&'a Row>,
}

impl Scope<'_> {
    pub(super) fn newest_stored(&self) -> Finding {
        let mut finding = Finding::over("documents");
        for newest in self.newest() {
            finding.examine();
            let (state, job) = &newest.step.jobs[&newest.document.id];
            let wrong = if *state == JobState::Completed {
                match newest.step.step {
                    Step::Delete => newest.left_of("the document was removed"),
                    _ if newest.document.has_text() => self.stored_otherwise(&newest),
                    _ => newest.left_of("the newest version has no text"),
                }
            } else {
                let reason = job.failed_reason.as_deref().unwrap_or("no reason given");
                Some(format!("its newest job {}: {reason}", state_phrase(*state)))
            };
            if let Some(wrong) = wrong {
                finding.wrong(&newest.document.id, wrong);
            }
        }
        finding
    }

    pub(super) fn failed_version_absent(&self) -> Finding {
        let mut finding = Finding::over("documents whose newest job failed");
        let failed = |newest: &Newest<'_>| newest.step.jobs[&newest.document.id].0 == JobState::Failed;
        for newest in self.newest().into_iter().filter(failed) {
            finding.examine();
            let Newest { document, points, row, .. } = newest;
            let former = |point: &&Point| {
                let before = self.observations.steps.iter().filter(|step| step.number < newest.step.number);
                let mut versions = before.flat_map(|step| &step.documents).filter(|own| own.id == document.id);
                versions.any(|version| self.is_of(point, version))
            };
            let of_former = points.iter().filter(former).count();
            if of_former < points.len() {
                let count = points.len() - of_former;
                finding.wrong(&document.id, format!("its newest version failed, and {count} points of it are stored"));
            } else if let Some(row) = row.filter(|row| row.done)
                && row.chunks.is_some_and(|chunks| chunks != points.len() as u64 || points.is_empty())
            {
                let (count, status) = (points.len(), &row.status);
                let what = format!("its newest version failed, its row says `{status}`, and {count} points are stored");
                finding.wrong(&document.id, what);
            }
        }
        finding
    }

    /// Every selected document with its newest job.
    fn newest(&self) -> Vec<Newest<'_>> {
        let Some(last) = self.observations.last() else { return Vec::new() };
        let mut newest: BTreeMap<&str, (&StepRecord, &Document)> = BTreeMap::new();
        for step in &self.observations.steps {
            newest.extend(step.documents.iter().map(|document| (document.id.as_str(), (step, document))));
        }
        let selected = newest.into_values().filter(|(_, document)| self.is_selected(document));
        selected
            .map(|(step, document)| Newest {
                step,
                document,
                points: last.snapshot.points_of(&document.id),
                row: last.snapshot.rows.get(&document.id),
            })
            .collect()
    }

    /// How what is stored differs from the newest version, if it does.
    fn stored_otherwise(&self, newest: &Newest<'_>) -> Option<String> {
        let Newest { document, points, row, .. } = newest;
        if points.is_empty() {
            return Some("nothing of its newest version is stored".to_owned());
        }
        let stale = points.iter().filter(|point| !self.is_of(point, document)).count();
        if stale == points.len() {
            return Some(format!(
                "an older version is stored: its {stale} points have other texts than the newest one"
            ));
        }
        if stale > 0 {
            return Some(format!(
                "{stale} of {} points have a text that the newest version does not have",
                points.len()
            ));
        }
        let baseline = self.assessment.baseline_points(&document.id);
        if let Some(missing) = baseline.and_then(|baseline| stored_chunks::missing_chunks(baseline, points)) {
            return Some(missing);
        }
        if let Some((chunk, extra)) = stored_chunks::doubles(points, baseline, Some(document)).first() {
            return Some(format!("{chunk} is stored {} times", extra + 1));
        }
        let contract = self.observations.contract.evidence.postgres.as_ref()?;
        let Some(row) = row else { return Some("its newest version is stored, and it has no row".to_owned()) };
        if !row.done {
            return Some(format!("its newest version is stored, and its row says `{}`", row.status));
        }
        if contract.chunks.is_some() && row.chunks != Some(points.len() as u64) {
            let chunks = row.chunks.map_or_else(|| "no number of".to_owned(), |chunks| chunks.to_string());
            return Some(format!("{} points are stored, and its row says {chunks} chunks", points.len()));
        }
        let other = |point: &&Point| point.version.is_some() && row.version.is_some() && point.version != row.version;
        points.iter().any(|point| other(&point)).then(|| "its row names another version than its points".to_owned())
    }

    /// Whether a point has a text of this version. White space is not compared; a point without a text is of any version.
    fn is_of(&self, point: &Point, version: &Document) -> bool {
        let words = |text: &str| {
            let text = self.observations.contract.chunks.without_dropped(text);
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        point.text.as_deref().is_none_or(|text| words(&version.text).contains(&words(text)))
    }
}

impl Newest<'_> {
    /// What is left although nothing should be, for this reason.
    fn left_of(&self, reason: &str) -> Option<String> {
        if !self.points.is_empty() {
            return Some(format!("{} points are stored, although {reason}", self.points.len()));
        }
        let row = self.row.filter(|row| row.done)?;
        Some(format!("its row says `{}`, although {reason}", row.status))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::TestRun;
    use super::super::testing::check;
    use crate::spec::Step;

    /// Two documents, and then the newer version of one: with another first chunk.
    fn revised() -> TestRun {
        TestRun::two_documents().then(|step| {
            (step.step, step.number) = (Step::Revise, 1);
            step.document("a.md").text = "Other chunk. Second chunk.".to_owned();
            step.points("a.md")[0].text = Some("Other chunk.".to_owned());
        })
    }

    #[test]
    fn the_newest_version_is_stored_and_nothing_else() {
        let run = revised();
        let older = |run: &TestRun, points: usize| {
            run.edit_step(|step| {
                for point in &mut step.points("a.md")[..points] {
                    point.text = Some("First chunk. ".to_owned());
                }
            })
        };
        check("newest_stored = true")
            .passes(&run)
            .fails(
                &older(&run, 2),
                "a.md: an older version is stored: its 2 points have other texts than the newest one",
            )
            .fails(&older(&run, 1), "a.md: 1 of 2 points have a text that the newest version does not have")
            .fails(&run.edit_step(|step| step.points("a.md").clear()), "a.md: nothing of its newest version is stored")
            .fails(&run.edit_step(|step| step.duplicate("a.md")), "a.md: chunk 0 is stored 2 times")
            .fails(&run.edit_step(|step| step.fail("a.md", "429")), "a.md: its newest job failed: 429")
            .fails(
                &run.edit_step(|step| step.row("a.md").done = false),
                "a.md: its newest version is stored, and its row says `ready`",
            )
            .fails(
                &run.edit_step(|step| step.row("a.md").version = Some("v0".to_owned())),
                "a.md: its row names another version than its points",
            )
            .fails(
                &run.compared_with(&run).edit_step(|step| drop(step.points("a.md").pop())),
                "a.md: 1 of 2 baseline chunks are missing (the first is chunk 1); 0 points are not in the baseline",
            )
            // What is wrong with the white space alone is the matter of other cases.
            .passes(&run.edit_step(|step| step.points("a.md")[0].text = Some(" Other\n chunk. ".to_owned())));
    }

    #[test]
    fn nothing_is_stored_of_a_document_whose_newest_job_removed_or_emptied_it() {
        let removed = TestRun::two_documents().then(|step| {
            (step.step, step.number) = (Step::Delete, 1);
            step.remove("a.md");
        });
        let emptied = TestRun::two_documents().then(|step| {
            (step.step, step.number) = (Step::Empty, 1);
            step.document("a.md").text.clear();
            step.points("a.md").clear();
            step.row("a.md").done = false;
        });
        let stored = TestRun::two_documents().assessment().observations.steps[0].snapshot.clone();
        let back = |run: &TestRun| {
            run.edit_step(|step| {
                let points = stored.points_of("a.md").to_vec();
                step.snapshot.points.insert("a.md".to_owned(), points);
            })
        };
        check("newest_stored = true")
            .passes(&removed)
            .fails(&back(&removed), "a.md: 2 points are stored, although the document was removed")
            .passes(&emptied)
            .fails(&back(&emptied), "a.md: 2 points are stored, although the newest version has no text")
            .fails(
                &emptied.edit_step(|step| step.row("a.md").done = true),
                "a.md: its row says `ready`, although the newest version has no text",
            );
    }

    #[test]
    fn nothing_is_stored_of_a_version_that_failed() {
        let failed = revised().edit_step(|step| step.fail("a.md", "422: rejected"));
        let with_points = |text: &str, done: bool| {
            let points = revised().assessment().observations.last().unwrap().snapshot.points_of("a.md").to_vec();
            failed.edit_step(|step| {
                *step.points("a.md") = points;
                step.points("a.md")[0].text = Some(text.to_owned());
                step.row("a.md").done = done;
            })
        };
        check("failed_version_absent = true")
            .passes(&failed)
            .fails(
                &with_points("Other chunk.", false),
                "a.md: its newest version failed, and 1 points of it are stored",
            )
            .passes(&with_points("First chunk. ", false))
            .passes(&with_points("First chunk. ", true))
            .fails(
                &with_points("First chunk. ", true).edit_step(|step| drop(step.points("a.md").pop())),
                "a.md: its newest version failed, its row says `failed`, and 1 points are stored",
            )
            .is_unknown(&revised(), "there were no documents whose newest job failed to evaluate");
    }
}
