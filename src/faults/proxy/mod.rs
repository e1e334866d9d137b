//! A TCP proxy that applies [`NetworkFault`]s to connections, and records what it has seen.
//!
//! Faults are in force from the first byte on: one applies to every connection that is accepted meanwhile. All bytes of
//! a direction pass through one pump, so that their order is kept whichever faults are active.

mod editor;
mod frames;
mod log;
mod mark;
mod pipe;
mod postgres_edits;
mod postgres_messages;
mod pump;
mod qdrant_writes;
mod redis_edits;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::network::{self, Active, ActiveFaults, BLACKHOLE, CUT, Effect, StartContext};
use super::{Direction, NetworkFault};
use editor::Protocol;
use log::Entry;
pub(super) use log::Log;
pub use log::{Answered, ClosedBy, Connection, ConnectionEvent};
use pump::{End, Link};
pub use qdrant_writes::Writes;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A proxy in front of one service. Connections are reset when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    active_faults: watch::Sender<Arc<ActiveFaults>>,
    log: Arc<Log>,
    upstream: String,
    next: AtomicU64,
    listening: AbortHandle,
    /// Tasks of faults in force, with the fault that each belongs to.
    tasks: Mutex<Vec<(u64, AbortHandle)>>,
}

/// A fault in force, to be reverted.
#[derive(Debug)]
#[must_use = "a fault that is never reverted stays in force"]
pub struct Applied {
    id: u64,
    /// What it has done.
    pub effect: Arc<Effect>,
}

impl Proxy {
    /// Listens on `listen` and passes on to `upstream`, a `host:port`; `listener` receives an event for every connection
    /// that opens or closes.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start(
        listen: SocketAddr,
        upstream: impl Into<String>,
        listener: Option<mpsc::UnboundedSender<ConnectionEvent>>,
    ) -> std::io::Result<Self> {
        Self::start_with(listen, upstream.into(), Log::new(listener)).await
    }

    /// Like [`Proxy::start`], in front of Qdrant: it also counts the changes of points that pass, for [`Proxy::writes`].
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start_qdrant(listen: SocketAddr, upstream: impl Into<String>) -> std::io::Result<Self> {
        Self::start_with(listen, upstream.into(), Log::new(None).counting_writes()).await
    }

    /// Like [`Proxy::start`], in front of Redis: [`NetworkFault::RedisError`] meets single commands.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start_redis(listen: SocketAddr, upstream: impl Into<String>) -> std::io::Result<Self> {
        Self::start_with(listen, upstream.into(), Log::new(None).refusing(Protocol::Redis)).await
    }

    /// Like [`Proxy::start`], in front of Postgres: it also counts the errors that pass, for [`Proxy::sql_errors`], and
    /// [`NetworkFault::SqlError`] meets single statements.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start_postgres(listen: SocketAddr, upstream: impl Into<String>) -> std::io::Result<Self> {
        Self::start_with(listen, upstream.into(), Log::new(None).counting_sql_errors().refusing(Protocol::Postgres))
            .await
    }

    async fn start_with(listen: SocketAddr, upstream: String, log: Log) -> std::io::Result<Self> {
        let socket = TcpListener::bind(listen).await?;
        let address = socket.local_addr()?;
        let (active_faults, receiver) = watch::channel(Arc::new(ActiveFaults::default()));
        let log = Arc::new(log);
        let listening = tokio::spawn(accept(socket, upstream.clone(), receiver, Arc::clone(&log))).abort_handle();
        Ok(Self { address, active_faults, log, upstream, next: AtomicU64::new(1), listening, tasks: Mutex::default() })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Applies `fault` to `direction` from now on. A [`NetworkFault::Cut`] that happens once is [`Proxy::cut`].
    pub fn apply(&self, fault: NetworkFault, direction: Direction) -> Applied {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let effect = Arc::new(Effect::default());
        let context = StartContext {
            upstream: &self.upstream,
            effect: &effect,
            log: &self.log,
            active_faults: &self.active_faults,
        };
        let (kind, task) = network::start(fault, &context);
        if let Some(task) = task {
            self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push((id, task));
        }
        let active = Active { id, fault, direction, kind, effect: Arc::clone(&effect) };
        self.change(|active_faults| active_faults.active.push(active));
        Applied { id, effect }
    }

    /// Resets every open connection, once.
    pub fn cut(&self) -> Arc<Effect> {
        let effect = Arc::new(Effect::default());
        let done = Arc::clone(&effect);
        self.change(|active_faults| {
            active_faults.cuts.push(done);
        });
        effect
    }

    /// When it began to listen: the times of its connections count from then.
    #[must_use]
    pub fn started(&self) -> std::time::Instant {
        self.log.started()
    }

    /// Whether `applied` is in force here.
    #[must_use]
    pub fn has(&self, applied: &Applied) -> bool {
        let active_faults = Arc::clone(&self.active_faults.borrow());
        active_faults.active.iter().any(|active| Arc::ptr_eq(&active.effect, &applied.effect))
    }

    /// Ends a fault. Returns what it has done.
    pub fn revert(&self, applied: Applied) -> Arc<Effect> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).retain(|(id, task)| {
            if *id == applied.id {
                task.abort();
            }
            *id != applied.id
        });
        self.change(|active_faults| active_faults.active.retain(|active| active.id != applied.id));
        applied.effect
    }

    /// Every connection and attempt so far.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        self.log.connections()
    }

    /// Every request that a fault answered in place of the service.
    #[must_use]
    pub fn answered(&self) -> Vec<Answered> {
        self.log.answered()
    }

    /// The changes of points that passed; `None` unless the proxy is in front of Qdrant.
    #[must_use]
    pub fn writes(&self) -> Option<Writes> {
        self.log.writes()
    }

    /// How many errors with this `SQLSTATE` passed; `None` unless the proxy is in front of Postgres and could read what
    /// passed.
    #[must_use]
    pub fn sql_errors(&self, state: &str) -> Option<u64> {
        self.log.sql_errors(state)
    }

    /// Whether a cut would reset a connection: one is open that no earlier cut has reset; with `awaiting`, one whose client
    /// waits for an answer.
    #[must_use]
    pub fn has_target(&self, awaiting: bool) -> bool {
        let cuts = self.active_faults.borrow().cuts.len();
        self.log.has_uncut(cuts, awaiting)
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.log.connections().iter().filter(|connection| connection.closed.is_none()).count()
    }

    fn change(&self, change: impl FnOnce(&mut ActiveFaults)) {
        self.active_faults.send_modify(|active_faults| change(Arc::make_mut(active_faults)));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The tasks of the connections belong to the one that listens, and end with it.
        self.listening.abort();
        for (_, task) in self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

async fn accept(
    socket: TcpListener,
    upstream: String,
    active_faults: watch::Receiver<Arc<ActiveFaults>>,
    log: Arc<Log>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((client, _)) => {
                    let cuts = active_faults.borrow().cuts.len();
                    let open = Open { entry: log.open(cuts), log: Arc::clone(&log) };
                    connections.spawn(serve(client, upstream.clone(), active_faults.clone(), open));
                }
                // No file descriptor is left, or the client has gone already: the next one may succeed.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A connection in the log; one that is dropped before its end was stopped with the proxy.
struct Open {
    entry: Arc<Entry>,
    log: Arc<Log>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.log.close(&self.entry, ClosedBy::Stopped);
    }
}

async fn serve(client: TcpStream, upstream: String, mut active_faults: watch::Receiver<Arc<ActiveFaults>>, open: Open) {
    let _ = client.set_nodelay(true);
    let close = |by| open.log.close(&open.entry, by);
    let now = Arc::clone(&active_faults.borrow_and_update());
    if let Some(active) = now.resetting() {
        active.effect.count_connection();
        close(ClosedBy::Fault(active.fault.word()));
        reset(&client);
        return;
    }
    if let Some(active) = now.swallowing_all() {
        // No byte reaches the server, so the proxy does not connect to it.
        active.effect.count_connection();
        let by = swallow(&client, active_faults, open.entry.cuts).await;
        close(by);
        reset(&client);
        return;
    }
    let replacement = now.answering().map(|(active, address)| (active.id, address.to_string()));
    let (answered, upstream) = replacement.map_or((None, upstream), |(id, address)| (Some(id), address));
    let Ok(Ok(server)) = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&upstream)).await else {
        close(ClosedBy::Unreachable);
        reset(&client);
        return;
    };
    let _ = server.set_nodelay(true);
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let is_reset = AtomicBool::new(false);
    let link = |way| {
        let passed = if way == Direction::Up { &open.entry.up } else { &open.entry.down };
        let (cuts, awaits_answer) = (open.entry.cuts, &open.entry.awaits_answer);
        let (observer, editor) = (open.log.observer(&open.entry, way), open.log.editor(way));
        let active_faults = active_faults.clone();
        Link { way, active_faults, cuts, answered, passed, awaits_answer, is_reset: &is_reset, observer, editor }
    };
    let (up, down) = (link(Direction::Up), link(Direction::Down));
    let (by, is_orderly) =
        run_both(up.pump(&mut from_client, &mut to_server), down.pump(&mut from_server, &mut to_client)).await;
    close(by);
    if !is_orderly {
        for stream in [from_client.reunite(to_client).ok(), from_server.reunite(to_server).ok()].into_iter().flatten() {
            reset(&stream);
        }
    }
}

