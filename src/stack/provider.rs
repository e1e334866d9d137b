//! A stack and the provider it comes from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::jina::{JinaConfig, JinaMock};
use super::ledger::Ledger;
use super::native::{Native, Overrides, Ports, listen};
use super::{Service, StackError, remote};
use crate::outcome::{Event, Events, ServiceRecord, ServiceStatus};
use crate::settings::{Endpoints, Names};

/// Where a stack comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProviderKind {
    /// The best one that this machine offers: `native`.
    #[default]
    Auto,
    /// Throwaway local processes.
    Native,
    /// Containers; not built yet.
    Containers,
    /// Services that are there already; read-only.
    Remote,
}

/// Something that may be done to a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Ending a service politely and starting it again over the same data.
    Restart,
    /// Killing a service and starting it again.
    Kill,
    /// Pausing a service and letting it go on.
    Pause,
    /// Writing to the services.
    Write,
    /// Putting a proxy between a worker and the services.
    Proxy,
    /// Embeddings come from the mock, whose behaviour a scenario composes.
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
    fn all() -> Self {
        use Capability::{Kill, Mock, Pause, Proxy, Restart, Write};
        Self([Restart, Kill, Pause, Write, Proxy, Mock].into())
    }

    /// Whether `capability` is among them.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }
}

/// How a stack is to be made.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// The run's id: lower-case letters, digits and `-`. Every name that is made carries it.
    pub run: String,
    /// Whether the throwaway directory stays when the stack is stopped.
    pub keep: bool,
    /// This very program, which is run as `shakedown qdrant` where there is no other Qdrant.
    pub shakedown: PathBuf,
    /// The directory in which the throwaway directory is made; the system's own by default.
    pub data_dir: Option<PathBuf>,
    /// Where clean-up ledgers are kept, [`crate::settings::state_dir`].
    pub state_dir: PathBuf,
    /// Where programs are looked for, [`crate::settings::search_path`].
    pub search: Vec<PathBuf>,
    /// Programs to run instead of those found.
    pub programs: Overrides,
    /// Ports to use instead of free ones.
    pub ports: Ports,
    /// The Jina mock.
    pub jina: JinaConfig,
    /// Where the services are, for [`ProviderKind::Remote`].
    pub endpoints: Option<Endpoints>,
}

impl StackOptions {
    /// The usual options for `run`, with this machine's search path and state directory.
    #[must_use]
    pub fn new(run: impl Into<String>, shakedown: impl Into<PathBuf>) -> Self {
        Self {
            run: run.into(),
            keep: false,
            shakedown: shakedown.into(),
            data_dir: None,
            state_dir: crate::settings::state_dir(),
            search: crate::settings::search_path(),
            programs: Overrides::default(),
            ports: Ports::default(),
            jina: JinaConfig::default(),
            endpoints: None,
        }
    }
}

/// The four services, ready to be used; removed when stopped or dropped.
#[derive(Debug)]
pub struct Stack {
    provider: &'static str,
    why: &'static str,
    endpoints: Endpoints,
    services: Vec<ServiceRecord>,
    capabilities: Capabilities,
    jina: Option<JinaMock>,
    native: Option<Native>,
    ledger: Option<Ledger>,
}

impl Stack {
    /// Starts (or finds) the four services and waits until each is ready.
    ///
    /// # Errors
    /// A program is missing, a directory or port cannot be used, a service ends or does not become
    /// ready; whatever was started by then has been removed.
    pub async fn start(kind: ProviderKind, options: StackOptions, events: &Events) -> Result<Self, StackError> {
        let (provider, why) = match kind {
            ProviderKind::Auto => ("native", "local processes need nothing but the programs themselves"),
            ProviderKind::Native => ("native", "asked for"),
            ProviderKind::Containers => return Err(StackError::ProviderNotBuilt("containers")),
            ProviderKind::Remote => ("remote", "asked for"),
        };
        events.say(Event::Provider { name: provider.to_owned(), reason: why.to_owned() });
        let begun = Instant::now();
        let stack = if kind == ProviderKind::Remote {
            let endpoints = options.endpoints.ok_or(StackError::NoEndpoints)?;
            let services = remote::look(&endpoints, events).await;
            let capabilities = Capabilities::default();
            Self { provider, why, endpoints, services, capabilities, jina: None, native: None, ledger: None }
        } else {
            Box::pin(Self::start_native(provider, why, options, events)).await?
        };
        events.say(Event::StackReady { after: begun.elapsed() });
        Ok(stack)
    }

