//! What a proxy saw: connections, who closed them, and how much went through.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::sql::{Messages, SqlErrors};
use super::tap::{Tap, Writes};
use crate::faults::Direction;

/// Who closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    /// The client.
    Client,
    /// The server.
    Server,
    /// A fault, by its word.
    Fault(&'static str),
    /// Nobody: the server could not be reached.
    Unreachable,
    /// The proxy, which was stopped.
    Stopped,
}

impl ClosedBy {
    /// In one word, as reports have it.
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

/// One connection, or one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its number, from 1.
    pub id: u64,
    /// When it was accepted, since the proxy began.
    pub opened: Duration,
    /// When it ended; `None` while it is open.
    pub closed: Option<Duration>,
    /// Who ended it.
    pub closed_by: Option<ClosedBy>,
    /// Bytes that reached the server.
    pub up: u64,
    /// Bytes that reached the client.
    pub down: u64,
    /// The longest time for which a transaction was open and the client asked nothing; only before a Postgres, and only
    /// of what is not encrypted.
    pub idle_in_transaction: Option<Duration>,
}

/// A request that was answered in the place of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// When, since the proxy began.
    pub at: Duration,
    /// The same for requests of the same method, path and body.
    pub request: u64,
    /// How long whoever asked was told to wait (`Retry-After`).
    pub wait: Option<Duration>,
}

/// What a proxy says while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
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
    /// Whether the client spoke last: a request is under way, or the client waits for news.
    pub(super) asked: AtomicBool,
    idle: Mutex<Idle>,
}

/// Within a transaction, and nothing is asked.
#[derive(Debug, Clone, Copy, Default)]
struct Idle {
    /// Since the proxy began.
    since: Option<Duration>,
    /// The longest that is over; `None` before the server was heard to be ready.
    longest: Option<Duration>,
}

impl Idle {
    fn until(self, now: Duration) -> Option<Duration> {
        let lasts = self.since.map(|since| now.saturating_sub(since));
        lasts.max(self.longest)
    }
}

impl Entry {
    /// The server is ready, within a transaction or not.
    fn ready(&self, in_transaction: bool, now: Duration) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.longest = idle.longest.or(Some(Duration::ZERO));
        // A client that asked the next thing before it heard of this was not idle.
        idle.since = in_transaction.then_some(now);
    }

    /// The client asks something.
    fn spoke(&self, now: Duration) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.since.is_some() {
            *idle = Idle { since: None, longest: idle.until(now) };
        }
    }

    fn record(&self, now: Duration) -> Connection {
        let end = *self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = *self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        Connection {
            id: self.id,
            opened: self.opened,
            closed: end.map(|(at, _)| at),
            closed_by: end.map(|(_, by)| by),
            up: self.up.load(Ordering::Relaxed),
            down: self.down.load(Ordering::Relaxed),
            idle_in_transaction: idle.until(end.map_or(now, |(at, _)| at)),
        }
    }
}

/// All connections of a proxy.
#[derive(Debug)]
pub(super) struct Log {
    begun: Instant,
    entries: Mutex<Vec<Arc<Entry>>>,
    answered: Mutex<Vec<Answered>>,
    listener: Option<tokio::sync::mpsc::UnboundedSender<Said>>,
    sniffer: Sniffer,
}

/// What is listened for in the bytes that pass.
#[derive(Debug)]
enum Sniffer {
    None,
    /// Changes of points.
    Qdrant(Mutex<Writes>),
    /// Errors; and whether a connection was encrypted, so that there may be some that nobody heard.
    Postgres(Mutex<(SqlErrors, bool)>),
}

