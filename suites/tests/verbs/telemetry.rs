//! Traces as a collector receives them: their content, the parents of spans, no secrets. A collector that is dead, slow
//! or no collector at all changes no verdict.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use shakedown::outcome::TraceParent;
use shakedown::services::queue::{NewJob, QueueClient};
use shakedown::settings::Endpoints;
use shakedown::stack::names_for;

use crate::collector::{Collector, Seen, below, only, text_of};
use crate::support::cli_sandbox::{CliSandbox, SHAKEDOWN};
use crate::support::groups::{self, Group};
use crate::support::harness::{Test, TestStack, on_one_stack, runtime};

const TESTS: &[(&str, Test)] = &[
    ("a_check_is_exported_as_a_tree_below_the_span_of_the_pipeline", check_as_a_tree),
    ("a_collector_may_need_json_and_headers_and_may_be_disabled", protocol_and_headers),
    ("a_collector_that_is_dead_or_silent_changes_nothing", dead_or_silent),
    ("an_added_job_carries_the_trace_context_of_its_producer", trace_context_of_jobs),
    ("a_server_exports_each_check", served),
];

/// These have a stack of their own, or none.
const ALONE: &[(&str, fn())] = &[
    ("a_run_is_exported_down_to_the_stages_of_the_worker", run_down_to_the_stages),
    ("spans_that_ended_before_ctrl_c_are_exported", interrupted),
    ("unusable_settings_are_named_with_exit_code_two", refused),
];

/// Traces that `run`, `check` and `serve` export.
pub fn group() -> Group {
    on_one_stack("telemetry", TESTS, groups::trials("telemetry", ALONE))
}

const KEY: &str = "a-key-of-the-collector-that-nobody-may-see";
const ABOVE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// A requirement that is met, and one that is not.
const SUITE: &str = r#"
suite = "t"
title = "Test"
[[case]]
id = "t.met"
title = "It answers"
level = "must"
probe.redis = { command = ["PING"] }
expect = { equals = "PONG" }
why = "why"
remedy = "remedy"
source = "source"
[[case]]
id = "t.unmet"
title = "It answers with something else"
level = "must"
probe.redis = { command = ["PING"] }
expect = { equals = "something else" }
why = "why"
remedy = "remedy"
source = "source"
"#;
const SCENARIO: &str = r#"
[scenario.small]
title = "Some documents, and a cut"
documents = { generated = 8 }
steps = ["ingest"]
faults = [{ at = "25%", network = { on = ["redis"], fault = "cut" } }]
[[case]]
id = "t.delivered"
title = "They are delivered"
level = "must"
scenario = "small"
expect = { delivered = "all" }
why = "why"
remedy = "remedy"
source = "source"
"#;

fn sandbox(suite: &str) -> CliSandbox {
    let sandbox = CliSandbox::new();
    fs::write(sandbox.path("suites").join("t.toml"), suite).unwrap();
    sandbox
}

fn endpoints(stack: &TestStack, run: &str) -> Endpoints {
    let mut whole = stack.stack.endpoints().clone();
    whole.names = names_for(run, "run");
    whole
}

/// `shakedown check` of two cases, one of which fails; the caller sets what is traced and where to.
fn check(sandbox: &CliSandbox, endpoints: &Endpoints) -> Command {
    let suites = sandbox.path("suites");
    let mut command = sandbox.command(&["check", "--suites", suites.to_str().unwrap(), "--quiet", "--format", "json"]);
    for variable in endpoints.environment() {
        command.env(variable.name, variable.value.expose_secret());
    }
    command
}

/// Exit code, report and standard error.
fn judged(command: &mut Command) -> (i32, Value, String) {
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {printed}"));
    (output.status.code().unwrap(), report, printed)
}

