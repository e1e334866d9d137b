//! What the order of the jobs of a document shows.

use super::super::assessment::{Assessment, DocumentOutcome};
use super::super::documents::Document;
use super::super::observations::{JobState, StepRecord};
use super::run_cause::Sighting;
use crate::spec::Step;

/// An older job of a document ended after the newest one had begun, and something else is stored than the newest one makes of
/// the document.
pub(super) fn older_job_won(assessment: &Assessment) -> Option<Sighting> {
    let (newest, before) = assessment.observations.steps.split_last()?;
    let stored_otherwise = [DocumentOutcome::Unexpected, DocumentOutcome::Lost, DocumentOutcome::Corrupted];
    let wrong = assessment.documents().iter().filter(|document| stored_otherwise.contains(&document.outcome));
    let documents = wrong.filter_map(|wrong| {
        let document = newest.documents.iter().find(|document| document.id == wrong.document)?;
        let is_completed = newest.jobs.get(&document.id)?.0 == JobState::Completed;
        let is_late = before.iter().any(|older| ends_late(older, newest, document));
        let points = newest.snapshot.points_of(&document.id);
        let has_other_text =
            points.iter().any(|point| point.text.as_deref().is_some_and(|text| !document.text.contains(text)));
        // The newest version may be stored with another fault, such as wrong vectors.
        let is_otherwise = wrong.outcome == DocumentOutcome::Unexpected || points.is_empty() || has_other_text;
        (is_completed && is_late && is_otherwise).then_some(wrong.document.as_str())
    });
    Sighting::of_documents(documents, "stored otherwise than their newest job left them, after an older job ended late")
}

/// Whether an older job makes something else of the document, and ended after the newest one had begun.
fn ends_late(older: &StepRecord, newest: &StepRecord, document: &Document) -> bool {
    let times = |step: &StepRecord| step.jobs.get(&document.id).map(|(_, job)| (job.processed_on, job.finished_on));
    let (Some((_, Some(ended))), Some((Some(began), _))) = (times(older), times(newest)) else { return false };
    let is_removal = |step: &StepRecord| step.step == Step::Delete;
    let former = older.documents.iter().find(|former| former.id == document.id);
    let differs = is_removal(older) != is_removal(newest) || former.is_some_and(|former| former.text != document.text);
    differs && ended > began
}
