//! What proves that a fault of a service took effect.

/// What proves that a fault of a service took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Bytes and new connections to the service while the fault lasts.
    Traffic,
    /// Connections that the service ended: the fault is over at once.
    EndedConnections,
    /// Refusals that Redis counts under this field of `INFO errorstats`.
    RedisErrors(&'static str),
    /// Errors of Postgres with this `SQLSTATE` (PostgreSQL, appendix A).
    SqlErrors(&'static str),
}
