//! Workers of users, by their contract: what fails before the first job is reported with the worker's last output, and
//! nothing of the worker stays.

use std::fs;

use rstest::rstest;
use shakedown::stack::working_in;

use regex::Regex;

use crate::support::cli_sandbox::{CliSandbox, SHAKEDOWN};

fn sandbox(contract: &str) -> CliSandbox {
    CliSandbox::with_contract(contract)
}

fn run_removal_case(sandbox: &CliSandbox) -> (i32, String) {
    let case = "ingestion.removed-gone";
    sandbox.run(&["run", "--provider", "native", "--case", case, "--format", "short", "--no-preflight"])
}

#[rstest]
#[case::crashes_at_start(
    "[worker]\ncommand = [\"sh\", \"-c\", \"echo no database here; exit 7\"]",
    &["exited with code 7", "no database here"]
)]
#[case::never_registers(
    "[worker]\ncommand = [\"sh\", \"-c\", \"echo waiting for godot; sleep 600\"]\nready_within = \"1s\"",
    &["was not ready within 1 s", "is not registered on the queue", "waiting for godot"]
)]
#[case::never_says_so(
    "[worker]\ncommand = [\"sleep\", \"600\"]\nready = { log = \"^listening\" }\nready_within = \"1s\"",
    &["was not ready within 1 s", "no line of its output matches `ready`"]
)]
#[case::never_answers(
    "[worker]\ncommand = [\"sleep\", \"600\"]\nready = { http = \"http://127.0.0.1:{{worker.port}}/ready\" }\nready_within = \"1s\"",
    &["was not ready within 1 s", "the URL of `ready` in [worker] does not answer"]
)]
#[case::cannot_be_found(
    "[worker]\ncommand = [\"./no-such-worker\"]",
    &["cannot run", "no-such-worker"]
)]
#[case::prints_megabytes(
    "[worker]\ncommand = [\"sh\", \"-c\", \"yes words | head -c 40000000; echo the end; exit 3\"]",
    &["exited with code 3", "the end"]
)]
#[case::is_not_prepared(
    "[worker]\ncommand = [\"sleep\", \"600\"]\n[worker.prepare]\ncommand = [\"sh\", \"-c\", \"echo cannot migrate $QUEUE_NAME; exit 4\"]",
    &["[worker.prepare] command", "exited with code 4", "cannot migrate sd-"]
)]
fn a_worker_that_takes_no_job_is_reported_with_its_last_output(#[case] contract: &str, #[case] wanted: &[&str]) {
    let sandbox = sandbox(contract);
    let (code, text) = run_removal_case(&sandbox);
    assert_eq!(code, 1, "{text}");
    for words in wanted {
        assert!(text.contains(words), "wanted: {words}\ngot: {text}");
    }
    sandbox.assert_clean();
}

#[test]
fn a_build_that_fails_ends_the_run_before_the_worker_is_started() {
    let sandbox =
        sandbox("[worker]\ncommand = [\"true\"]\nbuild = { command = [\"sh\", \"-c\", \"echo no compiler; exit 9\"] }");
    let (code, text) = run_removal_case(&sandbox);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("[worker.build] command") && text.contains("exited with code 9"), "{text}");
    assert!(text.contains("no compiler"), "{text}");
    sandbox.assert_clean();
}

#[test]
fn all_that_a_worker_starts_ends_with_it() {
    let marker = tempfile::tempdir().unwrap();
    let directory = marker.path().display();
    let sandbox = sandbox(&format!(
        "[worker]\ncommand = [\"sh\", \"-c\", \"cd {directory} && (sleep 600 & setsid sleep 600 & exec sleep 600)\"]\n\
         ready_within = \"1s\""
    ));
    assert_eq!(run_removal_case(&sandbox).0, 1);
    assert!(working_in(marker.path()).is_empty(), "{:?}", working_in(marker.path()));
    sandbox.assert_clean();
}

