//! What a user does with reports once they are written: other formats, a difference, one report of several.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::cli_sandbox::CliSandbox;

/// A report of MUST cases with these verdicts.
fn report(run: &str, cases: &[(&str, &str)]) -> Value {
    let cases: Vec<Value> = cases
        .iter()
        .map(|(id, verdict)| {
            json!({
                "id": id, "suite": "t", "title": format!("What {id} wants"), "level": "must", "verdict": verdict,
                "reason": (*verdict != "pass").then_some("it does not hold"), "evidence": [], "why": "why",
                "remedy": "remedy", "source": "source", "duration_ms": 100,
            })
        })
        .collect();
    let count = |word: &str| cases.iter().filter(|case| case["verdict"] == word).count();
    let verdict = if count("fail") > 0 { "not conformant" } else { "conformant" };
    json!({
        "report_version": 2, "shakedown": "0.1.0", "suite_version": "abc", "run": run, "seed": 42,
        "profile": "development", "provider": "native", "provider_reason": "asked for", "worker": "shakedown worker",
        "started_at": "2026-01-01T00:00:00Z", "duration_ms": 1000, "verdict": verdict,
        "coverage": { "must_total": cases.len(), "must_judged": cases.len(), "must_skipped": 0, "must_unknown": 0,
                      "filtered_out": 0 },
        "totals": { "cases": cases.len(), "pass": count("pass"), "fail": count("fail"), "warn": 0, "skip": 0,
                    "unknown": 0, "waived": 0 },
        "services": [], "environment": [], "files": [], "notes": [], "cases": cases,
    })
}

fn sandbox(reports: &[(&str, Value)]) -> CliSandbox {
    let sandbox = CliSandbox::new();
    for (name, report) in reports {
        fs::write(sandbox.path(&format!("work/{name}")), report.to_string()).unwrap();
    }
    sandbox
}

fn shard(part: &str, cases: &[(&str, &str)]) -> Value {
    let mut report = report(part, cases);
    report["gate"] = json!({ "shard": part });
    report
}

#[test]
fn a_report_is_written_in_every_other_format_to_files_or_to_the_terminal() {
    let sandbox = sandbox(&[("r.json", report("r1", &[("t.good", "pass"), ("t.bad", "fail")]))]);
    let formats = ["json", "html", "junit", "markdown", "terminal", "short"];
    let targets: Vec<String> = formats.iter().map(|format| format!("{format}=out/{format}")).collect();
    let mut arguments = vec!["report", "convert", "r.json"];
    arguments.extend(targets.iter().flat_map(|target| ["--report", target]));
    let (code, printed) = sandbox.run(&arguments);
    assert_eq!((code, printed.as_str()), (0, ""));
    for format in formats {
        let written = fs::read_to_string(sandbox.path(&format!("work/out/{format}"))).unwrap();
        assert!(written.contains("t.bad"), "{format}: {written}");
        let (code, printed) = sandbox.run(&["report", "convert", "r.json", "--format", format]);
        assert_eq!(code, 0, "{printed}");
        // What goes to a terminal is as wide as that is.
        if !matches!(format, "terminal" | "short") {
            let words = written.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(printed, words, "{format}");
        }
    }
    let (code, printed) = sandbox.run(&["report", "convert", "r.json"]);
    assert!(code == 0 && printed.contains("not conformant: 2 of 2 MUST cases judged"), "{printed}");
    let again = fs::read_to_string(sandbox.path("work/out/json")).unwrap();
    assert!(again.contains("\"reason\": \"it does not hold\""), "{again}");
}