/// Runs both directions to their end. Returns who ended the connection, and whether both sides closed it without a
/// reset.
async fn run_both(up: impl Future<Output = End>, down: impl Future<Output = End>) -> (ClosedBy, bool) {
    let (mut up, mut down) = (pin!(up), pin!(down));
    let mut first = None;
    let (mut up_over, mut down_over) = (false, false);
    while !(up_over && down_over) {
        let (end, sender) = tokio::select! {
            end = &mut up, if !up_over => {
                up_over = true;
                (end, ClosedBy::Client)
            }
            end = &mut down, if !down_over => {
                down_over = true;
                (end, ClosedBy::Server)
            }
        };
        match end {
            End::Closed => {
                first.get_or_insert(sender);
            }
            End::Reset(by) => return (first.unwrap_or(by), false),
        }
    }
    (first.unwrap_or(ClosedBy::Client), true)
}

/// Takes every byte and passes none on, until the blackhole ends or a fault resets the connection.
async fn swallow(client: &TcpStream, mut active_faults: watch::Receiver<Arc<ActiveFaults>>, cuts: usize) -> ClosedBy {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let now = Arc::clone(&active_faults.borrow_and_update());
        if let Some(active) = now.resetting() {
            active.effect.count_connection();
            return ClosedBy::Fault(active.fault.word());
        }
        if let Some(effect) = now.cut(cuts) {
            effect.count_connection();
            return ClosedBy::Fault(CUT);
        }
        let Some(active) = now.swallowing_all() else { return ClosedBy::Fault(BLACKHOLE) };
        tokio::select! {
            changed = active_faults.changed() => {
                if changed.is_err() {
                    return ClosedBy::Stopped;
                }
            }
            ready = client.readable() => {
                match ready.and_then(|()| client.try_read(&mut buffer)) {
                    Ok(0) => return ClosedBy::Client,
                    Ok(count) => active.effect.count_bytes(count),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => return ClosedBy::Client,
                }
            }
        }
    }
}

/// Has the connection end with a reset when it is dropped. This does nothing to a closed one.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests;
