//! Which network faults are in force before one service, and what each has done.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::{NetworkKind, Statement};
use crate::faults::{Direction, NetworkFault};
use crate::spec::{RedisError, SqlState};

/// What a fault has done so far. A fault that did nothing proves nothing.
#[derive(Debug, Default)]
pub struct Effect {
    connections: AtomicU64,
    bytes: AtomicU64,
    others: AtomicU64,
    times: Mutex<Option<(Instant, Instant)>>,
}

impl Effect {
    /// Connections that it reset, refused, or whose bytes it touched; each counts once for each of these.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Bytes that it swallowed, delayed or held back.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Requests that it saw and let pass, because it is meant for others.
    #[must_use]
    pub fn others(&self) -> u64 {
        self.others.load(Ordering::Relaxed)
    }

    /// Whether it did anything at all.
    #[must_use]
    pub fn took_effect(&self) -> bool {
        self.connections() > 0
    }

    /// When it first and last did something.
    #[must_use]
    pub fn times(&self) -> Option<(Instant, Instant)> {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection.
    pub(in crate::faults) fn count_connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.record_time();
    }

    /// Counts a request for which it is not meant.
    pub(in crate::faults) fn count_other(&self) {
        self.others.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes.
    pub(in crate::faults) fn count_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.record_time();
    }

    fn record_time(&self) {
        let now = Instant::now();
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        *times = Some(times.map_or((now, now), |(first, _)| (first, now)));
    }
}

/// A fault in force.
#[derive(Debug, Clone)]
pub(in crate::faults) struct Active {
    pub(in crate::faults) id: u64,
    pub(in crate::faults) fault: NetworkFault,
    pub(in crate::faults) direction: Direction,
    pub(in crate::faults) kind: Arc<dyn NetworkKind>,
    pub(in crate::faults) effect: Arc<Effect>,
}

/// All faults in force.
#[derive(Debug, Clone, Default)]
pub(in crate::faults) struct ActiveFaults {
    pub(in crate::faults) active: Vec<Active>,
    /// What each cut that happens once has done so far. A connection that is older than the last cut is reset.
    pub(in crate::faults) cuts: Vec<Arc<Effect>>,
}

impl ActiveFaults {
    /// The cut that resets a connection which was opened after `earlier` cuts.
    pub(in crate::faults) fn cut(&self, earlier: usize) -> Option<&Arc<Effect>> {
        self.cuts.get(earlier)
    }

    /// The fault that resets connections for as long as it is in force.
    pub(in crate::faults) fn resetting(&self) -> Option<&Active> {
        self.active.iter().find(|active| active.kind.resets())
    }

    /// The fault that answers in place of the service, and the address of the server that does so.
    pub(in crate::faults) fn answering(&self) -> Option<(&Active, SocketAddr)> {
        self.active.iter().find_map(|active| Some((active, active.kind.replacement()?)))
    }

    /// The fault that swallows what goes `way`.
    pub(in crate::faults) fn swallowing(&self, way: Direction) -> Option<&Active> {
        self.active.iter().find(|active| active.kind.swallows() && active.direction.covers(way))
    }

    /// The fault that swallows both directions, so that the proxy need not connect to the server.
    pub(in crate::faults) fn swallowing_all(&self) -> Option<&Active> {
        self.swallowing(Direction::Up).filter(|_| self.swallowing(Direction::Down).is_some())
    }

    /// Whether no fault applies to what goes `way`.
    pub(in crate::faults) fn is_empty_for(&self, way: Direction) -> bool {
        !self.active.iter().any(|active| active.direction.covers(way))
    }

    /// The error that Postgres answers the next statement with, if a fault meets it.
    pub(in crate::faults) fn sql_error(&self, statement: Statement) -> Option<SqlState> {
        self.refused(|kind| kind.sql_error(statement))
    }

    /// The error that Redis answers the next command with, if a fault meets it.
    pub(in crate::faults) fn redis_error(&self, command: &[u8]) -> Option<RedisError> {
        self.refused(|kind| kind.redis_error(command))
    }

    fn refused<T>(&self, error: impl Fn(&(dyn NetworkKind + 'static)) -> Option<T>) -> Option<T> {
        self.active.iter().find_map(|active| {
            let error = error(active.kind.as_ref())?;
            active.effect.count_connection();
            Some(error)
        })
    }

    /// The first fault that applies to what goes `way` and has a value for `property`. Where several do, the first
    /// alone counts.
    pub(in crate::faults) fn first<T>(
        &self,
        way: Direction,
        property: impl Fn(&(dyn NetworkKind + 'static)) -> Option<T>,
    ) -> Option<(&Active, T)> {
        self.active
            .iter()
            .filter(|active| active.direction.covers(way))
            .find_map(|active| Some((active, property(active.kind.as_ref())?)))
    }
}
