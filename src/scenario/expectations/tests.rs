//! Verdicts of several expectations: which is the gravest, what is skipped, and what the evidence says.

use std::path::Path;

use globset::{Glob, GlobSetBuilder};

use super::super::observations::ApiFault;
use super::super::testing::{TestRun, missed_fault};
use super::*;
use crate::spec::{Range, Target};

fn verdict(expectations: &[Expectation], run: &TestRun) -> Verdict {
    evaluate(&[], expectations, &run.assessment(), None, Level::Must).0
}

#[test]
fn a_pass_is_unknown_if_the_fault_affected_nothing() {
    let drained = [Expectation::QueueDrained];
    let run = TestRun::two_documents().edit(|seen| seen.faults = vec![missed_fault(Target::Redis)]);
    let reason = "the cut of redis never took effect: it affected nothing";
    assert_eq!(verdict(&drained, &run), Verdict::unknown(reason));
    let run = run.edit(|seen| seen.queue.counts.active = 1);
    let reason = "the queue: still holds 1 unfinished job: 1 active";
    assert_eq!(verdict(&drained, &run), Verdict::unmet(Level::Must, reason), "a failure stays a failure");
}

#[test]
fn a_pass_is_skipped_if_the_worker_sends_no_request_for_which_the_fault_is_meant() {
    let drained = [Expectation::QueueDrained];
    let run = |others| {
        let fault = FaultRecord { others, ..missed_fault(Target::Qdrant) };
        TestRun::two_documents().edit(|seen| seen.faults = vec![fault])
    };
    let reason = "the worker sends no request for which the cut of qdrant is meant";
    assert_eq!(verdict(&drained, &run(3)), Verdict::skip(reason));
    let reason = "the cut of qdrant never took effect: it affected nothing";
    assert_eq!(verdict(&drained, &run(0)), Verdict::unknown(reason));
}

#[test]
fn a_pass_is_unknown_if_the_api_fault_affected_no_request() {
    let run = |took_effect| {
        let what = "rate limit of the embeddings API";
        TestRun::two_documents().edit(|seen| seen.embeddings.api_fault = Some(ApiFault { what, took_effect }))
    };
    let drained = [Expectation::QueueDrained];
    assert_eq!(verdict(&drained, &run(true)), Verdict::Pass);
    let reason = "the rate limit of the embeddings API never took effect: it affected no request";
    assert_eq!(verdict(&drained, &run(false)), Verdict::unknown(reason));
}

#[test]
fn only_the_documents_that_match_are_considered() {
    let matching = |glob: &str| GlobSetBuilder::new().add(Glob::new(glob).unwrap()).build().unwrap();
    let run = TestRun::two_documents().edit_step(|step| step.job("a.md").attempts = 3);
    let verdict = |glob: &str| {
        let matching = matching(glob);
        evaluate(&[], &[Expectation::MaxAttempts(1.0)], &run.assessment(), Some(&matching), Level::Must).0
    };
    assert_eq!(verdict("b.*"), Verdict::Pass);
    assert!(matches!(verdict("a.*"), Verdict::Fail { .. }));
    assert_eq!(verdict("c.*"), Verdict::unknown("there were no jobs to evaluate"));
}

#[test]
fn the_first_of_the_gravest_findings_gives_the_verdict() {
    let run = TestRun::two_documents().edit_step(|step| {
        step.job("a.md").attempts = 3;
        step.job("a.md").starts = 3;
    });
    let all = [Expectation::Unchanged, Expectation::MaxAttempts(1.0), Expectation::MaxExecutions(1.0)];
    let reason = "a.md: its job took 3 attempts, wanted at most 1; last reason: no reason given";
    assert_eq!(verdict(&all, &run), Verdict::unmet(Level::Must, reason));
}