/// The reference worker with fixed names: its environment has the names of the contract.
#[test]
fn a_worker_with_names_of_its_own_is_judged_on_stacks_of_its_own() {
    let sandbox = sandbox(&format!(
        r#"
[worker]
command = ["{SHAKEDOWN}", "worker"]
env = {{ QUEUE_NAME = "letters", QUEUE_PREFIX = "bull", QDRANT_COLLECTION = "chunks", DOCUMENTS_TABLE = "public.letters" }}
[queue]
name = "letters"
job = {{ name = "letter", data = {{ documentId = "{{{{document.id}}}}", text = "{{{{document.text}}}}" }}, attempts = 3, backoff = {{ type = "fixed", delay = 100, jitter = 0.5 }} }}
[evidence]
qdrant = {{ collection = "chunks", document = "document_id", chunk = "chunk_index" }}
postgres = {{ table = "letters", id = "id", status = "status", done = "ready" }}
"#
    ));
    let (code, text) = sandbox.run(&[
        "run",
        "--provider",
        "native",
        "--format",
        "terminal",
        "--suite",
        "ingestion",
        "--case",
        "ingestion.{delivered,chunk-size,removed-gone,reingest-idempotent,rows-agree}",
    ]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("2 pass, 3 skip"), "{text}");
    for words in ["add `text = \"FIELD\"`", "add `chunks = \"COLUMN\"`", "add `delete = {"] {
        assert!(text.contains(words), "wanted: {words}\ngot: {text}");
    }
    sandbox.assert_clean();
}

/// Migrations are recorded outside the table, as those of drizzle, Prisma and Alembic are: each scenario needs its own
/// database, or the second one has the record without the table.
#[test]
fn each_scenario_of_a_worker_with_fixed_names_has_an_empty_database() {
    let sandbox = sandbox(&format!(
        r#"
[worker]
command = ["{SHAKEDOWN}", "worker"]
env = {{ QUEUE_NAME = "letters", QUEUE_PREFIX = "bull", QDRANT_COLLECTION = "chunks", DOCUMENTS_TABLE = "public.letters" }}
creates = ["table"]
prepare = {{ command = ["{SHAKEDOWN}", "db", "migrate", "--dir", "migrations"] }}
[queue]
name = "letters"
[evidence]
qdrant = {{ collection = "chunks", document = "document_id", chunk = "chunk_index", text = "text", version = "version" }}
postgres = {{ table = "letters", id = "id", status = "status", done = "ready", failed = "failed", chunks = "chunks" }}
"#
    ));
    std::fs::create_dir_all(sandbox.path("work/migrations")).unwrap();
    std::fs::write(
        sandbox.path("work/migrations/20240101000000_letters.sql"),
        "create type public.letter_status as enum ('ready');\n\
         create table public.letters (id text primary key, version text, status text, source text, chunks integer, \
         tokens integer, error text, sequence bigint, created_at timestamptz not null default now(), \
         updated_at timestamptz not null default now());",
    )
    .unwrap();
    // More scenarios than stacks, so that each stack is used again.
    let cases = "ingestion.{delivered,row-after-points,removed-gone,reingest-idempotent,stale-tail-gone,emptied-gone,\
                 edited-delivered,texts-per-request,vectors-by-index}";
    let (code, text) = sandbox.run(&["run", "--provider", "native", "--format", "terminal", "--case", cases]);
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("skip") && !text.contains("unknown"), "{text}");
    sandbox.assert_clean();
}