/// Secrets that would be found in nothing else.
fn secrets(endpoints: &Endpoints) -> Vec<String> {
    let variables = endpoints.environment().into_iter().filter(|variable| variable.secret);
    let mut secrets: Vec<String> =
        variables.map(|variable| variable.value.expose_secret().to_owned()).chain([KEY.to_owned()]).collect();
    for place in ["redis.password", "postgres.password", "qdrant.key", "jina.key"] {
        secrets.extend(endpoints.place(place).filter(|secret| secret.len() > 6));
    }
    secrets
}

fn assert_no_secret(collector: &Collector, secrets: &[String]) {
    assert!(secrets.len() >= 4, "the stack has too few secrets for this test");
    for request in collector.requests() {
        for secret in secrets {
            let found = request.body.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "a secret of {} characters is exported", secret.len());
        }
    }
}

fn names(spans: &[&Seen]) -> BTreeSet<String> {
    spans.iter().map(|seen| seen.span.name.clone()).collect()
}

fn check_as_a_tree(stack: &TestStack) {
    let (sandbox, endpoints) = (sandbox(SUITE), endpoints(stack, "tree"));
    let collector = runtime().block_on(Collector::start());
    let mut command = check(&sandbox, &endpoints);
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .env("OTEL_EXPORTER_OTLP_HEADERS", format!("x-key={KEY}"))
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=a%20stack")
        .env("TRACEPARENT", ABOVE);
    let (code, report, printed) = judged(&mut command);
    assert_eq!((code, printed.as_str()), (1, ""));
    assert!(report["notes"].as_array().unwrap().contains(&json!("trace 4bf92f3577b34da6a3ce929d0e0e4736")), "{report}");

    let spans = collector.spans();
    let root = only(&spans, "check");
    assert_eq!(root.parent(), "00f067aa0ba902b7");
    assert!(spans.iter().all(|seen| seen.trace() == "4bf92f3577b34da6a3ce929d0e0e4736" && seen.service == "shakedown"));
    assert_eq!(text_of(&root.resource, "deployment.environment.name").as_deref(), Some("a stack"));
    assert_eq!(root.fact("shakedown.verdict"), Some("not conformant".to_owned()));
    assert!(root.failed().is_some());
    assert_eq!(names(&below(&spans, root)), BTreeSet::from(["case t.met".to_owned(), "case t.unmet".to_owned()]));
    for (name, verdict) in [("case t.met", "pass"), ("case t.unmet", "fail")] {
        let case = only(&spans, name);
        assert_eq!(case.fact("shakedown.case").as_deref(), name.strip_prefix("case "));
        assert_eq!(
            (case.fact("shakedown.suite"), case.fact("shakedown.level")),
            (Some("t".into()), Some("must".into()))
        );
        assert_eq!(case.fact("shakedown.verdict").as_deref(), Some(verdict));
        assert_eq!(names(&below(&spans, case)), BTreeSet::from(["probe redis".to_owned()]));
        assert!(case.span.start_time_unix_nano <= case.span.end_time_unix_nano);
    }
    let reason = report["cases"][1]["reason"].as_str().unwrap();
    let unmet = only(&spans, "case t.unmet");
    assert_eq!((unmet.failed().as_deref(), unmet.fact("shakedown.reason").as_deref()), (Some(reason), Some(reason)));
    assert_eq!(only(&spans, "case t.met").failed(), None);

    for request in collector.requests() {
        assert_eq!(request.path, "/v1/traces");
        assert_eq!(request.headers["x-key"], KEY);
    }
    assert_no_secret(&collector, &secrets(&endpoints));
    assert!(!report.to_string().contains(KEY));
}