#[test]
fn an_expectation_is_skipped_if_the_contract_names_too_little() {
    let run = TestRun::two_documents().edit(|seen| {
        let evidence = &mut seen.contract.evidence;
        (evidence.qdrant.chunk, evidence.qdrant.text, evidence.qdrant.version) = (None, None, None);
        evidence.postgres = None;
    });
    let range = Range { at_least: None, at_most: Some(1.0) };
    for (expectation, key) in [
        (Expectation::VectorsMatchTexts, "text"),
        (Expectation::ChunkTokens(range), "text"),
        (Expectation::ChunksFitModel, "text"),
        (Expectation::UnicodeIntact, "text"),
        (Expectation::BatchesFilled(2.0), "text"),
        (Expectation::OverlapTokens(range), "text"),
        (Expectation::Reassembled, "text"),
        (Expectation::NoStaleChunks, "text"),
        (Expectation::ChunksNumbered, "chunk"),
        (Expectation::RowsAgree, "postgres"),
        (Expectation::RowAfterPoints, "postgres"),
        (Expectation::FailedRowsMarked, "failed"),
        (Expectation::RowStatusMatchesJob, "failed"),
    ] {
        let found = verdict(std::slice::from_ref(&expectation), &run);
        let Verdict::Skip { reason } = &found else { panic!("{expectation:?}: {found:?}") };
        assert!(reason.contains(&format!("add `{key} = ")), "{expectation:?}: {reason}");
    }
    assert_eq!(verdict(&[Expectation::QueueDrained], &run), Verdict::Pass);
}

#[test]
fn what_the_contract_declares_is_a_must_and_what_it_does_not_is_a_recommendation() {
    let range = Range { at_least: None, at_most: Some(512.0) };
    let declared = Contract::reference(Path::new("shakedown"), Path::new("."));
    let silent = Contract::for_worker(declared.worker.clone());
    for (expectation, is_declared, level) in [
        (Expectation::ChunkTokens(range), true, Level::Must),
        (Expectation::ChunkTokens(range), false, Level::Should),
        (Expectation::OverlapTokens(range), false, Level::Should),
        (Expectation::ChunksFitModel, false, Level::Must),
        (Expectation::Reassembled, false, Level::Must),
        (Expectation::RequestsWellFormed, true, Level::Must),
        (Expectation::RequestsWellFormed, false, Level::Should),
        (Expectation::NewestStored, true, Level::Must),
        (Expectation::NewestStored, false, Level::Should),
        (Expectation::FailedVersionAbsent, false, Level::Must),
    ] {
        let contract = if is_declared { &declared } else { &silent };
        let found = level_for(std::slice::from_ref(&expectation), Level::Must, contract);
        assert_eq!(found, level, "{expectation:?} {is_declared}");
    }
    assert_eq!(level_for(&[Expectation::ChunkTokens(range)], Level::May, &silent), Level::May);
}

#[test]
fn the_evidence_of_a_failure_has_the_last_output_without_secrets() {
    let run = TestRun::two_documents().edit(|seen| {
        seen.queue.counts.active = 1;
        seen.workers.log = format!("one\ntwo\nthree\nconnected to {}", super::super::testing::SECRET);
    });
    let (_, evidence) = evaluate(&[], &[Expectation::QueueDrained], &run.assessment(), None, Level::Must);
    let output =
        Evidence::seen("the worker's last output", "two\nthree\nconnected to redis://:********@127.0.0.1:6379");
    assert_eq!(evidence.last(), Some(&output));
}

#[test]
fn the_evidence_of_a_failure_has_the_last_error_instead_of_later_lines() {
    let run = TestRun::two_documents().edit(|seen| {
        seen.queue.counts.active = 1;
        seen.workers.log = "ERROR no answer\n    at fetch\ninfo one\ninfo two\ninfo three\n".to_owned();
    });
    let (_, evidence) = evaluate(&[], &[Expectation::QueueDrained], &run.assessment(), None, Level::Must);
    assert_eq!(evidence.last(), Some(&Evidence::seen("the worker's last error", "ERROR no answer\n    at fetch")));
}

#[test]
fn a_verdict_is_replaced_by_a_graver_one_only() {
    let skip = Verdict::skip("no key");
    let unmet = Verdict::unmet(Level::May, "a.md: its job failed");
    let unknown = Verdict::unknown("no text");
    assert!(gravity(&Verdict::Pass) < gravity(&skip));
    assert!(gravity(&skip) < gravity(&unknown));
    assert!(gravity(&unknown) < gravity(&unmet));
}
