//! Whether rows agree with jobs and points.

use std::collections::BTreeSet;

use super::super::evidence::Point;
use super::super::observations::JobState;
use super::finding::Finding;
use super::measure::or_none;
use super::scope::Scope;

impl Scope<'_> {
    pub(super) fn rows_agree(&self) -> Finding {
        let mut finding = Finding::over("rows");
        // Without a column for the version in the contract, rows have none to compare.
        let names_version =
            self.observations.contract.evidence.postgres.as_ref().is_some_and(|rows| rows.version.is_some());
        for (step, document) in self.deliverable() {
            finding.examine();
            let points = step.snapshot.points_of(&document.id);
            match step.snapshot.rows.get(&document.id) {
                None => finding.wrong(&document.id, format!("{} points and no row", points.len())),
                Some(row) => {
                    if row.chunks != Some(points.len() as u64) {
                        finding.wrong(
                            &document.id,
                            format!(
                                "the row says {} chunks, and {} points are stored",
                                or_none(row.chunks),
                                points.len()
                            ),
                        );
                    }
                    let differs = |point: &Point| point.version.is_some() && point.version != row.version;
                    if names_version && points.iter().any(differs) {
                        finding.wrong(&document.id, "its points have another version than its row");
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
                finding.wrong(format!("`{document}`"), "orphaned: has points, and was never ingested");
            }
        }
        finding
    }

    /// With `failures`, only documents whose job failed are examined.
    pub(super) fn row_status_matches_job(&self, failures: bool) -> Finding {
        let mut finding =
            Finding::over(if failures { "documents whose job failed for good" } else { "documents whose job ended" });
        let Some(contract) = &self.observations.contract.evidence.postgres else { return finding };
        let failed = contract.failed.as_deref().unwrap_or_default();
        for (step, document) in self.last() {
            let has_failed = match step.jobs[&document.id].0 {
                JobState::Failed => true,
                JobState::Completed if !failures && document.has_text() => false,
                _ => continue,
            };
            finding.examine();
            let (what, wanted) =
                if has_failed { ("failed for good", failed) } else { ("completed", contract.done.as_str()) };
            let Some(row) = step.snapshot.rows.get(&document.id) else {
                finding.wrong(&document.id, format!("its job {what}, and it has no row"));
                continue;
            };
            let matches = if has_failed { row.status == failed } else { row.done };
            if !matches {
                finding.wrong(
                    &document.id,
                    format!("its job {what}, and its row says `{}`, wanted `{wanted}`", row.status),
                );
            } else if has_failed && contract.error.is_some() && row.error.as_deref().unwrap_or_default().is_empty() {
                finding.wrong(&document.id, format!("its row says `{failed}` without a reason"));
            }
        }
        finding
    }

    pub(super) fn row_after_points(&self) -> Finding {
        let mut finding = Finding::over("observed rows of stored documents");
        for step in &self.observations.steps {
            finding.examined += step.seen_done.len();
            for (document, seen) in &step.seen_done {
                if let Some(problem) = seen {
                    finding.wrong(document, problem.clone());
                }
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

    #[test]
    fn a_row_must_agree_with_the_points_of_its_document() {
        let run = TestRun::two_documents();
        check("rows_agree = true")
            .passes(&run)
            .fails(
                &run.edit_step(|step| step.row("a.md").chunks = Some(3)),
                "a.md: the row says 3 chunks, and 2 points are stored",
            )
            .fails(
                &run.edit_step(|step| step.row("b.md").version = Some("v0".to_owned())),
                "b.md: its points have another version than its row",
            )
            .is_unknown(&TestRun::ingested(&[]), "there were no rows to evaluate")
            .is_skipped(&run.edit(|seen| seen.contract.evidence.postgres = None), "the contract names no rows");
    }

    #[test]
    fn the_row_of_a_failed_document_must_say_so_and_why() {
        let run = TestRun::two_documents();
        let failed = run.edit_step(|step| step.fail("a.md", "no answer"));
        check("failed_rows_marked = true")
            .passes(&failed)
            .fails(
                &failed.edit_step(|step| "processing".clone_into(&mut step.row("a.md").status)),
                "a.md: its job failed for good, and its row says `processing`, wanted `failed`",
            )
            .fails(
                &failed.edit_step(|step| step.row("a.md").error = None),
                "a.md: its row says `failed` without a reason",
            )
            .is_unknown(&run, "there were no documents whose job failed for good to evaluate");
    }

    #[test]
    fn the_status_of_a_row_must_match_the_end_of_its_job() {
        let run = TestRun::two_documents();
        let late = run.edit_step(|step| {
            "processing".clone_into(&mut step.row("b.md").status);
            step.row("b.md").done = false;
        });
        let unfinished = run.edit_step(|step| {
            *step.state("a.md") = JobState::Unfinished;
            *step.state("b.md") = JobState::Unfinished;
        });
        check("row_status_matches_job = true")
            .passes(&run.edit_step(|step| step.fail("a.md", "no answer")))
            .fails(&late, "b.md: its job completed, and its row says `processing`, wanted `ready`")
            .is_unknown(&unfinished, "there were no documents whose job ended to evaluate");
    }

    #[test]
    fn a_row_may_not_be_done_before_the_points_are_stored() {
        let run = TestRun::two_documents();
        let seen = |problem: Option<&str>| {
            run.edit_step(|step| {
                step.seen_done.insert("a.md".to_owned(), problem.map(ToOwned::to_owned));
            })
        };
        check("row_after_points = true")
            .passes(&seen(None))
            .fails(
                &seen(Some("its row was `ready` when 1 of its 2 points were stored")),
                "a.md: its row was `ready` when 1 of its 2 points were stored",
            )
            .is_unknown(&run, "there were no observed rows of stored documents to evaluate");
    }
}
