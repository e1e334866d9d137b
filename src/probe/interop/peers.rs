//! BullMQ libraries of several languages, each in a process that is controlled by lines of JSON.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{OnceCell, oneshot};

use crate::settings::private_dir;
use crate::settings::{RedisEndpoint, cache_dir, find_program, inherited};
use crate::stack::kill_with_harness;

/// Timeouts of a request to a peer, and of an installation step.
const ANSWER: Duration = Duration::from_secs(30);
const INSTALL: Duration = Duration::from_mins(5);

const PEER_IN_NODE: &str = include_str!("../../../fixtures/peers/node/peer.mjs");
const PEER_IN_PYTHON: &str = include_str!("../../../fixtures/peers/python/peer.py");

/// A library and its release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `bullmq-official`, which the harness uses itself.
    Rust,
    /// `bullmq` 5 of npm.
    Node5,
    /// `bullmq` 6 of npm.
    Node6,
    /// `bullmq` of `PyPI`.
    Python,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Rust, Self::Node5, Self::Node6, Self::Python];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Node5 => "node-5",
            Self::Node6 => "node-6",
            Self::Python => "python",
        }
    }

    /// Its files, by name.
    const fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Rust => &[],
            Self::Node5 => &[
                ("peer.mjs", PEER_IN_NODE),
                ("package.json", include_str!("../../../fixtures/peers/node/bullmq-5.81/package.json")),
                ("package-lock.json", include_str!("../../../fixtures/peers/node/bullmq-5.81/package-lock.json")),
            ],
            Self::Node6 => &[
                ("peer.mjs", PEER_IN_NODE),
                ("package.json", include_str!("../../../fixtures/peers/node/bullmq-6.7/package.json")),
                ("package-lock.json", include_str!("../../../fixtures/peers/node/bullmq-6.7/package-lock.json")),
            ],
            Self::Python => &[
                ("peer.py", PEER_IN_PYTHON),
                ("requirements.txt", include_str!("../../../fixtures/peers/python/requirements.txt")),
            ],
        }
    }

    /// Program and arguments. Installs the library if needed; the error names what is missing, with the remedy.
    async fn command(self, shakedown: &Path) -> Result<(PathBuf, Vec<String>), String> {
        static NODE_5: OnceCell<Result<PathBuf, String>> = OnceCell::const_new();
        static NODE_6: OnceCell<Result<PathBuf, String>> = OnceCell::const_new();
        static PYTHON: OnceCell<Result<PathBuf, String>> = OnceCell::const_new();
        let place = match self {
            Self::Rust => return Ok((shakedown.to_owned(), vec!["peer".to_owned()])),
            Self::Node5 => &NODE_5,
            Self::Node6 => &NODE_6,
            Self::Python => &PYTHON,
        };
        let place = place.get_or_init(|| self.install()).await.clone()?;
        Ok(if self == Self::Python {
            (place.join(".venv/bin/python"), vec![place.join("peer.py").display().to_string()])
        } else {
            (program("node")?, vec![place.join("peer.mjs").display().to_string()])
        })
    }

    /// Installs it once, in a cache directory that is named after the digest of its files.
    async fn install(self) -> Result<PathBuf, String> {
        let mut digest = Sha256::new();
        for (name, text) in self.files() {
            digest.update(name);
            digest.update(text);
        }
        let mut word = String::new();
        for byte in digest.finalize().iter().take(6) {
            // Writing to a string cannot fail.
            let _ = write!(word, "{byte:02x}");
        }
        // Programs run from it.
        let parent = private_dir(&cache_dir(), "peers").map_err(|error| error.to_string())?;
        let place = parent.join(format!("{}-{word}", self.name()));
        if place.join("peer.mjs").is_file() || place.join("peer.py").is_file() {
            return Ok(place);
        }
        let steps: &[&[&str]] = match self {
            Self::Rust => &[],
            Self::Node5 | Self::Node6 => {
                program("node")?;
                program("npm")?;
                &[&["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]]
            }
            Self::Python => {
                program("python3")?;
                &[
                    &["python3", "-m", "venv", ".venv"],
                    &[
                        ".venv/bin/python",
                        "-m",
                        "pip",
                        "install",
                        "--quiet",
                        "--no-input",
                        "--require-hashes",
                        "-r",
                        "requirements.txt",
                    ],
                ]
            }
        };
        let wrong = |error: std::io::Error| format!("cannot write {}: {error}", parent.display());
        std::fs::create_dir_all(&parent).map_err(wrong)?;
        // Installed in a temporary directory and renamed: other processes may use or install it at the same time.
        let made = tempfile::Builder::new().prefix(".new-").tempdir_in(&parent).map_err(wrong)?;
        for (name, text) in self.files() {
            std::fs::write(made.path().join(name), text).map_err(wrong)?;
        }
        for step in steps {
            run_step(step, made.path()).await?;
        }
        match std::fs::rename(made.path(), &place) {
            Ok(()) => {
                let _ = made.keep();
                Ok(place)
            }
            // Another process was faster.
            Err(_) if place.is_dir() => Ok(place),
            Err(error) => Err(wrong(error)),
        }
    }
}

fn program(name: &str) -> Result<PathBuf, String> {
    find_program(name, Path::new(".")).ok_or_else(|| {
        let remedy =
            if name == "python3" { "install Python 3.10 or newer" } else { "install Node 20 or newer with npm" };
        format!("`{name}` is not installed: {remedy}")
    })
}

async fn run_step(words: &[&str], directory: &Path) -> Result<(), String> {
    let command = words.join(" ");
    let program = if words[0].contains('/') { directory.join(words[0]) } else { program(words[0])? };
    let output =
        Command::new(program).args(&words[1..]).current_dir(directory).stdin(Stdio::null()).kill_on_drop(true).output();
    match tokio::time::timeout(INSTALL, output).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
            Err(format!("`{command}` failed: {last}; check that the package registry is reachable"))
        }
        Ok(Err(error)) => Err(format!("cannot run `{command}`: {error}")),
        Err(_) => Err(format!("`{command}` did not finish within {} s", INSTALL.as_secs())),
    }
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// A running peer. It is killed when it is dropped, and exits when this process exits, because its standard input ends.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) kind: Kind,
    child: Mutex<Child>,
    stdin: tokio::sync::Mutex<ChildStdin>,
    next: AtomicU64,
    waiting: Waiting,
    stderr: Arc<Mutex<String>>,
}

