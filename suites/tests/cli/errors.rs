//! What a user meets at the command line when something is wrong: a clear error, the right exit code, nothing left.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;

use crate::completions::installed;
use crate::support::cli_sandbox::CliSandbox;

#[rstest]
#[case::an_unknown_key("suite = \"x\"\ntitle = \"x\"\ncolour = 1", "3:1")]
#[case::no_toml("suite = ", "1:")]
#[case::an_unknown_probe(
    "suite = \"x\"\ntitle = \"x\"\n[[case]]\nid = \"x.y\"\ntitle = \"t\"\nlevel = \"must\"\nwhy = \"w\"\nremedy = \"r\"\nsource = \"s\"\nprobe.ftp = { path = \"/\" }\nexpect = { equals = 1 }",
    "10:"
)]
#[case::an_expectation_of_a_scenario_for_a_probe(
    "suite = \"x\"\ntitle = \"x\"\n[[case]]\nid = \"x.y\"\ntitle = \"t\"\nlevel = \"must\"\nwhy = \"w\"\nremedy = \"r\"\nsource = \"s\"\nprobe.redis = { command = [\"PING\"] }\nexpect = { max_duplicates = 0 }",
    "11:"
)]
#[case::a_prerequisite_that_is_not_there(
    "suite = \"x\"\ntitle = \"x\"\nrequires = [\"x.z\"]\n[[case]]\nid = \"x.y\"\ntitle = \"t\"\nlevel = \"must\"\nwhy = \"w\"\nremedy = \"r\"\nsource = \"s\"\nprobe.redis = { command = [\"PING\"] }\nexpect = { equals = 1 }",
    "`requires` names unknown case `x.z`"
)]
#[case::no_case_id(
    "suite = \"x\"\ntitle = \"x\"\n[[case]]\nid = \"y\"\ntitle = \"t\"\nlevel = \"must\"\nwhy = \"w\"\nremedy = \"r\"\nsource = \"s\"\nprobe.redis = { command = [\"PING\"] }\nexpect = { equals = 1 }",
    "4:6"
)]
fn a_malformed_suite_is_pointed_at(#[case] text: &str, #[case] says: &str) {
    let sandbox = CliSandbox::new();
    fs::write(sandbox.path("suites/bad.toml"), text).unwrap();
    let suites = sandbox.path("suites");
    let (code, printed) = sandbox.run(&["run", "--provider", "native", "--suites", suites.to_str().unwrap()]);
    assert_eq!(code, 2, "{printed}");
    assert!(printed.contains("bad.toml") && printed.contains(says), "{printed}");
    sandbox.assert_clean();
}

#[rstest]
#[case::an_unknown_verb(&["runn"], "runn")]
#[case::an_unknown_provider(&["run", "--provider", "cloud"], "SHAKEDOWN_PROVIDER")]
#[case::an_unknown_suite(&["run", "--suite", "rediss"], "did you mean `redis`")]
#[case::an_unknown_case(&["run", "--case", "redis.evict"], "matches no case")]
#[case::an_unknown_format(&["run", "--report", "xml=a"], "unknown report format `xml`")]
#[case::a_report_without_a_path(&["run", "--report", "json"], "FORMAT=PATH")]
#[case::an_unknown_level(&["run", "--level", "shall"], "expected must, should or may")]
#[case::a_missing_directory_of_suites(&["run", "--suites", "nowhere"], "nowhere")]
#[case::a_missing_config(&["run", "--config", "nowhere.toml"], "nowhere.toml")]
#[case::an_unknown_profile(&["run", "--profile", "prod"], "SHAKEDOWN_PROFILE")]
#[case::filters_that_leave_nothing(&["run", "--suite", "redis", "--case", "jina.*"], "select no case")]
fn bad_usage_has_exit_code_2_and_a_remedy(#[case] arguments: &[&str], #[case] says: &str) {
    let sandbox = CliSandbox::new();
    let (code, printed) = sandbox.run(arguments);
    assert_eq!(code, 2, "{printed}");
    assert!(printed.contains(says), "{printed}");
    sandbox.assert_clean();
}

#[test]
fn an_unknown_variable_of_ours_is_an_error_with_a_suggestion() {
    let sandbox = CliSandbox::new();
    let output = sandbox.command(&["env", "--resolved"]).env("SHAKEDOWN_PROVIDR", "native").output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{printed}");
    assert!(printed.contains("SHAKEDOWN_PROVIDR") && printed.contains("SHAKEDOWN_PROVIDER"), "{printed}");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let sandbox = CliSandbox::new();
    let output = sandbox
        .command(&["run", "--provider", "native", "--quiet"])
        .env("SHAKEDOWN_REDIS_SERVER", "/nowhere/redis-server")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{printed}");
    assert!(printed.contains("/nowhere/redis-server"), "{printed}");
    sandbox.assert_clean();
}