#[test]
fn a_report_is_read_from_standard_input_too() {
    let sandbox = CliSandbox::new();
    let mut child = sandbox
        .command(&["report", "convert", "-", "--format", "short"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = report("r1", &[("t.bad", "fail")]).to_string();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("t.bad"));
}

#[test]
fn a_diff_fails_only_if_a_case_got_worse() {
    let before = report("r1", &[("t.a", "pass"), ("t.b", "fail"), ("t.c", "fail"), ("t.old", "pass")]);
    let mut after = report("r2", &[("t.a", "pass"), ("t.b", "pass"), ("t.c", "fail")]);
    after["cases"][0]["duration_ms"] = 5000.into();
    let mut worse = after.clone();
    worse["cases"][0]["verdict"] = "fail".into();
    let sandbox = sandbox(&[("before.json", before), ("after.json", after), ("worse.json", worse)]);
    let (code, printed) = sandbox.run(&["report", "diff", "before.json", "after.json"]);
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("run r2 against run r1: 1 fixed, 1 gone, 1 slower"), "{printed}");
    assert!(printed.contains("100 ms → 5.0 s t.a"), "{printed}");
    let (code, printed) = sandbox.run(&["report", "diff", "before.json", "worse.json", "--format", "json"]);
    assert_eq!(code, 1, "{printed}");
    let diff: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&diff["worse"][0]["id"], &diff["worse"][0]["was"]), (&json!("t.a"), &json!("pass")));
    for format in ["markdown", "html"] {
        let (code, printed) = sandbox.run(&["report", "diff", "before.json", "worse.json", "--format", format]);
        assert!(code == 1 && printed.contains("1 worse") && printed.contains("t.a"), "{printed}");
    }
}

#[test]
fn shards_become_one_report_and_its_verdict_is_the_exit_code() {
    let sandbox = sandbox(&[
        ("1.json", shard("1/2", &[("t.a", "pass")])),
        ("2.json", shard("2/2", &[("t.b", "pass")])),
        ("again.json", shard("2/2", &[("t.a", "fail")])),
    ]);
    let (code, printed) =
        sandbox.run(&["report", "merge", "1.json", "2.json", "--report", "json=all.json", "--report", "html=all.html"]);
    assert_eq!((code, printed.as_str()), (0, ""));
    let (code, printed) = sandbox.run(&["report", "convert", "all.json"]);
    assert!(code == 0 && printed.contains("conformant: 2 of 2 MUST cases judged"), "{printed}");
    let (code, printed) = sandbox.run(&["report", "merge", "1.json"]);
    assert!(code == 3 && printed.contains("shard 2/2 is missing"), "{printed}");
    let (code, printed) = sandbox.run(&["report", "merge", "1.json", "2.json", "again.json"]);
    assert!(
        code == 1 && printed.contains("t.a is in two reports, pass and fail: the worse verdict counts, fail"),
        "{printed}"
    );
}

#[rstest]
#[case::not_there(None, "cannot read the")]
#[case::no_json(Some("{"), "not JSON: ")]
#[case::no_report(Some("{\"cases\": []}"), "without a report_version")]
#[case::of_another_shape(Some("{\"report_version\": 1}"), "unexpected content in a report of version 1: missing field")]
#[case::of_a_later_version(
    Some("{\"report_version\": 7, \"shakedown\": \"9.0.0\"}"),
    "report version 7, written by shakedown 9.0.0"
)]
fn a_report_that_cannot_be_read_is_named_and_refused(#[case] text: Option<&str>, #[case] says: &str) {
    let sandbox = sandbox(&[("good.json", report("r1", &[("t.a", "pass")]))]);
    if let Some(text) = text {
        fs::write(sandbox.path("work/bad.json"), text).unwrap();
    }
    for arguments in [
        &["report", "convert", "bad.json"][..],
        &["report", "diff", "good.json", "bad.json"],
        &["report", "merge", "good.json", "bad.json"],
    ] {
        let (code, printed) = sandbox.run(arguments);
        assert_eq!(code, 2, "{printed}");
        assert!(printed.contains("bad.json") && printed.contains(says), "{printed}");
    }
}

#[test]
fn reports_of_other_suites_are_not_merged_and_compared_only_with_a_word() {
    let mut other = report("r2", &[("t.a", "pass")]);
    other["suite_version"] = "xyz".into();
    let sandbox = sandbox(&[("a.json", report("r1", &[("t.a", "pass")])), ("b.json", other)]);
    let (code, printed) = sandbox.run(&["report", "merge", "a.json", "b.json"]);
    assert!(code == 2 && printed.contains("run r2 has suites xyz, run r1 has abc"), "{printed}");
    let (code, printed) = sandbox.run(&["report", "diff", "a.json", "b.json"]);
    assert!(code == 0 && printed.contains("note: suites: abc before, xyz now"), "{printed}");
}
