//! The embedded Qdrant: the real engine (`qdrant-edge`) behind Qdrant's REST and gRPC protocols.
//!
//! It runs as a separate process (`shakedown qdrant`), so that killing and restarting it are real.
//!
//! | part | what it does |
//! |---|---|
//! | `storage` | the storage directory: lock, collections by name, aliases |
//! | `collection`, `reads`, `changes`, `resolve`, `writer`, `journal`, `shard`, `disk` | one collection: reads, changes, its writer thread, the journal that survives a kill, the engine, disk space |
//! | `snapshots` | snapshots: create, restore |
//! | `telemetry` | metrics of requests and of the process |
//! | `config`, `strict`, `validate`, `depth`, `input`, `rate`, `deadline` | requests: configuration, limits, checks |
//! | `query`, `filters`, `recommend`, `groups`, `matrix`, `mmr` | queries built from the engine's searches |
//! | `rest`, `grpc` | the protocols, one file per area |
//! | `listen`, `auth`, `error` | connections, plain or TLS; API keys; the error with its table of codes |

mod auth;
mod changes;
mod collection;
mod config;
mod deadline;
mod depth;
mod disk;
mod error;
mod filters;
mod groups;
mod grpc;
mod input;
mod journal;
mod listen;
mod matrix;
mod mmr;
mod query;
mod rate;
mod reads;
mod recommend;
mod resolve;
mod rest;
mod shard;
mod snapshots;
mod storage;
mod strict;
mod telemetry;
mod validate;
mod writer;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;

pub use error::ServeError;
use listen::Incoming;
pub use listen::Tls;
/// The engine, for benchmarks that compare it with the server.
#[doc(hidden)]
pub use qdrant_edge as engine;
use storage::Storage;

/// The title that `GET /` and gRPC's health check return.
pub(crate) const TITLE: &str = "qdrant - vector search engine";
/// The version of the implemented API; clients compare it with their own.
pub(crate) const VERSION: &str = "1.19.0";
/// Time for connections to end after the server was asked to stop.
const GRACE: Duration = Duration::from_millis(500);
/// Time for the last flush; what is not flushed by then is in the journals.
const FLUSH_GRACE: Duration = Duration::from_millis(1200);

/// How to run the server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address to listen on.
    pub host: IpAddr,
    /// REST port; 0 for a free one.
    pub http_port: u16,
    /// gRPC port; 0 for a free one.
    pub grpc_port: u16,
    /// Directory of all data; created if missing.
    pub storage: PathBuf,
    /// API key with full access; `None` or empty for no key.
    pub api_key: Option<SecretString>,
    /// Read-only API key; `None` or empty for no such key.
    pub read_only_api_key: Option<SecretString>,
    /// Certificate and key, for TLS on both ports; without them connections are plain.
    pub tls: Option<Tls>,
}

/// The addresses of a running server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// REST.
    pub http: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
}

/// The threads of a server, with stacks for the deepest request. They end when this is dropped.
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> Result<(Self, Handle), ServeError> {
        let built =
            Builder::new_multi_thread().thread_name("qdrant").thread_stack_size(depth::STACK).enable_all().build();
        let runtime = built.map_err(|error| ServeError::Threads { reason: error.to_string() })?;
        let handle = runtime.handle().clone();
        Ok((Self(Some(runtime)), handle))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Dropped itself, a runtime waits for its threads, which is not allowed on a thread of another one.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Opens the storage, listens, calls `ready` with the addresses, and serves until `stop` is cancelled; then
/// flushes and returns within two seconds.
///
/// # Errors
/// The storage cannot be opened, a port cannot be bound, or a listener or a thread fails.
pub async fn serve(
    options: Options,
    stop: CancellationToken,
    ready: impl FnOnce(Bound) + Send + 'static,
) -> Result<(), ServeError> {
    let (threads, handle) = Threads::start()?;
    let served = handle.spawn(run(options, stop, ready)).await;
    drop(threads);
    served.unwrap_or_else(|error| Err(ServeError::Threads { reason: error.to_string() }))
}

async fn run(options: Options, stop: CancellationToken, ready: impl FnOnce(Bound) + Send) -> Result<(), ServeError> {
    let root = options.storage.clone();
    let opened = tokio::task::spawn_blocking(move || Storage::open(&root)).await;
    let storage = Arc::new(opened.map_err(|error| ServeError::Storage {
        path: options.storage.display().to_string(),
        reason: error.to_string(),
        remedy: "start with an empty directory",
    })??);
    let auth = auth::Auth::new(options.api_key.as_ref(), options.read_only_api_key.as_ref());
    if !auth.is_required() {
        tracing::warn!("no API key: anyone who reaches the port can read and change everything");
    }
    let tls = |alpn| options.tls.as_ref().map(|tls| tls.acceptor(alpn)).transpose();
    let http = Incoming::bind(options.host, options.http_port, tls(b"http/1.1")?).await?;
    let grpc = Incoming::bind(options.host, options.grpc_port, tls(b"h2")?).await?;
    let bound = Bound { http: http.local(), grpc: grpc.local() };

    let telemetry = Arc::new(telemetry::Telemetry::new());
    let rest = rest::router(Arc::clone(&storage), auth, Arc::clone(&telemetry));
    let stopping = stop.clone();
    let rest_server = async move {
        let served = axum::serve(http, rest).with_graceful_shutdown(stopping.cancelled_owned());
        served.await.map_err(|error| ServeError::Serve { protocol: "REST", reason: error.to_string() })
    };
    let grpc_server = grpc::serve(grpc, Arc::clone(&storage), auth, telemetry, stop.clone());
    ready(bound);
    let both = async { tokio::try_join!(rest_server, grpc_server).map(|_| ()) };
    tokio::pin!(both);
    let served = tokio::select! {
        served = &mut both => served,
        () = stop.cancelled() => tokio::time::timeout(GRACE, &mut both).await.unwrap_or(Ok(())),
    };
    // On a separate thread: the runtime would wait for a blocking task without limit.
    let (done, closed) = tokio::sync::oneshot::channel();
    let closing = std::thread::Builder::new().name("closing".to_owned()).spawn(move || {
        storage.close();
        let _ = done.send(());
    });
    if closing.is_err() || tokio::time::timeout(FLUSH_GRACE, closed).await.is_err() {
        tracing::warn!("some changes are not flushed; the next start replays them from the journals");
    }
    served
}
