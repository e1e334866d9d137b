//! A stack and the provider it comes from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::containers::{ContainerService, Containers, Engine, Images};
use super::jina::{JinaConfig, JinaMock};
use super::ledger::Ledger;
use super::native::{Native, NativeService, Overrides};
use super::place::{throwaway, write_environment};
use super::ports::{Ports, listen};
use super::{Service, StackError, remote};
use crate::outcome::{Event, Events, ServiceRecord, ServiceStatus};
use crate::settings::{Endpoints, Names};

/// Where a stack comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProviderKind {
    /// `containers` where a Docker engine answers within a second, else `native`.
    #[default]
    Auto,
    /// Throwaway local processes.
    Native,
    /// Containers.
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
    /// Taking a service off its network, without a word to anybody, and putting it back.
    Disconnect,
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
    /// Everything that may be done to processes of our own.
    fn of_processes() -> Self {
        use Capability::{Kill, Mock, Pause, Proxy, Restart, Write};
        Self([Restart, Kill, Pause, Write, Proxy, Mock].into())
    }

    /// The same, and what only a container's network permits.
    fn of_containers() -> Self {
        let mut all = Self::of_processes();
        all.0.insert(Capability::Disconnect);
        all
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
    /// The directory in which the throwaway directory is made; [`crate::stack::usual_data_dir`] by default, and the
    /// system's temporary directory for one that is kept.
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
    /// Where the Docker engine listens, [`crate::settings::docker_host`].
    pub docker_host: String,
    /// Images to start instead of the pinned ones.
    pub images: Images,
    /// The most memory that each container may use, in MiB.
    pub container_memory_mb: u64,
    /// How many connections Postgres permits.
    pub postgres_connections: u32,
    /// Whether containers stay warm for the next run that asks for the same.
    pub reuse: bool,
}

/// Memory that each container may use, in MiB, when nobody says otherwise.
pub const CONTAINER_MEMORY_MB: u64 = 1024;

/// Connections that Postgres permits when nobody says otherwise: its own default.
const POSTGRES_CONNECTIONS: u32 = 100;

/// How long an engine may take to answer before `auto` goes on without it.
const AUTO_PATIENCE: Duration = Duration::from_secs(1);
/// How long an engine that was asked for may take to answer.
const ASKED_PATIENCE: Duration = Duration::from_secs(10);

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
            docker_host: crate::settings::docker_host(),
            images: Images::default(),
            container_memory_mb: CONTAINER_MEMORY_MB,
            postgres_connections: POSTGRES_CONNECTIONS,
            reuse: false,
        }
    }
}

/// What runs the services.
#[derive(Debug)]
enum Backend {
    Native(Box<Native>),
    Containers(Box<Containers>),
    /// Somebody else.
    Remote,
}

