//! `shakedown check` as a process, on a healthy stack and on a broken one: what it sends, what it leaves, and how long it
//! waits. Also user suites for services that Shakedown does not know.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod canaries;
mod certificates;
mod reads;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::ExposeSecret;
use serde_json::Value;
use shakedown::services::http::Http;
use shakedown::services::postgres::Postgres;
use shakedown::services::redis::Redis;
use shakedown::settings::{Endpoints, docker_host};
use shakedown::spec::Suites;
use shakedown::stack::{ProviderKind, engine_answers};
use url::Url;

use crate::support::cli_sandbox::CliSandbox;
use crate::support::groups::{self, Group};
use crate::support::harness::{Test, TestStack, on_one_stack, runtime};
use crate::support::recorder::Recorder;
pub use canaries::contents;
use certificates::{Authority, certificates_are_distinguished};
use reads::{Recorders, bare, moved, only_reads, only_selects};

const TESTS: &[(&str, Test)] = &[
    ("a_correct_stack_passes", in_order),
    ("behind_a_pooler_in_transaction_mode_only_the_session_case_fails", pooled),
    ("nothing_is_written_and_one_token_is_paid_for", reads_only),
    ("canary_writes_are_removed_afterwards", canaries::removed),
    ("canary_writes_are_removed_after_ctrl_c", canaries::interrupted),
    ("canary_writes_of_a_killed_check_are_removed_by_clean", canaries::killed),
    ("a_canary_commit_that_hangs_is_named_and_removed_later", canaries::hanging),
    ("a_dead_service_is_contacted_once_and_named_in_every_case_that_needs_it", dead_redis),
    ("wait_names_the_missing_service_and_ends_when_it_answers", waits),
    ("watch_prints_changes", watches),
    ("user_suites_judge_user_services", example),
    ("certificates_are_distinguished", certificates_are_distinguished),
];

/// These need no stack.
const ALONE: &[(&str, fn())] = &[
    ("every_case_has_a_heading_of_its_own", every_case_has_a_heading),
    ("unreadable_suites_are_reported_file_by_file", lint),
];

/// `shakedown check`.
pub fn group() -> Group {
    let engine = runtime().block_on(engine_answers(&docker_host(), Duration::from_secs(5)));
    let contained = || {
        let stack = runtime().block_on(TestStack::launch(ProviderKind::Containers, "check-containers"));
        in_order(&stack);
        let left = runtime().block_on(stack.stop());
        if left.is_empty() { Ok(()) } else { Err(format!("could not be removed: {left:?}").into()) }
    };
    let name = "check::a_correct_stack_of_containers_passes";
    let mut others = groups::trials("check", ALONE);
    others.push(Trial::test(name, contained).with_ignored_flag(engine.is_err()));
    on_one_stack("check", TESTS, others)
}

fn check(sandbox: &CliSandbox, endpoints: &Endpoints, arguments: &[&str]) -> Command {
    let mut command = sandbox.command(&[&["check"], arguments].concat());
    for variable in endpoints.environment() {
        command.env(variable.name, variable.value.expose_secret());
    }
    command
}

/// Exit code and report.
fn judged(command: &mut Command) -> (i32, Value) {
    let output = command.args(["--quiet", "--format", "json"]).output().unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), report)
}

/// Verdict and reason of each case.
fn verdicts(report: &Value) -> BTreeMap<String, (String, String)> {
    let text = |case: &Value, field: &str| case[field].as_str().unwrap_or_default().to_owned();
    let cases = report["cases"].as_array().unwrap();
    cases.iter().map(|case| (text(case, "id"), (text(case, "verdict"), text(case, "reason")))).collect()
}