    async fn start_native(
        provider: &'static str,
        why: &'static str,
        options: StackOptions,
        events: &Events,
    ) -> Result<Self, StackError> {
        let ledger = Ledger::open(&options.state_dir, &options.run)?;
        let begun = Instant::now();
        let listener = listen(Service::Jina.name(), options.ports.jina)?;
        let jina = JinaMock::start_on(listener, options.jina.clone()).await;
        let after = begun.elapsed();
        let (native, addresses, mut services) = Native::start(&options, &ledger, events).await?;
        let record = ServiceRecord {
            name: Service::Jina.name().to_owned(),
            status: ServiceStatus::Ready,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            endpoint: jina.endpoint().base_url,
            kind: "mock".to_owned(),
            ready_after_ms: Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            parameters: [
                ("model".to_owned(), jina.endpoint().model),
                ("dimensions".to_owned(), jina.endpoint().dimensions.to_string()),
            ]
            .into(),
        };
        events.say(Event::ServiceReady { service: record.name.clone(), version: record.version.clone(), after });
        services.push(record);
        let endpoints = Endpoints {
            redis: addresses.redis,
            postgres: addresses.postgres,
            qdrant: addresses.qdrant,
            jina: jina.endpoint(),
            names: Names {
                queue: "ingest".to_owned(),
                prefix: "bull".to_owned(),
                collection: "documents".to_owned(),
                table: "public.documents".to_owned(),
            },
        };
        Ok(Self {
            provider,
            why,
            endpoints,
            services,
            capabilities: Capabilities::all(),
            jina: Some(jina),
            native: Some(native),
            ledger: Some(ledger),
        })
    }

    /// Where the services are.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The services as the report shows them.
    #[must_use]
    pub fn services(&self) -> &[ServiceRecord] {
        &self.services
    }

    /// What may be done to this stack.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The provider's name, and why it was chosen.
    #[must_use]
    pub fn provider(&self) -> (&str, &str) {
        (self.provider, self.why)
    }

    /// The stack's own Jina mock; `None` for a remote stack.
    #[must_use]
    pub fn jina(&self) -> Option<&JinaMock> {
        self.jina.as_ref()
    }

    /// The clean-up ledger, for whatever else is started for this run; `None` for a remote stack.
    #[must_use]
    pub fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
    }

    /// The throwaway directory; `None` for a remote stack.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.native.as_ref().map(Native::directory)
    }

    /// The pid of a service's main process, while it is one of ours and runs.
    pub async fn pid(&self, service: Service) -> Option<i32> {
        self.native.as_ref()?.service(service)?.pid().await
    }

    /// Ends `service` politely and starts it again: same port, same data. Waits until it is ready.
    ///
    /// # Errors
    /// The provider cannot do that to this service, or it does not become ready.
    pub async fn restart(&self, service: Service) -> Result<(), StackError> {
        self.native_service(service, "restarted")?.restart().await
    }

    /// SIGKILL to `service` and its descendants; returns when they are gone.
    ///
    /// # Errors
    /// The provider cannot do that to this service.
    pub async fn kill(&self, service: Service) -> Result<(), StackError> {
        self.native_service(service, "killed")?.kill().await;
        Ok(())
    }

    /// Starts a killed `service` again: same port, the data that survived. Waits until it is ready.
    ///
    /// # Errors
    /// The provider cannot do that to this service, or it does not become ready.
    pub async fn start_again(&self, service: Service) -> Result<(), StackError> {
        self.native_service(service, "started again")?.start_again().await
    }

    /// SIGSTOP to `service` and its descendants: connections stay open, nothing answers.
    ///
    /// # Errors
    /// The provider cannot do that to this service, or it was killed.
    pub async fn pause(&self, service: Service) -> Result<(), StackError> {
        self.native_service(service, "paused")?.pause().await
    }

    /// Lets a paused `service` go on; waits until it answers.
    ///
    /// # Errors
    /// The provider cannot do that to this service, it was killed, or it does not answer.
    pub async fn resume(&self, service: Service) -> Result<(), StackError> {
        self.native_service(service, "resumed")?.resume().await
    }

    fn native_service(
        &self,
        service: Service,
        action: &'static str,
    ) -> Result<&super::native::NativeService, StackError> {
        let unsupported = |reason| StackError::Unsupported { service, action, reason };
        let native = self.native.as_ref().ok_or(unsupported("a remote stack is never disturbed"))?;
        native.service(service).ok_or(unsupported("the mock is no process: give it behaviours, or cut it at a proxy"))
    }

    /// Removes everything that was made; says what could not be removed, one line each.
    pub async fn stop(mut self) -> Vec<String> {
        self.jina = None;
        if let Some(native) = self.native.take() {
            native.stop().await;
        }
        match self.ledger.take() {
            // Removing a directory tree blocks for some tens of milliseconds.
            Some(ledger) => tokio::task::spawn_blocking(move || ledger.replay())
                .await
                .unwrap_or_else(|error| vec![format!("clean-up did not finish: {error}; run `shakedown clean`")]),
            None => Vec::new(),
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if let Some(ledger) = &self.ledger {
            // Best effort: what is left stays in the ledger, for `shakedown clean`.
            let _ = ledger.replay();
        }
    }
}
