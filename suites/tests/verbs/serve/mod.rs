//! `shakedown serve` as monitors and people meet it: what each route answers, what requests cost the services, how an
//! outage and its end show, what is kept, and who may look.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod attack;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use shakedown::faults::{Direction, NetworkFault, Proxy};
use shakedown::settings::Endpoints;
use url::Url;

use crate::support::cli_sandbox::CliSandbox;
use crate::support::groups::Group;
use crate::support::harness::{Test, TestStack, on_one_stack, runtime};
use crate::support::recorder::Recorder;

const TESTS: &[(&str, Test)] = &[
    ("every_route_answers_without_a_secret", routes),
    ("requests_cause_no_traffic_to_the_services", many_requests),
    ("an_outage_and_its_end_are_recorded", outage),
    ("an_outage_and_its_end_are_reported_within_five_seconds", cuts),
    ("requests_without_the_token_are_refused", token),
    ("settings_are_reloaded_and_invalid_ones_change_nothing", hang_up),
    ("a_worker_reports_whether_it_takes_jobs", worker),
    ("headers_that_do_not_end_disturb_neither_answers_nor_probes", attack::half_sent_headers),
    ("a_thousand_idle_connections_disturb_neither_answers_nor_probes", attack::idle_connections),
    ("requests_for_other_hosts_are_refused", attack::other_hosts),
];

