//! `shakedown serve` as monitors and people meet it: what each route answers, what requests cost the services, how an
//! outage and its end show, what is kept, and who may look.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "not every test target needs all of it")]
mod desk;
mod harness;
#[allow(dead_code, reason = "connections are counted here, and not read")]
mod recorder;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use shakedown::faults::{Direction, NetworkFault, Proxy};
use shakedown::settings::Endpoints;
use shakedown::stack::{ProviderKind, names_for};
use url::Url;

use desk::Desk;
use harness::{SHAKEDOWN, Ship, runtime};
use recorder::Recorder;

type Test = fn(&Ship);

const TESTS: &[(&str, Test)] = &[
    ("every_route_answers_and_none_tells_a_secret", routes),
    ("requests_cost_the_services_nothing", storm),
    ("an_outage_and_its_end_are_seen_and_kept", outage),
    ("a_token_is_asked_for", token),
    ("settings_are_read_again_and_wrong_ones_change_nothing", hang_up),
    ("a_worker_says_whether_it_takes_jobs", worker),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let ship: Arc<Mutex<Option<Ship>>> = Arc::default();
    let trials = TESTS.iter().map(|(name, test)| {
        let ship = Arc::clone(&ship);
        Trial::test(*name, move || {
            let mut ship = ship.lock().unwrap_or_else(PoisonError::into_inner);
            if ship.is_none() {
                *ship = Some(runtime().block_on(Ship::launch(ProviderKind::Native, "serve")));
            }
            test(ship.as_ref().expect("it was launched above"));
            Ok(())
        })
    });
    let trials = trials.collect();
    arguments.test_threads = Some(1);
    let conclusion = libtest_mimic::run(&arguments, trials);
    let left = ship.lock().unwrap_or_else(PoisonError::into_inner).take().map(|ship| runtime().block_on(ship.sink()));
    assert_eq!(left.unwrap_or_default(), Vec::<String>::new(), "something could not be removed");
    conclusion.exit_code()
}

/// The stack under names that are prepared.
fn endpoints(ship: &Ship, run: &str) -> Endpoints {
    let mut whole = ship.stack.endpoints().clone();
    whole.names = names_for(run, "run");
    let contract = ship.options(run).contract;
    runtime().block_on(shakedown::scenario::set_up(&whole, &contract, Path::new(SHAKEDOWN))).unwrap();
    whole
}

/// A process that is killed when the test is over.
struct Served {
    child: Child,
    base: String,
    heard: Arc<Mutex<String>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    fn start(desk: &Desk, endpoints: &Endpoints, arguments: &[&str]) -> Self {
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
        Self::spawn(with(&mut desk.command(&arguments), endpoints))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let heard = Arc::new(Mutex::new(String::new()));
        let base = loop {
            let line = lines.next().expect("it ended before it served").unwrap();
            if let Some((_, rest)) = line.split_once("serving http://") {
                break format!("http://{}", rest.split('/').next().unwrap());
            }
        };
        let kept = Arc::clone(&heard);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        Self { child, base, heard }
    }

    fn get(&self, path: &str) -> (u16, String) {
        get(&format!("{}{path}", self.base), None)
    }

    fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        until(what, || is(self));
    }

    fn until_judged(&self) {
        self.until("a check", |served| served.get("/report.json").0 == 200);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn end(mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.child.wait().unwrap().code()
    }
}

fn with<'a>(command: &'a mut Command, endpoints: &Endpoints) -> &'a mut Command {
    for variable in endpoints.environment() {
        command.env(variable.name, variable.value.expose_secret());
    }
    command
}

fn get(url: &str, authorization: Option<&str>) -> (u16, String) {
    runtime().block_on(async {
        let request = reqwest::Client::new().get(url).timeout(Duration::from_secs(20));
        let request = match authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        };
        match request.send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            Err(error) => (0, error.to_string()),
        }
    })
}

fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < deadline, "never seen: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const ROUTES: &[&str] = &[
    "/",
    "/health",
    "/health/live",
    "/health/ready",
    "/health/redis",
    "/health/queue",
    "/metrics",
    "/report",
    "/report.json",
];