impl Peer {
    /// Starts it. The error names what is missing.
    pub(super) async fn start(kind: Kind, redis: &RedisEndpoint, shakedown: &Path) -> Result<Self, String> {
        let (program, arguments) = kind.command(shakedown).await?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(inherited().iter().map(|(name, value)| (name, value.expose_secret())));
        command.env("REDIS_URL", redis.url.expose_secret()).kill_on_drop(true);
        kill_with_harness(&mut command);
        let failed = |error: std::io::Error| format!("cannot start the peer {}: {error}", kind.name());
        let mut child = command.spawn().map_err(failed)?;
        let gone = || failed(std::io::ErrorKind::BrokenPipe.into());
        let stdin = child.stdin.take().ok_or_else(gone)?;
        let stdout = child.stdout.take().ok_or_else(gone)?;
        let mut stderr = child.stderr.take().ok_or_else(gone)?;
        let (waiting, output) = (Waiting::default(), Arc::<Mutex<String>>::default());
        let answers = Arc::clone(&waiting);
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(answer) = serde_json::from_str::<Value>(&line) else { continue };
                let number = answer["number"].as_u64().unwrap_or_default();
                if let Some(asked) = answers.lock().unwrap_or_else(PoisonError::into_inner).remove(&number) {
                    // Fails if the request timed out.
                    let _ = asked.send(answer);
                }
            }
            // No more responses: pending requests fail at once.
            answers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        });
        let collected = Arc::clone(&output);
        tokio::spawn(async move {
            let mut buffer = [0_u8; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
                let mut text = collected.lock().unwrap_or_else(PoisonError::into_inner);
                if text.len() < 16 * 1024 {
                    text.push_str(&String::from_utf8_lossy(&buffer[..count]));
                }
            }
        });
        Ok(Self {
            kind,
            child: Mutex::new(child),
            stdin: tokio::sync::Mutex::new(stdin),
            next: AtomicU64::new(1),
            waiting,
            stderr: output,
        })
    }

    /// Sends a request and returns the response.
    pub(super) async fn request(&self, verb: &str, mut request: Value) -> Result<Value, String> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        request["number"] = json!(number);
        request["do"] = json!(verb);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, sender);
        let failed = |what: String| {
            let output = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
            let last = output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            format!("{} failed to {verb}: {what} {last}", self.kind.name())
        };
        let line = format!("{request}\n");
        let written = self.stdin.lock().await.write_all(line.as_bytes()).await;
        written.map_err(|error| failed(format!("it accepts no requests: {error}")))?;
        match tokio::time::timeout(ANSWER, answer).await {
            Ok(Ok(answer)) => match answer["error"].as_str() {
                Some(error) => Err(failed(format!("it refused: {error}"))),
                None => Ok(answer["ok"].clone()),
            },
            Ok(Err(_)) => Err(failed("it exited.".to_owned())),
            Err(_) => Err(failed(format!("no response within {} s.", ANSWER.as_secs()))),
        }
    }

    /// Kills it with SIGKILL.
    pub(super) fn kill(&self) {
        // The process may have exited already.
        let _ = self.child.lock().unwrap_or_else(PoisonError::into_inner).start_kill();
    }
}
