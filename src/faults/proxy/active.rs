//! Which faults are in force, and what each has done.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::faults::{Direction, NetworkFault};

/// What a fault has done so far; nothing means that it proved nothing.
#[derive(Debug, Default)]
pub struct Effect {
    connections: AtomicU64,
    bytes: AtomicU64,
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

    pub(super) fn hit(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.seen();
    }

    pub(super) fn touch(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.seen();
    }

    fn seen(&self) {
        let now = Instant::now();
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        *times = Some(times.map_or((now, now), |(first, _)| (first, now)));
    }
}

/// A fault in force.
#[derive(Debug, Clone)]
pub(super) struct Active {
    pub(super) id: u64,
    pub(super) fault: NetworkFault,
    pub(super) direction: Direction,
    /// For a flap: whether it is the turn to refuse.
    pub(super) down: bool,
    /// For answers: where the server is that gives them.
    pub(super) detour: Option<SocketAddr>,
    pub(super) effect: Arc<Effect>,
}

impl Active {
    fn covers(&self, way: Direction) -> bool {
        self.direction.covers(way)
    }
}

/// All faults in force.
#[derive(Debug, Clone, Default)]
pub(super) struct ActiveFaults {
    pub(super) active: Vec<Active>,
    /// What each cut has done so far. A connection that is older than the last one is reset.
    pub(super) cuts: Vec<Arc<Effect>>,
}

impl ActiveFaults {
    /// What cut a connection that was opened after `before` cuts.
    pub(super) fn cut(&self, before: usize) -> Option<&Arc<Effect>> {
        self.cuts.get(before)
    }

    /// The fault that resets connections for as long as it is in force.
    pub(super) fn refusing(&self) -> Option<&Active> {
        self.active.iter().find(|active| match active.fault {
            NetworkFault::Refuse | NetworkFault::Cut => true,
            NetworkFault::Flap { .. } => active.down,
            // Without anybody to answer, there is still no service.
            NetworkFault::Answer { .. } => active.detour.is_none(),
            _ => false,
        })
    }

    /// The fault that answers in the place of the service, and where it does.
    pub(super) fn answering(&self) -> Option<(&Active, SocketAddr)> {
        self.active.iter().find_map(|active| Some((active, active.detour?)))
    }

    /// The fault that swallows what goes `way`.
    pub(super) fn swallowing(&self, way: Direction) -> Option<&Active> {
        self.active.iter().find(|active| {
            matches!(active.fault, NetworkFault::Blackhole | NetworkFault::HalfOpen) && active.covers(way)
        })
    }

    /// The fault that swallows everything, so that the server need not even be asked.
    pub(super) fn swallowing_all(&self) -> Option<&Active> {
        self.swallowing(Direction::Up).filter(|_| self.swallowing(Direction::Down).is_some())
    }

    pub(super) fn limit(&self, way: Direction) -> Option<(&Active, u64)> {
        self.find(way, |fault| match fault {
            NetworkFault::LimitData { bytes } => Some(*bytes),
            _ => None,
        })
    }

    pub(super) fn latency(&self, way: Direction) -> Option<(&Active, (Duration, Duration))> {
        self.find(way, |fault| match fault {
            NetworkFault::Latency { ms, jitter_ms } => {
                Some((Duration::from_millis(*ms), Duration::from_millis(*jitter_ms)))
            }
            _ => None,
        })
    }

    pub(super) fn bandwidth(&self, way: Direction) -> Option<(&Active, u64)> {
        self.find(way, |fault| match fault {
            NetworkFault::Bandwidth { rate } => Some(*rate),
            _ => None,
        })
    }

    pub(super) fn slow_close(&self, way: Direction) -> Option<(&Active, Duration)> {
        self.find(way, |fault| match fault {
            NetworkFault::SlowClose { ms } => Some(Duration::from_millis(*ms)),
            _ => None,
        })
    }

    /// Whether no fault says anything of what goes `way`.
    pub(super) fn is_empty_for(&self, way: Direction) -> bool {
        !self.active.iter().any(|active| active.covers(way))
    }

    fn find<T>(&self, way: Direction, of: impl Fn(&NetworkFault) -> Option<T>) -> Option<(&Active, T)> {
        self.active.iter().filter(|active| active.covers(way)).find_map(|active| Some((active, of(&active.fault)?)))
    }
}
