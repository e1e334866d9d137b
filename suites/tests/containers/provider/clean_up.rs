//! However a harness ends, none of its containers is left.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shakedown::outcome::Events;
use shakedown::settings::docker_host;
use shakedown::stack::{ProviderKind, Stack, StackOptions, clean_containers, replay_on_panic};
use testcontainers::bollard::models::ContainerCreateBody;
use testcontainers::bollard::query_parameters::CreateContainerOptions;

use super::Outcome;
use super::place::{Place, docker, everything, nothing_new, ours};
use crate::support::harness::{SHAKEDOWN, runtime};

/// `shakedown up` on containers, begun and perhaps not ready.
fn up(place: &Place) -> Child {
    let mut command = place.command(&["up", "--provider", "containers"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

/// Blocks until the stack is up.
fn wait_for_exports(child: &mut Child) {
    use std::io::{BufRead, BufReader};
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).take(13).count();
    assert_eq!(lines, 13, "the stack did not come up");
}

/// Blocks until at least `count` containers of ours are there that were not before.
fn wait_for_containers(before: &BTreeSet<String>, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while runtime().block_on(ours()).difference(before).count() < count {
        assert!(Instant::now() < deadline, "no container appeared");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(super) fn signals() -> Outcome {
    // Once while the containers are being made, and once when all are up.
    for (when, which) in [(1, Signal::SIGINT), (2, Signal::SIGTERM), (3, Signal::SIGTERM)] {
        let place = Place::new();
        let before = runtime().block_on(everything());
        let mut child = up(&place);
        wait_for_containers(&before, when);
        signal(&child, which);
        let status = child.wait()?;
        assert!(matches!(status.code(), Some(0 | 130)), "{status:?}");
        nothing_new(&before)?;
    }
    for which in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let place = Place::new();
        let before = runtime().block_on(everything());
        let mut child = up(&place);
        wait_for_exports(&mut child);
        signal(&child, which);
        assert_eq!(child.wait()?.code(), Some(0));
        nothing_new(&before)?;
    }
    Ok(())
}

/// The reference worker as an image, built by `scripts/images`.
const WORKER_IMAGE: &str = "shakedown/worker:stand-in";

/// `shakedown run --provider native` over `cases`, with a program of the worker's image as the worker.
fn image_worker(place: &Place, program: &str, cases: &[&str]) -> Command {
    let contract = format!("[worker]\nimage = \"{WORKER_IMAGE}\"\ncommand = {program}\nready_within = \"60s\"\n");
    std::fs::write(place.0.path().join("shakedown.toml"), contract).unwrap();
    let mut command = place.command(&["run", "--provider", "native", "--format", "short", "--quiet"]);
    command.args(cases.iter().flat_map(|case| ["--case", case])).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(super) fn worker_image() -> Outcome {
    // These cases end, kill, pause and inspect the worker.
    let cases = [
        "ingestion.delivered",
        "ingestion.memory-bounded",
        "ingestion.exits-cleanly",
        "crash.sigterm-in-time",
        "crash.killed-before-the-ack",
        "crash.paused-past-its-lock",
    ];
    let place = Place::new();
    let output = image_worker(&place, r#"["shakedown", "worker"]"#, &cases).output()?;
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(printed.into()) }
}

pub(super) fn worker_image_ends() -> Outcome {
    let place = Place::new();
    let program = r#"["sh", "-c", "echo $QUEUE_NAME has no worker; exit 9"]"#;
    let output = image_worker(&place, program, &["ingestion.delivered"]).arg("--no-preflight").output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let wanted = output.status.code() == Some(1) && printed.contains("code 9") && printed.contains("has no worker");
    if wanted { Ok(()) } else { Err(format!("{:?}: {printed}", output.status).into()) }
}

pub(super) fn worker_image_interrupted() -> Outcome {
    let place = Place::new();
    let before = runtime().block_on(everything());
    let mut child = image_worker(&place, r#"["shakedown", "worker"]"#, &["ingestion.delivered"]).spawn()?;
    wait_for_containers(&before, 1);
    signal(&child, Signal::SIGINT);
    assert_eq!(child.wait()?.code(), Some(130));
    nothing_new(&before)
}

pub fn panicking_place() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "handed over by the test that runs this program again")]
    std::env::var_os("SHAKEDOWN_TEST_PANIC").map(PathBuf::from)
}

/// This program as a harness that panics while its stack is up, and drops nothing.
pub fn panic_with_a_stack(place: &std::path::Path) {
    let mut options = StackOptions::new("panics", SHAKEDOWN);
    options.data_dir = Some(place.join("data"));
    options.state_dir = place.join("state");
    let stack = runtime().block_on(Stack::start(ProviderKind::Containers, options, &Events::silent())).unwrap();
    std::fs::write(place.join("started"), "").unwrap();
    std::mem::forget(stack);
    replay_on_panic();
    panic!("on purpose");
}

pub(super) fn panics() -> Outcome {
    let place = Place::new();
    let status = Command::new(std::env::current_exe()?)
        .env("SHAKEDOWN_TEST_PANIC", place.0.path())
        .stderr(Stdio::null())
        .status()?;
    assert!(!status.success());
    assert!(place.0.path().join("started").exists(), "it panicked before the stack was up");
    Ok(())
}

pub(super) fn killed() -> Outcome {
    let place = Place::new();
    let before = runtime().block_on(ours());
    let mut child = up(&place);
    wait_for_exports(&mut child);
    // While its harness lives, its containers are left alone.
    let cleaned = place.command(&["clean"]).output()?;
    assert!(String::from_utf8_lossy(&cleaned.stdout).contains("its harness is still running"), "{cleaned:?}");
    signal(&child, Signal::SIGKILL);
    child.wait()?;
    assert_eq!(runtime().block_on(ours()).difference(&before).count(), 3);
    let dry = place.command(&["clean", "--dry-run"]).output()?;
    assert!(String::from_utf8_lossy(&dry.stdout).contains("would remove"), "{dry:?}");
    assert_eq!(runtime().block_on(ours()).difference(&before).count(), 3);
    // Without its ledger, too.
    std::fs::remove_dir_all(place.0.path().join("state"))?;
    let clean = place.command(&["clean"]).output()?;
    assert_eq!(clean.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&clean.stdout).contains("removed containers"), "{clean:?}");
    Ok(())
}

pub(super) fn old_leftovers() -> Outcome {
    runtime().block_on(async {
        let docker = docker();
        // Two of a harness that is dead on this very system: one from long ago, one from just now.
        let made = |run: &str, age: u64| {
            let run = run.to_owned();
            let docker = docker.clone();
            async move {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
                let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
                let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
                let system = format!("{} {}", boot.trim(), namespace.display());
                let harness = serde_json::json!({ "process": { "pid": 1, "started": "never" }, "system": system });
                let labels = [
                    ("shakedown.run", run.clone()),
                    ("shakedown.mark", run),
                    ("shakedown.harness", harness.to_string()),
                    ("shakedown.started", (now - age).to_string()),
                    ("shakedown.retention", "remove".to_owned()),
                ];
                let body = ContainerCreateBody {
                    image: Some(shakedown::stack::REDIS_IMAGE.to_owned()),
                    labels: Some(labels.map(|(name, value)| (name.to_owned(), value)).into()),
                    ..Default::default()
                };
                docker.create_container(None::<CreateContainerOptions>, body).await.unwrap().id
            }
        };
        let old = made("old-one", 2 * 3600).await;
        let young = made("young-one", 60).await;
        let place = Place::new();
        let stack = place.stack("after").await;
        let now: String = ours().await.into_iter().collect();
        assert!(!now.contains(&old), "what died two hours ago is still there");
        assert!(now.contains(&young), "what died a minute ago was removed by another run");
        stack.stop().await;
        let cleaned = clean_containers(&docker_host(), false, false).await?;
        assert!(
            cleaned.iter().any(|cleaned| cleaned.run == "young-one" && cleaned.left_alone.is_none()),
            "{cleaned:?}"
        );
        Ok(())
    })
}
