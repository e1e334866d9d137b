//! A TCP proxy that does to connections what [`NetworkFault`] says, and writes down what it saw.
//!
//! Faults are in force from the first byte on: a connection that is accepted while one is, meets it. All bytes of a
//! direction pass one place, so that order is kept whatever the active faults.

mod active;
mod answer;
mod log;
mod pipe;
mod pump;
mod sql;
mod tap;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::{Direction, NetworkFault};
pub use active::Effect;
use active::{Active, ActiveFaults};
pub use log::{Answered, ClosedBy, Connection, Said};
use log::{Entry, Log};
use pump::{End, Link};
pub use tap::Writes;

/// How long a server may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// A proxy before one service. Connections are reset when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    active_faults: watch::Sender<Arc<ActiveFaults>>,
    log: Arc<Log>,
    upstream: String,
    next: AtomicU64,
    listening: AbortHandle,
    /// Flaps and answering servers, with the fault that each belongs to.
    tasks: Mutex<Vec<(u64, AbortHandle)>>,
}

/// A fault in force, to be lifted again.
#[derive(Debug)]
#[must_use = "a fault that is never lifted stays in force"]
pub struct Applied {
    id: u64,
    /// What it has done.
    pub effect: Arc<Effect>,
}

impl Proxy {
    /// Listens on `listen` and passes on to `upstream`, a `host:port`; `listener` hears of every connection.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start(
        listen: SocketAddr,
        upstream: impl Into<String>,
        listener: Option<mpsc::UnboundedSender<Said>>,
    ) -> std::io::Result<Self> {
        Self::begin(listen, upstream.into(), Log::new(listener)).await
    }

    /// Like [`Proxy::start`], before a Qdrant: it also counts the changes of points that pass, for [`Proxy::writes`].
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn before_qdrant(listen: SocketAddr, upstream: impl Into<String>) -> std::io::Result<Self> {
        Self::begin(listen, upstream.into(), Log::new(None).of_qdrant()).await
    }

    /// Like [`Proxy::start`], before a Postgres: it also counts the errors that pass, for [`Proxy::sql_errors`].
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn before_postgres(listen: SocketAddr, upstream: impl Into<String>) -> std::io::Result<Self> {
        Self::begin(listen, upstream.into(), Log::new(None).of_postgres()).await
    }

    async fn begin(listen: SocketAddr, upstream: String, log: Log) -> std::io::Result<Self> {
        let socket = TcpListener::bind(listen).await?;
        let address = socket.local_addr()?;
        let (active_faults, forecast) = watch::channel(Arc::new(ActiveFaults::default()));
        let log = Arc::new(log);
        let listening = tokio::spawn(accept(socket, upstream.clone(), forecast, Arc::clone(&log))).abort_handle();
        Ok(Self { address, active_faults, log, upstream, next: AtomicU64::new(1), listening, tasks: Mutex::default() })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets `fault` happen to `direction` from now on. A [`NetworkFault::Cut`] that is to happen once is
    /// [`Proxy::cut`].
    pub fn apply(&self, fault: NetworkFault, direction: Direction) -> Applied {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let effect = Arc::new(Effect::default());
        let detour = match fault {
            NetworkFault::Answer { status, retry_after_s, only } => {
                let past = only.map(|only| (only, self.upstream.clone()));
                let started = answer::start(status, retry_after_s, past, Arc::clone(&effect), Arc::clone(&self.log));
                started.ok().map(|(address, server)| {
                    self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push((id, server));
                    address
                })
            }
            _ => None,
        };
        let active = Active { id, fault, direction, down: true, detour, effect: Arc::clone(&effect) };
        self.change(|active_faults| active_faults.active.push(active));
        if let NetworkFault::Flap { ms } = fault {
            let period = Duration::from_millis(ms.max(1));
            let active_faults = self.active_faults.clone();
            let turns = tokio::spawn(async move {
                let mut turn = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
                loop {
                    turn.tick().await;
                    active_faults.send_modify(|active_faults| {
                        let flapping = Arc::make_mut(active_faults).active.iter_mut().find(|active| active.id == id);
                        if let Some(active) = flapping {
                            active.down = !active.down;
                        }
                    });
                }
            });
            self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push((id, turns.abort_handle()));
        }
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
    pub fn begun(&self) -> std::time::Instant {
        self.log.begun()
    }

    /// Whether `applied` is in force here.
    #[must_use]
    pub fn has(&self, applied: &Applied) -> bool {
        let active_faults = Arc::clone(&self.active_faults.borrow());
        active_faults.active.iter().any(|active| Arc::ptr_eq(&active.effect, &applied.effect))
    }

    /// Ends a fault; what it has done stays known.
    pub fn lift(&self, applied: Applied) -> Arc<Effect> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).retain(|(id, turns)| {
            if *id == applied.id {
                turns.abort();
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

    /// Every request that was answered in the place of the service.
    #[must_use]
    pub fn answered(&self) -> Vec<Answered> {
        self.log.answered()
    }

    /// The changes of points that passed, waited for and not; none for a proxy that does not look.
    #[must_use]
    pub fn writes(&self) -> Option<Writes> {
        self.log.writes()
    }

    /// How many errors with this `SQLSTATE` passed; none for a proxy that does not look, or that could not understand
    /// what passed.
    #[must_use]
    pub fn sql_errors(&self, state: &str) -> Option<u64> {
        self.log.sql_errors(state)
    }

    /// Whether a cut would meet a connection: one is open that no earlier cut has met; with `asked`, one whose client
    /// waits for an answer.
    #[must_use]
    pub fn has_target(&self, asked: bool) -> bool {
        let cuts = self.active_faults.borrow().cuts.len();
        self.log.has_whole(cuts, asked)
    }

    /// How many are open.
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
        // The connections' tasks belong to the listening one, and end with it.
        self.listening.abort();
        for (_, turns) in self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner) {
            turns.abort();
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
                // No file descriptor left, or the client has gone already: others may have more luck.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A connection in the log; one that is dropped in the middle was stopped with the proxy.
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
    if let Some(active) = now.refusing() {
        active.effect.hit();
        close(ClosedBy::Fault(active.fault.word()));
        reset(&client);
        return;
    }
    if let Some(active) = now.swallowing_all() {
        // Nothing that is said gets anywhere: the server need not know of it.
        active.effect.hit();
        let by = swallow(&client, active_faults, open.entry.cuts).await;
        close(by);
        reset(&client);
        return;
    }
    let detour = now.answering().map(|(active, address)| (active.id, address.to_string()));
    let (answered, upstream) = detour.map_or((None, upstream), |(id, address)| (Some(id), address));
    let Ok(Ok(server)) = tokio::time::timeout(PATIENCE, TcpStream::connect(&upstream)).await else {
        close(ClosedBy::Unreachable);
        reset(&client);
        return;
    };
    let _ = server.set_nodelay(true);
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let injected = AtomicBool::new(false);
    let pump = |way| {
        let passed = if way == Direction::Up { &open.entry.up } else { &open.entry.down };
        let (cuts, asked) = (open.entry.cuts, &open.entry.asked);
        let tap = open.log.tap(&open.entry, way);
        Link { way, active_faults: active_faults.clone(), cuts, answered, passed, asked, injected: &injected, tap }
    };
    let (up, down) = (pump(Direction::Up), pump(Direction::Down));
    let (by, orderly) =
        both(up.pump(&mut from_client, &mut to_server), down.pump(&mut from_server, &mut to_client)).await;
    close(by);
    if !orderly {
        for stream in [from_client.reunite(to_client).ok(), from_server.reunite(to_server).ok()].into_iter().flatten() {
            reset(&stream);
        }
    }
}

/// Runs both directions to their end. Tells who ended the connection, and whether both sides closed it as is proper.
async fn both(up: impl Future<Output = End>, down: impl Future<Output = End>) -> (ClosedBy, bool) {
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

/// Takes everything and gives nothing, until the blackhole ends or something worse begins.
async fn swallow(client: &TcpStream, mut active_faults: watch::Receiver<Arc<ActiveFaults>>, cuts: usize) -> ClosedBy {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let now = Arc::clone(&active_faults.borrow_and_update());
        if let Some(active) = now.refusing() {
            active.effect.hit();
            return ClosedBy::Fault(active.fault.word());
        }
        if let Some(effect) = now.cut(cuts) {
            effect.hit();
            return ClosedBy::Fault("cut");
        }
        let Some(active) = now.swallowing_all() else { return ClosedBy::Fault("blackhole") };
        tokio::select! {
            changed = active_faults.changed() => {
                if changed.is_err() {
                    return ClosedBy::Stopped;
                }
            }
            ready = client.readable() => {
                match ready.and_then(|()| client.try_read(&mut buffer)) {
                    Ok(0) => return ClosedBy::Client,
                    Ok(count) => active.effect.touch(count),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => return ClosedBy::Client,
                }
            }
        }
    }
}

/// Lets the connection end with a reset when it is dropped. One that is closed already has nothing to reset.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests;
