//! The preflight: a contract that is wrong ends the run before its first case, with the place of the key and the change
//! to make. A worker that is nearly so is judged.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::time::{Duration, Instant};

use rstest::rstest;

use crate::support::cli_sandbox::{CliSandbox, SHAKEDOWN};

/// A worker that registers on the queue of the contract and never takes a job. It speaks to Redis itself.
const IDLER: &str = r#"
import base64, os, socket, time, urllib.parse
url = urllib.parse.urlparse(os.environ["REDIS_URL"])
redis = socket.create_connection((url.hostname, url.port))
name = os.environ["QUEUE_PREFIX"] + ":" + base64.b64encode(os.environ["QUEUE_NAME"].encode()).decode()
for words in (["AUTH", url.username or "default", url.password or ""], ["CLIENT", "SETNAME", name]):
    redis.sendall((" ".join([f"*{len(words)}\r\n"] + [f"${len(word)}\r\n{word}\r\n" for word in words])).replace(" ", "").encode())
    redis.recv(100)
print("Warning: paused", flush=True)
time.sleep(600)
"#;

/// `[worker]` with the reference worker and these variables.
fn reference(env: &str) -> String {
    format!("[worker]\ncommand = [\"{SHAKEDOWN}\", \"worker\"]\nenv = {{ {env} }}\n")
}

/// `[worker]` with a shell command, in which `WORKER` is the reference worker and `SHAKEDOWN` the program.
fn shell(command: &str) -> String {
    let command = command.replace("WORKER", &format!("{SHAKEDOWN} worker")).replace("SHAKEDOWN", SHAKEDOWN);
    format!("[worker]\ncommand = [\"sh\", \"-c\", '''{command}''']\n")
}

const JOB: &str =
    r#"data = { documentId = "{{document.id}}", text = "{{document.text}}", source = "{{document.source}}" }"#;
const QDRANT: &str = "qdrant = { document = \"document_id\", chunk = \"chunk_index\", text = \"text\" }";

fn evidence(qdrant: &str, postgres: &str) -> String {
    reference("") + &format!("[evidence]\n{qdrant}\n{postgres}\n")
}

fn rows(columns: &str) -> String {
    evidence(QDRANT, &format!("postgres = {{ {columns} }}"))
}

/// Runs a case with this contract.
fn run(contract: &str) -> (CliSandbox, i32, String) {
    let sandbox = CliSandbox::with_contract(contract);
    fs::write(sandbox.path("work").join("idler.py"), IDLER).unwrap();
    let (code, text) =
        sandbox.run(&["run", "--provider", "native", "--case", "ingestion.delivered", "--format", "short"]);
    (sandbox, code, text)
}

