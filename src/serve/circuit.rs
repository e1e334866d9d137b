//! The circuit breaker of a service: checks do not call a service that does not answer.
//!
//! Heartbeats drive it. After three in a row without an answer the circuit is *open*: the last verdicts are carried over,
//! and only heartbeats call the service. The first answer makes it *half open*: the next check calls the service, and
//! closes the circuit, or opens it again if there is no answer.

/// The number of consecutive heartbeats without an answer that opens the circuit.
const FAILURES: u32 = 3;

/// Who may call a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CircuitState {
    /// Heartbeats and checks.
    #[default]
    Closed,
    /// Heartbeats, and the next check, which decides.
    HalfOpen,
    /// Only heartbeats.
    Open,
}

impl CircuitState {
    /// Its word in output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }

    /// The value of its metric.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// The circuit of one service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Circuit {
    state: CircuitState,
    /// Consecutive heartbeats without an answer.
    failures: u32,
    /// Whether a check has started since the circuit is half open.
    on_trial: bool,
}

impl Circuit {
    pub(super) const fn state(self) -> CircuitState {
        self.state
    }

    /// Records a heartbeat.
    pub(super) fn heartbeat(&mut self, answered: bool) {
        self.failures = if answered { 0 } else { self.failures.saturating_add(1) };
        self.state = match (self.state, answered) {
            (CircuitState::Open, true) => CircuitState::HalfOpen,
            (CircuitState::HalfOpen, false) => CircuitState::Open,
            (CircuitState::Closed, false) if self.failures >= FAILURES => CircuitState::Open,
            (state, _) => state,
        };
        self.on_trial &= self.state == CircuitState::HalfOpen;
    }

    /// Records the start of a check.
    pub(super) fn check_begins(&mut self) {
        self.on_trial = self.state == CircuitState::HalfOpen;
    }

    /// Records the end of a check; `reached` is false if it got no answer.
    pub(super) fn check_ended(&mut self, reached: bool) {
        if std::mem::take(&mut self.on_trial) {
            self.state = if reached { CircuitState::Closed } else { CircuitState::Open };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CircuitState::{Closed, HalfOpen, Open};

    fn after(circuit: &mut Circuit, heartbeats: &[bool]) -> CircuitState {
        for answered in heartbeats {
            circuit.heartbeat(*answered);
        }
        circuit.state()
    }

    #[test]
    fn three_failures_in_a_row_open_it_and_the_next_check_closes_it() {
        let mut circuit = Circuit::default();
        assert_eq!(after(&mut circuit, &[true, false, false, true, false, false]), Closed, "never three in a row");
        assert_eq!(after(&mut circuit, &[false]), Open);
        circuit.check_begins();
        circuit.check_ended(false);
        assert_eq!(circuit.state(), Open, "a check that did not ask decides nothing");
        assert_eq!(after(&mut circuit, &[true, true]), HalfOpen);
        circuit.check_ended(true);
        assert_eq!(circuit.state(), HalfOpen, "that check began before the service was back");
        circuit.check_begins();
        circuit.check_ended(true);
        assert_eq!(circuit.state(), Closed);
    }

    #[test]
    fn half_open_one_failure_is_enough() {
        let mut circuit = Circuit::default();
        assert_eq!(after(&mut circuit, &[false, false, false, true, false]), Open);
        assert_eq!(after(&mut circuit, &[true]), HalfOpen);
        circuit.check_begins();
        circuit.check_ended(false);
        assert_eq!(circuit.state(), Open);
        // A check does not count if a heartbeat opened the circuit again meanwhile.
        assert_eq!(after(&mut circuit, &[true]), HalfOpen);
        circuit.check_begins();
        assert_eq!(after(&mut circuit, &[false]), Open);
        circuit.check_ended(true);
        assert_eq!(circuit.state(), Open);
    }
}
