//! What the kinds that change bytes on their way make of one direction of a connection.

use std::time::{Duration, Instant};

use super::bandwidth::Throttle;
use super::latency::Delayed;
use super::limit_data::Counter;
use super::{ActiveFaults, slow_close};
use crate::faults::Direction;

/// What happens to bytes that were read.
pub(in crate::faults) struct Shaped {
    /// How many of them pass; the others are lost with the connection.
    pub(in crate::faults) count: usize,
    /// When they may go.
    pub(in crate::faults) due: Instant,
    /// At how many bytes per second.
    pub(in crate::faults) rate: Option<u64>,
    /// The word of the fault that resets the connection after them.
    pub(in crate::faults) reset_by: Option<&'static str>,
}

/// The states of all shaping kinds for one direction of a connection.
pub(in crate::faults) struct Shaper {
    limit: Counter,
    latency: Delayed,
    /// Divides bytes into portions where bandwidth is limited.
    pub(in crate::faults) throttle: Throttle,
}

impl Shaper {
    pub(in crate::faults) fn new() -> Self {
        Self { limit: Counter::default(), latency: Delayed::default(), throttle: Throttle::new() }
    }

    /// What happens to `read` bytes that go `way` and were read `now`. `is_idle`: no earlier bytes wait.
    pub(in crate::faults) fn shape(
        &mut self,
        faults: &ActiveFaults,
        way: Direction,
        read: usize,
        is_idle: bool,
        now: Instant,
    ) -> Shaped {
        let (count, reset_by) = self.limit.limit(faults, way, read);
        let due = now + self.latency.delay(faults, way, read, is_idle);
        let rate = self.throttle.rate(faults, way, read, now);
        Shaped { count, due, rate, reset_by }
    }

    /// By how much later the receiver learns that the sender has closed.
    pub(in crate::faults) fn close_delay(faults: &ActiveFaults, way: Direction) -> Duration {
        slow_close::delay(faults, way)
    }
}
