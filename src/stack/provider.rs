//! Starting a stack: choosing the provider and collecting what it started.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::addresses::Addresses;
use super::capabilities::Capabilities;
use super::cleanup::ledger::Ledger;
use super::containers;
use super::containers::engine::Engine;
use super::data_dir::{create_throwaway, write_environment};
use super::error::StackError;
use super::handle::{Backend, Stack};
use super::jina::JinaMock;
use super::native::provider::Native;
use super::options::{ProviderKind, StackOptions};
use super::ports::listen;
use super::remote;
use super::service::Service;
use crate::outcome::{Event, Events, ServiceRecord, ServiceStatus};
use crate::redaction::public_address;
use crate::settings::{Endpoints, Names};

/// How long an engine may take to answer before `auto` falls back to `native`.
const AUTO_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an engine may take to answer if `containers` was requested.
const REQUESTED_TIMEOUT: Duration = Duration::from_secs(10);

/// The provider that is used, and why it was chosen.
enum Chosen {
    Native(String),
    Containers(Engine, String),
    Remote(String),
}

impl Chosen {
    /// Resolves `auto`, and connects to the engine if there is one to use.
    async fn resolve(kind: ProviderKind, options: &StackOptions) -> Result<Self, StackError> {
        let host = &options.docker_host;
        let requested = || "requested".to_owned();
        Ok(match kind {
            ProviderKind::Auto => match Engine::connect(host, AUTO_TIMEOUT).await {
                Ok(engine) => Self::Containers(engine, format!("a Docker engine answers at {host}")),
                Err(StackError::NoEngine { reason, .. }) => {
                    Self::Native(format!("no Docker engine answers at {host}: {reason}"))
                }
                Err(error) => return Err(error),
            },
            ProviderKind::Native => Self::Native(requested()),
            ProviderKind::Containers => {
                let engine = Engine::connect(host, REQUESTED_TIMEOUT).await?;
                Self::Containers(engine, format!("requested; engine at {host}"))
            }
            ProviderKind::Remote => Self::Remote(requested()),
        })
    }

    /// The name of the provider, and why it was chosen.
    fn describe(&self) -> (&'static str, String) {
        match self {
            Self::Native(why) => ("native", why.clone()),
            Self::Containers(_, why) => ("containers", why.clone()),
            Self::Remote(why) => ("remote", why.clone()),
        }
    }
}

/// What a provider of throwaway services started.
struct Started {
    backend: Backend,
    addresses: Addresses,
    services: Vec<ServiceRecord>,
    directory: PathBuf,
    capabilities: Capabilities,
}

impl Stack {
    /// Starts (or finds) the four services and waits until each is ready.
    ///
    /// # Errors
    /// A program, the Docker engine or an image is missing, a directory or port cannot be used, or a service exits or
    /// does not become ready. Whatever was started before the error has been removed.
    pub async fn start(kind: ProviderKind, options: StackOptions, events: &Events) -> Result<Self, StackError> {
        let chosen = Chosen::resolve(kind, &options).await?;
        let (provider, why) = chosen.describe();
        events.send(Event::Provider { name: provider.to_owned(), reason: why.clone() });
        let begun = Instant::now();
        let stack = if let Chosen::Remote(_) = chosen {
            let endpoints = options.endpoints.ok_or(StackError::NoEndpoints)?;
            let services = remote::ask_services(&endpoints, &BTreeSet::new(), events).await;
            let mut stack = Self::from_endpoints(endpoints, false);
            (stack.why, stack.services) = (why, services);
            stack
        } else {
            Box::pin(Self::start_throwaway(chosen, options, events)).await?
        };
        events.send(Event::StackReady { after: begun.elapsed() });
        Ok(stack)
    }

    /// Starts throwaway services and the Jina mock.
    async fn start_throwaway(chosen: Chosen, options: StackOptions, events: &Events) -> Result<Self, StackError> {
        let (provider, why) = chosen.describe();
        let ledger = Ledger::open(&options.state_dir, &options.run)?;
        let begun = Instant::now();
        let listener = listen(Service::Jina.name(), options.ports.jina)?;
        let jina = JinaMock::start_on(listener, options.jina.clone()).await;
        let jina_ready_after = begun.elapsed();
        let mut started = match chosen {
            Chosen::Containers(engine, _) => start_containers(engine, &options, &ledger, events).await?,
            Chosen::Native(_) | Chosen::Remote(_) => start_native(&options, &ledger, events).await?,
        };
        let record = mock_record(&jina, jina_ready_after);
        let (service, version) = (record.name.clone(), record.version.clone());
        events.send(Event::ServiceReady { service, version, after: jina_ready_after });
        started.services.push(record);
        let endpoints = Endpoints {
            redis: started.addresses.redis,
            postgres: started.addresses.postgres,
            qdrant: started.addresses.qdrant,
            jina: jina.endpoint(),
            names: Names {
                queue: "ingest".to_owned(),
                prefix: "bull".to_owned(),
                collection: "documents".to_owned(),
                table: "public.documents".to_owned(),
            },
        };
        endpoints.learn();
        let stack = Self {
            provider,
            why,
            endpoints,
            services: started.services,
            capabilities: started.capabilities,
            jina: Some(jina),
            backend: started.backend,
            directory: Some(started.directory),
            ledger: Some(ledger),
        };
        if let (Some(path), Some(_)) = (stack.environment_file(), stack.retention_notice()) {
            write_environment(&path, stack.endpoints())?;
        }
        Ok(stack)
    }
}

/// The record of the Jina mock for the report.
fn mock_record(jina: &JinaMock, after: Duration) -> ServiceRecord {
    let endpoint = jina.endpoint();
    ServiceRecord {
        name: Service::Jina.name().to_owned(),
        status: ServiceStatus::Ready,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        endpoint: public_address(&endpoint.base_url),
        kind: "mock".to_owned(),
        ready_after_ms: Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        parameters: [("model".to_owned(), endpoint.model), ("dimensions".to_owned(), endpoint.dimensions.to_string())]
            .into(),
    }
}

async fn start_containers(
    engine: Engine,
    options: &StackOptions,
    ledger: &Ledger,
    events: &Events,
) -> Result<Started, StackError> {
    let directory = create_throwaway(options, false, ledger)?;
    let started = Box::pin(containers::start::start(engine, options, ledger, events)).await;
    let (containers, addresses, services) = started.inspect_err(|_| {
        // What cannot be removed stays in the ledger.
        let _ = ledger.replay();
    })?;
    let backend = Backend::Containers(Box::new(containers));
    Ok(Started { backend, addresses, services, directory, capabilities: Capabilities::of_containers() })
}

async fn start_native(options: &StackOptions, ledger: &Ledger, events: &Events) -> Result<Started, StackError> {
    let (native, addresses, services) = Native::start(options, ledger, events).await?;
    let directory = native.directory().to_owned();
    let backend = Backend::Native(Box::new(native));
    Ok(Started { backend, addresses, services, directory, capabilities: Capabilities::of_processes() })
}