#[rstest]
#[case::a_program_that_does_not_exist(
    "[worker]\ncommand = [\"./no-such-worker\"]\n".to_owned(), 2,
    &["no-such-worker", "write the program that starts the worker"]
)]
#[case::a_worker_that_exits_at_once(
    shell("echo ValueError: no database; echo bye; echo bye; echo bye; exit 7"), 2,
    &["the worker exited with code 7 before its first job was done; its last errors: ValueError: no database remedy"]
)]
#[case::a_daemon(
    shell("(exec sleep 600) & exit 0"), 2,
    &["exited with code 0, but must run in the foreground", "it printed nothing"]
)]
#[case::another_queue(
    reference("QUEUE_NAME = \"letters\""), 1,
    &["no worker registered on the queue `sd-", "this one registered on `letters`", "set [queue] name = \"letters\" and prefix = \"sd-"]
)]
#[case::a_queue_that_the_contract_fixes(
    reference("QUEUE_NAME = \"letters\", QUEUE_PREFIX = \"bull\"") + "[queue]\nname = \"documents\"\n", 5,
    &[
        "no worker registered on the queue `documents` (prefix `bull`); this one registered on `letters` (prefix `bull`)",
        "remedy: set [queue] name = \"letters\""
    ]
)]
#[case::another_prefix(
    reference("QUEUE_NAME = \"letters\", QUEUE_PREFIX = \"app\"") + "[queue]\nname = \"letters\"\n", 4,
    &["this one registered on `letters` (prefix `app`)", "set [queue] prefix = \"app\""]
)]
#[case::never_registered(
    shell("sleep 600") + "ready_within = \"1s\"\n", 1,
    &["was not ready within 1 s: it is not registered on the queue `sd-", "ready = { log ="]
)]
#[case::never_says_that_it_is_ready(
    shell("sleep 600") + "ready = { log = \"^listening\" }\nready_within = \"1s\"\n", 3,
    &["was not ready within 1 s: no line of its output matches `^listening`"]
)]
#[case::never_takes_a_job(
    shell("exec python3 idler.py"), 1,
    &["is registered on the queue `sd-", "took no job from it within 15 s; its last errors: Warning: paused"]
)]
#[case::says_that_it_is_ready_and_listens_elsewhere(
    shell("echo listening; QUEUE_NAME=letters exec WORKER") + "ready = { log = \"^listening\" }\n", 1,
    &["no worker registered on the queue `sd-", "this one registered on `letters`"]
)]
#[case::a_job_without_a_field(
    reference("") + "[queue]\njob = { name = \"ingest-document\", data = { id = \"{{document.id}}\" }, attempts = 2 }\n", 5,
    &["the job of the first document failed", "documentId", "its name is `ingest-document`, the fields of its data are id"]
)]
#[case::another_collection(
    shell("export QDRANT_COLLECTION=mine; SHAKEDOWN setup >/dev/null && exec WORKER"), 1,
    &["has no points; points are in `mine` (", "set [evidence] qdrant collection = \"mine\""]
)]
#[case::another_field_of_the_document(
    evidence("qdrant = { document = \"source_id\", chunk = \"chunk_index\", text = \"text\" }", ""), 5,
    &["no point has the payload field `source_id`; the fields are", "set [evidence] qdrant document = \"document_id\""]
)]
#[case::a_field_that_holds_something_else(
    evidence("qdrant = { document = \"text\", chunk = \"chunk_index\" }", ""), 5,
    &["no point has the document's id `generated-0000` in the payload field `text`", "document = \"document_id\""]
)]
#[case::another_field_of_the_text(
    evidence("qdrant = { document = \"document_id\", text = \"content\" }", ""), 5,
    &["no point has the payload field `content`", "set [evidence] qdrant text = \"text\""]
)]
#[case::another_field_of_the_index(
    evidence("qdrant = { document = \"document_id\", chunk = \"loc.index\", text = \"text\" }", ""), 5,
    &["no point has the payload field `loc.index`", "set [evidence] qdrant chunk = \"chunk_index\""]
)]
#[case::no_such_table(
    rows("query = \"select * from no_such_table\", id = \"id\", status = \"status\", done = \"ready\""), 6,
    &["relation \"no_such_table\" does not exist; the tables are", "set [evidence] postgres table = \"sd_"]
)]
#[case::no_such_column(
    rows("id = \"id\", status = \"state\", done = \"ready\""), 6,
    &["the table has no column `state`; the columns are id,", "set [evidence] postgres status = \"status\""]
)]
#[case::a_column_that_holds_something_else(
    rows("id = \"status\", status = \"status\", done = \"ready\""), 6,
    &["no row has `generated-0000` in the column `status`; rows have `ready`", "set `id` of [evidence] postgres"]
)]
#[case::another_status(
    rows("id = \"id\", status = \"status\", done = \"completed\""), 6,
    &["the row of its document says `ready` instead of `completed`", "set [evidence] postgres done = \"ready\""]
)]
fn what_is_not_as_the_contract_says_ends_the_run(
    #[case] contract: String,
    #[case] line: usize,
    #[case] wanted: &[&str],
) {
    let begun = Instant::now();
    let (sandbox, code, text) = run(&contract);
    assert_eq!(code, 2, "{text}");
    for words in [&[&*format!("shakedown.toml:{line}:")], wanted].concat() {
        assert!(text.contains(words), "wanted: {words}\ngot: {text}");
    }
    assert_eq!(text.matches("shakedown.toml:").count(), 1, "one message: {text}");
    assert!(!text.contains("ingestion.delivered"), "no case ran: {text}");
    // The worker that takes no job is waited for the longest, 15 s; the rest is the stack on a busy machine.
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
    sandbox.assert_clean();
}

