//! What the rows show.

use super::super::observations::{JobState, Observations};
use super::run_cause::Sighting;

/// Why the rows that the contract names cannot be read.
pub(super) fn unreadable(observations: &Observations) -> Option<Sighting> {
    let why = observations.steps.iter().rev().find_map(|step| step.snapshot.no_rows.as_ref())?;
    Some(Sighting::of_run(format!("reading the rows: {why}")).about(why.clone()))
}

/// Rows of documents whose job failed for good, with a status that is neither done nor failed. A worker that died could
/// not have changed them.
pub(super) fn left_behind(observations: &Observations) -> Option<Sighting> {
    let failed = observations.contract.evidence.postgres.as_ref()?.failed.as_deref()?;
    if observations.workers.died.is_some() {
        return None;
    }
    let step = observations.last()?;
    let behind = step.jobs.iter().filter(|(_, (state, _))| *state == JobState::Failed).filter_map(|(document, _)| {
        let row = step.snapshot.rows.get(document)?;
        (!row.done && row.status != failed).then_some((document, row.status.as_str()))
    });
    let behind: Vec<(&String, &str)> = behind.collect();
    let (_, status) = *behind.first()?;
    let alike = behind.iter().filter(|(_, other)| *other == status).map(|(document, _)| (*document).clone());
    let what = format!("whose job failed for good have the row status `{status}`");
    Some(Sighting::of_documents(alike, &what)?.about(status))
}
