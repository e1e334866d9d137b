//! Redis, Postgres and Qdrant as local processes, started in parallel.

use std::path::{Path, PathBuf};
use std::time::Instant;

use secrecy::SecretString;

use super::service::NativeService;
use super::{postgres, programs, qdrant, redis};
use crate::outcome::{Events, ServiceRecord};
use crate::redaction;
use crate::stack::addresses::Addresses;
use crate::stack::cleanup::ledger::Ledger;
use crate::stack::data_dir::create_throwaway;
use crate::stack::error::StackError;
use crate::stack::options::StackOptions;
use crate::stack::ports::ReservedPort;
use crate::stack::random::random_word;
use crate::stack::ready::Readiness;
use crate::stack::service::Service;
use crate::stack::shape;

/// Three services as local processes.
#[derive(Debug)]
pub(in crate::stack) struct Native {
    redis: NativeService,
    postgres: NativeService,
    qdrant: NativeService,
    directory: PathBuf,
    keep: bool,
}

impl Native {
    /// Starts all three at once and waits until each is ready.
    pub(in crate::stack) async fn start(
        options: &StackOptions,
        ledger: &Ledger,
        events: &Events,
    ) -> Result<(Self, Addresses, Vec<ServiceRecord>), StackError> {
        let programs = programs::find(&options.search, programs::TYPICAL, &options.programs)?;
        let account = postgres::account()?;
        let secret = || SecretString::from(random_word(32));
        let (redis_password, postgres_password, qdrant_key) = (secret(), secret(), secret());
        redaction::learn([
            ("REDIS_PASSWORD", &redis_password),
            ("POSTGRES_PASSWORD", &postgres_password),
            ("QDRANT_API_KEY", &qdrant_key),
        ]);
        // All ports are reserved at once, so that no two services get the same one.
        let reserve = |service: Service, requested| ReservedPort::reserve(service.name(), requested);
        let redis_port = reserve(Service::Redis, options.ports.redis)?;
        let postgres_port = reserve(Service::Postgres, options.ports.postgres)?;
        let http_port = reserve(Service::Qdrant, options.ports.qdrant_http)?;
        let grpc_port = reserve(Service::Qdrant, options.ports.qdrant_grpc)?;

        let directory = create_throwaway(options, account.is_some(), ledger)?;
        let begun = Instant::now();
        let redis_directory = directory.join("redis");
        let redis = NativeService::start(ledger, events, begun, vec![redis_port], |ports| {
            redis::plan(&programs.redis, &redis_directory, &redis_password, ports[0])
        });
        let postgres_directory = directory.join("postgres");
        let postgres = async {
            let cluster = postgres::Cluster { directory: &postgres_directory, account, password: &postgres_password };
            cluster.initialise(&programs.initdb, ledger).await?;
            let service = NativeService::start(ledger, events, begun, vec![postgres_port], |ports| {
                Ok(cluster.plan(&programs.postgres, options.postgres_connections, ports[0]))
            })
            .await?;
            if let Readiness::Postgres { url } = service.0.readiness() {
                shape::apply(url).await?;
            }
            Ok(service)
        };
        let qdrant_directory = directory.join("qdrant");
        let qdrant_program = match &programs.qdrant {
            Some(program) => qdrant::Program::Real(program),
            None => qdrant::Program::Embedded(&options.shakedown),
        };
        let qdrant = NativeService::start(ledger, events, begun, vec![http_port, grpc_port], |ports| {
            qdrant::plan(qdrant_program, &qdrant_directory, &qdrant_key, ports[0], ports[1])
        });

        let (redis, postgres, qdrant) = match tokio::try_join!(redis, postgres, qdrant) {
            Ok(services) => services,
            Err(error) => {
                // The processes were dropped with their futures. What cannot be removed stays in the ledger.
                let _ = ledger.replay();
                return Err(error);
            }
        };
        let addresses = Addresses::from_probes([&redis.0, &postgres.0, &qdrant.0].map(NativeService::readiness));
        let records = vec![redis.1, postgres.1, qdrant.1];
        let native = Self { redis: redis.0, postgres: postgres.0, qdrant: qdrant.0, directory, keep: options.keep };
        Ok((native, addresses, records))
    }

    /// The process of `service`; `None` for a service that is not a process of this provider.
    pub(in crate::stack) fn service(&self, service: Service) -> Option<&NativeService> {
        match service {
            Service::Redis => Some(&self.redis),
            Service::Postgres => Some(&self.postgres),
            Service::Qdrant => Some(&self.qdrant),
            Service::Jina => None,
        }
    }

    /// The throwaway directory.
    pub(in crate::stack) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Stops all three. Data that is kept is saved first.
    pub(in crate::stack) async fn stop(&self) {
        let stop = |service| NativeService::stop(service, self.keep);
        tokio::join!(stop(&self.redis), stop(&self.postgres), stop(&self.qdrant));
    }
}