#[rstest]
#[case::a_slow_start(shell("sleep 3; exec WORKER"), &["worker SIGTERM: exited with code 0"])]
#[case::several_queues(
    shell("(QUEUE_NAME=letters WORKER & QUEUE_NAME=invoices WORKER & sleep 600) & sleep 1; exec WORKER"),
    &["worker queue: "]
)]
#[case::an_output_full_of_errors(shell("echo Error: no cache; exec WORKER"), &["worker chunks: "])]
#[case::no_rows(evidence(QDRANT, ""), &["point ids: UUIDs, the same after a second ingestion"])]
#[case::a_job_without_optional_fields(
    reference("") + &format!("[queue]\njob = {{ name = \"ingest-document\", {JOB} }}\n"),
    &["1 attempt for each job", "locks of 30 s", "task retrieval.passage"]
)]
#[case::deaf_to_sigterm(
    shell("trap '' TERM; WORKER & while :; do sleep 1; done") + "shutdown_grace = \"1s\"\n",
    &["worker SIGTERM: did not end in time, and was killed"]
)]
fn a_worker_that_does_as_its_contract_says_is_judged(#[case] contract: String, #[case] wanted: &[&str]) {
    let (sandbox, code, text) = run(&contract);
    assert_eq!(code, 0, "{text}");
    for words in [&["1 pass"], wanted].concat() {
        assert!(text.contains(words), "wanted: {words}\ngot: {text}");
    }
    sandbox.assert_clean();
}

#[test]
fn what_was_learned_is_in_the_report() {
    let sandbox = CliSandbox::with_contract(&reference("WORKER_CONCURRENCY = \"3\", WORKER_LOCK_MS = \"4000\""));
    let arguments = ["run", "--provider", "native", "--case", "ingestion.delivered", "--report", "json=report.json"];
    let (code, text) = sandbox.run(&arguments);
    assert_eq!(code, 0, "{text}");
    let report = fs::read_to_string(sandbox.path("work").join("report.json")).unwrap();
    let report: shakedown::outcome::Report = serde_json::from_str(&report).unwrap();
    let profile = report.worker_profile.unwrap();
    assert_eq!((profile.lock_ms, profile.active_jobs), (Some(4000), Some(3)), "{profile:?}");
    assert!(profile.chunks.most_tokens.is_some_and(|tokens| (400..=512).contains(&tokens)), "{profile:?}");
    assert!(profile.chunks.overlap_tokens.is_some_and(|tokens| (30..=80).contains(&tokens)), "{profile:?}");
    assert!(report.notes.iter().any(|note| note.starts_with("worker: chunks: ")), "{:?}", report.notes);
    sandbox.assert_clean();
}

#[test]
fn a_run_without_a_preflight_runs_the_cases() {
    let sandbox = CliSandbox::with_contract("[worker]\ncommand = [\"./no-such-worker\"]\n");
    let arguments = ["run", "--provider", "native", "--case", "ingestion.delivered", "--no-preflight"];
    let (code, text) = sandbox.run(&arguments);
    assert_eq!(code, 1, "{text}");
    sandbox.assert_clean();
}

#[test]
fn a_run_without_a_scenario_needs_no_worker() {
    let sandbox = CliSandbox::with_contract("[worker]\ncommand = [\"./no-such-worker\"]\n");
    let (code, text) = sandbox.run(&["run", "--provider", "native", "--case", "redis.answers"]);
    assert_eq!(code, 0, "{text}");
    sandbox.assert_clean();
}