/// `shakedown serve`.
pub fn group() -> Group {
    on_one_stack("serve", TESTS, Vec::new())
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
    fn start(sandbox: &CliSandbox, endpoints: &Endpoints, arguments: &[&str]) -> Self {
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
        Self::spawn(with_endpoints(&mut sandbox.command(&arguments), endpoints))
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

fn with_endpoints<'a>(command: &'a mut Command, endpoints: &Endpoints) -> &'a mut Command {
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

fn routes(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let endpoints = stack.prepared("routes");
    let secret = "a-management-token-that-nobody-may-see";
    let mut command = sandbox.command(&["serve", "--listen", "127.0.0.1:0", "--history", "none"]);
    command.env("SUPABASE_ACCESS_TOKEN", secret);
    let served = Served::spawn(with_endpoints(&mut command, &endpoints));
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
            assert!(!text.contains(secret.as_str()), "{path} shows a secret");
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
    assert_eq!(read_by_prometheus(&served), names);
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

/// The names of all samples, as the client of Prometheus reads them, in both forms.
#[expect(clippy::disallowed_methods, reason = "whether this is a machine of CI is no setting of the program")]
fn read_by_prometheus(served: &Served) -> BTreeSet<String> {
    use std::io::Write as _;
    let python = crate::support::client_packages::home("prometheus").join("python/bin/python");
    let plain = served.get("/metrics").1;
    if !python.is_file() {
        assert!(std::env::var_os("CI").is_none(), "scripts/install clients installs the client of Prometheus");
        return strictly(&plain);
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clients/prometheus/read.py");
    let read = |form: &str, text: &str| {
        let mut child = Command::new(&python)
            .args([script, form])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{form}: {}\n{text}", String::from_utf8_lossy(&output.stderr));
        let families: BTreeMap<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
        let samples = families.values().flat_map(|family| family["samples"].as_array().unwrap().clone());
        samples.map(|sample| sample[0].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let open = runtime().block_on(async {
        let request = reqwest::Client::new().get(format!("{}/metrics", served.base));
        let answer = request.header("accept", "application/openmetrics-text;version=1.0.0").send().await.unwrap();
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
        answer.text().await.unwrap()
    });
    let names = read("prometheus", &plain);
    assert_eq!(read("openmetrics", &open), names);
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

fn many_requests(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let mut endpoints = stack.prepared("many_requests");
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
    let served = Served::start(&sandbox, &endpoints, &["--every", "1h", "--heartbeat", "1h", "--history", "none"]);
    served.until_judged();
    served.until("pulses", |served| served.get("/health/ready").0 == 200);
    // What is still on its way is none of the requests'.
    let sent = || -> (usize, usize) {
        let all: Vec<Vec<u8>> = recorders.iter().flat_map(Recorder::received).collect();
        (all.len(), all.iter().map(Vec::len).sum())
    };
    let stable = Mutex::new((sent(), Instant::now()));
    until("silence", || {
        let mut stable = stable.lock().unwrap();
        if stable.0 != sent() {
            *stable = (sent(), Instant::now());
        }
        stable.1.elapsed() > Duration::from_millis(500)
    });
    let before = sent();
    assert!(before.0 > 4, "the services were asked through the recorders");
    for number in 0..200 {
        assert_eq!(served.get(ROUTES[number % ROUTES.len()]).0, 200);
    }
    assert_eq!(sent(), before, "connections and bytes");
}

fn outage(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let mut endpoints = stack.prepared("outage");
    let listen = "127.0.0.1:0".parse().unwrap();
    let proxy = runtime().block_on(Proxy::start(listen, upstream(endpoints.redis.url.expose_secret()), None)).unwrap();
    endpoints.redis.url = SecretString::from(moved(endpoints.redis.url.expose_secret(), proxy.address()));
    let history = sandbox.path("history.redb").display().to_string();
    let arguments = ["--every", "1s", "--heartbeat", "500ms", "--history", &history];
    let served = Served::start(&sandbox, &endpoints, &arguments);
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
    // Known to be dead, it is asked by pulses alone.
    let circuit = |state: u8| {
        let line = format!("shakedown_service_circuit{{service=\"redis\"}} {state}.0\n");
        move |served: &Served| served.get("/metrics").1.contains(&line)
    };
    served.until("an open circuit", circuit(2));
    assert!(served.get("/health/redis").1.contains("redis:circuit") && served.get("/").1.contains("circuit open"));
    served.until("a check that did not ask", |served| {
        let report: Value = serde_json::from_str(&served.get("/report.json").1).unwrap();
        let case = report["cases"].as_array().unwrap().iter().find(|case| case["id"] == "redis.answers").unwrap();
        case["verdict"] == "fail" && case["evidence"][0]["what"] == "circuit"
    });
    assert!(runtime().block_on(async { proxy.revert(applied) }).took_effect());
    served.until("that Redis is back", |served| code("/health/redis")(served) == 200);
    served.until("that all is well", |served| code("/health/ready")(served) == 200);
    served.until("a closed circuit", circuit(0));

    // One process has the history at a time.
    let listen = ["serve", "--listen", "127.0.0.1:0", "--history", &history];
    let output = with_endpoints(&mut sandbox.command(&listen), &endpoints).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("in use by another"), "{error}");
    assert_eq!(served.end(), Some(0));

    let again = Served::start(&sandbox, &endpoints, &arguments);
    let page = again.get("/").1;
    assert!(page.contains("redis did not answer"), "what was kept is there before anything is judged");
    assert!(!page.contains(">ongoing<"));
    assert_eq!(again.end(), Some(0));
    fs::write(&history, "no history at all").unwrap();
    let output = with_endpoints(&mut sandbox.command(&listen), &endpoints).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

/// How long may pass from a cut, or its end, until `/health/ready` says so.
const STATUS_WITHIN: Duration = Duration::from_secs(5);
/// Every answer is read from what is known, whatever the services do.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

fn cuts(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let mut endpoints = stack.prepared("cuts");
    let before = |url: &str| {
        let listen = "127.0.0.1:0".parse().unwrap();
        runtime().block_on(Proxy::start(listen, upstream(url), None)).unwrap()
    };
    let proxies = [
        before(endpoints.redis.url.expose_secret()),
        before(endpoints.postgres.url.expose_secret()),
        before(&endpoints.qdrant.url),
        before(&endpoints.jina.base_url),
    ];
    endpoints.redis.url = moved(endpoints.redis.url.expose_secret(), proxies[0].address()).into();
    endpoints.postgres.url = moved(endpoints.postgres.url.expose_secret(), proxies[1].address()).into();
    endpoints.qdrant.url = moved(&endpoints.qdrant.url, proxies[2].address());
    endpoints.jina.base_url = moved(&endpoints.jina.base_url, proxies[3].address());
    let served = Served::start(&sandbox, &endpoints, &["--every", "1h", "--heartbeat", "500ms", "--history", "none"]);
    served.until_judged();
    served.until("that it is ready", |served| served.get("/health/ready").0 == 200);
    let ready = || {
        let begun = Instant::now();
        let answer = served.get("/health/ready");
        assert!(begun.elapsed() < ANSWERED_WITHIN, "an answer took {:?}", begun.elapsed());
        answer
    };
    let wait_for_status = |what: &str, is: &dyn Fn(u16, &str) -> bool| {
        let since = Instant::now();
        loop {
            let (code, text) = ready();
            assert!(since.elapsed() < STATUS_WITHIN, "not reported within {STATUS_WITHIN:?}: {what}: {code} {text}");
            if is(code, &text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let checks = || {
        let text = served.get("/metrics").1;
        let line = text.lines().find_map(|line| line.strip_prefix("shakedown_checks_total ")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let before = checks();

    // Nothing is refused, and nothing comes back: the slowest way to find out.
    let applied: Vec<_> = runtime().block_on(async {
        proxies.iter().map(|proxy| proxy.apply(NetworkFault::Blackhole, Direction::Both)).collect()
    });
    wait_for_status("that all four are gone", &|code, text| {
        code == 503 && ["redis: ", "postgres: ", "qdrant: ", "jina: "].iter().all(|service| text.contains(service))
    });
    for (proxy, applied) in proxies.iter().zip(applied) {
        assert!(runtime().block_on(async { proxy.revert(applied) }).took_effect());
    }
    wait_for_status("that all four are back", &|code, _| code == 200);
    // The check that was begun without them ends after they are back, and says nothing of what is now.
    until("checks that were begun before and after", || {
        let (code, text) = ready();
        assert_eq!(code, 200, "{text}");
        checks() >= before + 2
    });
    assert_eq!(served.end(), Some(0));
}

fn token(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let endpoints = stack.prepared("token");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--history", "none", "--token-env", "STATUS_TOKEN"];
    let output = with_endpoints(&mut sandbox.command(&arguments), &endpoints).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "a variable that is not set");
    let mut command = sandbox.command(&arguments);
    let served = Served::spawn(with_endpoints(command.env("STATUS_TOKEN", "open:sesame"), &endpoints));
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

fn hang_up(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let endpoints = stack.prepared("again");
    let served = Served::start(&sandbox, &endpoints, &["--history", "none"]);
    let heard = |text: &'static str| move |served: &Served| served.heard.lock().unwrap().contains(text);
    let dotenv = sandbox.path("work").join(".env");
    fs::write(&dotenv, "SHAKEDOWN_NONSENSE=1\n").unwrap();
    served.signal(Signal::SIGHUP);
    served.until("a refusal", |served| heard("the old ones remain")(served) && heard("SHAKEDOWN_NONSENSE")(served));
    assert!(served.get("/").1.contains("SHAKEDOWN_NONSENSE"), "the page says so too");
    served.until("that it is ready", |served| served.get("/health/ready").0 == 200);
    fs::write(&dotenv, "SHAKEDOWN_PROFILE=staging\n").unwrap();
    served.signal(Signal::SIGHUP);
    served.until("other settings", |served| heard("settings reloaded")(served));
    let page = served.get("/").1;
    assert!(page.contains("profile staging") && !page.contains("SHAKEDOWN_NONSENSE"));
    assert_eq!(served.end(), Some(0));
}

fn worker(stack: &TestStack) {
    let sandbox = CliSandbox::new();
    let endpoints = stack.prepared("worker");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = sandbox.command(&["worker", "--health-port", &port.to_string()]);
    let child = with_endpoints(&mut command, &endpoints).stderr(Stdio::null()).spawn().unwrap();
    let served = Served { child, base: format!("http://127.0.0.1:{port}"), heard: Arc::default() };
    served.until("that it takes jobs", |served| served.get("/health/ready").0 == 200);
    assert_eq!(served.get("/health/live").0, 200);
    let text = served.get("/metrics").1;
    for service in ["jina", "postgres", "qdrant"] {
        assert!(text.contains(&format!("shakedown_worker_circuit{{service=\"{service}\"}} 0.0\n")), "{text}");
    }
    let names = ["shakedown_worker_circuit", "shakedown_worker_ready"].map(str::to_owned);
    assert_eq!(strictly(&text), BTreeSet::from(names.clone()));
    assert_eq!(read_by_prometheus(&served), BTreeSet::from(names));
    assert_eq!(served.end(), Some(0));
}
