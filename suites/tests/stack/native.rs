//! The native stack end to end: it answers, refuses strangers, survives what is done to it, and leaves nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::{ExposeSecret, SecretString};
use shakedown::outcome::{Events, ServiceStatus};
use shakedown::stack::{
    Capability, Found, ProcessId, ProviderKind, Service, Stack, StackError, StackOptions, clean, drop_names, names_for,
    replay_on_panic, working_in,
};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

const SHAKEDOWN: &str = env!("CARGO_BIN_EXE_shakedown");

/// A place of its own for one test's stacks and ledgers.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        // Postgres' user must be able to pass through.
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(place.path().join("data")).unwrap();
        Self(place)
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn options(&self, run: &str) -> StackOptions {
        let mut options = StackOptions::new(run, SHAKEDOWN);
        options.data_dir = Some(self.data());
        options.state_dir = self.state();
        options
    }

    async fn stack(&self, run: &str) -> Stack {
        Stack::start(ProviderKind::Native, self.options(run), &Events::silent()).await.unwrap()
    }

    async fn refusal(&self, change: impl FnOnce(&mut StackOptions)) -> StackError {
        let mut options = self.options("refused");
        change(&mut options);
        Stack::start(ProviderKind::Native, options, &Events::silent()).await.unwrap_err()
    }

    /// Names of what is left: directories, ledgers and processes.
    fn left(&self) -> Vec<String> {
        let list = |path: &Path| -> Vec<String> {
            fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path().display().to_string()).collect()
        };
        let mut left = list(&self.data());
        left.extend(list(&self.state().join("runs")));
        left.extend(working_in(&self.data()).iter().map(|process| format!("process {}", process.pid)));
        left
    }
}

async fn redis(url: &SecretString) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
    let client = redis::Client::open(url.expose_secret())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    redis::cmd("PING").query_async::<String>(&mut connection).await?;
    Ok(connection)
}

async fn postgres(url: &SecretString) -> sqlx::Result<PgConnection> {
    PgConnection::connect(url.expose_secret()).await
}

async fn collections(stack: &Stack, key: Option<&str>) -> reqwest::StatusCode {
    let mut request = reqwest::Client::new().get(format!("{}/collections", stack.endpoints().qdrant.url));
    if let Some(key) = key {
        request = request.header("api-key", key);
    }
    request.send().await.unwrap().status()
}

