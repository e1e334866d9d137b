//! Faults: what the harness breaks on purpose, and repairs.
//!
//! `network` has one file per kind of network fault, and `proxy` applies them to connections and records what it saw.
//! `service` has one file per fault of a service itself. How to add a fault is described in `README.md` beside this
//! file. A fault that never took effect proves nothing, and its evidence says so.

mod network;
mod proxy;
mod scheduled;
mod service;

pub use crate::spec::{Direction, NetworkFault};
pub use network::Effect;
pub use proxy::{Answered, Applied, ClosedBy, Connection, ConnectionEvent, Proxy, Writes};
pub use scheduled::{FaultError, ScheduledFault};
pub use service::{Counted, Injected, ServiceFaultError, inject};