fn in_order(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let endpoints = stack.prepared("order");
    // An empty collection is a warning, and rightly so.
    runtime().block_on(async {
        let path = format!("/collections/{}/points?wait=true", endpoints.names.collection);
        let vector = vec![0.1_f32; usize::try_from(endpoints.jina.dimensions).unwrap()];
        let point =
            serde_json::json!({ "points": [{ "id": 1, "vector": vector, "payload": { "document_id": "in-order" } }] });
        Http::qdrant(&endpoints.qdrant).unwrap().call("PUT", &path, Some(&point)).await.unwrap();
        let postgres = Postgres::connect(&endpoints.postgres).await.unwrap();
        let table = &endpoints.names.table;
        let row = format!("insert into {table} (id, version, status) values ('in-order', '1', 'ready')");
        postgres.execute(&row).await.unwrap();
        postgres.close().await;
    });
    let (code, report) = judged(&mut check(&sandbox, &endpoints, &[]));
    let verdicts = verdicts(&report);
    let wrong: Vec<_> = verdicts
        .iter()
        .filter(|(_, (word, _))| word != "pass" && word != "skip")
        // On a busy machine that is what it is.
        .filter(|(id, _)| !["redis.latency", "qdrant.search-median", "qdrant.search-p99"].contains(&id.as_str()))
        // The Redis that Debian ships is what it is.
        .filter(|(id, (_, reason))| *id != "redis.version-current" || !reason.contains("redis_version is 7.0."))
        .collect();
    assert_eq!((code, wrong), (0, Vec::new()));
    let unnamed: Vec<_> = verdicts.iter().filter(|(_, (word, reason))| word == "skip" && reason.is_empty()).collect();
    assert_eq!(unnamed, Vec::new());
    // Where an address is missing that is needed for one case, the variable is named.
    let mut without = check(&sandbox, &endpoints, &["--case", "qdrant.grpc-port"]);
    let (_, report) = judged(without.env_remove("QDRANT_GRPC_URL"));
    let wanted = ("skip".to_owned(), "QDRANT_GRPC_URL is not set".to_owned());
    assert_eq!(self::verdicts(&report)["qdrant.grpc-port"], wanted);
    assert!(verdicts.len() >= 90, "only {} cases", verdicts.len());
    for suite in ["env", "redis", "bullmq", "postgres", "supabase", "qdrant", "jina"] {
        let count = verdicts.keys().filter(|id| id.split('.').next() == Some(suite)).count();
        assert!(count >= 5, "{suite} has {count} cases");
    }
}

fn pooled(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let mut endpoints = stack.prepared("pooled");
    let pooler =
        runtime().block_on(crate::support::pgbouncer::PgBouncer::start(&endpoints.postgres.url, "transaction"));
    endpoints.postgres.url = format!("postgres://postgres:x@{}/postgres", pooler.address).into();
    let (_, report) = judged(&mut check(&sandbox, &endpoints, &["--suite", "postgres", "--suite", "env"]));
    let verdicts = verdicts(&report);
    let wrong: Vec<&str> =
        verdicts.iter().filter(|(_, (word, _))| word != "pass" && word != "skip").map(|(id, _)| id.as_str()).collect();
    assert_eq!(wrong, ["postgres.session-kept"], "{verdicts:?}");
}

fn reads_only(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    for (arguments, paid) in [(&[][..], 1), (&["--no-spend"][..], 0)] {
        let mut endpoints = stack.prepared("reads");
        let recorders = Recorders::before(&mut endpoints);
        let (code, report) = judged(&mut check(&sandbox, &endpoints, arguments));
        assert_eq!(code, 0, "{:?}", verdicts(&report));

        let commands = recorders.redis.redis();
        assert!(commands.len() > 20, "the recorder heard too little: {commands:?}");
        let writes: Vec<_> = commands.iter().filter(|words| !only_reads(words)).collect();
        assert_eq!(writes, Vec::<&Vec<String>>::new());
        assert!(commands.iter().filter(|words| words[0].eq_ignore_ascii_case("SCAN")).count() <= 20);

        let statements: Vec<String> = recorders.postgres.statements().iter().flat_map(|text| bare(text)).collect();
        // One statement holds several queries.
        let queries: usize = statements.iter().map(|text| text.matches("from (").count()).sum();
        assert!(queries > 20, "the recorder heard too little: {statements:?}");
        let writes: Vec<_> = statements.iter().filter(|statement| !only_selects(statement)).collect();
        assert_eq!(writes, Vec::<&String>::new());

        let requests = recorders.qdrant.requests();
        assert!(requests.len() > 3, "the recorder heard too little: {requests:?}");
        let reading =
            |path: &str| ["/points/query", "/points/count", "/points/scroll"].iter().any(|end| path.ends_with(end));
        let writes: Vec<_> = requests
            .iter()
            .filter(|(method, path, _)| match method.as_str() {
                "GET" | "HEAD" => false,
                "POST" => !reading(path),
                _ => true,
            })
            .collect();
        assert_eq!(writes, Vec::<&(String, String, String)>::new());

        let requests = recorders.jina.requests();
        let (free, costly): (Vec<_>, Vec<_>) = requests.iter().partition(|(method, _, _)| method == "GET");
        assert!(!free.is_empty(), "the embeddings API was not asked whether it is there");
        assert_eq!(costly.len(), paid, "{costly:?}");
        for (method, path, body) in costly {
            assert!(method == "POST" && path.ends_with("/embeddings"), "{method} {path}");
            let body: Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["input"], serde_json::json!(["hello"]));
        }
    }
}

fn end(child: &Child) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
}

