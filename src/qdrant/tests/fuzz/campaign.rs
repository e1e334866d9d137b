//! Sends requests, judges the answers, kills the server now and then, and compares.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::child::Server;
use super::rest::encoded;
use super::values::COLLECTIONS;
use super::{grpc, rest, upload};

/// Longest time for an answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// Requests between two kills.
const KILL_EVERY: u64 = 500;
/// Requests between two repairs of what earlier ones deleted.
const REPAIR_EVERY: u64 = 50;
/// Requests that a finding shows.
const SHOWN: usize = 3;
/// Bytes of a request that a finding shows.
const SHOWN_BYTES: usize = 3_000;
/// Findings after which the fuzz ends.
const ENOUGH: usize = 20;
/// A collection that no fuzzed request names.
const KEPT: &str = "kept";

/// When the fuzz ends.
enum End {
    After(u64),
    At(Instant),
}

/// Fuzzes as the environment says.
pub(crate) async fn run() {
    #[expect(clippy::disallowed_methods, reason = "a test program has no settings")]
    let variable = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seed = variable("SHAKEDOWN_FUZZ_SEED").unwrap_or_else(rand::random);
    let end = match variable("SHAKEDOWN_FUZZ_SECONDS") {
        Some(seconds) => End::At(Instant::now() + Duration::from_secs(seconds)),
        None => End::After(variable("SHAKEDOWN_FUZZ_REQUESTS").unwrap_or(400)),
    };
    println!("SHAKEDOWN_FUZZ_SEED={seed}");
    let mut campaign = Campaign::start(seed);
    campaign.repair().await;
    let mut number = 0;
    while campaign.findings.len() < ENOUGH
        && match end {
            End::After(requests) => number < requests,
            End::At(time) => Instant::now() < time,
        }
    {
        number += 1;
        campaign.step().await;
        if number % REPAIR_EVERY == 0 {
            campaign.repair().await;
        }
        if number % KILL_EVERY == 0 {
            campaign.kill().await;
        }
    }
    campaign.kill().await;
    println!("{number} requests, answers by code: {:?}", campaign.codes);
    let findings = campaign.findings.join("\n\n");
    assert!(campaign.findings.is_empty(), "SHAKEDOWN_FUZZ_SEED={seed}, {number} requests\n\n{findings}");
}

#[derive(Debug, Clone)]
enum Request {
    Rest(rest::Request),
    Grpc(grpc::Request),
    Upload(upload::Request),
}

impl Request {
    fn shown(&self) -> String {
        let mut text = match self {
            Self::Rest(it) => {
                format!("{} {} {}", it.method, it.path, String::from_utf8_lossy(it.body.as_deref().unwrap_or_default()))
            }
            Self::Grpc(it) => format!("{} {}", it.path, it.text),
            Self::Upload(it) => format!("{} of {} bytes as {:?}: {:?}", it.path, it.archive.len(), it.name, it.changes),
        };
        text.truncate(text.floor_char_boundary(SHOWN_BYTES));
        text
    }
}

struct Campaign {
    rng: StdRng,
    samples: rest::Samples,
    methods: grpc::Methods,
    /// Parent of the storage.
    directory: TempDir,
    server: Server,
    client: reqwest::Client,
    channel: Channel,
    recent: VecDeque<Request>,
    findings: Vec<String>,
    codes: BTreeMap<String, usize>,
    /// A snapshot of [`KEPT`].
    snapshot: Vec<u8>,
    /// What the server acknowledged for each point of [`KEPT`].
    kept: BTreeMap<u64, u64>,
}

impl Campaign {
    fn start(seed: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let server = Server::start(&directory.path().join("storage")).unwrap_or_else(|error| panic!("{error}"));
        let channel = channel(&server);
        Self {
            rng: StdRng::seed_from_u64(seed),
            samples: rest::Samples::new(),
            methods: grpc::Methods::new(),
            directory,
            server,
            client: reqwest::Client::builder().timeout(DEADLINE).build().expect("a client"),
            channel,
            recent: VecDeque::new(),
            findings: Vec::new(),
            codes: BTreeMap::new(),
            snapshot: Vec::new(),
            kept: BTreeMap::new(),
        }
    }

    fn storage(&self) -> PathBuf {
        self.directory.path().join("storage")
    }

    fn find(&mut self, what: &str) {
        let recent: Vec<String> = self.recent.iter().map(Request::shown).collect();
        self.findings.push(format!("{what}\nafter, last of all:\n  {}", recent.join("\n  ")));
    }