fn protocol_and_headers(stack: &TestStack) {
    let (sandbox, endpoints) = (sandbox(SUITE), endpoints(stack, "wanted"));
    let collector = runtime().block_on(Collector::start());
    let mut command = check(&sandbox, &endpoints);
    // The variables for traces override the variables for all signals.
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("{}/somewhere/else", collector.url))
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20general")
        .env("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Bearer%20own")
        .env("OTEL_SERVICE_NAME", "harbour");
    let (code, _, printed) = judged(&mut command);
    assert_eq!((code, printed.as_str()), (1, ""));
    let request = &collector.requests()[0];
    assert_eq!(request.path, "/somewhere/else");
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["authorization"], "Bearer own");
    let spans = collector.spans();
    let root = only(&spans, "check");
    assert_eq!((root.service.as_str(), root.parent().as_str()), ("harbour", ""));
    // A trace of its own, below which everything is.
    assert!(spans.iter().all(|seen| seen.trace() == root.trace()));

    let before = collector.requests().len();
    for (name, value) in [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
        // What the pipeline does not record is not recorded here either.
        ("TRACEPARENT", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"),
    ] {
        let mut command = check(&sandbox, &endpoints);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url).env(name, value);
        let (code, report, printed) = judged(&mut command);
        assert_eq!((code, printed.as_str(), &report["notes"]), (1, "", &json!([])), "{name}");
        assert_eq!(collector.requests().len(), before, "{name}");
    }
}

fn dead_or_silent(stack: &TestStack) {
    let (sandbox, endpoints) = (sandbox(SUITE), endpoints(stack, "dead"));
    let verdicts = |report: &Value| -> Vec<Value> {
        report["cases"]
            .as_array()
            .unwrap()
            .iter()
            .map(|case| json!([case["id"], case["verdict"], case["reason"]]))
            .collect()
    };
    let (code, report, printed) = judged(&mut check(&sandbox, &endpoints));
    assert_eq!((code, printed.as_str(), &report["notes"]), (1, "", &json!([])));
    // One address without a listener, and one with a listener that never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    for address in [dead, silent.local_addr().unwrap()] {
        let begun = Instant::now();
        let mut command = check(&sandbox, &endpoints);
        command
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"))
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", "600000");
        let (with, traced, printed) = judged(&mut command);
        assert_eq!((with, verdicts(&traced)), (code, verdicts(&report)), "{printed}");
        assert_eq!(printed.lines().count(), 1, "{printed}");
        assert!(printed.starts_with("note: ") && printed.contains("spans are lost"), "{printed}");
        // The exporter's timeout is ten minutes; the end of the program does not wait for it.
        assert!(begun.elapsed() < Duration::from_secs(60), "it took {:?}", begun.elapsed());
    }
}

fn trace_context_of_jobs(stack: &TestStack) {
    let endpoints = endpoints(stack, "carried");
    let names = &endpoints.names;
    let place: TraceParent = ABOVE.parse().unwrap();
    let job = |id: &str| NewJob {
        queue: None,
        id: id.to_owned(),
        name: "x".to_owned(),
        data: json!({}),
        attempts: 2,
        backoff: None,
        options: serde_json::Map::new(),
    };
    runtime().block_on(async {
        let queue = QueueClient::open(&endpoints.redis, &names.queue, &names.prefix).await.unwrap();
        queue.add_below(vec![job("a"), job("b")], Some(place)).await.unwrap();
        queue.add_below(vec![job("c")], None).await.unwrap();
        let carried = async |id: &str| QueueClient::trace_parent(queue.redis(), queue.keys(), id).await.unwrap();
        assert_eq!((carried("a").await, carried("b").await, carried("c").await), (Some(place), Some(place), None));
        let options = queue.redis().command(&["HGET", &queue.keys().job_key("a"), "opts"]).await.unwrap();
        let options: Value = serde_json::from_str(options.as_str().unwrap()).unwrap();
        // As BullMQ's libraries write and read it: text that is JSON.
        let tm: Value = serde_json::from_str(options["tm"].as_str().unwrap()).unwrap();
        assert_eq!((tm, &options["attempts"]), (json!({ "traceparent": ABOVE }), &json!(2)));
        // The producer may have omitted the trace context: `omc`.
        let mut alone = options.clone();
        alone["omc"] = true.into();
        queue.redis().command(&["HSET", &queue.keys().job_key("b"), "opts", &alone.to_string()]).await.unwrap();
        assert_eq!(carried("b").await, None);
        assert!(!queue.queue().is_paused().await.unwrap());
        assert_eq!(queue.counts().await.unwrap().waiting, 3);
        queue.queue().obliterate(true, 100).await.unwrap();
        queue.close().await;
    });
}