fn dead_redis(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let mut endpoints = stack.prepared("dead");
    // It takes connections, and never answers.
    let mute = runtime().block_on(Recorder::start("127.0.0.1:0", None));
    endpoints.redis.url = moved(endpoints.redis.url.expose_secret(), &mute).into();
    let begun = Instant::now();
    let (code, report) = judged(&mut check(&sandbox, &endpoints, &[]));
    let took = begun.elapsed();
    assert_eq!(code, 1);
    let verdicts = verdicts(&report);
    let (word, reason) = &verdicts["redis.answers"];
    assert!(word == "fail" && reason.contains("is unreachable"), "{word}: {reason}");
    let needing: Vec<_> = verdicts
        .iter()
        .filter(|(id, _)| *id != "redis.answers" && (id.starts_with("redis.") || id.starts_with("bullmq.")))
        .collect();
    assert!(needing.len() >= 40, "{}", needing.len());
    for (id, (word, reason)) in needing {
        assert_eq!((word.as_str(), reason.as_str()), ("skip", "redis unreachable"), "{id}");
    }
    assert_eq!(verdicts["postgres.answers"].0, "pass");
    // Twice for the cases, however many there are, twice for what the report says of the service, and once each in the
    // clear and by TLS for what its port speaks.
    assert!(mute.received().len() <= 6, "{} connections", mute.received().len());
    assert!(took < Duration::from_secs(40), "{took:?}");
}