fn routes(ship: &Ship) {
    let desk = Desk::new();
    let endpoints = endpoints(ship, "routes");
    let secret = "a-management-token-that-nobody-may-see";
    let mut command = desk.command(&["serve", "--listen", "127.0.0.1:0", "--history", "none"]);
    command.env("SUPABASE_ACCESS_TOKEN", secret);
    let served = Served::spawn(with(&mut command, &endpoints));
    served.until_judged();
    served.until("pulses", |served| served.get("/health/ready").0 == 200);
    let mut secrets = vec![secret.to_owned()];
    for place in ["redis.password", "postgres.password", "qdrant.key", "jina.key"] {
        secrets.extend(endpoints.place(place).filter(|secret| secret.len() > 6));
    }
    assert!(secrets.len() >= 3, "the stack has too few secrets for this test");
    for path in ROUTES.iter().chain(&["/health/nothing", "/nothing"]) {
        let (code, text) = served.get(path);
        assert_eq!(code, if path.contains("nothing") { 404 } else { 200 }, "{path}: {text}");
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{path} tells a secret");
        }
    }
    let health: Value = serde_json::from_str(&served.get("/health").1).unwrap();
    let checks = health["checks"].as_object().unwrap();
    for (name, entries) in checks {
        assert!(name.contains(':'), "{name}");
        for field in ["componentId", "componentType", "observedValue", "observedUnit", "status", "time", "links"] {
            assert!(!entries[0][field].is_null(), "{name} has no {field}");
        }
    }
    for name in ["redis:eviction-policy", "bullmq:waiting", "postgres:responseTime", "qdrant:points"] {
        assert!(checks.contains_key(name), "{name}");
    }
    let names = strictly(&served.get("/metrics").1);
    for name in ["shakedown_case_verdict", "shakedown_service_up", "shakedown_queue_jobs", "shakedown_checks_total"] {
        assert!(names.contains(name), "{name} is missing");
    }
    assert_eq!(served.end(), Some(0));
}

/// Reads the text format of Prometheus as strictly as it is written down; gives the names of the samples.
fn strictly(text: &str) -> BTreeSet<String> {
    let name = regex::Regex::new(r"^[a-zA-Z_:][a-zA-Z0-9_:]*$").unwrap();
    let sample = regex::Regex::new(
        r#"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{([a-zA-Z_][a-zA-Z0-9_]*="([^"\\\n]|\\["\\n])*"(,[a-zA-Z_][a-zA-Z0-9_]*="([^"\\\n]|\\["\\n])*")*)?\})? (\S+)$"#,
    )
    .unwrap();
    assert!(text.ends_with('\n'));
    let (mut names, mut helped, mut typed, mut seen) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            rest.split(' ').next().unwrap().clone_into(&mut family);
            assert!(helped.insert(family.clone()) && rest.len() > family.len() + 1, "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (of, kind) = rest.split_once(' ').unwrap();
            assert!(of == family && name.is_match(of) && typed.insert(of.to_owned()), "{line}");
            assert!(["gauge", "counter"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", of.ends_with("_total"), "{line}");
        } else {
            let found = sample.captures(line).unwrap_or_else(|| panic!("no sample: {line}"));
            assert_eq!(&found[1], family, "a sample outside its family");
            assert!(typed.contains(&family), "{line}");
            found[7].parse::<f64>().unwrap();
            let key = line.rsplit_once(' ').unwrap().0.to_owned();
            assert!(seen.insert(key), "twice: {line}");
            names.insert(found[1].to_owned());
        }
    }
    names
}

/// `url` with another address.
fn moved(url: &str, address: std::net::SocketAddr) -> String {
    let mut url = Url::parse(url).unwrap();
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(address.port())).unwrap();
    url.to_string().trim_end_matches('/').to_owned()
}

fn upstream(url: &str) -> String {
    let url = Url::parse(url).unwrap();
    format!("{}:{}", url.host_str().unwrap(), url.port().unwrap())
}

fn storm(ship: &Ship) {
    let desk = Desk::new();
    let mut endpoints = endpoints(ship, "storm");
    let before = |url: &str| runtime().block_on(Recorder::start("127.0.0.1:0", Some(upstream(url))));
    let recorders = [
        before(endpoints.redis.url.expose_secret()),
        before(endpoints.postgres.url.expose_secret()),
        before(&endpoints.qdrant.url),
        before(&endpoints.jina.base_url),
    ];
    endpoints.redis.url = moved(endpoints.redis.url.expose_secret(), recorders[0].address).into();
    endpoints.postgres.url = moved(endpoints.postgres.url.expose_secret(), recorders[1].address).into();
    endpoints.qdrant.url = moved(&endpoints.qdrant.url, recorders[2].address);
    endpoints.jina.base_url = moved(&endpoints.jina.base_url, recorders[3].address);
    let served = Served::start(&desk, &endpoints, &["--every", "1h", "--pulse", "1h", "--history", "none"]);
    served.until_judged();
    served.until("pulses", |served| served.get("/health/ready").0 == 200);
    // What is still on its way is none of the requests'.
    let said = || -> (usize, usize) {
        let all: Vec<Vec<u8>> = recorders.iter().flat_map(Recorder::said).collect();
        (all.len(), all.iter().map(Vec::len).sum())
    };
    let calm = Mutex::new((said(), Instant::now()));
    until("silence", || {
        let mut calm = calm.lock().unwrap();
        if calm.0 != said() {
            *calm = (said(), Instant::now());
        }
        calm.1.elapsed() > Duration::from_millis(500)
    });
    let before = said();
    assert!(before.0 > 4, "the services were asked through the recorders");
    for number in 0..200 {
        assert_eq!(served.get(ROUTES[number % ROUTES.len()]).0, 200);
    }
    assert_eq!(said(), before, "connections and bytes");
}

