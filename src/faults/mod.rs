//! Faults: what the harness breaks on purpose, and puts back.
//!
//! [`NetworkFault`] is the vocabulary of what may happen to a connection; [`Proxy`] is where it happens, and what
//! records it. A fault that never took effect says so through its [`Effect`].

mod proxy;
mod schedule;
mod service;

pub use crate::spec::{Direction, NetworkFault};
pub use proxy::{Answered, Applied, ClosedBy, Connection, Effect, Proxy, Said, Writes};
pub use schedule::{FaultError, Scheduled};
pub use service::{Injected, ServiceFaultError, strike};
