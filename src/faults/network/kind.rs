//! What a kind of network fault can do to the connections of a service.

use std::net::SocketAddr;
use std::time::Duration;

use super::Statement;
use crate::spec::{RedisError, SqlState};

/// What one kind of network fault does to connections while it is in force. By default it does nothing.
///
/// A kind counts what it did in its [`Effect`](super::Effect): the proxy counts resets and swallowed bytes, the states of
/// the [`Shaper`](super::Shaper) count what they hold back, and [`answer`](super::answer) counts its answers.
pub(in crate::faults) trait NetworkKind: std::fmt::Debug + Send + Sync {
    /// Whether it resets every connection, open ones and new ones, at this moment.
    fn resets(&self) -> bool {
        false
    }

    /// Whether it takes the bytes of its direction and passes none on.
    fn swallows(&self) -> bool {
        false
    }

    /// The server to which connections lead in place of the service.
    fn replacement(&self) -> Option<SocketAddr> {
        None
    }

    /// How many bytes of its direction a connection may pass before it is reset.
    fn byte_limit(&self) -> Option<u64> {
        None
    }

    /// By how much later the next bytes of its direction arrive; drawn anew at each call.
    fn delay(&self) -> Option<Duration> {
        None
    }

    /// Bytes per second that its direction of a connection may pass.
    fn rate(&self) -> Option<u64> {
        None
    }

    /// By how much later the receiver learns that the sender has closed.
    fn close_delay(&self) -> Option<Duration> {
        None
    }

    /// The error that Postgres answers with, if it meets the next statement, which is of this kind.
    fn sql_error(&self, _statement: Statement) -> Option<SqlState> {
        None
    }

    /// The error that Redis answers with, if it meets the next command, which has this name.
    fn redis_error(&self, _command: &[u8]) -> Option<RedisError> {
        None
    }
}