fn outage(ship: &Ship) {
    let desk = Desk::new();
    let mut endpoints = endpoints(ship, "outage");
    let listen = "127.0.0.1:0".parse().unwrap();
    let proxy = runtime().block_on(Proxy::start(listen, upstream(endpoints.redis.url.expose_secret()), None)).unwrap();
    endpoints.redis.url = SecretString::from(moved(endpoints.redis.url.expose_secret(), proxy.address()));
    let history = desk.path("history.redb").display().to_string();
    let arguments = ["--every", "1h", "--pulse", "500ms", "--history", &history];
    let served = Served::start(&desk, &endpoints, &arguments);
    served.until_judged();
    served.until("that it is ready", |served| served.get("/health/ready").0 == 200);
    let code = |path: &'static str| move |served: &Served| served.get(path).0;

    let applied = runtime().block_on(async {
        proxy.cut();
        proxy.apply(NetworkFault::Refuse, Direction::Both)
    });
    served.until("that Redis is gone", |served| code("/health/redis")(served) == 503);
    assert_eq!((code("/health/ready")(&served), code("/health")(&served)), (503, 503));
    assert_eq!(code("/health/qdrant")(&served), 200, "a dead service is none of the others' business");
    served.until("the incident", |served| served.get("/").1.contains("redis did not answer"));
    assert!(runtime().block_on(async { proxy.lift(applied) }).took_effect());
    served.until("that Redis is back", |served| code("/health/redis")(served) == 200);
    served.until("that all is well", |served| code("/health/ready")(served) == 200);

    // One process has the history at a time.
    let listen = ["serve", "--listen", "127.0.0.1:0", "--history", &history];
    let output = with(&mut desk.command(&listen), &endpoints).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("in use by another"), "{error}");
    assert_eq!(served.end(), Some(0));

    let again = Served::start(&desk, &endpoints, &arguments);
    let page = again.get("/").1;
    assert!(page.contains("redis did not answer"), "what was kept is there before anything is judged");
    assert!(!page.contains(">lasts<"));
    assert_eq!(again.end(), Some(0));
    fs::write(&history, "no history at all").unwrap();
    let output = with(&mut desk.command(&listen), &endpoints).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

fn token(ship: &Ship) {
    let desk = Desk::new();
    let endpoints = endpoints(ship, "token");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--history", "none", "--token-env", "STATUS_TOKEN"];
    let output = with(&mut desk.command(&arguments), &endpoints).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "a variable that is not set");
    let mut command = desk.command(&arguments);
    let served = Served::spawn(with(command.env("STATUS_TOKEN", "open:sesame"), &endpoints));
    for path in ROUTES {
        let url = format!("{}{path}", served.base);
        let open = *path == "/health/live";
        assert_eq!(get(&url, None).0 == 401, !open, "{path}");
        assert_eq!(get(&url, Some("Bearer open:sesam")).0 == 401, !open, "{path}");
        assert_ne!(get(&url, Some("Bearer open:sesame")).0, 401, "{path}");
        // `anybody:open:sesame`
        assert_ne!(get(&url, Some("Basic YW55Ym9keTpvcGVuOnNlc2FtZQ==")).0, 401, "{path}");
    }
}

fn hang_up(ship: &Ship) {
    let desk = Desk::new();
    let endpoints = endpoints(ship, "again");
    let served = Served::start(&desk, &endpoints, &["--history", "none"]);
    let heard = |text: &'static str| move |served: &Served| served.heard.lock().unwrap().contains(text);
    let dotenv = desk.path("work").join(".env");
    fs::write(&dotenv, "SHAKEDOWN_NONSENSE=1\n").unwrap();
    served.signal(Signal::SIGHUP);
    served.until("a refusal", |served| heard("the old ones stay")(served) && heard("SHAKEDOWN_NONSENSE")(served));
    assert!(served.get("/").1.contains("SHAKEDOWN_NONSENSE"), "the page says so too");
    served.until("that it is ready", |served| served.get("/health/ready").0 == 200);
    fs::write(&dotenv, "SHAKEDOWN_PROFILE=staging\n").unwrap();
    served.signal(Signal::SIGHUP);
    served.until("other settings", |served| heard("were read again")(served));
    let page = served.get("/").1;
    assert!(page.contains("profile staging") && !page.contains("SHAKEDOWN_NONSENSE"));
    assert_eq!(served.end(), Some(0));
}

fn worker(ship: &Ship) {
    let desk = Desk::new();
    let endpoints = endpoints(ship, "worker");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = desk.command(&["worker", "--health-port", &port.to_string()]);
    let child = with(&mut command, &endpoints).stderr(Stdio::null()).spawn().unwrap();
    let served = Served { child, base: format!("http://127.0.0.1:{port}"), heard: Arc::default() };
    served.until("that it takes jobs", |served| served.get("/health/ready").0 == 200);
    assert_eq!(served.get("/health/live").0, 200);
    assert_eq!(served.end(), Some(0));
}
