//! Inputs of any size: what is too long is refused with the limit, and the rest takes a bounded amount of memory and time.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, File};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::cli_sandbox::CliSandbox;

/// The memory that a program may allocate, in KiB.
const MEMORY_KIB: u32 = 300 << 10;

/// Runs the binary with at most [`MEMORY_KIB`] of data.
fn run_within_memory(sandbox: &CliSandbox, arguments: &[&str]) -> Output {
    let program = sandbox.command(arguments);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -d {MEMORY_KIB}; exec \"$@\""), "sh"]);
    command.arg(program.get_program()).args(program.get_args());
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(program.get_current_dir().unwrap()).output().unwrap()
}

/// A report of 28 MB: many cases with much evidence.
fn large_report(version: u8) -> String {
    let evidence = "what was seen, and more of it. ".repeat(40);
    let cases: Vec<_> = (0..16_000)
        .map(|number| {
            json!({
                "id": format!("t.case-{number}"), "suite": "t", "title": "A title", "level": "must", "verdict": "fail",
                "reason": "it does not hold", "evidence": [{ "what": "answer", "seen": evidence }], "why": "why",
                "remedy": "remedy", "source": "source", "duration_ms": 100,
            })
        })
        .collect();
    json!({
        "report_version": version, "shakedown": "0.1.0", "suite_version": "abc", "run": "r", "seed": 42,
        "profile": "development", "provider": "native", "provider_reason": "asked for", "worker": "shakedown worker",
        "started_at": "2026-01-01T00:00:00Z", "duration_ms": 1000, "verdict": "not conformant",
        "coverage": { "must_total": 16_000, "must_judged": 16_000, "must_skipped": 0, "must_unknown": 0,
                      "filtered_out": 0 },
        "totals": { "cases": 16_000, "pass": 0, "fail": 16_000, "warn": 0, "skip": 0, "unknown": 0, "waived": 0 },
        "services": [], "environment": [], "files": [], "notes": [], "cases": cases,
    })
    .to_string()
}

#[test]
fn a_large_report_is_converted_compared_and_merged_in_bounded_memory() {
    let sandbox = CliSandbox::new();
    for (name, version) in [("r.json", 2), ("old.json", 1)] {
        let text = large_report(version);
        assert!((22_000_000..32_000_000).contains(&text.len()), "{} bytes", text.len());
        fs::write(sandbox.path("work").join(name), text).unwrap();
    }
    let mut commands: Vec<Vec<&str>> = ["json", "html", "junit", "markdown", "terminal", "short"]
        .iter()
        .map(|format| vec!["report", "convert", "r.json", "--format", format])
        .collect();
    commands.push(vec!["report", "convert", "old.json", "--format", "short"]);
    commands.push(vec!["report", "diff", "r.json", "r.json", "--format", "json"]);
    commands.push(vec!["report", "merge", "r.json", "r.json", "--format", "short"]);
    for arguments in commands {
        let output = run_within_memory(&sandbox, &arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{arguments:?}: {} {error}", output.status);
        // An error while a report is printed does not change the exit code.
        let printed = String::from_utf8_lossy(&output.stdout);
        let end = if arguments.contains(&"html") { "</html>\n" } else { "\n" };
        assert!(printed.len() > 200 && printed.ends_with(end), "{arguments:?}: {} bytes", printed.len());
    }
}

#[test]
fn a_file_beyond_its_limit_is_refused_with_the_limit() {
    let sandbox = CliSandbox::new();
    let sparse = |path: &str, mib: u64| File::create(sandbox.path(path)).unwrap().set_len(mib << 20).unwrap();
    sparse("work/r.json", 65);
    for arguments in [&["report", "convert", "r.json"][..], &["report", "diff", "r.json", "r.json"]] {
        let (code, text) = sandbox.run(arguments);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains("it is longer than the limit of 64 MiB; write one report for each part"), "{text}");
    }
    sparse("suites/long.toml", 17);
    let (code, text) = sandbox.run(&["suites", "lint", "../suites"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("long.toml` cannot be read: it is longer than the limit of 16 MiB"), "{text}");
    fs::remove_file(sandbox.path("suites/long.toml")).unwrap();
    nix::unistd::mkfifo(&sandbox.path("suites/pipe.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (code, text) = sandbox.run(&["suites", "lint", "../suites"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("pipe.toml` cannot be read: it is not a regular file"), "{text}");
}

#[test]
fn eight_thousand_cases_are_checked_in_seconds() {
    let sandbox = CliSandbox::new();
    let mut text = "suite = \"many\"\ntitle = \"Many cases\"\n".to_owned();
    for number in 0..8000 {
        text += &format!(
            "\n[[case]]\nid = \"many.case-{number}\"\ntitle = \"A case\"\nlevel = \"must\"\n\
             probe.redis = {{ command = [\"PING\"] }}\nexpect = {{ equals = \"PONG\" }}\n\
             why = \"Because.\"\nremedy = \"Do it.\"\nsource = \"https://example.com\"\n"
        );
    }
    fs::write(sandbox.path("suites/many.toml"), &text).unwrap();
    let begun = Instant::now();
    let (code, printed) = sandbox.run(&["suites", "lint", "../suites"]);
    assert_eq!(code, 0, "{printed}");
    // A time that grows with the square of the length takes more than twenty seconds.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
