//! Causes that lines of output and reasons of jobs show.

use super::*;

#[test]
fn a_line_is_shown_without_secrets_and_each_once() {
    let run = TestRun::two_documents();
    let run = with_output(&run, &format!("starting\nMISCONF from {SECRET}\nMISCONF again\nMISCONF a third time\n"));
    let causes = find(&run.assessment());
    assert_eq!(causes.len(), 1);
    assert_eq!(causes[0].evidence, ["MISCONF from redis://:********@127.0.0.1:6379", "MISCONF again"]);
}

#[test]
fn a_reason_names_the_documents_it_is_about() {
    let run = failed(10, 1, "Index required but not found for \"document_id\"");
    let causes = find(&run.assessment());
    assert_eq!(causes[0].id(), "qdrant-index-missing");
    assert_eq!(causes[0].documents, BTreeSet::from(["a.md".to_owned()]));
}

#[test]
fn the_reason_of_a_rejected_document_shows_no_cause() {
    let reason = "400: INPUT_TOKEN_LIMIT_EXCEEDED";
    let run = failed(10, 1, reason);
    assert_ids(&run, &["text-too-long"]);
    assert_ids(&run.edit_step(|step| step.document("a.md").rejected = true), &[]);
    // The scenario answers like that.
    assert_ids(&with_api_fault(&run), &[]);
}

#[test]
fn a_pool_without_a_free_connection_is_blamed_only_while_postgres_is_there() {
    let run = failed(10, 1, "timeout exceeded when trying to connect");
    assert_ids(&run, &["postgres-pool-exhausted"]);
    assert!(
        !ids(&run.edit(|seen| seen.faults = vec![fault(Target::Postgres, 0, 50)]))
            .contains(&"postgres-pool-exhausted".to_owned())
    );
}

#[test]
fn an_error_that_a_fault_of_postgres_injects_is_not_blamed_on_the_worker() {
    for (reason, id) in [
        ("deadlock detected", "postgres-deadlock"),
        ("canceling statement due to statement timeout", "postgres-statement-timeout"),
        ("sorry, too many clients already", "postgres-no-free-connection"),
    ] {
        let run = failed(10, 1, reason);
        assert_ids(&run, &[id]);
        let found = ids(&run.edit(|seen| seen.faults = vec![fault(Target::Postgres, 0, 50)]));
        assert!(!found.contains(&id.to_owned()), "{found:?}");
    }
}

#[test]
fn what_a_worker_that_never_started_printed_names_one_cause() {
    let found = |output: &str| find_in_output(output).iter().map(RunCause::id).collect::<Vec<_>>();
    let node = "node:internal/modules/esm/resolve:275\nError [ERR_MODULE_NOT_FOUND]: Cannot find package 'pg' imported from /w/dist/worker.js\n";
    assert_eq!(found(node), ["module-missing:pg"]);
    assert_eq!(
        found("Error: BullMQ: Your redis options maxRetriesPerRequest must be null.\n"),
        ["redis-retries-limited"]
    );
    assert_eq!(
        found("ReplyError: WRONGPASS invalid username-password pair\n"),
        ["redis-credentials-refused:wrongpass"]
    );
    assert_eq!(found("connecting to redis\nwaiting for jobs\n"), Vec::<String>::new());
}
