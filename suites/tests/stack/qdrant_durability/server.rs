//! `shakedown qdrant` as a process that a test may kill.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long the server may take to start or to end.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running server. Dropping it kills it.
pub struct Server {
    child: Child,
    client: reqwest::Client,
    /// Address of REST.
    pub http: String,
    /// Address of gRPC.
    pub grpc: String,
}

/// How a server ended that never became ready.
#[derive(Debug)]
pub struct Refusal {
    /// How the process ended.
    pub status: ExitStatus,
    /// Its output, without colours and line breaks.
    pub text: String,
}

/// Starts the server without waiting for it.
pub fn spawn(storage: &Path) -> Child {
    let log = fs::File::create(log_file(storage)).unwrap();
    Command::new(env!("CARGO_BIN_EXE_shakedown"))
        .args(["qdrant", "--http-port", "0", "--grpc-port", "0", "--storage"])
        .arg(storage)
        .env_remove("QDRANT_API_KEY")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Beside the storage, never in it.
fn log_file(storage: &Path) -> std::path::PathBuf {
    storage.with_extension("log")
}

/// What the server at `storage` logged.
pub fn log(storage: &Path) -> String {
    fs::read_to_string(log_file(storage)).unwrap_or_default()
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub fn start(storage: &Path) -> Self {
        Self::try_start(storage).unwrap_or_else(|refusal| panic!("the server did not start: {refusal:?}"))
    }

    /// Starts a server. The error is its output, if it ended instead of becoming ready.
    pub fn try_start(storage: &Path) -> Result<Self, Refusal> {
        let mut child = spawn(storage);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ok(ready) = serde_json::from_str::<Value>(&line) else {
            let status = child.wait().unwrap();
            let text = log(storage).split_whitespace().collect::<Vec<_>>().join(" ");
            return Err(Refusal { status, text });
        };
        let address = |protocol: &str| format!("http://{}", ready[protocol].as_str().unwrap());
        let client = reqwest::Client::builder().timeout(DEADLINE).build().unwrap();
        Ok(Self { child, client, http: address("http"), grpc: address("grpc") })
    }

    /// Number of the process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// A way to send requests that outlives the server.
    pub fn rest(&self) -> Rest {
        Rest { client: self.client.clone(), url: self.http.clone() }
    }

    /// Ends the server with SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends the server with SIGTERM; how long that took.
    pub fn terminate(mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        kill(self.pid(), Signal::SIGTERM).unwrap();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, began.elapsed());
            }
            assert!(began.elapsed() < DEADLINE, "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already, most often.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends requests.
#[derive(Debug, Clone)]
pub struct Rest {
    client: reqwest::Client,
    url: String,
}

impl Rest {
    /// Status and body; `None` when the server went away.
    pub async fn try_send(&self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let mut request = self.client.request(method.parse().unwrap(), format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.ok()?))
    }

    /// Status and body.
    pub async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.try_send(method, path, body).await.unwrap_or_else(|| panic!("{method} {path}: no answer"))
    }

    /// The result; anything but success fails the test.
    pub async fn ok(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, mut answer) = self.send(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer["result"].take()
    }

    /// The result of a GET.
    pub async fn get(&self, path: &str) -> Value {
        self.ok("GET", path, None).await
    }

    /// The result of a POST.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.ok("POST", path, Some(&body)).await
    }

    /// The result of a PUT.
    pub async fn put(&self, path: &str, body: Value) -> Value {
        self.ok("PUT", path, Some(&body)).await
    }

    /// Asks until `done`; fails the test after a minute.
    pub async fn until(&self, path: &str, done: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let answer = self.get(path).await;
            if done(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{path} stays {answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