#[test]
fn a_dry_run_prints_the_plan_and_starts_nothing() {
    let sandbox = sandbox(
        "[worker]\ncommand = [\"node\", \"worker.js\"]\nenv = { PASSWORD = \"{{postgres.password}}\", FIXED = \"hunter2\" }\n\
         [evidence]\nqdrant = { document = \"id\" }",
    );
    let (code, text) =
        sandbox.run(&["run", "--dry-run", "--provider", "native", "--case", "{crash.killed,ingestion.chunk-size}"]);
    assert_eq!(code, 0, "{text}");
    for words in [
        "worker node worker.js",
        "variable PASSWORD = {{postgres.password}}",
        "run crash.killed",
        ": kill of the worker",
        "skip ingestion.chunk-size: the contract does not name the payload field of a point's text",
        "1 cases would run, 1 would be skipped; nothing was started",
    ] {
        assert!(text.contains(words), "wanted: {words}\ngot: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    sandbox.assert_clean();
}

#[test]
fn a_contract_of_another_file_is_read_and_one_without_a_worker_refused() {
    let sandbox = sandbox("");
    let other = sandbox.path("work").join("other.toml");
    fs::write(&other, "[worker]\ncommand = [\"other-worker\"]").unwrap();
    let (code, text) = sandbox.run(&["run", "--dry-run", "--worker", "other.toml", "--case", "crash.killed"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("worker other-worker"), "{text}");
    let (code, text) = sandbox.run(&["run", "--worker", "shakedown.toml", "--case", "crash.killed"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("shakedown.toml has no [worker]"), "{text}");
    sandbox.assert_clean();
}

#[test]
fn a_case_is_explained_without_a_run() {
    let sandbox = sandbox("");
    let (code, text) = sandbox.run(&["explain", "crash.killed", "redis.eviction-policy"]);
    assert_eq!(code, 0, "{text}");
    for words in [
        "crash.killed (must, suite crash)",
        "kill of the worker",
        "expects every document is stored whole and once, as in the baseline",
        "expects noeviction",
        "remedy",
    ] {
        assert!(text.contains(words), "wanted: {words}\ngot: {text}");
    }
    let (code, text) = sandbox.run(&["explain", "crash.kiled"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("did you mean `crash.killed`?"), "{text}");
}

#[test]
fn jobs_that_are_not_kept_are_known_from_the_event_stream() {
    let sandbox = sandbox(&format!(
        r#"
[worker]
command = ["{SHAKEDOWN}", "worker"]
[queue]
job = {{ name = "ingest-document", data = {{ documentId = "{{{{document.id}}}}", text = "{{{{document.text}}}}", source = "{{{{document.source}}}}", version = "{{{{document.version}}}}" }}, attempts = 5, backoff = {{ type = "exponential", delay = 200, jitter = 0.5 }}, options = {{ removeOnComplete = true, removeOnFail = true }} }}
"#
    ));
    let cases = "{ingestion.delivered,ingestion.rejected-isolated,crash.killed-before-the-ack,load.delivered}";
    let (code, text) = sandbox.run(&["run", "--provider", "native", "--format", "short", "--case", cases]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("4 pass"), "{text}");
    sandbox.assert_clean();
}

#[test]
fn an_option_that_no_job_has_is_refused() {
    let job = "job = { name = \"x\", data = { id = \"{{document.id}}\" }, options = { removeOnCompletion = true } }";
    let sandbox = sandbox(&format!("[worker]\ncommand = [\"sh\"]\n[queue]\n{job}\n"));
    let (code, text) = sandbox.run(&["run", "--dry-run"]);
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("unsupported job option `removeOnCompletion`") && text.contains("removeOnComplete"),
        "{text}"
    );
}

#[test]
fn several_workers_that_take_their_time_are_waited_for() {
    let marks = tempfile::tempdir().unwrap();
    let mark = marks.path().display();
    let sandbox = sandbox(&format!(
        "[worker]\ncommand = [\"sh\", \"-c\", \"touch {mark}/$QUEUE_NAME.$$; sleep 1; exec {SHAKEDOWN} worker\"]\nreplicas = 2\n"
    ));
    let report = sandbox.path("work").join("report.json");
    let (code, text) = sandbox.run(&[
        "run",
        "--provider",
        "native",
        "--case",
        "crash.killed-before-the-ack",
        "--case",
        "ingestion.delivered",
        "--no-preflight",
        "--report",
        &format!("json={}", report.display()),
    ]);
    assert_eq!(code, 0, "{text}");
    let report: shakedown::outcome::Report = serde_json::from_str(&fs::read_to_string(&report).unwrap()).unwrap();
    assert_eq!(report.cases.iter().filter(|case| case.scenario.is_some()).count(), 2, "{report:#?}");
    // Two workers for each queue; a third where one was killed.
    let mut started = std::collections::BTreeMap::<String, usize>::new();
    for entry in fs::read_dir(marks.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        *started.entry(name.rsplit_once('.').unwrap().0.to_owned()).or_default() += 1;
    }
    assert!(!started.is_empty() && started.values().all(|count| *count >= 2), "{started:?}");
    sandbox.assert_clean();
}

#[test]
fn a_bundle_has_the_timeline_and_no_secret() {
    let sandbox = sandbox(
        "[worker]\ncommand = [\"sh\", \"-c\", \"echo ready; echo url $REDIS_URL key $JINA_API_KEY; sleep 0.5; exit 3\"]\nready = { log = \"^ready\" }\n",
    );
    let bundle = sandbox.path("work").join("bundle");
    let case = "ingestion.delivered";
    let arguments = ["run", "--provider", "native", "--case", case, "--bundle", "bundle", "--no-preflight"];
    let (code, text) = sandbox.run(&arguments);
    assert_eq!(code, 1, "{text}");
    for words in ["what happened in", "exited with code 3 without being asked to", "The worker exited although"] {
        assert!(text.contains(words), "wanted: {words}\ngot: {text}");
    }
    let read = |name: &str| fs::read_to_string(bundle.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let report: shakedown::outcome::Report = serde_json::from_str(&read("report.json")).unwrap();
    let timeline = &report.timelines[0];
    assert_eq!(timeline.cases, ["ingestion.delivered"]);
    // The password is masked by its name, the key too; the rest of the address stays.
    let masked =
        Regex::new(r"(?m)^url redis://default:\$REDIS_PASSWORD@127\.0\.0\.1:\d+/0 key \$JINA_API_KEY$").unwrap();
    assert!(timeline.events.iter().any(|event| masked.is_match(&event.what)), "{:?}", timeline.events);
    assert!(!timeline.documents.is_empty());
    let output = read(&format!("output/{}.log", timeline.scenario));
    assert_eq!(masked.replace(output.trim(), "MASKED"), "ready\nMASKED");
    let happened = read(&format!("{}.timeline.txt", timeline.scenario));
    assert!(happened.contains("takes jobs") && happened.contains("remedy:"), "{happened}");
    assert!(read("plan.txt").contains("command") || read("plan.txt").contains("worker"), "{}", read("plan.txt"));
    assert!(read("machine.txt").contains("cores"));
    assert!(read("report.md").contains("## What happened"));

    // What is there already is not mixed with another run's.
    let (code, text) = sandbox.run(&arguments);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("the directory is not empty"), "{text}");
    sandbox.assert_clean();
}

#[test]
fn a_bundle_of_a_worker_that_never_was_ready_has_its_output_and_no_secret() {
    let sandbox = sandbox(
        "[worker]\ncommand = [\"sh\", \"-c\", \"echo first words; echo url $REDIS_URL key $JINA_API_KEY db $DATABASE_URL; seq 100; exit 7\"]\n",
    );
    let bundle = sandbox.path("work").join("bundle");
    let case = "ingestion.delivered";
    let (code, text) =
        sandbox.run(&["run", "--provider", "native", "--case", case, "--bundle", "bundle", "--no-preflight"]);
    assert_eq!(code, 1, "{text}");
    let outputs: Vec<String> = fs::read_dir(bundle.join("output"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let masked = Regex::new(
        r"\Afirst words\nurl redis://default:\$REDIS_PASSWORD@127\.0\.0\.1:\d+/0 key \$JINA_API_KEY db postgres://postgres:\$POSTGRES_PASSWORD@127\.0\.0\.1:\d+/postgres\n1\n",
    )
    .unwrap();
    assert!(outputs.iter().any(|output| masked.is_match(output)), "{outputs:?}");
    assert!(outputs.iter().all(|output| output.ends_with("100\n")), "{outputs:?}");
    let everything: Vec<String> = ["report.json", "report.md", "report.html", "plan.txt"]
        .iter()
        .map(|name| fs::read_to_string(bundle.join(name)).unwrap())
        .collect();
    for text in everything.iter().chain([&text]) {
        assert!(!text.contains("redis://:") && !text.contains("jina_"), "{text}");
    }
    sandbox.assert_clean();
}

#[test]
fn the_quick_cases_are_fifteen() {
    let sandbox = CliSandbox::new();
    let output = sandbox.command(&["run", "--quick", "--list"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let cases = text.lines().filter(|line| line.starts_with("  ")).count();
    assert_eq!(cases, 15, "{text}");
}

#[test]
fn a_worker_that_prints_megabytes_and_is_in_order_is_conformant() {
    let sandbox = sandbox(&format!(
        "[worker]\ncommand = [\"sh\", \"-c\", \"yes words | head -c 40000000; exec {SHAKEDOWN} worker\"]\n"
    ));
    let (code, text) = sandbox.run(&["run", "--provider", "native", "--case", "ingestion.{delivered,removed-gone}"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("2 pass"), "{text}");
    sandbox.assert_clean();
}

/// What a contract may say otherwise, at once: readiness over HTTP, rows by a query, and another job for what is
/// ingested again.
#[test]
fn a_worker_is_judged_by_the_other_words_of_its_contract() {
    let sandbox = sandbox(&format!(
        r#"
[worker]
command = ["sh", "-c", "{SHAKEDOWN} worker & worker=$!; trap 'kill $worker; wait $worker; exit 0' TERM; python3 -m http.server --bind 127.0.0.1 $READY_PORT >/dev/null 2>&1 & wait $worker"]
env = {{ READY_PORT = "{{{{worker.port}}}}" }}
ready = {{ http = "http://127.0.0.1:{{{{worker.port}}}}/" }}
timeout_factor = 2.0
[queue]
job = {{ name = "ingest-document", data = {{ documentId = "{{{{document.id}}}}", text = "{{{{document.text}}}}", source = "{{{{document.source}}}}", version = "{{{{document.version}}}}" }}, attempts = 5, backoff = {{ type = "exponential", delay = 200, jitter = 0.5 }} }}
reingest = {{ name = "ingest-document", data = {{ documentId = "{{{{document.id}}}}", text = "{{{{document.text}}}}", source = "again", version = "{{{{document.version}}}}" }} }}
[evidence]
qdrant = {{ document = "document_id", chunk = "chunk_index", text = "text", version = "version" }}
postgres = {{ query = 'select id, status, chunks, version, error from {{{{postgres.table}}}}', id = "id", status = "status", done = "ready", chunks = "chunks", version = "version" }}
"#
    ));
    let cases = "ingestion.{delivered,rows-agree,reingest-idempotent,stale-tail-gone}";
    let (code, text) = sandbox.run(&["run", "--provider", "native", "--case", cases]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("4 pass"), "{text}");
    sandbox.assert_clean();
}

/// A worker as an application has it: ids that are UUIDs, rows that exist before the job, a queue of its own for removals,
/// and a process beside it without which it does not start.
#[test]
fn a_worker_with_uuids_rows_of_the_application_a_second_queue_and_a_sidecar_is_judged() {
    let contract = |before: &str| {
        format!(
            r#"
[worker]
command = ["sh", "-c", "python3 -c 'import os, urllib.request; urllib.request.urlopen(os.environ[\"GATEWAY\"])' || exit 9; {SHAKEDOWN} worker & own=$!; QUEUE_NAME=cleanup {SHAKEDOWN} worker & other=$!; trap 'kill $own $other; wait $own; wait $other; exit 143' TERM; wait $own"]
env = {{ GATEWAY = "http://127.0.0.1:{{{{sidecar.port}}}}/", GATEWAY_PORT = "{{{{sidecar.port}}}}" }}
timeout_factor = 2.0
[[worker.sidecar]]
command = ["sh", "-c", "exec python3 -m http.server --bind 127.0.0.1 $GATEWAY_PORT"]
ready = {{ http = "http://127.0.0.1:{{{{sidecar.port}}}}/" }}
[queue]
job = {{ name = "ingest-document", data = {{ documentId = "{{{{document.id}}}}", text = "{{{{document.text}}}}", source = "{{{{document.name}}}}" }}, attempts = 5, backoff = {{ type = "exponential", delay = 200 }} }}
delete = {{ queue = "cleanup", name = "delete-document", attempts = 3, data = {{ documentId = "{{{{document.id}}}}" }} }}
document = {{ id = "uuid" }}
before = {{ sql = "{before}" }}
[evidence]
qdrant = {{ document = "document_id", chunk = "chunk_index", text = "text", version = "version", filter = {{ model = "jina-embeddings-v3" }} }}
postgres = {{ id = "id", status = "status", done = "ready", skipped = "skipped", chunks = "chunks" }}
"#
        )
    };
    let insert = "insert into {{postgres.table}} (id, version, status, chunks) values ({{document.id}}, {{document.sha256}}, \
                  'processing', {{document.bytes}}) on conflict do nothing";
    let cases = "ingestion.{delivered,reassembled,removed-gone,removed-alone,exits-cleanly,reingest-idempotent}";
    let sandbox_of_application = sandbox(&contract(insert));
    let (code, text) = sandbox_of_application.run(&["run", "--provider", "native", "--case", cases]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("6 pass"), "{text}");
    sandbox_of_application.assert_clean();

    let sandbox = sandbox(&contract("insert into no_such_table values ({{document.id}})"));
    let (_, text) = sandbox.run(&["run", "--provider", "native", "--case", "ingestion.delivered"]);
    assert!(text.contains("the statement of [queue] before failed"), "{text}");
    assert!(text.contains("no_such_table"), "{text}");
    sandbox.assert_clean();
}

#[rstest]
#[case::named("dense", "", "4 pass")]
// What the worker makes itself is not made before it, and not only not missed.
#[case::made_by_the_worker("dense", "creates = [\"table\", \"collection\"]", "4 pass")]
fn named_vectors_and_objects_that_the_worker_creates_itself(
    #[case] vector: &str,
    #[case] makes: &str,
    #[case] says: &str,
) {
    let sandbox = sandbox(&format!(
        r#"
[worker]
command = ["sh", "-c", "{SHAKEDOWN} setup >/dev/null && exec {SHAKEDOWN} worker"]
env = {{ QDRANT_VECTOR = "{vector}" }}
{makes}
[evidence]
qdrant = {{ document = "document_id", chunk = "chunk_index", text = "text", version = "version", vector = "{vector}" }}
"#
    ));
    let cases = "ingestion.{delivered,vectors-match-texts,stale-tail-gone,no-duplicates}";
    let (code, text) = sandbox.run(&["run", "--provider", "native", "--case", cases]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(says), "{text}");
    sandbox.assert_clean();
}

#[test]
fn rows_in_another_table_than_the_contract_names_are_reported() {
    let sandbox = sandbox(&format!(
        "[worker]\ncommand = [\"{SHAKEDOWN}\", \"worker\"]\n[evidence]\nqdrant = {{ document = \"document_id\", text = \"text\" }}\n\
         postgres = {{ query = \"select * from no_such_table\", id = \"id\", status = \"status\", done = \"ready\" }}\n"
    ));
    let arguments = ["run", "--provider", "native", "--case", "ingestion.delivered", "--no-preflight"];
    let (code, text) = sandbox.run(&arguments);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("relation \"no_such_table\" does not exist"), "{text}");
    sandbox.assert_clean();
}
