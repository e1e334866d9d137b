//! What `shakedown compose` writes: it passes its own check, the compose tool brings it up, the suites that only read
//! find nothing against it, and bull-board shows the queue. What needs a program that is not here is listed as ignored.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use secrecy::ExposeSecret;
use shakedown::settings::docker_host;
use shakedown::stack::{ProviderKind, engine_answers};
use tempfile::TempDir;

use crate::support::groups::Group;
use crate::support::harness::{SHAKEDOWN, TestStack, runtime};

type Outcome = Result<(), Failed>;

/// `shakedown compose`.
pub fn group() -> Group {
    let mut trials = vec![
        Trial::test("compose::the_files_pass_their_own_check_and_are_never_overwritten", || {
            files();
            Ok(())
        }),
        Trial::test("compose::every_flaw_of_a_compose_file_is_reported", || {
            flaws();
            Ok(())
        }),
    ];
    let engine = runtime().block_on(engine_answers(&docker_host(), Duration::from_secs(5)));
    let why = match (compose(), engine) {
        (None, _) => Some("no compose tool here"),
        (_, Err(_)) => Some("no Docker engine here"),
        _ => None,
    };
    trials.push(trial("compose::the_compose_tool_brings_it_up_and_the_suites_pass", why, brings_up));
    let why = board_home().is_none().then_some("bull-board is not installed here: scripts/install clients");
    trials.push(trial("compose::bull_board_shows_the_queue_and_ends_on_sigterm", why, board));
    Group::new("compose", trials)
}

fn trial(name: &str, ignored: Option<&str>, test: fn() -> Outcome) -> Trial {
    let title = ignored.map_or_else(|| name.to_owned(), |why| format!("{name} ({why})"));
    Trial::test(title, test).with_ignored_flag(ignored.is_some())
}

fn shakedown(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(SHAKEDOWN);
    command.args(arguments).current_dir(directory).stdin(Stdio::null()).env_remove("GITHUB_ACTIONS");
    command
}

fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn files() {
    let place = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = shakedown(place.path(), arguments).output().unwrap();
        (output.status.code(), printed(&output))
    };
    let (code, text) = run(&["compose"]);
    assert_eq!(code, Some(0), "{text}");
    let file = fs::canonicalize(place.path().join("compose/compose.yaml")).unwrap();
    assert!(text.contains(&format!("created {}", file.display())), "{text}");
    let env = place.path().join("compose/.env");
    assert_eq!(fs::metadata(&env).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(run(&["compose", "--check"]).0, Some(0));
    let secrets = fs::read_to_string(&env).unwrap();
    assert!(!fs::read_to_string(&file).unwrap().contains(secrets.lines().last().unwrap().split_once('=').unwrap().1));

    fs::write(&file, "mine").unwrap();
    let (code, text) = run(&["compose"]);
    assert!(code == Some(2) && text.contains("compose.yaml") && text.contains("--force"), "{text}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(run(&["compose", "--force"]).0, Some(0));
    assert!(fs::read_to_string(&file).unwrap().contains("services:"));
    // The data may know the old secrets.
    assert_eq!(fs::read_to_string(&env).unwrap(), secrets);
}

fn flaws() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("theirs.yaml");
    let text = "services:\n  cache:\n    image: redis\n    ports: ['6379:6379']\n";
    fs::write(&file, text).unwrap();
    let output = shakedown(place.path(), &["compose", "--check", "theirs.yaml"]).output().unwrap();
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for flaw in [
        "is not pinned to a version",
        "all network interfaces",
        "may evict keys",
        "no password",
        "no service uses an image of qdrant",
    ] {
        assert!(text.contains(flaw), "{flaw}: {text}");
    }
    let missing = shakedown(place.path(), &["compose", "--check", "none.yaml"]).output().unwrap();
    assert!(missing.status.code() == Some(2) && printed(&missing).contains("none.yaml"), "{}", printed(&missing));
}

// --- the compose tool -----------------------------------------------------------------------------------

fn compose() -> Option<Vec<&'static str>> {
    let answers = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    [vec!["docker", "compose"], vec!["docker-compose"]].into_iter().find(|words| answers(words))
}

/// A project that is taken down, with its volumes, when dropped.
struct Project {
    place: TempDir,
    ports: Vec<(&'static str, u16)>,
}

impl Project {
    fn tool(&self, arguments: &[&str]) -> Output {
        let words = compose().unwrap();
        let ports = self.ports.iter().map(|(name, port)| (*name, port.to_string()));
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(arguments).envs(ports).current_dir(self.place.path().join("compose"));
        command.output().unwrap()
    }