fn served(stack: &TestStack) {
    let (sandbox, endpoints) = (sandbox(SUITE), endpoints(stack, "served"));
    let collector = runtime().block_on(Collector::start());
    let suites = sandbox.path("suites");
    let suites = suites.to_str().unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--history", "none", "--every", "1s", "--suites", suites];
    let mut command = sandbox.command(&arguments);
    for variable in endpoints.environment() {
        command.env(variable.name, variable.value.expose_secret());
    }
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let checks = |spans: &[Seen]| -> BTreeSet<String> {
        spans.iter().filter(|seen| seen.span.name == "check").map(Seen::trace).collect()
    };
    let spans = collector.until("two checks, each a trace of its own", |spans| checks(spans).len() >= 2);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for trace in checks(&spans) {
        let of_trace: Vec<Seen> = spans.iter().filter(|seen| seen.trace() == trace).cloned().collect();
        assert_eq!(below(&of_trace, only(&of_trace, "check")).len(), 2);
    }
}

/// `shakedown run` of a scenario, with a worker that writes down what it was given.
fn run(sandbox: &CliSandbox, collector: &Collector) -> Command {
    let given = sandbox.path("work").join("given");
    let contract =
        format!("[worker]\ncommand = [\"sh\", \"-c\", \"env > {}; exec {SHAKEDOWN} worker\"]\n", given.display());
    fs::write(sandbox.path("work").join("shakedown.toml"), contract).unwrap();
    let suites = sandbox.path("suites");
    let arguments =
        ["run", "--provider", "native", "--suites", suites.to_str().unwrap(), "--quiet", "--format", "json"];
    let mut command = sandbox.command(&arguments);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url);
    command
}

