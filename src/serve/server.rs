//! The HTTP server of `shakedown serve`. It limits what clients can occupy, so that heartbeats, checks and health answers
//! always have file descriptors: `axum::serve` has neither a time limit for headers nor a limit of connections.

use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use nix::sys::resource::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Event streams send a comment every 15 seconds.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to the next attempt after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// File descriptors that are reserved for heartbeats, checks, the history and the runtime.
const RESERVED: u64 = 128;
/// Bounds of the limit of connections.
const MIN_CONNECTIONS: u64 = 8;
const MAX_CONNECTIONS: u64 = 1024;

/// What clients of a server can occupy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// How many connections are open at once.
    pub connections: usize,
    /// How long a client may take to send the header of a request, also of the next one on a kept connection.
    pub header: Duration,
    /// A connection without traffic for this long is closed.
    pub idle: Duration,
    /// The limit of open files, if it is too low to reserve descriptors for the server's own probes.
    pub low_files: Option<u64>,
}

impl ServerLimits {
    /// The limits that the process's limit of open files permits.
    #[must_use]
    pub fn from_open_files() -> Self {
        Self::of(getrlimit(Resource::RLIMIT_NOFILE).map_or(MAX_CONNECTIONS, |(soft, _)| soft))
    }

    fn of(files: u64) -> Self {
        let connections = files.saturating_sub(RESERVED).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS);
        let low_files = (files < RESERVED + MIN_CONNECTIONS).then_some(files);
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        Self { connections, header: HEADER_TIMEOUT, idle: IDLE_TIMEOUT, low_files }
    }
}

/// Serves `routes` until `ending` is cancelled and the requests that are being answered have ended.
///
/// When as many connections are open as `limits` permit, a new one replaces the one without traffic for the longest time, so
/// a client that opens connections and sends nothing only loses them.
pub async fn listen(listener: TcpListener, routes: Router, limits: ServerLimits, ending: CancellationToken) {
    let mut open = OpenConnections { limits, tasks: JoinSet::new(), by_id: HashMap::new() };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = open.tasks.join_next_with_id() => {
                open.forget(ended);
                continue;
            }
            () = ending.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                open.make_room().await;
                open.add(stream, routes.clone(), ending.clone());
            }
            // The client has gone, or the process is out of descriptors for a moment.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    drop(listener);
    while open.tasks.join_next().await.is_some() {}
}

/// The open connections, one task each.
struct OpenConnections {
    limits: ServerLimits,
    tasks: JoinSet<()>,
    by_id: HashMap<Id, (LastTraffic, AbortHandle)>,
}

impl OpenConnections {
    fn forget(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.by_id.remove(&id);
    }

    /// Closes the quietest connections until there is room for one more.
    async fn make_room(&mut self) {
        while self.by_id.len() >= self.limits.connections {
            let quietest = self.by_id.values().min_by_key(|(traffic, _)| traffic.last());
            if let Some((_, task)) = quietest {
                task.abort();
            }
            match self.tasks.join_next_with_id().await {
                Some(ended) => self.forget(ended),
                None => self.by_id.clear(),
            }
        }
    }

    fn add(&mut self, stream: TcpStream, routes: Router, ending: CancellationToken) {
        let traffic = LastTraffic::now();
        let task = self.tasks.spawn(serve_connection(stream, routes, self.limits, traffic.clone(), ending));
        self.by_id.insert(task.id(), (traffic, task));
    }
}

async fn serve_connection(
    stream: TcpStream,
    routes: Router,
    limits: ServerLimits,
    traffic: LastTraffic,
    ending: CancellationToken,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header);
    builder.http2().timer(TokioTimer::new());
    let io = TokioIo::new(Watched { stream, traffic: traffic.clone() });
    let mut connection = pin!(builder.serve_connection(io, TowerToHyperService::new(routes)));
    let mut is_ending = false;
    loop {
        tokio::select! {
            // Whether the client closed the connection or broke the protocol, nothing is left to do.
            _ = connection.as_mut() => return,
            () = traffic.idle_for(limits.idle) => return,
            () = ending.cancelled(), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// When a connection last carried a byte.
#[derive(Debug, Clone)]
struct LastTraffic {
    opened: Instant,
    /// Milliseconds from `opened`.
    after_ms: Arc<AtomicU64>,
}

impl LastTraffic {
    fn now() -> Self {
        Self { opened: Instant::now(), after_ms: Arc::default() }
    }

    fn record(&self) {
        let after = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.after_ms.store(after, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.opened + Duration::from_millis(self.after_ms.load(Ordering::Relaxed))
    }

    /// Waits until there has been no traffic for `time`.
    async fn idle_for(&self, time: Duration) {
        loop {
            let until = self.last() + time;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// A connection whose traffic is recorded.
struct Watched {
    stream: TcpStream,
    traffic: LastTraffic,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if polled.is_ready() {
            self.traffic.record();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if polled.is_ready() {
            self.traffic.record();
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        if polled.is_ready() {
            self.traffic.record();
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn the_limit_of_connections_leaves_descriptors_for_the_probes() {
        let limit = |files| (ServerLimits::of(files).connections, ServerLimits::of(files).low_files);
        assert_eq!(limit(1024), (896, None));
        assert_eq!(limit(200), (72, None));
        assert_eq!(limit(64), (8, Some(64)));
        assert_eq!(limit(u64::MAX), (1024, None));
    }

    /// Two connections, and times that a test can wait for.
    fn limits() -> ServerLimits {
        let (header, idle) = (Duration::from_millis(200), Duration::from_millis(600));
        ServerLimits { connections: 2, header, idle, low_files: None }
    }

    /// A server with these limits; returns its address.
    async fn server(limits: ServerLimits) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/", get(async || "here"));
        tokio::spawn(listen(listener, routes, limits, CancellationToken::new()));
        address
    }

    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn beyond_the_limit_the_quietest_connection_is_closed() {
        let address = server(ServerLimits { header: HEADER_TIMEOUT, idle: IDLE_TIMEOUT, ..limits() }).await;
        let mut quiet = TcpStream::connect(address).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut latest = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut latest).await.ends_with("here"));
        assert_eq!(quiet.read(&mut [0; 1]).await.unwrap_or(0), 0, "it is closed");
        slow.write_all(b"host: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        slow.read_to_string(&mut text).await.unwrap();
        assert!(text.ends_with("here"), "{text}");
    }

    #[tokio::test]
    async fn a_header_that_does_not_end_closes_the_connection() {
        let address = server(limits()).await;
        // The first looks like HTTP/1, the second may still become HTTP/2.
        for beginning in ["GET / HTTP/1.1\r\nhost: localhost\r\n", "P", ""] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(beginning.as_bytes()).await.unwrap();
            let closed = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut Vec::new())).await;
            assert!(closed.is_ok(), "{beginning:?}");
        }
    }

    #[tokio::test]
    async fn the_server_ends_when_it_is_told_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ending = CancellationToken::new();
        let limits = ServerLimits { header: HEADER_TIMEOUT, idle: IDLE_TIMEOUT, ..limits() };
        let task = tokio::spawn(listen(listener, Router::new(), limits, ending.clone()));
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert!(idle.read(&mut [0; 256]).await.unwrap() > 0, "answered, and kept open");
        ending.cancel();
        tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
    }
}
