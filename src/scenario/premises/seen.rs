//! What was seen of a premise, and how messages write it.

use std::time::Duration;

/// What was seen of one premise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Whether the premise is met.
    pub(super) is_met: bool,
    /// Whether no run with this worker can meet it.
    pub(super) is_impossible: bool,
    /// What was seen, met or not.
    pub(super) what: String,
}

impl Seen {
    pub(super) fn new(is_met: bool, what: impl Into<String>) -> Self {
        Self { is_met, is_impossible: false, what: what.into() }
    }

    /// Not met, as `what` says, in no run with this worker.
    pub(super) fn impossible(what: impl Into<String>) -> Self {
        Self { is_met: false, is_impossible: true, what: what.into() }
    }

    /// Met if `number` is at least `least`.
    pub(super) fn at_least(least: u64, number: usize, what: impl Into<String>) -> Self {
        Self::new(number as u64 >= least, what)
    }
}

/// `1 job`, `3 jobs`.
pub(super) fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Milliseconds as a message writes them.
pub(super) fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
