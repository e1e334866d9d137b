//! The containers provider: what it starts, what may be done to it, what prevents it, and that nothing is left.
//! Where no Docker engine answers, everything that needs one is listed as ignored.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod clean_up;
mod place;

use std::collections::{BTreeSet, HashMap};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use secrecy::ExposeSecret;
use shakedown::outcome::ServiceStatus;
use shakedown::settings::docker_host;
use shakedown::stack::{Capability, Service, engine_answers};
use sqlx::Connection;
use testcontainers::bollard::models::{ContainerConfig, ContainerCreateBody};
use testcontainers::bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptions, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveImageOptions,
};

use crate::support::groups::{self, Group};
use crate::support::harness::runtime;
use clean_up::{killed, old_leftovers, panics, signals, worker_image, worker_image_ends, worker_image_interrupted};
pub use clean_up::{panic_with_a_stack, panicking_place};
use place::{Place, docker, everything, nothing_new, ours, redis};

/// What the names of the trials begin with.
const NAME: &str = "provider";

type Outcome = Result<(), Failed>;

type Test = fn() -> Outcome;

/// Stacks of containers.
pub fn group() -> Group {
    // These need no engine: they have one of their own, or none on purpose.
    let mut trials = vec![
        Trial::test(groups::name(NAME, "no_engine_is_a_clear_error"), no_engine),
        Trial::test(groups::name(NAME, "a_daemon_that_is_down_is_a_clear_error"), daemon_down),
        Trial::test(groups::name(NAME, "a_registry_that_limits_pulls_is_a_clear_error"), rate_limited),
        Trial::test(groups::name(NAME, "an_engine_without_ports_is_a_clear_error"), no_ports),
        Trial::test(groups::name(NAME, "auto_falls_back_to_native_with_the_reason"), auto_without_an_engine),
    ];
    let with_engine: [(&str, Test); 17] = [
        ("an_image_that_cannot_be_had_is_a_clear_error", image_missing),
        ("a_container_that_dies_is_reported_with_its_last_output", dies),
        ("a_container_out_of_memory_says_so", out_of_memory),
        ("a_stack_answers_its_own_clients_refuses_others_and_leaves_nothing", answers),
        ("data_survives_a_restart_and_a_kill", restart_and_kill),
        ("a_paused_or_disconnected_service_does_not_answer_until_it_is_back", pause_and_disconnect),
        ("signals_leave_nothing", signals),
        ("a_panic_leaves_nothing", panics),
        ("clean_removes_what_a_killed_harness_left", killed),
        ("the_next_run_removes_old_leftovers", old_leftovers),
        ("a_kept_stack_can_be_reached_and_removed", kept),
        ("warm_containers_are_used_again", reused),
        ("auto_picks_an_engine_that_answers", auto_with_an_engine),
        ("two_harnesses_do_not_disturb_each_other", two_at_once),
        ("a_worker_that_is_an_image_is_judged", worker_image),
        ("an_image_that_ends_at_once_is_reported_with_its_last_output", worker_image_ends),
        ("a_worker_image_ends_with_its_harness", worker_image_interrupted),
    ];
    let engine = runtime().block_on(engine_answers(&docker_host(), Duration::from_secs(5)));
    for (name, test) in with_engine {
        // What is left is compared before and after: one at a time.
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = move || {
            let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
            let before = runtime().block_on(everything());
            test()?;
            nothing_new(&before)
        };
        let ignored = engine.is_err();
        let name = if ignored { format!("{name} (no Docker engine here)") } else { name.to_owned() };
        trials.push(Trial::test(groups::name(NAME, name), alone).with_ignored_flag(ignored));
    }
    Group::new(NAME, trials)
}

// --- what prevents a stack -----------------------------------------------------------------------------

fn no_engine() -> Outcome {
    let place = Place::new();
    let host = format!("unix://{}/none.sock", place.0.path().display());
    place.refused(&[], &[("DOCKER_HOST", &host)], &["no Docker engine answers", "no such socket", "--provider native"])
}

fn daemon_down() -> Outcome {
    let place = Place::new();
    let socket = place.0.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket)?);
    let host = format!("unix://{}", socket.display());
    place.refused(&[], &[("DOCKER_HOST", &host)], &["the daemon is down", "systemctl start docker"])
}

