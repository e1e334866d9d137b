//! What a proxy has seen: connections, who closed them, and how many bytes they carried.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::editor::{Editor, Protocol};
use super::postgres_messages::{ServerMessages, SqlErrors};
use super::qdrant_writes::{WriteParser, Writes};
use crate::faults::Direction;

/// Who closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    /// The client.
    Client,
    /// The server.
    Server,
    /// A fault, with its word.
    Fault(&'static str),
    /// The connection was never established: the server could not be reached.
    Unreachable,
    /// The proxy, which was stopped.
    Stopped,
}

impl ClosedBy {
    /// Its word in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Fault(word) => word,
            Self::Unreachable => "unreachable",
            Self::Stopped => "stopped",
        }
    }
}

/// One connection, or one attempt at a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its number, from 1.
    pub id: u64,
    /// When it was accepted, since the proxy was started.
    pub opened: Duration,
    /// When it ended; `None` while it is open.
    pub closed: Option<Duration>,
    /// Who ended it.
    pub closed_by: Option<ClosedBy>,
    /// Bytes that reached the server.
    pub up: u64,
    /// Bytes that reached the client.
    pub down: u64,
    /// The longest time for which a transaction was open and the client sent nothing; only in front of Postgres, and only
    /// on connections without encryption.
    pub idle_in_transaction: Option<Duration>,
}

/// A request that a fault answered in place of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// When, since the proxy was started.
    pub at: Duration,
    /// Equal for requests with the same method, path and body; different for every request without a body.
    pub request: u64,
    /// How long the client was asked to wait (`Retry-After`).
    pub wait: Option<Duration>,
}

/// An event of a connection, sent to the listener of [`Proxy::start`](super::Proxy::start).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// A connection was accepted.
    Opened(Connection),
    /// A connection ended.
    Closed(Connection),
}

#[derive(Debug)]
pub(super) struct Entry {
    id: u64,
    opened: Duration,
    /// Cuts before it was opened.
    pub(super) cuts: usize,
    end: Mutex<Option<(Duration, ClosedBy)>>,
    pub(super) up: AtomicU64,
    pub(super) down: AtomicU64,
    /// Whether the client sent the last byte: a request is in progress, or the client waits for a message.
    pub(super) awaits_answer: AtomicBool,
    idle: Mutex<Idle>,
}

/// The time that a client spent within a transaction without sending anything.
#[derive(Debug, Clone, Copy, Default)]
struct Idle {
    /// Since when, from the start of the proxy; `None` while it is not idle in a transaction.
    since: Option<Duration>,
    /// The longest such time that is over; `None` before the server has reported that it is ready.
    longest: Option<Duration>,
}

impl Idle {
    /// The longest such time, up to `now`.
    fn longest_until(self, now: Duration) -> Option<Duration> {
        let lasts = self.since.map(|since| now.saturating_sub(since));
        lasts.max(self.longest)
    }
}

impl Entry {
    /// Records that the server is ready, within a transaction or not.
    fn record_ready(&self, in_transaction: bool, now: Duration) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.longest = idle.longest.or(Some(Duration::ZERO));
        // A client that had sent its next statement already was not idle.
        idle.since = in_transaction.then_some(now);
    }

    /// Records that the client sent something.
    fn record_sent(&self, now: Duration) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.since.is_some() {
            *idle = Idle { since: None, longest: idle.longest_until(now) };
        }
    }

    fn snapshot(&self, now: Duration) -> Connection {
        let end = *self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = *self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        Connection {
            id: self.id,
            opened: self.opened,
            closed: end.map(|(at, _)| at),
            closed_by: end.map(|(_, by)| by),
            up: self.up.load(Ordering::Relaxed),
            down: self.down.load(Ordering::Relaxed),
            idle_in_transaction: idle.longest_until(end.map_or(now, |(at, _)| at)),
        }
    }
}

/// All connections of a proxy.
#[derive(Debug)]
pub(in crate::faults) struct Log {
    started: Instant,
    entries: Mutex<Vec<Arc<Entry>>>,
    answered: Mutex<Vec<Answered>>,
    listener: Option<tokio::sync::mpsc::UnboundedSender<ConnectionEvent>>,
    sniffer: Sniffer,
    /// The protocol in which single requests can be refused.
    protocol: Option<Protocol>,
}

/// What is counted in the bytes that pass.
#[derive(Debug)]
enum Sniffer {
    None,
    /// Changes of points.
    Qdrant(Mutex<Writes>),
    /// Errors; and whether a connection was encrypted, so that some may be missing.
    Postgres(Mutex<(SqlErrors, bool)>),
}

