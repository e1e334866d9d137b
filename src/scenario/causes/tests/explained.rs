//! Which cases a cause explains.

use super::*;
use crate::scenario::expectations::violations;
use crate::spec::{All, Expectation, Intact};

/// The names of the causes that explain all that is wrong in a case.
fn explaining(expectations: &[Expectation], run: &TestRun) -> Vec<String> {
    let assessment = run.assessment();
    let causes = find(&assessment);
    let violations = violations(expectations, &assessment, None);
    assert!(!violations.is_empty(), "nothing is wrong");
    explain(&violations, &causes, &assessment).into_iter().map(|place| causes[place].id()).collect()
}

const DELIVERED: Expectation = Expectation::Delivered(All::All);
const INTACT: Expectation = Expectation::DocumentsIntact(Intact::Intact);

#[test]
fn a_cause_explains_what_follows_from_it_and_nothing_else() {
    let exchanged = TestRun::two_documents().edit_step(|step| {
        let [first, second] = &mut step.points("a.md")[..] else { panic!("two chunks") };
        std::mem::swap(&mut first.vector, &mut second.vector);
    });
    let cause = ["vectors-paired-by-position"];
    assert_eq!(explaining(&[Expectation::VectorsMatchTexts], &exchanged), cause);
    assert_eq!(explaining(&[INTACT], &exchanged), cause);
    // Output that is no JSON has nothing to do with it.
    let plain = with_output(&exchanged, "plain text\n");
    assert_eq!(explaining(&[Expectation::LogIsJson], &plain), Vec::<String>::new());
    // If a part is not explained, the case is not.
    assert_eq!(explaining(&[Expectation::VectorsMatchTexts, Expectation::LogIsJson], &plain), Vec::<String>::new());
}

#[test]
fn a_document_that_is_lost_is_not_explained_by_the_wrong_vectors_of_another() {
    let run = TestRun::two_documents().edit_step(|step| {
        let [first, second] = &mut step.points("a.md")[..] else { panic!("two chunks") };
        std::mem::swap(&mut first.vector, &mut second.vector);
        step.points("b.md").clear();
    });
    assert_eq!(explaining(&[INTACT], &run), ["vectors-paired-by-position", "completed-without-points"]);
    let other = run.edit_step(|step| step.fail("b.md", "something else"));
    assert_eq!(explaining(&[INTACT], &other), Vec::<String>::new());
}

#[test]
fn a_reason_explains_the_documents_that_failed_for_it() {
    let run = failed(10, 3, "Index required but not found");
    let cause = ["qdrant-index-missing"];
    assert_eq!(explaining(&[DELIVERED], &run), cause);
    assert_eq!(explaining(&[Expectation::MaxAttempts(1.0)], &run), cause);
    // The row must say so, whatever the reason is.
    let behind = run.edit_step(|step| step.row("a.md").status = "processing".to_owned());
    assert_eq!(explaining(&[Expectation::FailedRowsMarked], &behind), ["row-left-behind:processing"]);
    let both = run.edit_step(|step| step.fail("b.md", "something else"));
    assert_eq!(explaining(&[DELIVERED], &both), Vec::<String>::new());
}

#[test]
fn a_process_that_ended_explains_lost_documents_and_not_corrupted_ones() {
    let died = TestRun::two_documents().edit(|seen| seen.workers.died = Some("exited with code 3".to_owned()));
    let lost = died.edit_step(|step| *step.state("a.md") = super::super::super::JobState::Unfinished);
    assert_eq!(explaining(&[DELIVERED], &lost), ["worker-exited"]);
    assert_eq!(explaining(&[Expectation::ExitsCleanly], &died), ["worker-exited"]);
    let corrupted = died.edit_step(|step| step.points("a.md")[0].vector.reverse());
    assert_eq!(explaining(&[INTACT], &corrupted), Vec::<String>::new());
}

#[test]
fn a_case_with_nothing_to_evaluate_is_explained_if_every_document_is_lost_for_a_cause() {
    let explained = |run: &TestRun| {
        let assessment = run.assessment();
        let causes = find(&assessment);
        let places = explain_nothing_stored(&causes, &assessment);
        places.into_iter().map(|place| causes[place].id()).collect::<Vec<_>>()
    };
    let one = TestRun::two_documents().edit_step(|step| step.points("a.md").clear());
    assert_eq!(explained(&one), Vec::<String>::new(), "the other one is stored");
    assert_eq!(explained(&one.edit_step(|step| step.points("b.md").clear())), ["completed-without-points"]);
}