/// A fake Docker engine with these answers, each a path, a status and a body.
fn fake_engine(answers: &[(&str, u16, &str)]) -> (crate::support::fake_servers::FakeServer, String) {
    let answer = |(path, status, body): &(&str, u16, &str)| crate::support::fake_servers::Answer {
        path: (*path).to_owned(),
        status: *status,
        body: (*body).to_owned(),
        holds: String::new(),
        key: String::new(),
        headers: std::collections::BTreeMap::new(),
        delay_ms: 0,
    };
    let mut answers: Vec<_> = answers.iter().map(answer).collect();
    answers.push(answer(&("/containers/json", 200, "[]")));
    answers.push(answer(&("/_ping", 200, "OK")));
    let engine = runtime().block_on(crate::support::fake_servers::http(answers));
    let host = format!("tcp://{}", engine.address());
    (engine, host)
}

fn rate_limited() -> Outcome {
    let body = r#"{"message":"toomanyrequests: You have reached your unauthenticated pull rate limit."}"#;
    let (_engine, host) =
        fake_engine(&[("/json", 404, r#"{"message":"No such image"}"#), ("/images/create", 429, body)]);
    let words = ["cannot be pulled", "limits the pull rate", "docker login", "_IMAGE"];
    Place::new().refused(&[], &[("DOCKER_HOST", &host)], &words)
}

fn no_ports() -> Outcome {
    let taken = r#"{"message":"driver failed programming external connectivity: port is already allocated"}"#;
    let (_engine, host) = fake_engine(&[
        ("/json", 200, r#"{"Config":{"Cmd":["postgres"]}}"#),
        ("/containers/create", 201, r#"{"Id":"made-up","Warnings":[]}"#),
        ("/start", 500, taken),
    ]);
    let words = ["could not publish a port after 5 attempts", "port is already allocated", "docker ps"];
    Place::new().refused(&[], &[("DOCKER_HOST", &host)], &words)
}

fn image_missing() -> Outcome {
    let words = ["redis", "shakedown.invalid/none:1", "cannot be pulled", "SHAKEDOWN_REDIS_IMAGE", "--provider native"];
    Place::new().refused(&["--redis-image", "shakedown.invalid/none:1"], &[], &words)
}

/// An image that is Redis' own but runs `script`; removed when dropped.
struct Broken(String);

impl Broken {
    async fn new(name: &str, script: &str) -> Self {
        let docker = docker();
        let body = ContainerCreateBody { image: Some(shakedown::stack::REDIS_IMAGE.to_owned()), ..Default::default() };
        let made = docker.create_container(None::<CreateContainerOptions>, body).await.unwrap();
        let commit = CommitContainerOptionsBuilder::new().container(&made.id).repo("shakedown-test").tag(name).build();
        let entrypoint = vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let config = ContainerConfig { entrypoint: Some(entrypoint), cmd: None, ..Default::default() };
        docker.commit_container(commit, config).await.unwrap();
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        docker.remove_container(&made.id, Some(options)).await.unwrap();
        Self(format!("shakedown-test:{name}"))
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        runtime().block_on(async {
            docker().remove_image(&self.0, None::<RemoveImageOptions>, None).await.unwrap();
        });
    }
}

fn dies() -> Outcome {
    let script = "i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo line-$i; done; exit 3";
    let image = runtime().block_on(Broken::new("dies", script));
    let words = ["exited with code 3 before it was ready", "line-11", "line-30", &image.0];
    let place = Place::new();
    place.refused(&["--redis-image", &image.0], &[], &words)?;
    // Twenty lines and no more.
    let output = place.run(&["--provider", "containers", "--redis-image", &image.0], &[]);
    if String::from_utf8_lossy(&output.stderr).contains("line-10\n") { Err("too many lines".into()) } else { Ok(()) }
}

fn out_of_memory() -> Outcome {
    let script = "tail /dev/zero";
    let image = runtime().block_on(Broken::new("hungry", script));
    let words = ["ran out of memory and was killed", "64 MiB", "SHAKEDOWN_CONTAINER_MEMORY_MB"];
    Place::new().refused(&["--redis-image", &image.0], &[("SHAKEDOWN_CONTAINER_MEMORY_MB", "64")], &words)
}

// --- what it starts --------------------------------------------------------------------------------------

fn answers() -> Outcome {
    runtime().block_on(async {
        let place = Place::new();
        let stack = place.stack("answers").await;
        let endpoints = stack.endpoints().clone();
        let url = endpoints.redis.url.expose_secret().to_owned();
        redis(&url).await?;
        let port = url::Url::parse(&url)?.port().unwrap();
        assert!(redis(&format!("redis://:wrong@127.0.0.1:{port}/0")).await.is_err());
        assert!(redis(&format!("redis://127.0.0.1:{port}/0")).await.is_err());
        let list = format!("{}/collections", endpoints.qdrant.url);
        assert_eq!(reqwest::get(&list).await?.status(), 401);
        for service in stack.services() {
            assert_eq!(service.status, ServiceStatus::Ready);
            assert!(service.endpoint.contains("127.0.0.1") && !service.endpoint.contains('@'), "{service:?}");
        }
        assert_eq!(stack.services()[0].parameters["maxmemory_policy"], "noeviction");
        assert!(stack.capabilities().has(Capability::Disconnect));
        // Neither a list of processes nor a debug text shows a secret.
        let password = url::Url::parse(&url)?.password().map(str::to_owned).unwrap();
        for service in [Service::Redis, Service::Postgres, Service::Qdrant] {
            let pid = stack.pid(service).await.unwrap();
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
            assert!(!line.is_empty() && !line.contains(&password), "{line}");
        }
        assert!(!format!("{stack:?}").contains(&password));
        // Published on the loopback alone, with a limit on memory.
        for container in labelled("answers").await {
            let host = container.host_config.unwrap();
            assert_eq!(host.memory, Some(1024 * 1024 * 1024));
            let bindings: Vec<_> = host.port_bindings.unwrap().into_values().flatten().flatten().collect();
            assert!(
                !bindings.is_empty() && bindings.iter().all(|binding| binding.host_ip.as_deref() == Some("127.0.0.1"))
            );
        }
        assert_eq!(stack.stop().await, Vec::<String>::new());
        Ok(())
    })
}

async fn labelled(run: &str) -> Vec<testcontainers::bollard::models::ContainerInspectResponse> {
    use testcontainers::bollard::query_parameters::InspectContainerOptions;
    let filters = HashMap::from([("label".to_owned(), vec![format!("shakedown.run={run}")])]);
    let list = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let mut all = Vec::new();
    for found in docker().list_containers(Some(list)).await.unwrap() {
        let id = found.id.unwrap();
        all.push(docker().inspect_container(&id, None::<InspectContainerOptions>).await.unwrap());
    }
    assert_eq!(all.len(), 3);
    all
}

fn restart_and_kill() -> Outcome {
    runtime().block_on(async {
        let place = Place::new();
        let stack = place.stack("restart").await;
        let url = stack.endpoints().redis.url.expose_secret().to_owned();
        redis::cmd("SET").arg("kept").arg("1").query_async::<()>(&mut redis(&url).await?).await?;
        let mut database = sqlx::PgConnection::connect(stack.endpoints().postgres.url.expose_secret()).await?;
        sqlx::raw_sql("create table kept as select 1 as one").execute(&mut database).await?;
        for service in [Service::Redis, Service::Postgres, Service::Qdrant] {
            let before = stack.pid(service).await.unwrap();
            stack.restart(service).await?;
            assert_ne!(stack.pid(service).await.unwrap(), before);
            stack.kill(service).await?;
            assert_eq!(stack.pid(service).await, None);
            stack.start_again(service).await?;
        }
        let kept: i32 = redis::cmd("GET").arg("kept").query_async(&mut redis(&url).await?).await?;
        assert_eq!(kept, 1);
        let mut database = sqlx::PgConnection::connect(stack.endpoints().postgres.url.expose_secret()).await?;
        sqlx::raw_sql("select one from kept").execute(&mut database).await?;
        // One that is down when the stack is stopped is no obstacle.
        stack.kill(Service::Postgres).await?;
        assert_eq!(stack.stop().await, Vec::<String>::new());
        Ok(())
    })
}

fn pause_and_disconnect() -> Outcome {
    runtime().block_on(async {
        let place = Place::new();
        let stack = place.stack("pause").await;
        let url = stack.endpoints().redis.url.expose_secret().to_owned();
        let patience = Duration::from_millis(300);
        stack.pause(Service::Redis).await?;
        assert!(tokio::time::timeout(patience, redis(&url)).await.is_err());
        stack.resume(Service::Redis).await?;
        redis(&url).await?;

        let mut open = redis(&url).await?;
        stack.disconnect(Service::Redis).await?;
        let silent = tokio::time::timeout(patience, redis::cmd("PING").query_async::<String>(&mut open)).await;
        assert!(!matches!(silent, Ok(Ok(_))), "a disconnected service answered");
        stack.reconnect(Service::Redis).await?;
        redis(&url).await?;

        let error = stack.pause(Service::Jina).await.unwrap_err().to_string();
        assert!(error.contains("jina cannot be paused"), "{error}");
        // A stack with a paused service is removed like any other.
        stack.pause(Service::Postgres).await?;
        drop(stack);
        Ok(())
    })
}

// --- what stays on purpose -------------------------------------------------------------------------------------

fn kept() -> Outcome {
    let place = Place::new();
    let before = runtime().block_on(ours());
    let output = place.run(&["--provider", "containers", "--keep"], &[]);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && printed.contains("docker rm -fv") && printed.contains("stack.env"), "{printed}");
    assert_eq!(runtime().block_on(ours()).difference(&before).count(), 3);
    // The file that it names leads there.
    let file = printed.split("`set -a; . ").nth(1).and_then(|rest| rest.split('`').next()).ok_or("no file is named")?;
    let url = Command::new("sh").args(["-c", &format!("set -a; . {file}; printf %s \"$REDIS_URL\"")]).output()?;
    runtime().block_on(redis(&String::from_utf8(url.stdout)?))?;
    // A usual clean leaves them.
    place.command(&["clean"]).output()?;
    assert_eq!(runtime().block_on(ours()).difference(&before).count(), 3);
    let clean = place.command(&["clean", "--kept"]).output()?;
    assert!(clean.status.success(), "{clean:?}");
    Ok(())
}

fn reused() -> Outcome {
    let place = Place::new();
    let before = runtime().block_on(ours());
    let first = place.run(&["--provider", "containers", "--reuse"], &[]);
    assert!(first.status.success(), "{first:?}");
    let warm: BTreeSet<_> = runtime().block_on(ours()).difference(&before).cloned().collect();
    assert_eq!(warm.len(), 3);
    let second = place.run(&["--provider", "containers", "--reuse"], &[]);
    assert!(second.status.success(), "{second:?}");
    assert_eq!(runtime().block_on(ours()).difference(&before).cloned().collect::<BTreeSet<_>>(), warm);
    // A memory that nothing answers to is no obstacle.
    let clean = place.command(&["clean", "--kept"]).output()?;
    assert!(clean.status.success(), "{clean:?}");
    Ok(())
}

// --- auto, and two at once ---------------------------------------------------------------------------------------

fn auto_without_an_engine() -> Outcome {
    let place = Place::new();
    let host = format!("unix://{}/none.sock", place.0.path().display());
    let output = place.run(&["--provider", "auto"], &[("DOCKER_HOST", &host)]);
    let printed = String::from_utf8(output.stderr)?;
    assert!(
        output.status.success() && printed.contains("stack: native (no Docker engine answers at unix://"),
        "{printed}"
    );
    Ok(())
}

fn auto_with_an_engine() -> Outcome {
    let output = Place::new().run(&["--provider", "auto"], &[]);
    let printed = String::from_utf8(output.stderr)?;
    assert!(output.status.success() && printed.contains("stack: containers (a Docker engine answers at"), "{printed}");
    Ok(())
}

fn two_at_once() -> Outcome {
    let places = [Place::new(), Place::new()];
    let runs: Vec<Child> = places
        .iter()
        .map(|place| {
            let mut command = place.command(&["run", "--provider", "containers", "--format", "short", "--quiet"]);
            command.args(["--suite", "redis", "--suite", "ingestion"]).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for run in runs {
        let output = run.wait_with_output()?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{printed}");
    }
    Ok(())
}