    fn port(&self, name: &str) -> u16 {
        self.ports.iter().find(|(known, _)| *known == name).unwrap().1
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let down = self.tool(&["down", "--volumes", "--timeout", "2"]);
        assert!(down.status.success() || std::thread::panicking(), "{}", printed(&down));
    }
}

fn brings_up() -> Outcome {
    let place = tempfile::tempdir()?;
    let name = format!("shakedown-test-{}", std::process::id());
    let written = shakedown(place.path(), &["compose", "--project", &name]).output()?;
    assert!(written.status.success(), "{}", printed(&written));
    let names = ["REDIS_PORT", "POSTGRES_PORT", "QDRANT_PORT", "QDRANT_GRPC_PORT"];
    let held: Vec<TcpListener> = names.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports = names.into_iter().zip(held.iter().map(|held| held.local_addr().unwrap().port())).collect();
    drop(held);
    let project = Project { place, ports };
    let up = project.tool(&["up", "-d", "redis", "postgres", "qdrant"]);
    assert!(up.status.success(), "{}", printed(&up));
    wait_until_healthy(&name)?;

    let secrets = fs::read_to_string(project.place.path().join("compose/.env"))?;
    let secret = |name: &str| {
        let line = secrets.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("{name} is not in .env")).to_owned()
    };
    let environment = [
        (
            "REDIS_URL",
            format!("redis://default:{}@127.0.0.1:{}/0", secret("REDIS_PASSWORD"), project.port("REDIS_PORT")),
        ),
        (
            "DATABASE_URL",
            format!(
                "postgres://postgres:{}@127.0.0.1:{}/postgres",
                secret("POSTGRES_PASSWORD"),
                project.port("POSTGRES_PORT")
            ),
        ),
        ("QDRANT_URL", format!("http://127.0.0.1:{}", project.port("QDRANT_PORT"))),
        ("QDRANT_GRPC_URL", format!("http://127.0.0.1:{}", project.port("QDRANT_GRPC_PORT"))),
        ("QDRANT_API_KEY", secret("QDRANT_API_KEY")),
        ("JINA_BASE_URL", "http://127.0.0.1:9/v1".to_owned()),
    ];
    let setup = shakedown(project.place.path(), &["setup"]).envs(environment.clone()).output()?;
    assert!(setup.status.success(), "{}", printed(&setup));
    let judge = ["run", "--provider", "remote", "--format", "short", "--quiet", "--report", "json=report.json"];
    let suites = ["--suite", "redis", "--suite", "bullmq", "--suite", "postgres", "--suite", "qdrant"];
    let run = shakedown(project.place.path(), &[&judge[..], &suites[..]].concat()).envs(environment).output()?;
    assert!(run.status.success(), "{}", printed(&run));
    let report: serde_json::Value = serde_json::from_slice(&fs::read(project.place.path().join("report.json"))?)?;
    assert!(report["totals"]["pass"].as_u64() > Some(20), "{}", report["totals"]);
    // The ports are published on the loopback interface only.
    let open = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    if let Ok(address) = open {
        let elsewhere = std::net::SocketAddr::new(address.ip(), project.port("REDIS_PORT"));
        assert!(std::net::TcpStream::connect_timeout(&elsewhere, Duration::from_millis(300)).is_err());
    }
    Ok(())
}

/// Waits until the health checks of the file say so: `up --wait` is not in every version of the tool.
fn wait_until_healthy(project: &str) -> Outcome {
    use std::collections::HashMap;
    use testcontainers::bollard::Docker;
    use testcontainers::bollard::query_parameters::ListContainersOptionsBuilder;
    let deadline = std::time::Instant::now() + Duration::from_secs(90);
    runtime().block_on(async {
        let docker = Docker::connect_with_host(&docker_host())?;
        let label = format!("com.docker.compose.project={project}");
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        loop {
            let list = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
            let found = docker.list_containers(Some(list)).await?;
            let states: Vec<String> = found.into_iter().filter_map(|found| found.status).collect();
            if states.len() == 3 && states.iter().all(|state| state.contains("(healthy)")) {
                return Ok(());
            }
            if std::time::Instant::now() > deadline {
                return Err(Failed::from(format!("not healthy: {states:?}")));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
}

// --- bull-board ---------------------------------------------------------------------------------------------

/// Where `scripts/install clients` put the packages of the board.
fn board_home() -> Option<PathBuf> {
    let board = crate::support::client_packages::home("board");
    board.join("installed").exists().then_some(board)
}

/// A process that is killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn board() -> Outcome {
    let home = board_home().unwrap();
    let server = home.join("server.js");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/compose/bull-board/server.js"), &server)?;
    runtime().block_on(async {
        let stack = TestStack::launch(ProviderKind::Native, "board").await;
        let endpoints = stack.stack.endpoints().clone();
        let queued = shakedown(Path::new(env!("CARGO_MANIFEST_DIR")), &["ingest", "fixtures/documents/one-letter.txt"])
            .envs(endpoints.environment().iter().map(|row| (row.name, row.value.expose_secret().to_owned())))
            .output()?;
        assert!(queued.status.success(), "{}", printed(&queued));
        let mut board = Killed(
            Command::new("node")
                .arg(&server)
                .env("REDIS_URL", endpoints.redis.url.expose_secret())
                .env("QUEUES", &endpoints.names.queue)
                .env("QUEUE_PREFIX", &endpoints.names.prefix)
                .env("HOST", "127.0.0.1")
                .env("PORT", "0")
                .stdout(Stdio::piped())
                .spawn()?,
        );
        let mut line = String::new();
        BufReader::new(board.0.stdout.take().unwrap()).read_line(&mut line)?;
        let address = serde_json::from_str::<serde_json::Value>(&line)?["http"].as_str().unwrap().to_owned();
        let page = reqwest::get(format!("http://{address}/")).await?;
        assert!(page.status().is_success() && page.text().await?.contains("<title>"));
        let queues = reqwest::get(format!("http://{address}/api/queues")).await?.text().await?;
        let queues: serde_json::Value = serde_json::from_str(&queues)?;
        let queue = &queues["queues"][0];
        assert_eq!(queue["name"], endpoints.names.queue.as_str(), "{queues}");
        assert_eq!(queue["counts"]["waiting"], 1, "{queues}");
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(board.0.id())?),
            nix::sys::signal::Signal::SIGTERM,
        )?;
        let ended = tokio::task::spawn_blocking(move || board.0.wait()).await??;
        assert_eq!(ended.code(), Some(0));
        assert_eq!(stack.stop().await, Vec::<String>::new());
        Ok(())
    })
}
