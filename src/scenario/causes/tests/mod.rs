//! Each cause is named for what shows it, and not for what nearly does.

mod explained;
mod jobs;
mod lines;
mod process;
mod vectors;

use super::super::jobs::job_id;
use super::super::observations::ApiFault;
use super::super::testing::{SECRET, TestRun, exit, fault};
use super::*;
use crate::services::queue::QueueEvent;
use crate::spec::Target;

/// The names of the causes that a run shows.
fn ids(run: &TestRun) -> Vec<String> {
    find(&run.assessment()).iter().map(RunCause::id).collect()
}

/// The first evidence of each cause that a run shows.
fn evidence(run: &TestRun) -> Vec<String> {
    find(&run.assessment()).into_iter().map(|cause| cause.evidence[0].clone()).collect()
}

#[track_caller]
fn assert_ids(run: &TestRun, wanted: &[&str]) {
    assert_eq!(ids(run), wanted, "{:?}", evidence(run));
}

/// An event of a document's job at a time in milliseconds.
fn event(at_ms: i64, document: &str, what: &str, detail: Option<&str>) -> (i64, QueueEvent) {
    let event = QueueEvent {
        id: "0-0".to_owned(),
        what: what.to_owned(),
        job: Some(job_id(0, document)),
        detail: detail.map(ToOwned::to_owned),
    };
    (at_ms, event)
}

/// The run with this output of its worker.
fn with_output(run: &TestRun, output: &str) -> TestRun {
    run.edit(|seen| output.clone_into(&mut seen.workers.log))
}

/// A run in which the job of `a.md` failed for good at a time, after some attempts, for a reason.
fn failed(at_ms: i64, attempts: u64, reason: &str) -> TestRun {
    let run = TestRun::two_documents().edit_step(|step| {
        step.fail("a.md", reason);
        step.job("a.md").attempts = attempts;
    });
    run.edit(|seen| seen.queue.events = vec![event(at_ms, "a.md", "failed", Some(reason))])
}

/// A run whose embeddings API is configured to fail, and did.
fn with_api_fault(run: &TestRun) -> TestRun {
    run.edit(|seen| {
        seen.embeddings.api_fault = Some(ApiFault { what: "configured behaviour", took_effect: true });
    })
}

#[test]
fn a_run_in_which_all_is_well_shows_no_cause() {
    assert_ids(&TestRun::two_documents(), &[]);
    assert_ids(&TestRun::two_documents().edit(|seen| seen.faults = vec![fault(Target::Redis, 0, 1000)]), &[]);
}

#[test]
fn a_cause_about_something_has_it_in_its_name_and_its_sentence() {
    let run = failed(10, 1, "column \"hash\" of relation \"documents\" does not exist");
    let causes = find(&run.assessment());
    assert_eq!(causes[0].id(), "column-missing:hash");
    assert_eq!(causes[0].sentence(), "The worker's statement uses the column hash, which the table does not have.");
    assert!(causes[0].libraries().any(|(library, _)| library == "alembic"));
}
