//! Workers that behave badly as processes: they fork, become daemons, print without a line end, or close their output. The
//! run ends, judges them, and leaves nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;

use rstest::rstest;

use crate::support::cli_sandbox::{CliSandbox, SHAKEDOWN};

/// Programs that a worker starts. Each ends when its file is removed, so that a failed test leaves nothing running.
const SCRIPTS: &[(&str, &str)] = &[
    // A daemon: a session of its own, no environment, no file of the run.
    ("daemon", "cd /; while [ -e \"$0\" ]; do sleep 1; done"),
    // Never the same process for long: each starts the next one and exits.
    ("hop", "cd /; [ -e \"$0\" ] && env -i setsid /bin/sh \"$0\" </dev/null >/dev/null 2>&1 & exit 0"),
    // 15 children of 15 children, in 241 sessions.
    (
        "tree",
        "cd /; depth=${1:-2}; child=0\n\
         while [ $depth -gt 0 ] && [ $((child += 1)) -le 15 ]; do\n\
         env -i setsid /bin/sh \"$0\" $((depth - 1)) </dev/null >/dev/null 2>&1 &\n\
         done\n\
         while [ -e \"$0\" ]; do sleep 5; done",
    ),
];

/// A run of one case with a worker that this shell command starts. `WORKER` is the reference worker, and `start NAME`
/// starts one of [`SCRIPTS`] twice removed from the shell.
fn run(shell: &str) -> (CliSandbox, i32, String) {
    let sandbox = CliSandbox::new();
    let work = sandbox.path("work");
    for (name, script) in SCRIPTS {
        fs::write(work.join(name), script).unwrap();
    }
    let start = format!("start() {{ (env -i setsid /bin/sh {}/$1 </dev/null >/dev/null 2>&1 &) }}", work.display());
    let script = format!("{start}\n{}\n", shell.replace("WORKER", &format!("{SHAKEDOWN} worker")));
    fs::write(work.join("worker.sh"), script).unwrap();
    let contract = "[worker]\ncommand = [\"sh\", \"worker.sh\"]\nready_within = \"10s\"\n";
    fs::write(work.join("shakedown.toml"), contract).unwrap();
    let case = "ingestion.delivered";
    let (code, text) =
        sandbox.run(&["run", "--provider", "native", "--case", case, "--format", "short", "--no-preflight"]);
    (sandbox, code, text)
}

/// The processes that were started from the sandbox.
fn started_from(sandbox: &CliSandbox) -> Vec<String> {
    let place = sandbox.path("").display().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let commands = processes.filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok());
    commands.map(|command| command.replace('\0', " ")).filter(|command| command.contains(&place)).collect()
}

#[rstest]
#[case::a_daemon("start daemon; exec WORKER")]
#[case::a_process_that_always_moves("start hop; exec WORKER")]
#[case::a_tree_of_sessions("start tree; exec WORKER")]
#[case::invalid_utf8("printf '\\377\\376\\200\\n\\300'; exec WORKER")]
#[case::closed_output("exec WORKER >&- 2>&-")]
#[case::a_line_of_200_megabytes("head -c 200000000 /dev/zero | tr '\\0' x; exec WORKER")]
fn a_worker_that_does_its_work_is_conformant_and_leaves_nothing(#[case] shell: &str) {
    let (sandbox, code, text) = run(shell);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("1 pass"), "{text}");
    assert_eq!(started_from(&sandbox), Vec::<String>::new());
    sandbox.assert_clean();
}

#[test]
#[ignore = "writes a gigabyte"]
fn a_worker_that_prints_a_line_of_a_gigabyte_is_conformant() {
    let (sandbox, code, text) = run("head -c 1000000000 /dev/zero | tr '\\0' x; exec WORKER");
    assert_eq!(code, 0, "{text}");
    sandbox.assert_clean();
}

#[rstest]
#[case::becomes_a_daemon(
    "env -u _SHAKEDOWN_RUN -u _SHAKEDOWN_FAMILY setsid WORKER & exit 0",
    &["exited with code 0, but must run in the foreground; it printed nothing"]
)]
#[case::exits_and_leaves_a_tree("start tree; echo done; exit 0", &["must run in the foreground", "done"])]
#[case::closes_its_output("exec sleep 600 >&- 2>&-", &["was not ready within 10 s", "it printed nothing"])]
#[case::prints_invalid_utf8("printf 'before \\377\\376 after'; exit 3", &["exited with code 3", "before \u{fffd}\u{fffd} after"])]
#[case::prints_one_long_line("head -c 200000000 /dev/zero | tr '\\0' x; exit 3", &["exited with code 3", "xxx"])]
fn a_worker_that_takes_no_job_fails_with_the_reason_and_leaves_nothing(#[case] shell: &str, #[case] wanted: &[&str]) {
    let (sandbox, code, text) = run(shell);
    assert_eq!(code, 1, "{text}");
    for words in wanted {
        assert!(text.contains(words), "wanted: {words}\ngot: {}", &text[..text.len().min(4000)]);
    }
    assert!(text.len() < 1 << 20, "the report has {} bytes", text.len());
    assert_eq!(started_from(&sandbox), Vec::<String>::new());
    sandbox.assert_clean();
}