/// `url` with another password.
fn with_wrong_password(url: &SecretString) -> SecretString {
    let mut url = url::Url::parse(url.expose_secret()).unwrap();
    url.set_password(Some("wrong")).unwrap();
    SecretString::from(url.to_string())
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_stack_answers_its_own_clients_refuses_others_and_leaves_nothing() {
    let place = Place::new();
    let stack = place.stack("answers").await;
    let endpoints = stack.endpoints().clone();
    assert!(endpoints.redis.url.expose_secret().starts_with("redis://default:"));

    redis(&endpoints.redis.url).await.unwrap();
    assert!(redis(&with_wrong_password(&endpoints.redis.url)).await.is_err());
    postgres(&endpoints.postgres.url).await.unwrap();
    assert!(postgres(&with_wrong_password(&endpoints.postgres.url)).await.is_err());
    let key = endpoints.qdrant.api_key.clone().unwrap();
    assert!(collections(&stack, Some(key.expose_secret())).await.is_success());
    assert_eq!(collections(&stack, Some("wrong")).await, 401);
    assert_eq!(collections(&stack, None).await, 401);

    for service in stack.services() {
        assert_eq!(service.status, ServiceStatus::Ready);
        assert!(!service.version.is_empty(), "{service:?}");
        assert!(service.endpoint.contains("127.0.0.1") && !service.endpoint.contains('@'), "{service:?}");
    }
    let parameter = |service: usize, name: &str| stack.services()[service].parameters[name].clone();
    assert_eq!(parameter(0, "maxmemory_policy"), "noeviction");
    assert_eq!(parameter(1, "max_connections"), "100");
    assert!(stack.capabilities().has(Capability::Restart));

    let directory = stack.directory().unwrap().to_owned();
    assert!(directory.file_name().unwrap().to_string_lossy().contains("answers"));
    assert!(!working_in(&place.data()).is_empty());
    assert_eq!(stack.stop().await, Vec::<String>::new());
    assert_eq!(place.left(), Vec::<String>::new());
}

#[tokio::test]
async fn no_secret_is_visible_in_the_process_list() {
    let place = Place::new();
    let stack = place.stack("argv").await;
    let lines: String = working_in(&place.data())
        .iter()
        .map(|process| fs::read_to_string(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default())
        .collect();
    let endpoints = stack.endpoints();
    let password =
        |url: &SecretString| url::Url::parse(url.expose_secret()).unwrap().password().map(str::to_owned).unwrap();
    let key = endpoints.qdrant.api_key.as_ref().unwrap().expose_secret().to_owned();
    for secret in [password(&endpoints.redis.url), password(&endpoints.postgres.url), key] {
        assert!(!lines.contains(&secret));
        assert!(!format!("{stack:?}").contains(&secret), "a secret is in the debug text");
    }
}

#[tokio::test]
async fn postgres_has_the_shape_of_supabase() {
    let place = Place::new();
    let stack = place.stack("shape").await;
    let mut connection = postgres(&stack.endpoints().postgres.url).await.unwrap();
    let roles: Vec<(String, bool, bool)> = sqlx::query_as(
        "select rolname::text, rolbypassrls, rolinherit from pg_roles
         where rolname in ('anon', 'authenticated', 'service_role', 'authenticator') order by 1",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let role = |name: &str, bypass, inherit| (name.to_owned(), bypass, inherit);
    assert_eq!(
        roles,
        [
            role("anon", false, false),
            role("authenticated", false, false),
            role("authenticator", false, false),
            role("service_role", true, false)
        ]
    );
    sqlx::raw_sql(
        "insert into supabase_migrations.schema_migrations values ('20260101000000', '{select 1}', 'first');
         set role authenticator; set role service_role; select auth.uid(), auth.role()",
    )
    .execute(&mut connection)
    .await
    .unwrap();
}

#[tokio::test]
async fn data_survives_a_restart_and_a_kill() {
    let place = Place::new();
    let stack = place.stack("restart").await;
    let endpoints = stack.endpoints().clone();
    let mut connection = redis(&endpoints.redis.url).await.unwrap();
    redis::cmd("SET").arg("kept").arg("1").query_async::<()>(&mut connection).await.unwrap();
    let mut connection = postgres(&endpoints.postgres.url).await.unwrap();
    sqlx::raw_sql("create table kept as select 1 as one").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    for service in [Service::Redis, Service::Postgres, Service::Qdrant] {
        let before = stack.pid(service).await.unwrap();
        stack.restart(service).await.unwrap();
        assert_ne!(stack.pid(service).await.unwrap(), before);
        stack.kill(service).await.unwrap();
        assert_eq!(stack.pid(service).await, None);
        stack.start_again(service).await.unwrap();
    }
    let mut connection = redis(&endpoints.redis.url).await.unwrap();
    let kept: i32 = redis::cmd("GET").arg("kept").query_async(&mut connection).await.unwrap();
    assert_eq!(kept, 1);
    let mut connection = postgres(&endpoints.postgres.url).await.unwrap();
    sqlx::raw_sql("select one from kept").execute(&mut connection).await.unwrap();

    // One that is down when the stack is stopped is no obstacle.
    stack.kill(Service::Postgres).await.unwrap();
    assert_eq!(stack.stop().await, Vec::<String>::new());
    assert_eq!(place.left(), Vec::<String>::new());
}

#[tokio::test]
async fn a_paused_service_answers_only_after_it_is_resumed() {
    let place = Place::new();
    let stack = place.stack("pause").await;
    let endpoints = stack.endpoints().clone();
    let patience = Duration::from_millis(200);
    stack.pause(Service::Redis).await.unwrap();
    stack.pause(Service::Postgres).await.unwrap();
    assert!(tokio::time::timeout(patience, redis(&endpoints.redis.url)).await.is_err());
    assert!(tokio::time::timeout(patience, postgres(&endpoints.postgres.url)).await.is_err());
    stack.resume(Service::Redis).await.unwrap();
    stack.resume(Service::Postgres).await.unwrap();
    redis(&endpoints.redis.url).await.unwrap();

    let error = stack.pause(Service::Jina).await.unwrap_err().to_string();
    assert!(error.contains("jina cannot be paused"), "{error}");
    // A stack with a paused service is removed like any other.
    stack.pause(Service::Postgres).await.unwrap();
    drop(stack);
    assert_eq!(place.left(), Vec::<String>::new());
}

#[tokio::test]
async fn keep_leaves_the_directory_and_ends_the_processes() {
    let place = Place::new();
    let mut options = place.options("kept");
    options.keep = true;
    let stack = Stack::start(ProviderKind::Native, options, &Events::silent()).await.unwrap();
    let directory = stack.directory().unwrap().to_owned();
    assert_eq!(stack.stop().await, Vec::<String>::new());
    assert!(directory.join("postgres/data/PG_VERSION").exists());
    assert!(working_in(&directory).is_empty());
}

#[tokio::test]
async fn dropping_the_names_of_a_case_leaves_those_of_others() {
    let place = Place::new();
    let stack = place.stack("names").await;
    let endpoints = stack.endpoints();
    let (mine, other) = (names_for("r1", "suite.mine"), names_for("r1", "suite.other"));
    let mut cache = redis(&endpoints.redis.url).await.unwrap();
    let mut database = postgres(&endpoints.postgres.url).await.unwrap();
    for names in [&mine, &other] {
        for key in 0..1500 {
            redis::cmd("SET")
                .arg(format!("{}:{key}", names.prefix))
                .arg(1)
                .query_async::<()>(&mut cache)
                .await
                .unwrap();
        }
        let schema = names.table.split_once('.').unwrap().0;
        let sql = format!("create schema {schema}; create table {} (id text)", names.table);
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut database).await.unwrap();
    }
    drop_names(endpoints, &mine).await.unwrap();
    let keys: usize = redis::cmd("DBSIZE").query_async(&mut cache).await.unwrap();
    assert_eq!(keys, 1500);
    let schemas: i64 = sqlx::query_scalar("select count(*) from pg_namespace where nspname like 'sd\\_%'")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(schemas, 1);
    // What is gone already is no error.
    drop_names(endpoints, &mine).await.unwrap();
}

#[tokio::test]
async fn a_stack_that_cannot_start_is_a_clear_error_and_leaves_nothing() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = place.refusal(|options| options.ports.postgres = Some(port)).await.to_string();
    assert!(error.contains(&format!("port {port} on 127.0.0.1 for postgres")), "{error}");

    let error = place.refusal(|options| options.data_dir = Some(PathBuf::from("/proc/nowhere"))).await.to_string();
    assert!(error.contains("/proc/nowhere") && error.contains("--data-dir"), "{error}");

    if nix::unistd::geteuid().is_root() {
        // Postgres runs as another user, who is shut out here.
        let private = place.0.path().join("private");
        fs::create_dir(&private).unwrap();
        fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
        let error = place.refusal(|options| options.data_dir = Some(private.clone())).await.to_string();
        assert!(error.contains("cannot reach") && error.contains("private"), "{error}");
        assert_eq!(fs::read_dir(&private).unwrap().count(), 0);
    }

    let error = place.refusal(|options| options.state_dir = PathBuf::from("/proc/nowhere")).await.to_string();
    assert!(error.contains("clean-up ledger"), "{error}");

    let error = place.refusal(|options| options.programs.redis = Some(PathBuf::from("/nowhere"))).await.to_string();
    assert!(error.contains("/nowhere"), "{error}");

    let error = place.refusal(|options| options.programs.qdrant = Some(PathBuf::from("/bin/false"))).await.to_string();
    assert!(error.contains("qdrant exited with code 1 before it was ready"), "{error}");

    assert_eq!(place.left(), Vec::<String>::new());
}

#[tokio::test]
async fn a_remote_stack_is_only_read() {
    let place = Place::new();
    let native = place.stack("far").await;
    let mut options = place.options("near");
    let mut endpoints = native.endpoints().clone();
    endpoints.redis.url = with_wrong_password(&endpoints.redis.url);
    options.endpoints = Some(endpoints);
    let remote = Stack::start(ProviderKind::Remote, options, &Events::silent()).await.unwrap();
    let status: Vec<ServiceStatus> = remote.services().iter().map(|service| service.status).collect();
    let ready = ServiceStatus::Ready;
    assert_eq!(status, [ServiceStatus::Unreachable, ready, ready, ready]);
    assert!(!remote.capabilities().has(Capability::Write));
    assert!(remote.restart(Service::Redis).await.is_err());
    assert_eq!(remote.stop().await, Vec::<String>::new());
    postgres(&native.endpoints().postgres.url).await.unwrap();
}

/// `shakedown up`, once it has printed the addresses.
fn up(place: &Place) -> (std::process::Child, Vec<String>) {
    let mut child = Command::new(SHAKEDOWN)
        .args(["up", "--provider", "native", "--data-dir"])
        .arg(place.data())
        .env("XDG_STATE_HOME", place.state())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).take(13).collect();
    (child, lines)
}

