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
