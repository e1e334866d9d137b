//! The server under test, as a child process: this program with another test.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use shakedown_qdrant::{Options, serve as serve_qdrant};
use tokio_util::sync::CancellationToken;

/// Variable with the storage directory; without it [`serve`] does nothing.
const STORAGE: &str = "SHAKEDOWN_FUZZ_STORAGE";
/// Beginning of the line with the addresses.
const READY: &str = "listening on ";

/// Serves until it is killed, if this process was started by [`Server::start`].
pub(crate) fn serve() {
    #[expect(clippy::disallowed_methods, reason = "a test program has no settings")]
    let Some(storage) = std::env::var_os(STORAGE) else { return };
    let options = Options {
        host: [127, 0, 0, 1].into(),
        http_port: 0,
        grpc_port: 0,
        storage: storage.into(),
        api_key: None,
        read_only_api_key: None,
        tls: None,
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ready = |bound: shakedown_qdrant::Bound| println!("\n{READY}{} {}", bound.http, bound.grpc);
    runtime.block_on(serve_qdrant(options, CancellationToken::new(), ready)).expect("served");
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Open as long as the child, which writes there that a test takes long.
    _output: BufReader<ChildStdout>,
    log: PathBuf,
    /// REST.
    pub(crate) http: SocketAddr,
    /// gRPC.
    pub(crate) grpc: SocketAddr,
}

impl Server {
    /// Starts the server over `storage` and waits until it listens.
    ///
    /// # Errors
    /// It ends instead; with what it wrote.
    pub(crate) fn start(storage: &Path) -> Result<Self, String> {
        let log = storage.with_extension("log");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["server", "--exact", "--ignored", "--nocapture"])
            .env(STORAGE, storage)
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("started");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let ready = output.by_ref().lines().map_while(Result::ok).find_map(|line| {
            let (http, grpc) = line.strip_prefix(READY)?.split_once(' ')?;
            Some((http.parse().ok()?, grpc.parse().ok()?))
        });
        match ready {
            Some((http, grpc)) => Ok(Self { child, _output: output, log, http, grpc }),
            None => Err(format!("the server does not start: {:?}\n{}", child.wait(), tail(&log))),
        }
    }

    /// How the process ended, with the end of what it wrote; `None` while it runs.
    pub(crate) fn death(&mut self) -> Option<String> {
        let status = self.child.try_wait().expect("a child")?;
        Some(format!("the server ended: {status}\n{}", tail(&self.log)))
    }

    /// Kills the process with SIGKILL.
    pub(crate) fn kill(&mut self) {
        // Fails if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