/// Reads one direction of a connection for the log.
pub(super) enum Tapped<'a> {
    Qdrant(Tap, &'a Mutex<Writes>),
    /// What the server says.
    Postgres(Messages, &'a Mutex<(SqlErrors, bool)>, &'a Entry, Instant),
    /// That the client says something.
    Client(&'a Entry, Instant),
}

impl Tapped<'_> {
    pub(super) fn read(&mut self, bytes: &[u8]) {
        match self {
            Self::Qdrant(tap, writes) => {
                let seen = tap.read(bytes);
                if seen != Writes::default() {
                    let mut writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
                    *writes = writes.and(seen);
                }
            }
            Self::Postgres(messages, errors, entry, begun) => {
                let heard = messages.read(bytes);
                if let Some(in_transaction) = heard.in_transaction {
                    entry.ready(in_transaction, begun.elapsed());
                }
                let closed = matches!(messages, Messages::Closed);
                if closed || !heard.errors.is_empty() {
                    let mut errors = errors.lock().unwrap_or_else(PoisonError::into_inner);
                    errors.1 |= closed;
                    for state in heard.errors {
                        errors.0.add(state);
                    }
                }
            }
            Self::Client(entry, begun) => entry.spoke(begun.elapsed()),
        }
    }
}

impl Log {
    pub(super) fn new(listener: Option<tokio::sync::mpsc::UnboundedSender<Said>>) -> Self {
        Self {
            begun: Instant::now(),
            entries: Mutex::default(),
            answered: Mutex::default(),
            listener,
            sniffer: Sniffer::None,
        }
    }

    /// Listens for changes of points too.
    pub(super) fn of_qdrant(self) -> Self {
        Self { sniffer: Sniffer::Qdrant(Mutex::default()), ..self }
    }

    /// Listens for errors of SQL too.
    pub(super) fn of_postgres(self) -> Self {
        Self { sniffer: Sniffer::Postgres(Mutex::default()), ..self }
    }

    pub(super) fn tap<'a>(&'a self, entry: &'a Entry, way: Direction) -> Option<Tapped<'a>> {
        match &self.sniffer {
            Sniffer::Qdrant(writes) => Some(Tapped::Qdrant(Tap::new(way), writes)),
            Sniffer::Postgres(errors) if way == Direction::Down => {
                Some(Tapped::Postgres(Messages::default(), errors, entry, self.begun))
            }
            Sniffer::Postgres(_) => Some(Tapped::Client(entry, self.begun)),
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
        // None that was heard is not none, where somebody whispered.
        (count > 0 || !errors.1).then_some(count)
    }

    pub(super) const fn begun(&self) -> Instant {
        self.begun
    }

    pub(super) fn open(&self, cuts: usize) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = Arc::new(Entry {
            id: entries.len() as u64 + 1,
            opened: self.begun.elapsed(),
            cuts,
            end: Mutex::default(),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            idle: Mutex::default(),
        });
        entries.push(Arc::clone(&entry));
        drop(entries);
        self.say(Said::Opened(entry.record(self.begun.elapsed())));
        entry
    }

    /// Writes down how a connection ended; what comes later changes nothing.
    pub(super) fn close(&self, entry: &Entry, by: ClosedBy) {
        let mut end = entry.end.lock().unwrap_or_else(PoisonError::into_inner);
        if end.is_some() {
            return;
        }
        *end = Some((self.begun.elapsed(), by));
        drop(end);
        self.say(Said::Closed(entry.record(self.begun.elapsed())));
    }

    /// Whether a connection is open that no cut has met, of `cuts` so far; with `asked`, one whose client waits for an
    /// answer.
    pub(super) fn has_whole(&self, cuts: usize, asked: bool) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let open = |entry: &Entry| entry.end.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        let fits = |entry: &Entry| !asked || entry.asked.load(Ordering::Relaxed);
        entries.iter().any(|entry| entry.cuts == cuts && open(entry) && fits(entry))
    }

    pub(super) fn connections(&self) -> Vec<Connection> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.begun.elapsed();
        entries.iter().map(|entry| entry.record(now)).collect()
    }

    /// Writes down that a request was answered in the place of the service.
    pub(super) fn answer(&self, request: u64, wait: Option<Duration>) {
        let at = self.begun.elapsed();
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).push(Answered { at, request, wait });
    }

    pub(super) fn answered(&self) -> Vec<Answered> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn say(&self, said: Said) {
        if let Some(listener) = &self.listener {
            // Nobody to tell is no reason to stop.
            let _ = listener.send(said);
        }
    }
}