/// Reads one direction of a connection for the log.
pub(super) enum ByteObserver<'a> {
    Qdrant(WriteParser, &'a Mutex<Writes>),
    /// Messages of the server.
    Postgres(ServerMessages, &'a Mutex<(SqlErrors, bool)>, &'a Entry, Instant),
    /// That the client sends something.
    Client(&'a Entry, Instant),
}

impl ByteObserver<'_> {
    pub(super) fn read(&mut self, bytes: &[u8]) {
        match self {
            Self::Qdrant(parser, writes) => {
                let seen = parser.read(bytes);
                if seen != Writes::default() {
                    let mut writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
                    *writes = writes.and(seen);
                }
            }
            Self::Postgres(messages, errors, entry, started) => {
                let reported = messages.read(bytes);
                if let Some(in_transaction) = reported.in_transaction {
                    entry.record_ready(in_transaction, started.elapsed());
                }
                let is_encrypted = matches!(messages, ServerMessages::Encrypted);
                if is_encrypted || !reported.errors.is_empty() {
                    let mut errors = errors.lock().unwrap_or_else(PoisonError::into_inner);
                    errors.1 |= is_encrypted;
                    for state in reported.errors {
                        errors.0.add(state);
                    }
                }
            }
            Self::Client(entry, started) => entry.record_sent(started.elapsed()),
        }
    }
}

impl Log {
    pub(in crate::faults) fn new(listener: Option<tokio::sync::mpsc::UnboundedSender<ConnectionEvent>>) -> Self {
        Self {
            started: Instant::now(),
            entries: Mutex::default(),
            answered: Mutex::default(),
            listener,
            sniffer: Sniffer::None,
            protocol: None,
        }
    }

    /// Lets faults refuse single requests of this protocol.
    pub(super) fn refusing(self, protocol: Protocol) -> Self {
        Self { protocol: Some(protocol), ..self }
    }

    pub(super) fn editor(&self, way: Direction) -> Option<Editor> {
        self.protocol.map(|protocol| Editor::new(protocol, way))
    }

    /// Counts changes of points too.
    pub(super) fn counting_writes(self) -> Self {
        Self { sniffer: Sniffer::Qdrant(Mutex::default()), ..self }
    }

    /// Counts errors of SQL too.
    pub(super) fn counting_sql_errors(self) -> Self {
        Self { sniffer: Sniffer::Postgres(Mutex::default()), ..self }
    }

    pub(super) fn observer<'a>(&'a self, entry: &'a Entry, way: Direction) -> Option<ByteObserver<'a>> {
        match &self.sniffer {
            Sniffer::Qdrant(writes) => Some(ByteObserver::Qdrant(WriteParser::new(way), writes)),
            Sniffer::Postgres(errors) if way == Direction::Down => {
                Some(ByteObserver::Postgres(ServerMessages::default(), errors, entry, self.started))
            }
            Sniffer::Postgres(_) => Some(ByteObserver::Client(entry, self.started)),
            Sniffer::None => None,
        }
    }

    pub(super) fn writes(&self) -> Option<Writes> {
        match &self.sniffer {
            Sniffer::Qdrant(writes) => Some(*writes.lock().unwrap_or_else(PoisonError::into_inner)),
            _ => None,
        }
    }

    pub(super) fn sql_errors(&self, state: &str) -> Option<u64> {
        let Sniffer::Postgres(errors) = &self.sniffer else { return None };
        let errors = errors.lock().unwrap_or_else(PoisonError::into_inner);
        let count = errors.0.count(state);
        // On an encrypted connection there may be errors that were not counted.
        (count > 0 || !errors.1).then_some(count)
    }

    pub(super) const fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn open(&self, cuts: usize) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = Arc::new(Entry {
            id: entries.len() as u64 + 1,
            opened: self.started.elapsed(),
            cuts,
            end: Mutex::default(),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            awaits_answer: AtomicBool::new(false),
            idle: Mutex::default(),
        });
        entries.push(Arc::clone(&entry));
        drop(entries);
        self.send(ConnectionEvent::Opened(entry.snapshot(self.started.elapsed())));
        entry
    }

    /// Records how a connection ended; only the first call counts.
    pub(super) fn close(&self, entry: &Entry, by: ClosedBy) {
        let mut end = entry.end.lock().unwrap_or_else(PoisonError::into_inner);
        if end.is_some() {
            return;
        }
        *end = Some((self.started.elapsed(), by));
        drop(end);
        self.send(ConnectionEvent::Closed(entry.snapshot(self.started.elapsed())));
    }

    /// Whether a connection is open that none of the `cuts` so far has reset; with `awaiting`, one whose client waits for
    /// an answer.
    pub(super) fn has_uncut(&self, cuts: usize, awaiting: bool) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let open = |entry: &Entry| entry.end.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        let fits = |entry: &Entry| !awaiting || entry.awaits_answer.load(Ordering::Relaxed);
        entries.iter().any(|entry| entry.cuts == cuts && open(entry) && fits(entry))
    }

    pub(super) fn connections(&self) -> Vec<Connection> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.started.elapsed();
        entries.iter().map(|entry| entry.snapshot(now)).collect()
    }

    /// Records that a fault answered a request in place of the service.
    pub(in crate::faults) fn answer(&self, request: u64, wait: Option<Duration>) {
        let at = self.started.elapsed();
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).push(Answered { at, request, wait });
    }

    pub(super) fn answered(&self) -> Vec<Answered> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn send(&self, event: ConnectionEvent) {
        if let Some(listener) = &self.listener {
            // The proxy goes on without its listener.
            let _ = listener.send(event);
        }
    }
}
