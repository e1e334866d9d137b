//! The circuit of a service: one that is known to be dead is not asked by checks until it answers again.
//!
//! Pulses decide. After three in a row without an answer the circuit is *open*: what a check said of the service for want
//! of an answer stands, and only pulses go on asking. The first answer makes it *half open*: the check that then begins
//! asks again, and closes it, or opens it anew when the service is gone already.

/// Pulses in a row without an answer after which the circuit opens.
const FAILURES: u32 = 3;

/// Whether a service is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CircuitState {
    /// By pulses and by checks.
    #[default]
    Closed,
    /// By pulses, and by the next check, which decides.
    HalfOpen,
    /// By pulses alone.
    Open,
}

impl CircuitState {
    /// The word that is shown.
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
    /// Pulses in a row without an answer.
    failures: u32,
    /// Whether a check has begun since it is half open.
    on_trial: bool,
}

impl Circuit {
    pub(super) const fn state(self) -> CircuitState {
        self.state
    }

    /// A pulse was felt.
    pub(super) fn pulse(&mut self, answered: bool) {
        self.failures = if answered { 0 } else { self.failures.saturating_add(1) };
        self.state = match (self.state, answered) {
            (CircuitState::Open, true) => CircuitState::HalfOpen,
            (CircuitState::HalfOpen, false) => CircuitState::Open,
            (CircuitState::Closed, false) if self.failures >= FAILURES => CircuitState::Open,
            (state, _) => state,
        };
        self.on_trial &= self.state == CircuitState::HalfOpen;
    }

    /// A check begins.
    pub(super) fn check_begins(&mut self) {
        self.on_trial = self.state == CircuitState::HalfOpen;
    }

    /// A check came to its end; `reached` is false when it got no answer.
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

    fn after(circuit: &mut Circuit, pulses: &[bool]) -> CircuitState {
        for answered in pulses {
            circuit.pulse(*answered);
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
        // What a check finds whose trial a pulse has ended counts for nothing.
        assert_eq!(after(&mut circuit, &[true]), HalfOpen);
        circuit.check_begins();
        assert_eq!(after(&mut circuit, &[false]), Open);
        circuit.check_ended(true);
        assert_eq!(circuit.state(), Open);
    }
}
