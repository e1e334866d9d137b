//! Causes that the states of the jobs, the rows and the requests show.

use super::*;
use crate::scenario::observations::{JobState, StepRecord};
use crate::scenario::testing::{request, starved};

#[test]
fn jobs_that_wait_or_stay_active_are_named_by_the_service_that_was_broken() {
    let run = TestRun::two_documents();
    let idle = run.edit(|seen| seen.queue.counts.waiting = 2);
    assert_ids(&idle, &["worker-idle"]);
    assert_eq!(evidence(&idle), ["2 jobs in `wait`, none in `active`, and the worker is running"]);
    let without = |target| idle.edit(|seen| seen.faults = vec![fault(target, 0, 1000)]);
    assert_ids(&without(Target::Redis), &["redis-outage-not-survived"]);
    assert_ids(&without(Target::Qdrant), &["worker-idle"]);
    assert_ids(&run.edit(|seen| seen.queue.counts.active = 1), &["jobs-never-end"]);
    assert_ids(&run.edit(|seen| seen.queue.counts.delayed = 1), &[]);
    let died = idle.edit(|seen| seen.workers.died = Some("exited with code 1".to_owned()));
    assert_ids(&died, &["worker-exited"]);
}

#[test]
fn attempts_are_used_up_while_a_service_is_down_only_if_one_was_down() {
    let reason = "connect ECONNREFUSED";
    let with_fault = |run: &TestRun| run.edit(|seen| seen.faults = vec![fault(Target::Qdrant, 1000, 3000)]);
    assert_ids(&with_fault(&failed(2000, 3, reason)), &["attempts-used-up:qdrant"]);
    assert_ids(&with_fault(&failed(4500, 3, reason)), &["attempts-used-up:qdrant"]);
    assert_ids(&with_fault(&failed(2000, 1, reason)), &["failed-at-first-attempt:qdrant"]);
    // Before the fault, long after it, without one, and with one that met nothing.
    assert_ids(&with_fault(&failed(500, 3, reason)), &[]);
    assert_ids(&with_fault(&failed(9000, 3, reason)), &[]);
    assert_ids(&failed(2000, 3, reason), &[]);
    assert_ids(&failed(2000, 1, reason), &[]);
    let missed = with_fault(&failed(2000, 3, reason)).edit(|seen| seen.faults[0].took_effect = false);
    assert_ids(&missed, &[]);
}

#[test]
fn attempts_are_used_up_by_the_api_only_while_it_refuses() {
    let run = |status: u16, at_ms: u64| {
        with_api_fault(&failed(2000, 3, "429")).edit(|seen| {
            let refused = crate::stack::jina::JinaRequest { status, disturbed: true, ..request(at_ms, &["x"]) };
            seen.embeddings.requests.push(refused);
        })
    };
    assert_ids(&run(429, 1500), &["attempts-used-up:jina"]);
    assert_ids(&run(200, 1500), &[]);
    let early = with_api_fault(&failed(9000, 3, "429")).edit(|seen| {
        let refused = crate::stack::jina::JinaRequest { status: 429, disturbed: true, ..request(500, &["x"]) };
        seen.embeddings.requests.push(refused);
    });
    assert_ids(&early, &[]);
}

#[test]
fn jobs_that_fail_alike_are_one_cause_in_a_run_without_faults() {
    let run = |first: &str, second: &str| {
        TestRun::two_documents().edit_step(|step| {
            step.fail("a.md", first);
            step.fail("b.md", second);
        })
    };
    let alike = run("TypeError: x is undefined at 12:3", "TypeError: x is undefined at 40:7");
    assert_ids(&alike, &["jobs-fail-alike:typeerror-x-is-undefined-at-12-3"]);
    assert_ids(&run("TypeError: x is undefined", "no answer"), &[]);
    assert_ids(&run("[object Object]", "[object Object]"), &[]);
    assert_ids(&alike.edit(|seen| seen.faults = vec![fault(Target::Qdrant, 0, 1000)]), &[]);
    assert_ids(&with_api_fault(&alike), &[]);
    // One document is no pattern.
    assert_ids(&failed(10, 1, "TypeError: x is undefined"), &[]);
}

#[test]
fn a_completed_job_without_points_and_points_that_are_stored_twice_are_named() {
    let run = TestRun::two_documents();
    assert_ids(&run.edit_step(|step| step.points("a.md").clear()), &["completed-without-points"]);
    // A document that is stored in part is lost in another way.
    let partly = run.edit_step(|step| drop(step.points("a.md").pop())).compared_with(&run);
    assert_ids(&partly, &[]);
    let twice = run.edit_step(|step| {
        step.duplicate("a.md");
        step.job("a.md").starts = 2;
    });
    assert_ids(&twice, &["random-point-ids"]);
    // Stored twice by one execution: not by its retry.
    assert_ids(&run.edit_step(|step| step.duplicate("a.md")), &[]);
}

