//! `shakedown init`: a contract for the worker in a directory, and one document through it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rstest::rstest;
use shakedown::settings::process_variable;

use crate::support::cli_sandbox::CliSandbox;

/// A sandbox whose working directory is a project with this worker.
fn node_project(worker: &str) -> CliSandbox {
    let sandbox = CliSandbox::new();
    let work = sandbox.path("work");
    fs::write(work.join("package.json"), r#"{"dependencies":{"bullmq":"^5"},"scripts":{"start":"node worker.js"}}"#)
        .unwrap();
    fs::write(work.join("worker.js"), worker).unwrap();
    sandbox
}

#[test]
fn init_writes_a_contract_that_can_be_run_and_replaces_none() {
    let sandbox = node_project("new Worker(process.env.QUEUE_NAME, async (job) => job.data.docId)");
    let (code, text) = sandbox.run(&["init"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("read: - a Node worker, started with `node worker.js` (package.json:1)"), "{text}");
    assert!(
        text.contains("guessed: - ") && text.contains("preflight: not made, the dependencies are not installed"),
        "{text}"
    );
    let (code, text) = sandbox.run(&["run", "--dry-run", "--case", "ingestion.delivered"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("node worker.js") && text.contains("docId"), "{text}");
    let (code, text) = sandbox.run(&["init"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("--force"), "{text}");
    assert_eq!(sandbox.run(&["init", "--force"]).0, 0);
    assert_eq!(sandbox.run(&["init", "no-such-directory"]).0, 2);
}

#[test]
fn a_contract_that_one_document_does_not_get_through_stays_and_the_message_names_its_line() {
    let sandbox = node_project("console.error('Error: no database'); process.exit(7);");
    fs::create_dir(sandbox.path("work").join("node_modules")).unwrap();
    let (code, text) = sandbox.run(&["init", "--provider", "native"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("shakedown.toml:5:") && text.contains("the worker exited with code 7"), "{text}");
    assert!(sandbox.path("work").join("shakedown.toml").is_file());
    sandbox.assert_clean();
}

#[test]
fn without_a_stack_the_contract_is_written_and_the_message_says_how_to_go_on() {
    let sandbox = node_project("");
    fs::create_dir(sandbox.path("work").join("node_modules")).unwrap();
    let output = sandbox
        .command(&["init", "--provider", "native"])
        .env("SHAKEDOWN_REDIS_SERVER", "/no/redis-server")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("preflight: not made, no stack could be started") && text.contains("/no/redis-server"),
        "{text}"
    );
    assert!(text.contains("next: read the file"), "{text}");
}

#[rstest]
#[case::of_node("langchain-js", &["preset = \"langchain-js\"", "chunk = \"metadata.chunkIndex\"   # src/ingest.ts:26"])]
#[case::of_python("llama-index-python", &["preset = \"llama-index-py\"", ".venv/bin/python", "done = \"indexed\""])]
fn a_foreign_worker_gets_a_contract_that_passes_the_preflight(#[case] worker: &str, #[case] lines: &[&str]) {
    let built = match build(worker) {
        Ok(built) => built,
        Err(reason) => {
            assert!(process_variable("CI").is_none(), "{worker} cannot be built: {reason}");
            println!("left out: {worker}: {reason}");
            return;
        }
    };
    let sandbox = CliSandbox::new();
    let work = sandbox.path("work");
    let copied = Command::new("cp").arg("-R").arg(built.join(".")).arg(&work).status().unwrap();
    assert!(copied.success());
    fs::remove_file(work.join("shakedown.toml")).unwrap();
    let (code, text) = sandbox.run(&["init", "--provider", "native"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("preflight: one document went through the contract"), "{text}");
    let contract = fs::read_to_string(work.join("shakedown.toml")).unwrap();
    for line in lines {
        assert!(contract.contains(line), "{line}\n{contract}");
    }
    sandbox.assert_clean();
}

/// Builds a worker outside the repository, and gives the directory that it is ready to run in.
fn build(worker: &str) -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/workers").join(worker).join("build");
    let output = Command::new(&script).arg("written").stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", script.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().last().map(PathBuf::from).ok_or_else(|| "the script did not say where".to_owned())
}