#[test]
fn a_port_in_use_is_named() {
    let sandbox = CliSandbox::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let data = sandbox.path("data");
    let (code, printed) = sandbox.run(&["up", "--data-dir", data.to_str().unwrap(), "--redis-port", &port]);
    assert_eq!(code, 2, "{printed}");
    assert!(printed.contains(&port), "{printed}");
    sandbox.assert_clean();
}

#[test]
fn unreachable_and_misspelt_services_are_named_without_their_secrets() {
    let sandbox = CliSandbox::new();
    let output = sandbox
        .command(&["setup"])
        .env("REDIS_URL", "redis://:the-secret@127.0.0.1:1/0")
        .env("DATABASE_URL", "postgres://postgres:the-secret@127.0.0.1:1/postgres")
        .env("QDRANT_URL", "http://127.0.0.1:1")
        .env("QDRANT_GRPC_URL", "http://127.0.0.1:1")
        .env("QDRANT_API_KEY", "the-secret")
        .output()
        .unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(3), "{printed}");
    assert!(printed.contains("127.0.0.1:1") && !printed.contains("the-secret"), "{printed}");
}

#[test]
fn a_worker_with_an_invalid_embeddings_url_reports_it() {
    let sandbox = CliSandbox::new();
    let output = sandbox
        .command(&["worker"])
        .env("REDIS_URL", "redis://127.0.0.1:1/0")
        .env("DATABASE_URL", "postgres://postgres@127.0.0.1:1/postgres")
        .env("QDRANT_URL", "http://127.0.0.1:6333")
        .env("JINA_BASE_URL", "not a url")
        .env("JINA_API_KEY", "jina_x")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{printed}");
    assert!(printed.contains("JINA_BASE_URL"), "{printed}");
}

#[rstest]
#[case::ctrl_c(Signal::SIGINT)]
#[case::a_polite_end(Signal::SIGTERM)]
fn an_interrupted_run_leaves_nothing_and_says_130(#[case] signal: Signal) {
    let sandbox = CliSandbox::new();
    let mut run = sandbox
        .command(&["run", "--provider", "native", "--suite", "ingestion"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(run.stderr.take().unwrap());
    // In the middle of the scenario runs: the stack is up, and workers are about to be.
    for line in stderr.lines() {
        if line.unwrap().contains("stack ready") {
            break;
        }
    }
    wait_for_a_worker(&sandbox.path("data"));
    kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), signal).unwrap();
    let status = run.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    sandbox.assert_clean();
}

#[test]
fn clean_removes_the_leftovers_of_a_killed_run() {
    let sandbox = CliSandbox::new();
    let mut run = sandbox
        .command(&["run", "--provider", "native", "--suite", "ingestion", "--quiet"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_a_worker(&sandbox.path("data"));
    run.kill().unwrap();
    run.wait().unwrap();
    // What is in Docker is other people's, and whether there is Docker is no matter.
    let clean = || {
        let nowhere = format!("unix://{}", sandbox.path("docker.sock").display());
        let output = sandbox.command(&["clean"]).env("DOCKER_HOST", nowhere).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, printed) = clean();
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains(": removed "), "{printed}");
    sandbox.assert_clean();
    let (code, printed) = clean();
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.starts_with("containers were not checked: no Docker engine answers at"), "{printed}");
    assert_eq!(printed.lines().count(), 1, "nothing else was left: {printed}");
}

/// Waits until a worker's log is there.
fn wait_for_a_worker(data: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let logs = fs::read_dir(data).unwrap().flatten().any(|run| {
            fs::read_dir(run.path()).into_iter().flatten().flatten().any(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.starts_with("worker-") && entry.metadata().is_ok_and(|log| log.len() > 0)
            })
        });
        if logs {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("no worker started");
}