#[test]
fn a_blocked_event_loop_is_named_only_if_the_running_worker_did_nothing_and_nothing_else_explains_it() {
    let stalled = TestRun::two_documents().edit_step(|step| step.job("a.md").stalls = 1).edit(|seen| {
        seen.queue.events = vec![event(1000, "a.md", "active", None), event(54_200, "a.md", "stalled", None)];
    });
    assert_ids(&stalled, &["event-loop-blocked"]);
    assert_eq!(evidence(&stalled), ["jobs stalled 1 times while the worker was running; it did nothing for 53.2 s"]);
    let other = |target| stalled.edit(|seen| seen.faults = vec![fault(target, 1000, 9000)]);
    assert_ids(&other(Target::Jina), &["event-loop-blocked"]);
    for run in [
        other(Target::Redis),
        stalled.edit(|seen| {
            seen.faults = vec![crate::scenario::FaultRecord { targets: vec![], ..fault(Target::Redis, 1, 2) }];
        }),
        stalled.edit(|seen| seen.workers.exits = vec![exit()]),
        stalled.edit(|seen| seen.timing.pressure = starved()),
        // It worked until a moment before.
        stalled.edit(|seen| seen.embeddings.requests.push(request(54_000, &["x"]))),
        // No job stalled.
        stalled.edit(|seen| drop(seen.queue.events.pop())),
    ] {
        assert_ids(&run, &[]);
    }
    let died = stalled.edit(|seen| seen.workers.died = Some("exited with code 1".to_owned()));
    assert_ids(&died, &["worker-exited"]);
}

#[test]
fn a_row_that_is_left_behind_has_neither_status_and_its_worker_lives() {
    let failed = TestRun::two_documents().edit_step(|step| step.fail("a.md", "no answer"));
    let behind = failed.edit_step(|step| "processing".clone_into(&mut step.row("a.md").status));
    assert_ids(&behind, &["row-left-behind:processing"]);
    assert_ids(&failed, &[]);
    let unfinished = behind.edit_step(|step| *step.state("a.md") = JobState::Unfinished);
    assert_ids(&unfinished, &[]);
    let died = behind.edit(|seen| seen.workers.died = Some("exited with code 1".to_owned()));
    assert_ids(&died, &["worker-exited"]);
}

#[test]
fn rows_that_cannot_be_read_are_named() {
    let run = TestRun::two_documents();
    let run = run.edit_step(|step| step.snapshot.no_rows = Some("relation \"docs\" does not exist".to_owned()));
    assert_ids(&run, &["contract-table-missing:relation-docs-does-not-exist"]);
}

#[test]
fn a_retry_after_is_ignored_only_by_the_same_request_before_its_time() {
    let run = |texts: &str, at_ms: u64| {
        TestRun::two_documents().edit(|seen| {
            let refused = crate::stack::jina::JinaRequest { status: 429, wait_ms: Some(1000), ..request(100, &["x"]) };
            seen.embeddings.requests.extend([refused, request(at_ms, &[texts])]);
        })
    };
    assert_ids(&run("x", 400), &["retry-after-ignored"]);
    assert_ids(&run("x", 1100), &[]);
    assert_ids(&run("other", 400), &[]);
}

#[test]
fn a_refused_key_is_one_that_the_api_refused() {
    let run = |authorised, status| {
        TestRun::two_documents().edit(|seen| {
            let request = &mut seen.embeddings.requests[0];
            (request.authorised, request.status) = (authorised, status);
        })
    };
    assert_ids(&run(false, 401), &["embeddings-key-refused"]);
    // A scenario answers 401 to a request with a valid key.
    assert_ids(&run(true, 401), &[]);
}

#[test]
fn the_last_writer_wins_only_if_an_older_job_with_another_text_ended_after_the_newest_began() {
    let times = |step: &mut StepRecord, began: u64, ended: u64| {
        (step.job("a.md").processed_on, step.job("a.md").finished_on) = (Some(began), Some(ended));
    };
    let baseline = TestRun::two_documents().then(|step| {
        step.document("a.md").text = "Other text. Second chunk.".to_owned();
        step.points("a.md")[0].text = Some("Other text. ".to_owned());
    });
    // The older version is stored.
    let run = |older_ends: u64, text: &str| {
        let older = TestRun::two_documents().edit_step(|step| times(step, 10, older_ends));
        let newer = older.then(|step| {
            step.document("a.md").text = text.to_owned();
            times(step, 20, 30);
        });
        newer.compared_with(&baseline)
    };
    assert_ids(&run(50, "Other text. Second chunk."), &["last-writer-wins"]);
    // One after the other, with the same text, and with the newest version stored with another's vector.
    assert_ids(&run(15, "Other text. Second chunk."), &[]);
    assert_ids(&run(50, "First chunk. Second chunk."), &[]);
    let stored = run(50, "Other text. Second chunk.")
        .edit_step(|step| step.points("a.md")[0].text = Some("Other text. ".to_owned()));
    assert_ids(&stored, &["vectors-of-other-requests"]);
    // A removal that ran again took the newest version away: that is no write that was not awaited.
    let removed = run(50, "Other text. Second chunk.").edit_step(|step| step.points("a.md").clear());
    assert_ids(&removed, &["last-writer-wins"]);
    assert_ids(
        &run(15, "Other text. Second chunk.").edit_step(|step| step.points("a.md").clear()),
        &["completed-without-points"],
    );
}