fn interrupted() {
    let sandbox = sandbox(&format!("suite = \"t\"\ntitle = \"Test\"\n{SCENARIO}"));
    let collector = runtime().block_on(Collector::start());
    let mut child =
        run(&sandbox, &collector).arg("--no-preflight").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !sandbox.path("work").join("given").exists() {
        assert!(Instant::now() < deadline, "no worker was started");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let spans = collector.spans();
    let root = only(&spans, "run");
    assert_eq!(root.failed().as_deref(), Some("interrupted"));
    // What was going on ended with it.
    let below = names(&below(&spans, root));
    assert!(below.contains("case t.delivered") && below.iter().any(|name| name.starts_with("scenario ")), "{below:?}");
    sandbox.assert_clean();
}

fn run_down_to_the_stages() {
    let sandbox = sandbox(&format!("{SUITE}{SCENARIO}"));
    let collector = runtime().block_on(Collector::start());
    let mut command = run(&sandbox, &collector);
    command
        .env("OTEL_EXPORTER_OTLP_HEADERS", format!("x-key={KEY}"))
        .env("OTEL_SERVICE_NAME", "shakedown-of-a-pipeline")
        .env("TRACEPARENT", ABOVE);
    let (code, report, printed) = judged(&mut command);
    assert_eq!((code, printed.as_str()), (1, ""), "{report}");
    assert!(report["notes"].as_array().unwrap().contains(&json!("trace 4bf92f3577b34da6a3ce929d0e0e4736")), "{report}");

    let spans = collector.spans();
    assert!(spans.iter().all(|seen| seen.trace() == "4bf92f3577b34da6a3ce929d0e0e4736"));
    let root = only(&spans, "run");
    assert_eq!((root.parent().as_str(), root.service.as_str()), ("00f067aa0ba902b7", "shakedown-of-a-pipeline"));
    let mut seen = names(&below(&spans, root));
    // What is stored when nothing goes wrong is found out by a scenario of its own.
    seen.retain(|name| !name.starts_with("scenario baseline-"));
    let wanted =
        ["start stack", "stop stack", "preflight", "case t.met", "case t.unmet", "case t.delivered", "scenario small"];
    assert_eq!(seen, BTreeSet::from(wanted.map(str::to_owned)));
    // Several cases may rest on a scenario, which is below none of them.
    let scenario = only(&spans, "scenario small");
    let links = &only(&spans, "case t.delivered").span.links;
    assert_eq!(links.iter().map(|link| &link.span_id).collect::<Vec<_>>(), [&scenario.span.span_id]);
    let phases = names(&below(&spans, scenario));
    for phase in ["set up", "start workers", "step 1: ingest", "stop workers", "fault: cut of redis"] {
        assert!(phases.contains(phase), "{phase} is not among {phases:?}");
    }
    let child =
        |above: &Seen, name: &str| only(&below(&spans, above).into_iter().cloned().collect::<Vec<_>>(), name).clone();
    let fault = child(scenario, "fault: cut of redis");
    assert_eq!(fault.fact("shakedown.fault.took_effect").as_deref(), Some("true"));

    let added = child(&child(scenario, "step 1: ingest"), "add jobs");
    let jobs = below(&spans, &added);
    assert_eq!(names(&jobs), BTreeSet::from(["job ingest-document".to_owned()]));
    let done: BTreeSet<String> = jobs.iter().filter_map(|job| job.fact("messaging.message.id")).collect();
    assert_eq!(done.len(), 8, "every job is traced");
    for job in &jobs {
        assert_eq!(job.service, "shakedown-worker");
    }
    let whole = jobs.iter().find(|job| job.failed().is_none()).expect("one job went well");
    let stages = names(&below(&spans, whole));
    for stage in ["status", "chunk", "embed", "store", "verify"] {
        assert!(stages.contains(stage), "{stage} is not among {stages:?}");
    }

    // The environment of the worker shows its secrets, and the variables of OpenTelemetry that it received.
    let given = fs::read_to_string(sandbox.path("work").join("given")).unwrap();
    let variable =
        |name: &str| given.lines().find_map(|line| line.strip_prefix(&format!("{name}=")).map(str::to_owned));
    assert_eq!(variable("OTEL_EXPORTER_OTLP_ENDPOINT").as_ref(), Some(&collector.url));
    assert_eq!((variable("OTEL_SERVICE_NAME"), variable("TRACEPARENT")), (None, None));
    let password = |name: &str| {
        let url = url::Url::parse(&variable(name).unwrap()).unwrap();
        url.password().map(str::to_owned)
    };
    let mut secrets = vec![KEY.to_owned()];
    secrets.extend(["REDIS_URL", "DATABASE_URL"].into_iter().filter_map(&variable));
    secrets.extend(["REDIS_URL", "DATABASE_URL"].into_iter().filter_map(password));
    secrets.extend(["QDRANT_API_KEY", "JINA_API_KEY"].into_iter().filter_map(&variable));
    secrets.retain(|secret| secret.len() > 6);
    assert_no_secret(&collector, &secrets);
    assert!(!report.to_string().contains(KEY));
    sandbox.assert_clean();
}

fn refused() {
    let sandbox = CliSandbox::new();
    let verbs: [&[&str]; 2] = [&["check"], &["run", "--dry-run"]];
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "thrift"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://collector"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_HEADERS", KEY),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_SDK_DISABLED", "perhaps"),
        ("OTEL_RESOURCE_ATTRIBUTES", "ci"),
    ] {
        for arguments in verbs {
            let mut command = sandbox.command(arguments);
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318").env(name, value);
            let output = command.output().unwrap();
            let printed = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{name}={value}: {printed}");
            assert!(
                printed.contains(name) && printed.contains("remedy") && !printed.contains(KEY),
                "{name}={value}: {printed}"
            );
        }
    }
    // Where no collector is named, they are other programs' business.
    let output = sandbox.command(&["run", "--dry-run"]).env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
