//! Causes that the workers' processes show.

use std::time::Duration;

use super::*;
use crate::scenario::{Exit, WorkerEvent};

fn died(how: &str) -> TestRun {
    TestRun::two_documents().edit(|seen| seen.workers.died = Some(how.to_owned()))
}

fn without(run: &TestRun, target: Target) -> TestRun {
    run.edit(|seen| seen.faults = vec![fault(target, 0, 5000)])
}

#[test]
fn the_most_specific_cause_of_a_process_that_ended_comes_first() {
    let exited = died("exited with code 1");
    assert_ids(&exited, &["worker-exited"]);
    let pool = "node:events:485\n      throw er; // Unhandled 'error' event\n      ^\n\nerror: terminating connection due to administrator command\n    at Client._handleErrorMessage (/w/node_modules/pg/lib/client.js:1)\n";
    assert_ids(&with_output(&exited, pool), &["pool-error-unhandled", "error-unhandled", "worker-exited"]);
    let redis = "node:events:485\n      throw er; // Unhandled 'error' event\n      ^\n\nError: connect ECONNREFUSED 127.0.0.1:6379\n";
    assert_ids(&with_output(&exited, redis), &["error-unhandled", "worker-exited"]);
    assert_ids(
        &without(&with_output(&exited, redis), Target::Redis),
        &["error-unhandled", "exits-without-redis", "worker-exited"],
    );
    // The same line, and the process lives.
    assert_ids(&with_output(&TestRun::two_documents(), redis), &[]);
    assert_ids(&with_output(&TestRun::two_documents(), pool), &[]);
}

#[test]
fn an_exit_is_blamed_on_a_service_only_if_it_was_broken_and_the_output_names_its_connection() {
    let refused = with_output(&died("exited with code 1"), "connect ECONNREFUSED 127.0.0.1:6379\n");
    assert_ids(&without(&refused, Target::Redis), &["exits-without-redis", "worker-exited"]);
    assert_ids(&without(&refused, Target::Postgres), &["exits-without-postgres", "worker-exited"]);
    assert_ids(&without(&refused, Target::Qdrant), &["exits-without-qdrant", "worker-exited"]);
    assert_ids(&refused, &["worker-exited"]);
    let other = with_output(&died("exited with code 1"), "RangeError: Invalid array length\n");
    assert_ids(&without(&other, Target::Redis), &["worker-exited"]);
}

#[test]
fn a_worker_is_killed_by_a_signal_and_not_by_its_own_exit() {
    assert_ids(&died("was killed by SIGSEGV"), &["killed:was-killed-by-sigsegv", "worker-exited"]);
    assert_ids(&died("exited with code 137"), &["worker-exited"]);
    assert_ids(&died("exited with code 0"), &["exited-when-idle", "worker-exited"]);
}

#[test]
fn memory_is_the_cause_only_if_the_output_says_so() {
    let full = with_output(
        &died("was killed by SIGABRT"),
        "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n",
    );
    assert_eq!(ids(&full)[0], "out-of-memory");
    assert_ids(&with_output(&TestRun::two_documents(), "memory: 120 MiB of 512 MiB\n"), &[]);
}

/// A run in which a worker was stopped: when, since it was ready or not, and how it ended.
fn stopped(ready: bool, how: &str) -> TestRun {
    TestRun::two_documents().edit(|seen| {
        let event = |at_ms: i64, what: &str| WorkerEvent { at_ms, worker: 2, what: what.to_owned() };
        seen.workers.events = vec![event(0, "started"), event(100, "received SIGTERM"), event(120, how)];
        if ready {
            seen.workers.events.insert(1, event(50, "takes jobs"));
        }
    })
}

#[test]
fn a_worker_that_is_stopped_during_its_start_must_exit_with_code_0() {
    let cause = "stopped-during-start:was-killed-by-sigterm";
    assert_ids(&stopped(false, "was killed by SIGTERM"), &[cause]);
    assert_ids(&stopped(true, "was killed by SIGTERM"), &[]);
    assert_ids(&stopped(false, "exited with code 0"), &[]);
    // The signal came early, and the worker took jobs all the same.
    assert_ids(&stopped(false, "takes jobs"), &[]);
}

#[test]
fn a_worker_hangs_on_close_if_it_had_to_be_killed_without_open_jobs() {
    let hung =
        Exit { killed: true, code: None, how: "did not end within 12.0 s of SIGTERM".to_owned(), ..super::exit() };
    let run = |exit: Exit| TestRun::two_documents().edit(|seen| seen.workers.exits = vec![exit]);
    assert_ids(&run(hung.clone()), &["hangs-on-close"]);
    assert_ids(&without(&run(hung.clone()), Target::Redis), &["hangs-without-service:redis"]);
    let later = Exit { signalled: Duration::from_secs(6), ..hung.clone() };
    assert_ids(&without(&run(later), Target::Redis), &["hangs-on-close"]);
    // With a job that was not finished, the job is what takes so long; and where that is unknown, nothing is said.
    assert_ids(&run(Exit { left: Some(vec!["a.md".to_owned()]), ..hung.clone() }), &[]);
    assert_ids(&run(Exit { left: None, ..hung }), &[]);
    assert_ids(&run(super::exit()), &[]);
}

#[test]
fn a_worker_hangs_at_the_end_of_a_run_if_no_job_is_active() {
    let hung = TestRun::two_documents().edit(|seen| seen.workers.ended = None);
    assert_ids(&hung, &["hangs-on-close"]);
    assert_ids(&hung.edit(|seen| seen.queue.counts.active = 1), &["jobs-never-end"]);
}
