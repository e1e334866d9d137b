//! What the proxies between the workers and the services observed. A service without a proxy has no entry.

use std::collections::BTreeMap;

use super::super::scheduler::ProxiedConnection;
use crate::faults::{Answered, Writes};
use crate::spec::Target;

/// The traffic between the workers and the services of a scenario run.
#[derive(Debug, Clone, Default)]
pub struct NetworkObservations {
    /// Connections of the workers, by service, in the order in which they were opened.
    pub connections: BTreeMap<Target, Vec<ProxiedConnection>>,
    /// Requests that a proxy answered instead of its service.
    pub answered: BTreeMap<Target, Vec<Answered>>,
    /// The workers' changes of points; `None` without a proxy in front of Qdrant.
    pub writes: Option<Writes>,
}