    /// Sends one random request.
    async fn step(&mut self) {
        let request = match self.rng.random_range(0..40) {
            0 => Request::Upload(upload::request(&mut self.rng, &self.snapshot)),
            1..20 => Request::Rest(self.samples.request(&mut self.rng)),
            _ => Request::Grpc(self.methods.request(&mut self.rng)),
        };
        if self.recent.len() == SHOWN {
            self.recent.pop_front();
        }
        self.recent.push_back(request.clone());
        let began = Instant::now();
        let (code, wrong, text) = match &request {
            Request::Rest(request) => judged(self.send(request).await),
            Request::Upload(request) => judged(answer(request.build(&self.client, self.server.http)).await),
            Request::Grpc(request) => match tokio::time::timeout(DEADLINE, grpc::send(&self.channel, request)).await {
                Ok((code, text)) => {
                    let wrong = matches!(code, Code::Internal | Code::Unknown | Code::DataLoss | Code::Unavailable);
                    (format!("{code:?}"), wrong, text)
                }
                Err(_) => ("no answer".to_owned(), true, "within the deadline".to_owned()),
            },
        };
        *self.codes.entry(code.clone()).or_default() += 1;
        if wrong {
            let took = began.elapsed();
            self.find(&format!("{code} in {took:.1?}: {text}"));
        }
        if let Some(death) = self.server.death() {
            self.find(&death);
            self.restart();
        }
    }

    async fn send(&self, request: &rest::Request) -> reqwest::Result<(StatusCode, Value)> {
        let url = format!("http://{}{}", self.server.http, request.path);
        let mut sent = self.client.request(request.method.clone(), url);
        if let Some(body) = &request.body {
            sent = sent.header("content-type", "application/json").body(body.clone());
        }
        answer(sent).await
    }

    /// Sends a request of the fuzz's own, which must be answered.
    async fn ask(&mut self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let body = body.map(|body| body.to_string().into_bytes());
        let request = rest::Request { method, path: path.to_owned(), body };
        match self.send(&request).await {
            Ok((status, answer)) => (status.as_u16(), answer),
            Err(error) => {
                self.find(&format!("{path}: {error:?}"));
                (0, Value::Null)
            }
        }
    }

    /// Creates what earlier requests deleted, and stores points that must survive every kill.
    async fn repair(&mut self) {
        let single = json!({ "size": 4, "distance": "Cosine" });
        let named = json!({
            "vectors": {
                "dense": { "size": 4, "distance": "Dot" },
                "multi": { "size": 4, "distance": "Cosine", "multivector_config": { "comparator": "max_sim" } },
            },
            "sparse_vectors": { "sparse": {} },
        });
        let mut indexed = named.clone();
        indexed["quantization_config"] = json!({ "scalar": { "type": "int8" } });
        indexed["optimizers_config"] = json!({ "indexing_threshold": 1 });
        let settings = [json!({ "vectors": single }), named.clone(), indexed];
        for (name, settings) in COLLECTIONS.into_iter().zip(settings) {
            let (status, _) = self.ask(Method::PUT, &format!("/collections/{name}"), Some(settings)).await;
            if status == 200 {
                let points: Vec<Value> = (0..100).map(|id| ordinary(id, name != "plain")).collect();
                let path = format!("/collections/{name}/points?wait=false");
                self.ask(Method::PUT, &path, Some(json!({ "points": points }))).await;
            }
        }
        self.ask(Method::PUT, &format!("/collections/{KEPT}"), Some(named)).await;
        let first = self.rng.random_range(0..200);
        let version = self.rng.random_range(0..1_000_000);
        let deep = (0..60).fold(json!(version), |inner, _| json!([inner]));
        let vector =
            json!({ "dense": [1, 2, 3, 4], "multi": [[1, 0, 0, 0]], "sparse": { "indices": [7], "values": [0.5] } });
        let points: Vec<Value> = (first..first + 3)
            .map(|id| json!({ "id": id, "vector": vector, "payload": { "version": version, "deep": deep } }))
            .collect();
        let path = format!("/collections/{KEPT}/points?wait={}", self.rng.random::<bool>());
        let (status, answer) = self.ask(Method::PUT, &path, Some(json!({ "points": points }))).await;
        if status == 200 {
            self.kept.extend((first..first + 3).map(|id| (id, version)));
        } else {
            self.find(&format!("an ordinary upsert is answered {status}: {answer}"));
        }
        if self.snapshot.is_empty() {
            self.snapshot = self.take_snapshot().await;
        }
    }

    async fn take_snapshot(&mut self) -> Vec<u8> {
        let path = format!("/collections/{KEPT}/snapshots");
        let (_, answer) = self.ask(Method::POST, &path, None).await;
        let name = answer["result"]["name"].as_str().unwrap_or_default();
        let url = format!("http://{}{path}/{name}", self.server.http);
        let answer = self.client.get(url).send().await.expect("an answer");
        answer.bytes().await.expect("a snapshot").to_vec()
    }

