//! What a provider permits.

use std::collections::BTreeSet;

/// Something that may be done to a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Shutting a service down in an orderly way and starting it again with the same data.
    Restart,
    /// Killing a service and starting it again.
    Kill,
    /// Pausing and resuming a service.
    Pause,
    /// Disconnecting a service from its network, without an error on either side, and reconnecting it.
    Disconnect,
    /// Writing to the services.
    Write,
    /// Putting a proxy between a worker and the services.
    Proxy,
    /// Embeddings come from the mock, whose behaviour a scenario defines.
    Mock,
}

impl Capability {
    /// Its name in suites and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Disconnect => "disconnect",
            Self::Write => "write",
            Self::Proxy => "proxy",
            Self::Mock => "mock",
        }
    }
}

/// What a provider permits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities(BTreeSet<Capability>);

impl Capabilities {
    /// The capabilities of a stack of local processes.
    pub(super) fn of_processes() -> Self {
        use Capability::{Kill, Mock, Pause, Proxy, Restart, Write};
        Self([Restart, Kill, Pause, Write, Proxy, Mock].into())
    }

    /// The capabilities of a stack of containers: they also have a network.
    pub(super) fn of_containers() -> Self {
        let mut all = Self::of_processes();
        all.0.insert(Capability::Disconnect);
        all
    }

    /// The capabilities of a remote stack.
    pub(super) fn of_remote(writable: bool) -> Self {
        Self(writable.then_some(Capability::Write).into_iter().collect())
    }

    /// Whether `capability` is permitted.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }
}
