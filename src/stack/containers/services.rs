//! Redis, Postgres and Qdrant as containers, started in parallel.

use std::time::Instant;

use secrecy::SecretString;

use super::engine::Engine;
use super::image_set::ImageSet;
use super::labels::{self, Retention};
use super::launch::LaunchContext;
use super::plan;
use super::service::ContainerService;
use super::sweep::remove_marked;
use crate::outcome::{Events, ServiceRecord};
use crate::redaction;
use crate::stack::addresses::Addresses;
use crate::stack::cleanup::ledger::{Entry, Ledger};
use crate::stack::error::StackError;
use crate::stack::options::StackOptions;
use crate::stack::ports::ReservedPort;
use crate::stack::random::random_word;
use crate::stack::ready::Readiness;
use crate::stack::service::Service;
use crate::stack::shape;

/// Three services as containers.
#[derive(Debug)]
pub(in crate::stack) struct Containers {
    pub(super) redis: ContainerService,
    pub(super) postgres: ContainerService,
    pub(super) qdrant: ContainerService,
    pub(super) run: String,
    retention: Retention,
    /// Their entry in the ledger, until they are removed.
    pub(super) entry: Option<(Ledger, Entry)>,
}

/// Started containers, their addresses and their records.
pub(super) type Started = (Containers, Addresses, Vec<ServiceRecord>);

/// The secrets of the three services.
pub(super) struct Secrets {
    pub(super) redis: SecretString,
    pub(super) postgres: SecretString,
    pub(super) qdrant: SecretString,
}

impl Secrets {
    /// New random secrets.
    pub(super) fn random() -> Self {
        Self::new([(); 3].map(|()| SecretString::from(random_word(32))))
    }

    /// The secrets of Redis, Postgres and Qdrant. The redactor of the process knows them from here on.
    pub(super) fn new([redis, postgres, qdrant]: [SecretString; 3]) -> Self {
        redaction::learn([("REDIS_PASSWORD", &redis), ("POSTGRES_PASSWORD", &postgres), ("QDRANT_API_KEY", &qdrant)]);
        Self { redis, postgres, qdrant }
    }
}

impl Containers {
    /// Starts all three with the given secrets and waits until each is ready.
    pub(super) async fn launch(
        context: &LaunchContext,
        options: &StackOptions,
        images: &ImageSet,
        secrets: &Secrets,
        events: &Events,
    ) -> Result<Started, StackError> {
        let engine = &context.engine;
        // All ports are reserved at once, so that no two services get the same one.
        let reserve = |service: Service, requested| ReservedPort::reserve(service.name(), requested);
        let redis_port = reserve(Service::Redis, options.ports.redis)?;
        let postgres_port = reserve(Service::Postgres, options.ports.postgres)?;
        let http_port = reserve(Service::Qdrant, options.ports.qdrant_http)?;
        let grpc_port = reserve(Service::Qdrant, options.ports.qdrant_grpc)?;
        let begun = Instant::now();
        // Postgres takes longer to prepare its data than everything else together. Its container is the first in the
        // queue of the engine; the other two are created in the meantime.
        let postgres = ContainerService::launch(context, events, vec![postgres_port], |ports| {
            plan::postgres(engine, &images.postgres, &secrets.postgres, options.postgres_connections, ports[0])
        })
        .await?;
        let redis = ContainerService::start(context, events, begun, vec![redis_port], |ports| {
            plan::redis(engine, images.redis.clone(), &secrets.redis, ports[0])
        });
        let postgres = async {
            let service = postgres.wait_ready(events, begun).await?;
            if let Readiness::Postgres { url } = service.0.readiness() {
                shape::apply(url).await?;
            }
            Ok(service)
        };
        let qdrant = ContainerService::start(context, events, begun, vec![http_port, grpc_port], |ports| {
            plan::qdrant(engine, images.qdrant.clone(), &secrets.qdrant, ports[0], ports[1])
        });
        let (redis, postgres, qdrant) = tokio::try_join!(redis, postgres, qdrant)?;
        Ok(Self::from_services(context, redis, postgres, qdrant))
    }

    /// The three started services of the run of `context`.
    pub(super) fn from_services(
        context: &LaunchContext,
        redis: (ContainerService, ServiceRecord),
        postgres: (ContainerService, ServiceRecord),
        qdrant: (ContainerService, ServiceRecord),
    ) -> Started {
        let addresses = Addresses::from_probes([&redis.0, &postgres.0, &qdrant.0].map(ContainerService::readiness));
        let records = vec![redis.1, postgres.1, qdrant.1];
        let containers = Self {
            redis: redis.0,
            postgres: postgres.0,
            qdrant: qdrant.0,
            run: context.run.clone(),
            retention: context.retention,
            entry: None,
        };
        (containers, addresses, records)
    }

    /// The container of `service`; `None` for a service that does not run in a container.
    pub(in crate::stack) fn service(&self, service: Service) -> Option<&ContainerService> {
        match service {
            Service::Redis => Some(&self.redis),
            Service::Postgres => Some(&self.postgres),
            Service::Qdrant => Some(&self.qdrant),
            Service::Jina => None,
        }
    }

    /// Whether the next run gets other containers.
    pub(in crate::stack) fn is_throwaway(&self) -> bool {
        self.retention != Retention::Warm
    }

    /// How to list and remove the containers that stay; `None` if none does.
    pub(in crate::stack) fn retention_notice(&self) -> Option<String> {
        let label = format!("{}={}", labels::RUN, self.run);
        match self.retention {
            Retention::Remove => None,
            Retention::Keep => Some(format!(
                "`docker ps --filter label={label}` lists them; `docker rm -fv $(docker ps -aq --filter label={label})` \
                 or `shakedown clean --kept` removes them"
            )),
            Retention::Warm => Some("warm for the next --reuse; `shakedown clean --kept` removes them".to_owned()),
        }
    }

    /// Removes all three, unless they are retained. Returns what could not be removed.
    pub(in crate::stack) async fn stop(&self) -> Vec<String> {
        if self.retention != Retention::Remove {
            return Vec::new();
        }
        let (redis, postgres, qdrant) = tokio::join!(self.redis.remove(), self.postgres.remove(), self.qdrant.remove());
        let left: Vec<String> = [redis, postgres, qdrant].into_iter().filter_map(Result::err).collect();
        if let Some((ledger, entry)) = self.entry.as_ref().filter(|_| left.is_empty()) {
            ledger.mark_removed(*entry);
        }
        left
    }
}

/// Removes the containers of a run that could not be started. What cannot be removed stays in the ledger.
pub(super) async fn remove_failed(engine: &Engine, ledger: &Ledger, entry: Entry) {
    let (host, mark) = (engine.host.clone(), ledger.mark().to_owned());
    let removal = tokio::task::spawn_blocking(move || remove_marked(&host, &mark)).await;
    if removal.is_ok_and(|left| left.is_empty()) {
        ledger.mark_removed(entry);
    }
}