/// A service that is ours to disturb.
enum Running<'a> {
    Process(&'a NativeService),
    Container(&'a ContainerService),
}

/// The four services, ready to be used; removed when stopped or dropped.
#[derive(Debug)]
pub struct Stack {
    provider: &'static str,
    why: String,
    endpoints: Endpoints,
    services: Vec<ServiceRecord>,
    capabilities: Capabilities,
    jina: Option<JinaMock>,
    backend: Backend,
    directory: Option<PathBuf>,
    ledger: Option<Ledger>,
}

/// A provider that can be used, and why it was chosen.
enum Chosen {
    Native(String),
    Containers(Engine, String),
    Remote(String),
}

impl Chosen {
    /// The one that was asked for, or the best one.
    async fn of(kind: ProviderKind, options: &StackOptions) -> Result<Self, StackError> {
        let host = &options.docker_host;
        Ok(match kind {
            ProviderKind::Auto => match Engine::at(host, AUTO_PATIENCE).await {
                Ok(engine) => Self::Containers(engine, format!("a Docker engine answers at {host}")),
                Err(StackError::NoEngine { reason, .. }) => {
                    Self::Native(format!("no Docker engine answers at {host}: {reason}"))
                }
                Err(error) => return Err(error),
            },
            ProviderKind::Native => Self::Native("asked for".to_owned()),
            ProviderKind::Containers => {
                Self::Containers(Engine::at(host, ASKED_PATIENCE).await?, format!("asked for; engine at {host}"))
            }
            ProviderKind::Remote => Self::Remote("asked for".to_owned()),
        })
    }

    fn describe(&self) -> (&'static str, String) {
        match self {
            Self::Native(why) => ("native", why.clone()),
            Self::Containers(_, why) => ("containers", why.clone()),
            Self::Remote(why) => ("remote", why.clone()),
        }
    }
}

impl Stack {
    /// Starts (or finds) the four services and waits until each is ready.
    ///
    /// # Errors
    /// A program, the Docker engine or an image is missing, a directory or port cannot be used, a service ends or does
    /// not become ready; whatever was started by then has been removed.
    pub async fn start(kind: ProviderKind, options: StackOptions, events: &Events) -> Result<Self, StackError> {
        let chosen = Chosen::of(kind, &options).await?;
        let (provider, why) = chosen.describe();
        events.say(Event::Provider { name: provider.to_owned(), reason: why.clone() });
        let begun = Instant::now();
        let stack = if let Chosen::Remote(_) = chosen {
            let endpoints = options.endpoints.ok_or(StackError::NoEndpoints)?;
            let services = remote::look(&endpoints, &std::collections::BTreeSet::new(), events).await;
            Self {
                provider,
                why,
                endpoints,
                services,
                capabilities: Capabilities::default(),
                jina: None,
                backend: Backend::Remote,
                directory: None,
                ledger: None,
            }
        } else {
            Box::pin(Self::start_own(chosen, options, events)).await?
        };
        events.say(Event::StackReady { after: begun.elapsed() });
        Ok(stack)
    }

    /// Services that are there already; none of them is asked anything. They are only read, unless `writable`.
    #[must_use]
    pub fn found(endpoints: Endpoints, writable: bool) -> Self {
        Self {
            provider: "remote",
            why: "the environment's variables".to_owned(),
            endpoints,
            services: Vec::new(),
            capabilities: Capabilities(writable.then_some(Capability::Write).into_iter().collect()),
            jina: None,
            backend: Backend::Remote,
            directory: None,
            ledger: None,
        }
    }

    /// Starts services of our own, and the Jina mock beside them.
    async fn start_own(chosen: Chosen, options: StackOptions, events: &Events) -> Result<Self, StackError> {
        let (provider, why) = chosen.describe();
        let ledger = Ledger::open(&options.state_dir, &options.run)?;
        let begun = Instant::now();
        let listener = listen(Service::Jina.name(), options.ports.jina)?;
        let jina = JinaMock::start_on(listener, options.jina.clone()).await;
        let after = begun.elapsed();
        let (backend, addresses, mut services, directory, capabilities) = match chosen {
            Chosen::Containers(engine, _) => {
                let directory = throwaway(&options, false, &ledger)?;
                let started = Box::pin(Containers::start(engine, &options, &ledger, events)).await;
                let (containers, addresses, services) = started.inspect_err(|_| {
                    // What cannot be removed stays in the ledger.
                    let _ = ledger.replay();
                })?;
                (
                    Backend::Containers(Box::new(containers)),
                    addresses,
                    services,
                    directory,
                    Capabilities::of_containers(),
                )
            }
            Chosen::Native(_) | Chosen::Remote(_) => {
                let (native, addresses, services) = Native::start(&options, &ledger, events).await?;
                let directory = native.directory().to_owned();
                (Backend::Native(Box::new(native)), addresses, services, directory, Capabilities::of_processes())
            }
        };
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
        let stack = Self {
            provider,
            why,
            endpoints,
            services,
            capabilities,
            jina: Some(jina),
            backend,
            directory: Some(directory),
            ledger: Some(ledger),
        };
        if let (Some(path), Some(_)) = (stack.environment_file(), stack.retention_notice()) {
            write_environment(&path, &stack.endpoints)?;
        }
        Ok(stack)
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
        (self.provider, &self.why)
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
        self.directory.as_deref()
    }

    /// Whether what is written to the services need not be removed: they vanish when the stack is stopped, or stay
    /// for somebody to look at.
    #[must_use]
    pub fn is_throwaway(&self) -> bool {
        match &self.backend {
            Backend::Native(_) => true,
            Backend::Containers(containers) => containers.is_throwaway(),
            Backend::Remote => false,
        }
    }

    /// How to reach, and to remove, what stays after the stack is stopped; `None` when nothing does.
    #[must_use]
    pub fn retention_notice(&self) -> Option<String> {
        let Backend::Containers(containers) = &self.backend else { return None };
        let removal = containers.retention_notice()?;
        let environment = self.environment_file().filter(|_| containers.is_throwaway());
        let reach = environment.map(|path| format!("`set -a; . {}` to reach them; ", path.display()));
        Some(format!("containers stay: {}{removal}", reach.unwrap_or_default()))
    }

    /// Where the variables of a stack that stays are written; the secrets among them are nobody else's business.
    fn environment_file(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.join("stack.env"))
    }

    /// The pid of a service's main process, while it is one of ours and runs on this machine.
    pub async fn pid(&self, service: Service) -> Option<i32> {
        match self.running(service, "looked at").ok()? {
            Running::Process(process) => process.pid().await,
            Running::Container(container) => container.pid().await,
        }
    }

    /// Ends `service` politely and starts it again: same port, same data. Waits until it is ready.
    ///
    /// # Errors
    /// The provider cannot do that to this service, or it does not become ready.
    pub async fn restart(&self, service: Service) -> Result<(), StackError> {
        match self.running(service, "restarted")? {
            Running::Process(process) => process.restart().await,
            Running::Container(container) => container.restart().await,
        }
    }

    /// SIGKILL to `service` and its descendants; returns when they are gone.
    ///
    /// # Errors
    /// The provider cannot do that to this service.
    pub async fn kill(&self, service: Service) -> Result<(), StackError> {
        match self.running(service, "killed")? {
            Running::Process(process) => {
                process.kill().await;
                Ok(())
            }
            Running::Container(container) => container.kill().await,
        }
    }

    /// Starts a killed `service` again: same port, the data that survived. Waits until it is ready.
    ///
    /// # Errors
    /// The provider cannot do that to this service, or it does not become ready.
    pub async fn start_again(&self, service: Service) -> Result<(), StackError> {
        match self.running(service, "started again")? {
            Running::Process(process) => process.start_again().await,
            Running::Container(container) => container.start_again().await,
        }
    }

    /// Stops `service` in its tracks: connections stay open, nothing answers.
    ///
    /// # Errors
    /// The provider cannot do that to this service, or it was killed.
    pub async fn pause(&self, service: Service) -> Result<(), StackError> {
        match self.running(service, "paused")? {
            Running::Process(process) => process.pause().await,
            Running::Container(container) => container.pause().await,
        }
    }

    /// Lets a paused `service` go on; waits until it answers.
    ///
    /// # Errors
    /// The provider cannot do that to this service, it was killed, or it does not answer.
    pub async fn resume(&self, service: Service) -> Result<(), StackError> {
        match self.running(service, "resumed")? {
            Running::Process(process) => process.resume().await,
            Running::Container(container) => container.resume().await,
        }
    }

    /// Takes `service` off its network: packets are lost and nobody is told.
    ///
    /// # Errors
    /// The provider cannot do that to this service: only [`Capability::Disconnect`] permits it.
    pub async fn disconnect(&self, service: Service) -> Result<(), StackError> {
        match self.running(service, "disconnected")? {
            Running::Process(_) => Err(no_network(service, "disconnected")),
            Running::Container(container) => container.disconnect().await,
        }
    }

    /// Puts a disconnected `service` back on its network; waits until it answers.
    ///
    /// # Errors
    /// The provider cannot do that to this service, or it does not answer.
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
            Backend::Remote => return Err(unsupported("a remote stack is never disturbed")),
        };
        found.ok_or(unsupported("the mock is no process: give it behaviours, or cut it at a proxy"))
    }

    /// Removes everything that was made; says what could not be removed, one line each.
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
            // Removing a directory tree blocks for some tens of milliseconds.
            Some(ledger) => tokio::task::spawn_blocking(move || ledger.replay())
                .await
                .unwrap_or_else(|error| vec![format!("clean-up did not finish: {error}; run `shakedown clean`")]),
            None => Vec::new(),
        });
        left
    }
}

fn no_network(service: Service, action: &'static str) -> StackError {
    StackError::Unsupported { service, action, reason: "a local process has no network of its own: cut it at a proxy" }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if let Some(ledger) = &self.ledger {
            // Best effort: what is left stays in the ledger, for `shakedown clean`.
            let _ = ledger.replay();
        }
    }
}
