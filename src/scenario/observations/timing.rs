//! What was observed of time: how busy the machine was, and how long BullMQ leaves the job of a killed worker alone.

use std::time::Duration;

use super::super::pressure::Pressure;

/// What the times of a scenario run depend on.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TimingObservations {
    /// How busy the machine was.
    pub pressure: Pressure,
    /// By how much the recovery after a fault on a worker may take longer than suites assume, because of the worker's
    /// locks and checks for stalled jobs; zero if no lock was seen.
    pub stall_allowance: Duration,
}
