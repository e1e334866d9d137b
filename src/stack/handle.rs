//! The handle of a started stack: what it consists of, disturbing its services, and removing it.

use std::path::{Path, PathBuf};

use super::capabilities::Capabilities;
use super::cleanup::ledger::Ledger;
use super::containers::service::ContainerService;
use super::containers::services::Containers;
use super::error::StackError;
use super::jina::JinaMock;
use super::native::provider::Native;
use super::native::service::NativeService;
use super::service::Service;
use crate::outcome::ServiceRecord;
use crate::settings::Endpoints;

/// What runs the services.
#[derive(Debug)]
pub(super) enum Backend {
    Native(Box<Native>),
    Containers(Box<Containers>),
    /// The services are not ours.
    Remote,
}

/// A running service that we may disturb.
enum Running<'a> {
    Process(&'a NativeService),
    Container(&'a ContainerService),
}

/// The four services, ready for use. They are removed when the stack is stopped or dropped.
#[derive(Debug)]
pub struct Stack {
    pub(super) provider: &'static str,
    pub(super) why: String,
    pub(super) endpoints: Endpoints,
    pub(super) services: Vec<ServiceRecord>,
    pub(super) capabilities: Capabilities,
    pub(super) jina: Option<JinaMock>,
    pub(super) backend: Backend,
    pub(super) directory: Option<PathBuf>,
    pub(super) ledger: Option<Ledger>,
}

impl Stack {
    /// Existing services. No request is sent to them. The stack is read-only unless `writable`.
    #[must_use]
    pub fn from_endpoints(endpoints: Endpoints, writable: bool) -> Self {
        Self {
            provider: "remote",
            why: "endpoints come from environment variables".to_owned(),
            endpoints,
            services: Vec::new(),
            capabilities: Capabilities::of_remote(writable),
            jina: None,
            backend: Backend::Remote,
            directory: None,
            ledger: None,
        }
    }

    /// The same stack with a ledger for what is created in its services.
    #[must_use]
    pub fn recorded_in(mut self, ledger: Option<Ledger>) -> Self {
        self.ledger = ledger;
        self
    }

    /// The endpoints of the services.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The records of the services for the report.
    #[must_use]
    pub fn services(&self) -> &[ServiceRecord] {
        &self.services
    }

    /// What may be done to this stack.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The name of the provider, and why it was chosen.
    #[must_use]
    pub fn provider(&self) -> (&str, &str) {
        (self.provider, &self.why)
    }

    /// The Jina mock of the stack; `None` for a remote stack.
    #[must_use]
    pub fn jina(&self) -> Option<&JinaMock> {
        self.jina.as_ref()
    }

    /// The clean-up ledger, for everything else that is started for this run; `None` for a remote stack that is only read.
    #[must_use]
    pub fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
    }

    /// The throwaway directory; `None` for a remote stack.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Whether data that is written to the services need not be removed: the services are removed with the stack, or
    /// kept for inspection.
    #[must_use]
    pub fn is_throwaway(&self) -> bool {
        match &self.backend {
            Backend::Native(_) => true,
            Backend::Containers(containers) => containers.is_throwaway(),
            Backend::Remote => false,
        }
    }

    /// How to reach and remove what stays after the stack is stopped; `None` if nothing does.
    #[must_use]
    pub fn retention_notice(&self) -> Option<String> {
        let Backend::Containers(containers) = &self.backend else { return None };
        let removal = containers.retention_notice()?;
        let environment = self.environment_file().filter(|_| containers.is_throwaway());
        let reach = environment.map(|path| format!("`set -a; . {}` sets their variables; ", path.display()));
        Some(format!("containers are kept: {}{removal}", reach.unwrap_or_default()))
    }

    /// The file for the variables of a stack that is kept. It contains secrets.
    pub(super) fn environment_file(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.join("stack.env"))
    }

    /// The pid of the main process of a service, if we started it on this machine and it runs.
    pub async fn pid(&self, service: Service) -> Option<i32> {
        match self.running(service, "inspected").ok()? {
            Running::Process(process) => process.pid().await,
            Running::Container(container) => container.pid().await,
        }
    }

    /// Shuts `service` down in an orderly way and starts it again with the same port and data. Waits until it is ready.
    ///
    /// # Errors
    /// The provider does not support this for the service, or the service does not become ready.
    pub async fn restart(&self, service: Service) -> Result<(), StackError> {
        match self.running(service, "restarted")? {
            Running::Process(process) => process.restart().await,
            Running::Container(container) => container.restart().await,
        }
    }

    /// Sends SIGKILL to `service` and its descendants. Returns when they are gone.
    ///
    /// # Errors
    /// The provider does not support this for the service.
    pub async fn kill(&self, service: Service) -> Result<(), StackError> {
        match self.running(service, "killed")? {
            Running::Process(process) => {
                process.kill().await;
                Ok(())
            }
            Running::Container(container) => container.kill().await,
        }
    }

    /// Starts a killed `service` again with the same port and the data that survived. Waits until it is ready.
    ///
    /// # Errors
    /// The provider does not support this for the service, or the service does not become ready.
    pub async fn start_again(&self, service: Service) -> Result<(), StackError> {
        match self.running(service, "started again")? {
            Running::Process(process) => process.start_again().await,
            Running::Container(container) => container.start_again().await,
        }
    }

    /// Pauses `service`: connections stay open, but nothing answers.
    ///
    /// # Errors
    /// The provider does not support this for the service, or the service was killed.
    pub async fn pause(&self, service: Service) -> Result<(), StackError> {
        match self.running(service, "paused")? {
            Running::Process(process) => process.pause().await,
            Running::Container(container) => container.pause().await,
        }
    }

    /// Resumes a paused `service` and waits until it answers.
    ///
    /// # Errors
    /// The provider does not support this for the service, or the service was killed or does not answer.
    pub async fn resume(&self, service: Service) -> Result<(), StackError> {
        match self.running(service, "resumed")? {
            Running::Process(process) => process.resume().await,
            Running::Container(container) => container.resume().await,
        }
    }

    /// Disconnects `service` from its network: packets are lost without an error on either side.
    ///
    /// # Errors
    /// The provider does not support this for the service: it needs [`Capability::Disconnect`](super::Capability).
    pub async fn disconnect(&self, service: Service) -> Result<(), StackError> {
        match self.running(service, "disconnected")? {
            Running::Process(_) => Err(no_network(service, "disconnected")),
            Running::Container(container) => container.disconnect().await,
        }
    }

    /// Reconnects `service` to its network and waits until it answers.
    ///
    /// # Errors
    /// The provider does not support this for the service, or the service does not answer.
    pub async fn reconnect(&self, service: Service) -> Result<(), StackError> {
        match self.running(service, "reconnected")? {
            Running::Process(_) => Err(no_network(service, "reconnected")),
            Running::Container(container) => container.reconnect().await,
        }
    }

    fn running(&self, service: Service, action: &'static str) -> Result<Running<'_>, StackError> {
        let unsupported = |reason| StackError::Unsupported { service, action, reason };
        let found = match &self.backend {
            Backend::Native(native) => native.service(service).map(Running::Process),
            Backend::Containers(containers) => containers.service(service).map(Running::Container),
            Backend::Remote => return Err(unsupported("remote stacks are never disturbed")),
        };
        found.ok_or(unsupported("the mock is not a process; give it behaviours, or use a network fault"))
    }

    /// Removes everything that was created. Returns what could not be removed, one line each.
    pub async fn stop(mut self) -> Vec<String> {
        self.jina = None;
        let mut left = match std::mem::replace(&mut self.backend, Backend::Remote) {
            Backend::Native(native) => {
                native.stop().await;
                Vec::new()
            }
            Backend::Containers(containers) => containers.stop().await,
            Backend::Remote => Vec::new(),
        };
        left.extend(match self.ledger.take() {
            // Removing a directory tree blocks for tens of milliseconds.
            Some(ledger) => tokio::task::spawn_blocking(move || ledger.replay())
                .await
                .unwrap_or_else(|error| vec![format!("clean-up did not finish: {error}; run `shakedown clean`")]),
            None => Vec::new(),
        });
        left
    }
}

fn no_network(service: Service, action: &'static str) -> StackError {
    StackError::Unsupported {
        service,
        action,
        reason: "a local process has no network of its own; use a network fault",
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if let Some(ledger) = &self.ledger {
            // Best effort: what is left stays in the ledger for `shakedown clean`.
            let _ = ledger.replay();
        }
    }
}