#[test]
fn a_report_is_written_to_every_requested_file() {
    let sandbox = CliSandbox::new();
    let (code, printed) = sandbox.run(&[
        "run",
        "--provider",
        "native",
        "--case",
        "redis.*",
        "--quiet",
        "--report",
        "json=deep/er/report.json",
        "--report",
        "junit=report.xml",
        "--report",
        "markdown=report.md",
        "--report",
        "html=report.html",
    ]);
    assert_eq!(code, 0, "{printed}");
    let html = fs::read_to_string(sandbox.path("work/report.html")).unwrap();
    assert!(html.starts_with("<!doctype html>") && html.contains("id=\"case-redis.eviction-policy\""));
    let json = fs::read_to_string(sandbox.path("work/deep/er/report.json")).unwrap();
    let report = shakedown::report::json::read(&json).unwrap();
    assert!(report.cases.iter().all(|case| case.suite == "redis") && report.cases.len() > 10);
    assert!(fs::read_to_string(sandbox.path("work/report.xml")).unwrap().contains("redis.eviction-policy"));
    let markdown = fs::read_to_string(sandbox.path("work/report.md")).unwrap();
    for section in
        ["## Services configured", "## Environment variables", "## Connection validation", "## Files", "## Next steps"]
    {
        assert!(markdown.contains(section), "{section}");
    }
    sandbox.assert_clean();
}

#[test]
fn a_waiver_turns_a_failure_into_waived_and_a_stale_waiver_is_reported() {
    let sandbox = CliSandbox::new();
    let suite = r#"
suite = "mine"
title = "Mine"

[[case]]
id = "mine.impossible"
title = "Redis is a cluster"
level = "must"
probe.redis = { command = ["INFO", "cluster"], field = "cluster_enabled" }
expect = { equals = 1 }
why = "w"
remedy = "r"
source = "s"

[[case]]
id = "mine.fine"
title = "Redis answers"
level = "must"
probe.redis = { command = ["PING"] }
expect = { equals = "PONG" }
why = "w"
remedy = "r"
source = "s"
"#;
    fs::write(sandbox.path("suites/mine.toml"), suite).unwrap();
    let suites = sandbox.path("suites");
    let arguments =
        ["run", "--provider", "native", "--quiet", "--format", "terminal", "--suites", suites.to_str().unwrap()];
    let (code, printed) = sandbox.run(&arguments);
    assert_eq!(code, 1, "{printed}");
    let waivers = "[[waive]]\ncase = \"mine.impossible\"\nreason = \"single node for now\"\nexpires = \"2999-12-31\"\n\n[[waive]]\ncase = \"mine.fine\"\nreason = \"was broken\"\nexpires = \"2999-12-31\"\n";
    fs::write(sandbox.path("work/shakedown.toml"), waivers).unwrap();
    let (code, printed) = sandbox.run(&arguments);
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("waived") && printed.contains("stale waiver: mine.fine"), "{printed}");
}

