//! `sql_error` and `redis_error`: a service answers some requests with an error, and has not carried them out.
//!
//! The proxy replaces the request by one that the service itself refuses, and replaces the text of that refusal
//! (`proxy/editor.rs`). So the order of answers in a pipeline, and the state of a transaction, are the service's own.
//! Evidence: every request that it refused.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{NetworkKind, Statement};
use crate::spec::{Commands, RedisError, SqlState, Statements};

/// Which of the requests of a kind are met, in the order in which they arrive on any connection.
#[derive(Debug)]
pub(super) struct RequestCount {
    /// The first, counted from 1.
    from: u64,
    times: Option<u64>,
    /// How many there were.
    seen: AtomicU64,
}

impl RequestCount {
    pub(super) const fn new(from: u64, times: Option<u64>) -> Self {
        Self { from, times, seen: AtomicU64::new(0) }
    }

    /// Counts a request. Returns whether it is met.
    fn is_met(&self) -> bool {
        let number = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        number >= self.from && self.times.is_none_or(|times| number - self.from < times)
    }
}

#[derive(Debug)]
pub(super) struct SqlRefusals {
    pub(super) sqlstate: SqlState,
    pub(super) statements: Statements,
    pub(super) count: RequestCount,
}

impl NetworkKind for SqlRefusals {
    fn sql_error(&self, statement: Statement) -> Option<SqlState> {
        (statement.is_among(self.statements) && self.count.is_met()).then_some(self.sqlstate)
    }
}

#[derive(Debug)]
pub(super) struct RedisRefusals {
    pub(super) error: RedisError,
    pub(super) commands: Commands,
    pub(super) count: RequestCount,
}

impl NetworkKind for RedisRefusals {
    fn redis_error(&self, command: &[u8]) -> Option<RedisError> {
        (self.commands.has(command) && self.count.is_met()).then_some(self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_met_from_the_first_that_is_meant_for_as_often_as_is_meant() {
        let met = |from, times| {
            let errors = SqlRefusals {
                sqlstate: SqlState::try_from("40001".to_owned()).unwrap(),
                statements: Statements::Writes,
                count: RequestCount::new(from, times),
            };
            let statements = [Statement::Insert, Statement::Read, Statement::Update, Statement::Delete];
            statements.map(|statement| errors.sql_error(statement).is_some())
        };
        assert_eq!(met(1, None), [true, false, true, true]);
        assert_eq!(met(2, Some(1)), [false, false, true, false]);
        assert_eq!(met(4, Some(1)), [false; 4]);
    }
}
