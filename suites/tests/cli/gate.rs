//! What decides whether a pipeline continues: strictness, baselines, several attempts, time limits, and the annotations
//! for GitHub Actions. Its own suites have cases that pass, fail, are flaky and take too long.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const SHAKEDOWN: &str = env!("CARGO_BIN_EXE_shakedown");

/// A case of a suite `t` that is written for one test.
fn case(id: &str, level: &str, probe: &str, expect: &str) -> String {
    format!(
        "[[case]]\nid = \"t.{id}\"\ntitle = \"{id}\"\nlevel = \"{level}\"\nprobe.redis = {probe}\n\
         expect = {{ {expect} }}\nwrites = true\nwhy = \"why\"\nremedy = \"remedy\"\nsource = \"source\"\n\n"
    )
}

fn passes(id: &str) -> String {
    case(id, "must", "{ command = [\"PING\"] }", "equals = \"PONG\"")
}

fn fails(id: &str, level: &str) -> String {
    case(id, level, "{ command = [\"PING\"] }", "equals = \"something else\"")
}

/// One that passes the first time and fails the second.
fn changes_its_mind(id: &str) -> String {
    case(id, "must", &format!("{{ command = [\"INCR\", \"{id}\"] }}"), "equals = 1")
}

struct CliSandbox(TempDir);

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl CliSandbox {
    fn new(cases: &[String]) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let sandbox = tempfile::tempdir().unwrap();
        fs::set_permissions(sandbox.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for directory in ["data", "state", "suites"] {
            fs::create_dir(sandbox.path().join(directory)).unwrap();
        }
        let sandbox = Self(sandbox);
        sandbox.write(cases);
        sandbox
    }

    fn write(&self, cases: &[String]) {
        let text = format!("suite = \"t\"\ntitle = \"Test\"\n\n{}", cases.concat());
        fs::write(self.path("suites/t.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, &[])
    }

    fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Said {
        let output = Command::new(SHAKEDOWN)
            .args(["run", "--provider", "native", "--suites", "suites", "--format", "short", "--quiet", "--jobs", "1"])
            .args(["--report", "json=report.json", "--report", "junit=report.xml"])
            .args(arguments)
            .current_dir(self.0.path())
            .env("SHAKEDOWN_DATA_DIR", self.path("data"))
            .env("SHAKEDOWN_STATE_DIR", self.path("state"))
            .env("NO_COLOR", "1")
            .env_remove("GITHUB_ACTIONS")
            .env_remove("GITHUB_STEP_SUMMARY")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(fs::read_dir(self.path("data")).unwrap().count(), 0, "something is left");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).split_whitespace().collect::<Vec<_>>().join(" ");
        Said {
            code: output.status.code().unwrap(),
            out: text(&output.stdout),
            err: text(&output.stderr).replace("│ ", ""),
        }
    }

    fn report(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path("report.json")).unwrap()).unwrap()
    }

    fn verdicts(&self) -> Vec<String> {
        let report = self.report();
        let cases = report["cases"].as_array().unwrap();
        cases.iter().map(|case| case["verdict"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn a_warning_fails_a_strict_run_and_no_other() {
    let sandbox = CliSandbox::new(&[passes("good"), fails("odd", "should")]);
    let usual = sandbox.run(&[]);
    assert_eq!((usual.code, sandbox.verdicts()), (0, vec!["pass".to_owned(), "warn".to_owned()]), "{}", usual.out);
    assert!(!fs::read_to_string(sandbox.path("report.xml")).unwrap().contains("<failure"));
    let strict = sandbox.run(&["--strict"]);
    assert_eq!(strict.code, 1, "{}", strict.out);
    assert!(strict.out.contains("not conformant (strict: warnings fail)"), "{}", strict.out);
    assert!(fs::read_to_string(sandbox.path("report.xml")).unwrap().contains("<failure"));
}

#[test]
fn with_a_baseline_only_cases_that_got_worse_fail() {
    let sandbox = CliSandbox::new(&[passes("good"), fails("known", "must"), fails("mended", "must")]);
    assert_eq!(sandbox.run(&[]).code, 1);
    let mut baseline = sandbox.report();
    fs::copy(sandbox.path("report.json"), sandbox.path("same.json")).unwrap();
    let same = sandbox.run(&["--baseline", "same.json"]);
    assert_eq!(same.code, 0, "{}", same.out);
    assert!(same.out.contains("no changes"), "{}", same.out);

    // As if `known` had passed before, and `good` had not.
    baseline["cases"][0]["verdict"] = "fail".into();
    baseline["cases"][1]["verdict"] = "pass".into();
    fs::write(sandbox.path("other.json"), baseline.to_string()).unwrap();
    let worse = sandbox.run(&["--baseline", "other.json"]);
    assert_eq!(worse.code, 1);
    assert!(worse.out.contains("1 worse (t.known); 1 fixed (t.good)"), "{}", worse.out);
    assert_eq!(sandbox.report()["gate"]["comparison"]["worse"], serde_json::json!(["t.known"]));
}

#[test]
fn a_baseline_of_something_else_is_refused_before_anything_is_started() {
    let sandbox = CliSandbox::new(&[passes("good"), passes("better")]);
    sandbox.run(&[]);
    fs::copy(sandbox.path("report.json"), sandbox.path("base.json")).unwrap();
    let fewer = sandbox.run(&["--baseline", "base.json", "--case", "t.good"]);
    assert!(fewer.code == 2 && fewer.err.contains("its selection of cases differs"), "{}", fewer.err);
    let profile = sandbox.run(&["--baseline", "base.json", "--profile", "staging"]);
    assert!(
        profile.code == 2 && profile.err.contains("it is for profile development, but this run uses profile staging"),
        "{}",
        profile.err
    );
    sandbox.write(&[passes("good"), fails("better", "must")]);
    let suites = sandbox.run(&["--baseline", "base.json"]);
    assert!(suites.code == 2 && suites.err.contains("it is for suites"), "{}", suites.err);
    let missing = sandbox.run(&["--baseline", "none.json"]);
    assert!(missing.code == 2 && missing.err.contains("none.json"), "{}", missing.err);
    fs::write(sandbox.path("torn.json"), "{\"report_ver").unwrap();
    let torn = sandbox.run(&["--baseline", "torn.json"]);
    assert!(torn.code == 2 && torn.err.contains("not JSON: "), "{}", torn.err);
}

#[test]
fn fail_fast_starts_nothing_after_a_failure() {
    let sandbox = CliSandbox::new(&[passes("first"), fails("second", "must"), passes("third")]);
    let ran = sandbox.run(&["--fail-fast"]);
    assert_eq!((ran.code, sandbox.verdicts()), (1, ["pass", "fail", "skip"].map(str::to_owned).to_vec()));
    assert!(ran.out.contains("--fail-fast: t.second failed"), "{}", ran.out);
    sandbox.run(&[]);
    assert_eq!(sandbox.verdicts(), ["pass", "fail", "pass"]);
}

#[test]
fn a_case_that_changes_its_verdict_is_flaky() {
    let sandbox = CliSandbox::new(&[passes("steady"), changes_its_mind("fickle")]);
    assert_eq!(sandbox.run(&[]).code, 0);
    let ran = sandbox.run(&["--repeat", "3"]);
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(ran.out.contains("flaky: 1 of 3 attempts passed; worst attempt: fail"), "{}", ran.out);
    assert!(ran.out.contains("3 attempts of every case, 1 flaky"), "{}", ran.out);
    let case = &sandbox.report()["cases"][1];
    assert_eq!(case["attempts"], serde_json::json!(["pass", "fail", "fail"]));
    assert_eq!(case["flaky"], true);
    let junit = fs::read_to_string(sandbox.path("report.xml")).unwrap();
    assert_eq!(junit.matches("<flakyFailure").count(), 2, "{junit}");
    let strict = sandbox.run(&["--repeat", "2", "--strict"]);
    assert_eq!(strict.code, 1, "{}", strict.out);
    assert!(fs::read_to_string(sandbox.path("report.xml")).unwrap().contains("<rerunFailure"));
}

#[test]
fn a_case_that_exceeds_the_timeout_is_unknown() {
    let waits = case("waits", "must", "{ command = [\"BLPOP\", \"nothing\", \"60\"] }", "equals = \"never\"");
    let sandbox = CliSandbox::new(&[passes("quick"), waits, passes("late")]);
    let ran = sandbox.run(&["--timeout", "4s"]);
    assert_eq!(
        (ran.code, sandbox.verdicts()),
        (3, ["pass", "unknown", "unknown"].map(str::to_owned).to_vec()),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("not judged within the 4 s of --timeout"), "{}", ran.out);
}

#[test]
fn the_shards_of_a_selection_are_the_whole_of_it() {
    let sandbox = CliSandbox::new(&[passes("a"), passes("b"), passes("c")]);
    let mut seen = Vec::new();
    for shard in ["1/2", "2/2"] {
        assert_eq!(sandbox.run(&["--shard", shard]).code, 0);
        let report = sandbox.report();
        assert_eq!(report["gate"]["shard"], shard);
        seen.extend(report["cases"].as_array().unwrap().iter().map(|case| case["id"].as_str().unwrap().to_owned()));
    }
    seen.sort();
    assert_eq!(seen, ["t.a", "t.b", "t.c"]);
    // More parts than cases: a part with nothing in it says so.
    assert_eq!(sandbox.run(&["--shard", "4/4"]).code, 2);
}

#[test]
fn annotations_are_written_on_github_actions_only() {
    let sandbox = CliSandbox::new(&[passes("good"), fails("bad", "must"), fails("odd", "should")]);
    let summary = sandbox.path("summary.md");
    fs::write(&summary, "what the step before wrote\n").unwrap();
    let path = summary.display().to_string();
    let elsewhere = sandbox.run_with(&[], &[("GITHUB_STEP_SUMMARY", &path)]);
    assert!(!elsewhere.err.contains("::error"), "{}", elsewhere.err);
    assert_eq!(fs::read_to_string(&summary).unwrap(), "what the step before wrote\n");

    let there = sandbox.run_with(&[], &[("GITHUB_STEP_SUMMARY", &path), ("GITHUB_ACTIONS", "true")]);
    assert_eq!(there.code, 1);
    assert!(there.err.contains("::error title=fail t.bad%3A bad::"), "{}", there.err);
    assert!(there.err.contains("::warning title=warn t.odd%3A odd::"), "{}", there.err);
    let text = fs::read_to_string(&summary).unwrap();
    assert!(text.starts_with("what the step before wrote\n# Shakedown: not conformant"), "{text}");
    // A summary that cannot be written changes nothing else.
    let lost = sandbox.run_with(&[], &[("GITHUB_STEP_SUMMARY", "/proc/none"), ("GITHUB_ACTIONS", "true")]);
    assert!(lost.code == 1 && lost.err.contains("/proc/none"), "{}", lost.err);
}