#[test]
fn the_proxy_verb_reports_each_fault_and_the_ones_that_affected_nothing() {
    use std::io::{Read, Write};
    let sandbox = CliSandbox::new();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = server.local_addr().unwrap().to_string();
    let start = |faults: &[&str]| {
        let mut child = sandbox
            .command(&[&["proxy", "--upstream", &upstream], faults].concat())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let first: serde_json::Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
        (child, lines, first["listening"].as_str().unwrap().to_owned())
    };
    let finish = |mut child: std::process::Child| {
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
        child.wait().unwrap().code()
    };
    // From its first byte on: the fault is there before the connection.
    let (child, mut lines, address) = start(&["--fault", "refuse+30s"]);
    assert!(lines.next().unwrap().contains("began_ms"));
    let mut client = std::net::TcpStream::connect(&address).unwrap();
    let _ = client.write_all(b"PING");
    assert!(client.read(&mut [0]).map_or(true, |count| count == 0));
    assert!(lines.by_ref().any(|line| line.contains(r#""closed_by":"refuse""#)));
    assert_eq!(finish(child), Some(130));

    // One that has no end is asked at the end.
    let (child, mut lines, _) = start(&["--fault", "blackhole"]);
    assert!(lines.next().unwrap().contains("began_ms"));
    assert_eq!(finish(child), Some(3));

    // One that affected nothing.
    let (child, mut lines, _) = start(&["--fault", "blackhole+50ms"]);
    let end = lines.find(|line| line.contains("ended_ms")).unwrap();
    assert!(end.contains(r#""took_effect":false"#), "{end}");
    assert_eq!(finish(child), Some(3));

    for (arguments, says) in [
        (&["proxy", "--upstream", "nowhere"][..], "expected host:port"),
        (&["proxy", "--upstream", "127.0.0.1:1", "--fault", "cutt"][..], "did you mean cut?"),
        (&["proxy", "--upstream", "127.0.0.1:1", "--listen", &upstream][..], "choose another address with --listen"),
    ] {
        let (code, text) = sandbox.run(arguments);
        assert!(code == 2 && text.contains(says), "{code} {text}");
    }
}

/// What `shakedown check` of a Redis that is not there shows on a terminal of 80 columns.
fn on_a_terminal(variables: &[(&str, &str)], arguments: &str) -> String {
    let sandbox = CliSandbox::new();
    let line = format!(
        "stty cols 80 rows 40; exec '{}' check --suite env --suite redis {arguments}",
        crate::support::cli_sandbox::SHAKEDOWN
    );
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(sandbox.path("work")).stdin(Stdio::null());
    for (name, value) in sandbox.command(&[]).get_envs().filter(|(name, _)| *name != "NO_COLOR") {
        command.env(name, value.unwrap_or_default());
    }
    for name in ["CI", "GITHUB_ACTIONS", "COLUMNS", "CLICOLOR_FORCE", "FORCE_COLOR"] {
        command.env_remove(name);
    }
    let output = command.env("REDIS_URL", "redis://127.0.0.1:1/0").envs(variables.iter().copied()).output().unwrap();
    // The terminal ends every line in both ways.
    String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n")
}

#[rstest]
#[case::colours_and_a_bar(&[("TERM", "xterm")], true, true)]
#[case::no_colours(&[("TERM", "xterm"), ("NO_COLOR", "1"), ("CI", "true")], false, false)]
#[case::a_dumb_terminal(&[("TERM", "dumb")], false, false)]
#[case::the_log_of_a_ci_server(&[("TERM", "xterm"), ("CI", "true")], true, false)]
fn terminal_output_uses_the_features_of_the_terminal(
    #[case] variables: &[(&str, &str)],
    #[case] colours: bool,
    #[case] redraws: bool,
) {
    if !installed("script") || !installed("stty") {
        return;
    }
    let shown = on_a_terminal(variables, "");
    assert!(shown.contains("fail redis.answers") && shown.contains("not conformant"), "{shown}");
    assert_eq!(shown.contains("\u{1b}["), colours, "{shown}");
    assert_eq!(shown.contains('\r'), redraws, "{shown}");
    let (_, report) = shown.split_once("\nsuites\n").unwrap_or_else(|| shown.split_once("suites\u{1b}[0m\n").unwrap());
    for line in report.lines() {
        assert!(console::measure_text_width(line) <= 80 || line.contains("://"), "{line}");
    }
    assert_eq!(on_a_terminal(variables, "--quiet").lines().count(), 1);
    let evidence = |arguments| on_a_terminal(variables, arguments).matches("REDIS_URL: ").count();
    assert!(evidence("--verbose") > evidence(""), "what passed is explained too");
}

#[test]
fn reasons_name_the_address_or_the_variable_and_never_a_placeholder_or_a_password() {
    let sandbox = CliSandbox::new();
    for (name, value, case, says) in [
        (
            "REDIS_URL",
            "redis://:hunter2-is-secret@127.0.0.1:1/0",
            "redis.answers",
            "redis at redis://127.0.0.1:1/0 is unreachable",
        ),
        ("REDIS_URL", "redis://127.0.0.1:1/0", "redis.answers", "redis at redis://127.0.0.1:1/0 is unreachable"),
        (
            "DATABASE_URL",
            "postgres://postgres:postgres@127.0.0.1:1/postgres",
            "postgres.answers",
            "postgres at postgres://127.0.0.1:1/postgres is unreachable",
        ),
        ("QDRANT_URL", "http://127.0.0.1:1", "qdrant.answers", "qdrant at http://127.0.0.1:1 is unreachable"),
    ] {
        let suite = case.split('.').next().unwrap();
        let arguments = ["check", "--format", "json", "--quiet", "--suite", "env", "--suite", suite];
        let output = sandbox.command(&arguments).env(name, value).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let report = shakedown::report::json::read(&text).unwrap();
        let reason =
            |id: &str| report.cases.iter().find(|case| case.id == id).unwrap().verdict.reason().unwrap().to_owned();
        assert!(reason(case).starts_with(says), "{}", reason(case));
        assert!(!text.contains("{{") && !text.contains("hunter2") && !text.contains("unknown placeholder"), "{text}");
        let others = report.cases.iter().filter(|other| other.suite == suite && other.id != case);
        for other in others {
            assert_eq!(other.verdict.reason(), Some(format!("{suite} unreachable").as_str()), "{}", other.id);
        }
    }
}