fn pid(child: &std::process::Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

#[test]
fn up_prints_exports_alone_and_ends_with_zero_on_an_interrupt() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let place = Place::new();
        let (mut child, lines) = up(&place);
        assert!(lines.iter().all(|line| line.starts_with("export ")), "{lines:?}");
        for name in ["REDIS_URL", "DATABASE_URL", "QDRANT_URL", "QDRANT_API_KEY", "JINA_BASE_URL", "JINA_API_KEY"] {
            assert!(lines.iter().any(|line| line.starts_with(&format!("export {name}='"))), "{name} in {lines:?}");
        }
        kill(pid(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(working_in(&place.data()).is_empty());
        assert_eq!(fs::read_dir(place.data()).unwrap().count(), 0);
        assert_eq!(fs::read_dir(place.state().join("shakedown/runs")).unwrap().count(), 0);
    }
}

#[test]
fn clean_removes_the_leftovers_of_a_killed_harness_and_nothing_of_a_live_one() {
    let place = Place::new();
    let (mut child, _) = up(&place);
    let state = place.state().join("shakedown");
    let living = clean(&state, false).unwrap();
    assert!(matches!(living[0].found, Found::InUse { .. }), "{living:?}");

    // Stopped processes cannot follow the harness into death, so there is something left to end.
    let postgres: Vec<ProcessId> = working_in(&place.data());
    for process in &postgres {
        process.signal(Signal::SIGSTOP);
    }
    kill(pid(&child), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    assert!(!working_in(&place.data()).is_empty());

    let output = Command::new(SHAKEDOWN).arg("clean").env("XDG_STATE_HOME", place.state()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("removed directory"), "{text}");
    wait_until("all processes are gone", || working_in(&place.data()).is_empty());
    assert_eq!(fs::read_dir(place.data()).unwrap().count(), 0);
    assert!(clean(&state, false).unwrap().is_empty());
}

#[test]
fn child_processes_end_with_a_killed_harness() {
    let place = Place::new();
    let (mut child, _) = up(&place);
    assert!(!working_in(&place.data()).is_empty());
    kill(pid(&child), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    wait_until("the children have followed", || working_in(&place.data()).is_empty());
}

/// Runs the ignored test `name` of this file as a harness of its own, which panics.
fn panicking(name: &str, place: &Place) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", &format!("native::{name}"), "--test-threads=1"])
        .env("SHAKEDOWN_TEST_PLACE", place.0.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
    assert!(place.0.path().join("started").exists(), "it panicked before the stack was up");
    assert!(working_in(&place.data()).is_empty());
    assert_eq!(fs::read_dir(place.data()).unwrap().count(), 0);
}

#[test]
fn a_panic_unwinds_the_stack_and_leaves_nothing() {
    panicking("harness_that_panics", &Place::new());
}

#[test]
fn a_panic_replays_the_ledger_even_if_nothing_is_dropped() {
    panicking("harness_that_panics_and_drops_nothing", &Place::new());
}

/// The stack of a harness whose place its parent chose; `None` when the whole file is run with `--ignored`.
fn panicking_stack() -> Option<(tokio::runtime::Runtime, Stack)> {
    #[expect(clippy::disallowed_methods, reason = "handed over by the test that runs this one")]
    let place = PathBuf::from(std::env::var_os("SHAKEDOWN_TEST_PLACE")?);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut options = StackOptions::new("panics", SHAKEDOWN);
    options.data_dir = Some(place.join("data"));
    options.state_dir = place.join("state");
    let stack = runtime.block_on(Stack::start(ProviderKind::Native, options, &Events::silent())).unwrap();
    fs::write(place.join("started"), "").unwrap();
    Some((runtime, stack))
}

#[test]
#[ignore = "a harness that another test runs"]
fn harness_that_panics() {
    if let Some((_runtime, _stack)) = panicking_stack() {
        panic!("on purpose");
    }
}

#[test]
#[ignore = "a harness that another test runs"]
fn harness_that_panics_and_drops_nothing() {
    if let Some((_runtime, stack)) = panicking_stack() {
        std::mem::forget(stack);
        replay_on_panic();
        panic!("on purpose");
    }
}
