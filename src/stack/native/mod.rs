//! The native provider: throwaway local processes on ephemeral ports of 127.0.0.1.
//!
//! One file per service says how it is prepared and run ([`Plan`]); this file starts plans, waits until
//! they are ready, and disturbs and ends them.

pub(super) mod postgres;
mod programs;
mod qdrant;
pub(super) mod redis;
mod service;

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, chown};
use secrecy::SecretString;

use super::addresses::Addresses;
use super::ledger::Ledger;
use super::place::throwaway;
use super::ports::Held;
use super::process::{Account, Launch};
use super::ready::Readiness;
use super::{Service, StackError, StackOptions, random_word, shape};
use crate::outcome::{Events, ServiceRecord};
pub use programs::Overrides;
pub(super) use service::NativeService;

/// How to run one service.
#[derive(Debug, Clone)]
struct Plan {
    service: Service,
    /// What it is: `redis-server`, `embedded qdrant`, …
    kind: String,
    launch: Launch,
    readiness: Readiness,
    /// The signal that makes it end with its data in order.
    polite: Signal,
}

/// Three services as local processes.
#[derive(Debug)]
pub(super) struct Native {
    redis: NativeService,
    postgres: NativeService,
    qdrant: NativeService,
    directory: PathBuf,
    keep: bool,
}

impl Native {
    /// Starts all three at once and waits until each is ready.
    pub(super) async fn start(
        options: &StackOptions,
        ledger: &Ledger,
        events: &Events,
    ) -> Result<(Self, Addresses, Vec<ServiceRecord>), StackError> {
        let programs = programs::find(&options.search, programs::TYPICAL, &options.programs)?;
        let account = postgres::account()?;
        let password = || SecretString::from(random_word(32));
        let (redis_password, postgres_password, qdrant_key) = (password(), password(), password());
        // All ports are held at once, so that no two services are given the same one.
        let hold = |service: Service, wanted| Held::hold(service.name(), wanted);
        let redis_port = hold(Service::Redis, options.ports.redis)?;
        let postgres_port = hold(Service::Postgres, options.ports.postgres)?;
        let http_port = hold(Service::Qdrant, options.ports.qdrant_http)?;
        let grpc_port = hold(Service::Qdrant, options.ports.qdrant_grpc)?;

        let directory = throwaway(options, account.is_some(), ledger)?;
        let begun = Instant::now();
        let redis_directory = directory.join("redis");
        let redis = NativeService::start(ledger, events, begun, vec![redis_port], |ports| {
            redis::plan(&programs.redis, &redis_directory, &redis_password, ports[0])
        });
        let postgres_directory = directory.join("postgres");
        let postgres = async {
            postgres::initialise(&programs.initdb, &postgres_directory, account, &postgres_password, ledger).await?;
            let service = NativeService::start(ledger, events, begun, vec![postgres_port], |ports| {
                let connections = options.postgres_connections;
                Ok(postgres::plan(
                    &programs.postgres,
                    &postgres_directory,
                    account,
                    &postgres_password,
                    connections,
                    ports[0],
                ))
            })
            .await?;
            if let Readiness::Postgres { url } = service.0.readiness() {
                shape::lay_down(url).await?;
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
                // The processes went with their futures; what cannot be removed stays in the ledger.
                let _ = ledger.replay();
                return Err(error);
            }
        };
        let addresses = Addresses::of([&redis.0, &postgres.0, &qdrant.0].map(NativeService::readiness));
        let records = vec![redis.1, postgres.1, qdrant.1];
        let native = Self { redis: redis.0, postgres: postgres.0, qdrant: qdrant.0, directory, keep: options.keep };
        Ok((native, addresses, records))
    }

    /// The process of `service`; `None` for what is not a process of this provider.
    pub(super) fn service(&self, service: Service) -> Option<&NativeService> {
        match service {
            Service::Redis => Some(&self.redis),
            Service::Postgres => Some(&self.postgres),
            Service::Qdrant => Some(&self.qdrant),
            Service::Jina => None,
        }
    }

    /// The throwaway directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Ends all three; data that is kept is put in order first.
    pub(super) async fn stop(&self) {
        let end = |service| NativeService::end(service, self.keep);
        tokio::join!(end(&self.redis), end(&self.postgres), end(&self.qdrant));
    }
}

/// Creates a directory that only its owner can look into; one that is there already is fine.
fn private_directory(path: &Path, owner: Option<Account>) -> Result<(), StackError> {
    let fail = |cause| StackError::Directory { action: "create", path: path.to_owned(), cause };
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(cause) if cause.kind() != ErrorKind::AlreadyExists => return Err(fail(cause)),
        _ => {}
    }
    give(path, owner).map_err(fail)
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, text: &str, owner: Option<Account>) -> Result<(), StackError> {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        give(path, owner)
    };
    write().map_err(|cause| StackError::Directory { action: "write", path: path.to_owned(), cause })
}

fn give(path: &Path, owner: Option<Account>) -> std::io::Result<()> {
    let Some(Account { uid, gid }) = owner else { return Ok(()) };
    chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(std::io::Error::from)
}

/// What every service's environment begins with: nothing of the user's own settings reaches it.
fn launch_environment() -> Vec<(String, SecretString)> {
    [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LC_ALL", "C"), ("TZ", "UTC")]
        .map(|(name, value)| (name.to_owned(), SecretString::from(value)))
        .to_vec()
}