fn waits(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let mut endpoints = stack.prepared("waits");
    let upstream = Url::parse(endpoints.redis.url.expose_secret()).unwrap();
    let upstream = format!("{}:{}", upstream.host_str().unwrap(), upstream.port().unwrap());
    let kept = runtime().block_on(Recorder::start("127.0.0.1:0", None));
    endpoints.redis.url = moved(endpoints.redis.url.expose_secret(), &kept).into();
    let address = kept.address.to_string();
    drop(kept);
    let mut child = check(&sandbox, &endpoints, &["--wait", "60s", "--format", "short"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let waiting = lines.find(|line| line.as_ref().unwrap().contains("waiting for redis.answers")).unwrap().unwrap();
    assert!(waiting.contains("unreachable"), "{waiting}");
    assert_eq!(child.try_wait().unwrap(), None, "it did not wait");
    let _there = runtime().block_on(Recorder::start(&address, Some(upstream)));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

fn watches(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let endpoints = stack.prepared("watch");
    let meta = format!("{}:{}:meta", endpoints.names.prefix, endpoints.names.queue);
    let command = |words: &[&str]| {
        runtime().block_on(async { Redis::connect(&endpoints.redis).await.unwrap().command(words).await.unwrap() })
    };
    let mut child = check(&sandbox, &endpoints, &["--watch", "1", "--suite", "bullmq", "--format", "markdown"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains("bullmq.not-paused")).expect("the first check is printed in full");
    command(&["HSET", &meta, "paused", "1"]);
    let change = lines.find(|line| line.contains('→')).unwrap();
    assert!(change.contains("bullmq.not-paused pass → fail: "), "{change}");
    let (hour, _) = change.split_once(':').unwrap();
    assert!(hour.len() == 2 && hour.parse::<u8>().is_ok(), "{change}");
    end(&child);
    let more: Vec<String> = lines.collect();
    assert_eq!((child.wait().unwrap().code(), more), (Some(1), Vec::new()));
    command(&["HDEL", &meta, "paused"]);
}

fn every_case_has_a_heading() {
    let sandbox = CliSandbox::new();
    let output = sandbox.command(&["explain", "--all", "--format", "markdown"]).output().unwrap();
    assert!(output.status.success());
    let page = String::from_utf8(output.stdout).unwrap();
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let suites = Suites::builtin().unwrap();
    let wanted: Vec<&str> = suites.cases.iter().map(|case| case.id.as_str()).collect();
    assert_eq!(headings, wanted);
    let terminal = sandbox.command(&["explain", "--all"]).output().unwrap();
    let terminal = String::from_utf8(terminal.stdout).unwrap();
    for case in &suites.cases {
        assert!(page.contains(&case.remedy) && terminal.contains(&case.remedy), "{}", case.id);
    }
}

fn lint() {
    let sandbox = CliSandbox::new();
    let suites = sandbox.path("suites");
    let case = |id: &str, more: &str| {
        format!(
            "[[case]]\nid = \"{id}\"\ntitle = \"t\"\nlevel = \"must\"\nwhy = \"w\"\nremedy = \"r\"\nsource = \"s\"\n\
             probe.tcp = {{ address = \"127.0.0.1:1\" }}\nexpect = {{ equals = true }}\n{more}"
        )
    };
    let suite = |name: &str, case: &str| format!("suite = \"{name}\"\ntitle = \"t\"\n{case}");
    fs::write(suites.join("a.toml"), suite("a", "colour = 1")).unwrap();
    fs::write(suites.join("b.toml"), suite("b", &case("c.x", ""))).unwrap();
    fs::write(suites.join("c.toml"), suite("c", &case("c.y", ""))).unwrap();
    let directory = suites.to_str().unwrap();
    let (code, printed) = sandbox.run(&["suites", "lint", directory]);
    assert_eq!(code, 2, "{printed}");
    assert!(printed.contains("a.toml:3:1") && printed.contains("b.toml:4:6"), "every error is reported: {printed}");
    assert!(!printed.contains("c.toml"), "{printed}");

    fs::remove_file(suites.join("a.toml")).unwrap();
    fs::write(suites.join("b.toml"), suite("b", &case("b.x", "requires = [\"c.z\"]"))).unwrap();
    let (code, printed) = sandbox.run(&["suites", "lint", directory]);
    assert!(code == 2 && printed.contains("b.toml:12:13") && printed.contains("c.z"), "{printed}");

    fs::write(suites.join("b.toml"), suite("b", &case("b.x", "requires = [\"c.y\"]"))).unwrap();
    let (code, printed) = sandbox.run(&["suites", "lint", directory]);
    assert!(code == 0 && printed.contains("2 suites with 2 cases"), "{printed}");
}

const TOKEN: &str = "the-token-of-the-search-api";

/// A user's search API: `/health` and `/version` need the token.
async fn search_api(status: &'static str) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = axum::Router::new().fallback(move |request: axum::extract::Request| async move {
        let key = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        if key != Some(format!("Bearer {TOKEN}")) {
            return (axum::http::StatusCode::UNAUTHORIZED, "who are you?".to_owned());
        }
        match request.uri().path() {
            "/health" => (axum::http::StatusCode::OK, format!("{{\"status\":\"{status}\",\"key\":\"{TOKEN}\"}}")),
            _ => (axum::http::StatusCode::OK, "search version 2.10.1".to_owned()),
        }
    });
    let task = tokio::spawn(async move {
        let _ = axum::serve(listener, router).await;
    });
    (address, task)
}

fn example(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/suites/example");
    let (code, printed) = sandbox.run(&["suites", "lint", directory.to_str().unwrap()]);
    assert!(code == 0 && printed.contains("1 suite with 8 cases"), "{printed}");
    let authority = Authority::new();
    let tls = authority.serve(&["search.test"], (2020, 4000));
    fs::write(sandbox.path("work/ca.pem"), authority.pem()).unwrap();
    let script = "echo '{\"verdict\":\"pass\",\"evidence\":{\"synonyms\":812}}'";
    fs::write(sandbox.path("work/synonyms.sh"), script).unwrap();
    for (status, wanted) in [("ok", 0), ("gone", 1)] {
        let (address, task) = runtime().block_on(search_api(status));
        let mut command = check(&sandbox, &stack.prepared("search"), &["--suites", directory.to_str().unwrap()]);
        command
            .env("SEARCH_HOST", &address)
            .env("SEARCH_NAME", "search.test")
            .env("SEARCH_TLS", &tls)
            .env("SEARCH_CA", "ca.pem")
            .env("SEARCH_TOKEN", TOKEN);
        // No resolver knows that name: an address is one too.
        let text = fs::read_to_string(directory.join("search.toml")).unwrap();
        assert!(text.contains("{{env.SEARCH_NAME}}"));
        let (code, report) = judged(&mut command);
        task.abort();
        let verdicts = verdicts(&report);
        let text = report.to_string();
        assert!(!text.contains(TOKEN), "the token is shown: {text}");
        assert_eq!(verdicts["search.version"].0, "pass", "{verdicts:?}");
        assert_eq!(verdicts["search.synonyms"].0, "pass", "{verdicts:?}");
        assert_eq!(verdicts["search.trusted"].0, "pass", "{verdicts:?}");
        assert_eq!(verdicts["search.certificate"].0, "pass", "{verdicts:?}");
        assert!(text.contains("812"), "what the program says is shown: {text}");
        // A name that does not exist is `unknown`, never `pass`.
        assert_eq!(verdicts["search.resolves"].0, "unknown", "{verdicts:?}");
        let healthy = if wanted == 0 { "pass" } else { "fail" };
        assert_eq!(verdicts["search.healthy"].0, healthy, "{verdicts:?}");
        assert_ne!(code, 0);
    }
    // Without the variable nothing is judged, and it is named.
    let (_, report) =
        judged(&mut check(&sandbox, &stack.prepared("search-none"), &["--suites", directory.to_str().unwrap()]));
    assert_eq!(verdicts(&report)["search.answers"], ("unknown".to_owned(), "SEARCH_HOST is not set".to_owned()));
}