    /// Kills the server, starts it again, and compares.
    async fn kill(&mut self) {
        let before = self.state().await;
        self.server.kill();
        // They would fill the disk.
        let _ = std::fs::remove_dir_all(self.storage().join("snapshots"));
        self.restart();
        let after = self.state().await;
        for (name, before) in &before {
            let after = after.get(name).unwrap_or(&Value::Null);
            if differ(before, after) {
                self.find(&format!("{name} has after a kill\n  {after}\nbut had before\n  {before}"));
            }
        }
        let body = json!({ "limit": 1000, "with_payload": ["version"] });
        let (_, answer) = self.ask(Method::POST, &format!("/collections/{KEPT}/points/scroll"), Some(body)).await;
        let points = answer["result"]["points"].as_array().cloned().unwrap_or_default();
        let found: BTreeMap<u64, u64> = points
            .iter()
            .filter_map(|point| Some((point["id"].as_u64()?, point["payload"]["version"].as_u64()?)))
            .collect();
        if found != self.kept {
            self.find(&format!("acknowledged points are {:?}, but after a kill {found:?}", self.kept));
            self.kept = found;
        }
    }

    fn restart(&mut self) {
        self.server.kill();
        match Server::start(&self.storage()) {
            Ok(server) => self.server = server,
            Err(error) => {
                self.find(&error);
                panic!("{}", self.findings.join("\n\n"));
            }
        }
        self.channel = channel(&self.server);
    }

    /// The settings and points of every collection, by name.
    async fn state(&mut self) -> BTreeMap<String, Value> {
        let (_, answer) = self.ask(Method::GET, "/collections", None).await;
        let collections = answer["result"]["collections"].as_array().cloned().unwrap_or_default();
        let mut state = BTreeMap::new();
        for name in collections.iter().filter_map(|collection| collection["name"].as_str()) {
            // As a segment of a path these names are others.
            if name == "." || name == ".." {
                continue;
            }
            let path = format!("/collections/{}", encoded(name));
            // Once this is done, so is what did not wait.
            self.ask(Method::POST, &format!("{path}/points/delete?wait=true"), Some(json!({ "points": [] }))).await;
            let body = json!({ "limit": 100_000, "with_payload": true, "with_vector": true });
            let (status, answer) = self.ask(Method::POST, &format!("{path}/points/scroll"), Some(body)).await;
            // Strict mode may forbid it.
            let points = if status == 200 { answer["result"]["points"].clone() } else { Value::Null };
            let (_, answer) = self.ask(Method::GET, &path, None).await;
            let indexes = answer["result"]["payload_schema"]
                .as_object()
                .map(|indexes| indexes.keys().cloned().collect::<Value>());
            let settings = json!({ "config": answer["result"]["config"], "indexes": indexes, "points": points });
            state.insert(name.to_owned(), settings);
        }
        state
    }
}

/// A point for the fuzzed collections; enough of them make the server build a graph.
fn ordinary(id: u32, named: bool) -> Value {
    let x = f64::from(id);
    let dense = json!([x.sin(), x.cos(), (2.0 * x).sin(), 0.1]);
    let vector = if named {
        json!({ "dense": dense, "multi": [dense, [0, 1, 0, 0]], "sparse": { "indices": [id % 9, 10], "values": [x, 1] } })
    } else {
        dense
    };
    let payload = json!({
        "a": format!("x{}", id % 5), "n": id % 7, "f": x / 3.0, "text": "a quick brown fox", "u": uuid::Uuid::from_u128(id.into()),
        "place": { "lon": x, "lat": x / 2.0 }, "at": "2026-01-01T00:00:00Z", "b": { "c": [{ "d": id.is_multiple_of(2) }] },
    });
    json!({ "id": id, "vector": vector, "payload": payload })
}

/// The status of the answer to `request`, and its body.
async fn answer(request: reqwest::RequestBuilder) -> reqwest::Result<(StatusCode, Value)> {
    let answer = request.send().await?;
    let status = answer.status();
    let text = answer.bytes().await?;
    let text = serde_json::from_slice(&text).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&text).into()));
    Ok((status, text))
}

/// The code of an answer, whether it is wrong, and its text.
fn judged(answer: reqwest::Result<(StatusCode, Value)>) -> (String, bool, String) {
    match answer {
        Ok((status, answer)) => {
            let wrong = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
            (status.as_u16().to_string(), wrong, answer.to_string())
        }
        Err(error) => ("no answer".to_owned(), true, format!("{error:?}")),
    }
}

/// Whether a kill changed a collection. Its points are not known if strict mode forbids to read them.
fn differ(before: &Value, after: &Value) -> bool {
    let unknown = before["points"].is_null() || after["points"].is_null();
    before["config"] != after["config"]
        || before["indexes"] != after["indexes"]
        || (!unknown && before["points"] != after["points"])
}

fn channel(server: &Server) -> Channel {
    Endpoint::from_shared(format!("http://{}", server.grpc)).expect("an address").connect_lazy()
}
