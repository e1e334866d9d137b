//! Where the worker has registered: on the queue of the contract, or on others.

use std::collections::BTreeSet;

use tokio::time::{Duration, Instant};

use crate::services::ServiceError;
use crate::services::queue::QueueClient;
use crate::services::queue_watch::Registration;

/// A worker with several queues registers on one after the other. If this time has passed since it registered on another
/// queue, and it is not on the queue of the contract, it will not be.
const SETTLE: Duration = Duration::from_secs(3);

/// The registrations of the connections that were made since the worker was started.
#[derive(Debug)]
pub(super) struct Registrations {
    wanted: Registration,
    /// Connections that were there before.
    known: BTreeSet<u64>,
    elsewhere: BTreeSet<Registration>,
    registered: bool,
    changed: Instant,
}

impl Registrations {
    /// Begins before the worker is started.
    pub(super) async fn watch(queue: &QueueClient) -> Result<Self, ServiceError> {
        let known = queue.registrations().await?.into_iter().map(|(id, _)| id).collect();
        let wanted = Registration { queue: queue.keys().name().to_owned(), prefix: queue.keys().prefix().to_owned() };
        Ok(Self { wanted, known, elsewhere: BTreeSet::new(), registered: false, changed: Instant::now() })
    }

    /// Looks once more.
    pub(super) async fn update(&mut self, queue: &QueueClient) -> Result<(), ServiceError> {
        let seen = queue.registrations().await?;
        let new =
            seen.into_iter().filter(|(id, _)| !self.known.contains(id)).filter_map(|(_, registration)| registration);
        for registration in new {
            if registration == self.wanted {
                self.registered = true;
            } else if self.elsewhere.insert(registration) {
                self.changed = Instant::now();
            }
        }
        Ok(())
    }

    /// The queue of the contract.
    pub(super) fn wanted(&self) -> Registration {
        self.wanted.clone()
    }

    /// Whether the worker is registered on the queue of the contract.
    pub(super) const fn is_registered(&self) -> bool {
        self.registered
    }

    /// Whether it has registered, but not on the queue of the contract, and will not.
    pub(super) fn is_elsewhere(&self) -> bool {
        !self.registered && !self.elsewhere.is_empty() && self.changed.elapsed() >= SETTLE
    }

    /// The other queues on which it is registered.
    pub(super) fn elsewhere(&self) -> Vec<Registration> {
        self.elsewhere.iter().cloned().collect()
    }
}
