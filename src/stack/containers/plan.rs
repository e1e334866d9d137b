//! How each service is run in a container.

use secrecy::{ExposeSecret, SecretString};

use super::engine::Engine;
use super::image_set::PostgresImage;
use super::images::ImageRef;
use crate::stack::error::StackError;
use crate::stack::ready::Readiness;
use crate::stack::redis_config::protected_configs;
use crate::stack::service::Service;

/// How to run one service.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) module: Module,
    pub(super) image: ImageRef,
    /// The command; empty for the command of the image.
    pub(super) command: Vec<String>,
    pub(super) environment: Vec<(&'static str, SecretString)>,
    /// Files that are copied in before the service starts. Every user inside the container can read them.
    pub(super) files: Vec<(&'static str, SecretString)>,
    /// Container ports, each with its published port.
    pub(super) ports: Vec<(u16, u16)>,
    pub(super) readiness: Readiness,
    /// The signal for an orderly shutdown that saves all data.
    pub(super) stop_signal: &'static str,
}

/// The module of `testcontainers` that a container request starts from. `launch` lists the defaults that we replace.
#[derive(Debug, Clone)]
pub(super) enum Module {
    /// `testcontainers_modules::redis::Redis`.
    Redis,
    /// `testcontainers_modules::postgres::Postgres`.
    Postgres {
        /// `POSTGRES_USER`: the superuser that the image creates.
        user: String,
        /// `POSTGRES_DB`: the database that the image creates.
        database: String,
        /// `POSTGRES_PASSWORD`.
        password: SecretString,
    },
    /// `GenericImage`: `testcontainers-modules` has no module for Qdrant.
    Qdrant,
}

impl Plan {
    /// The service.
    pub(super) const fn service(&self) -> Service {
        match self.module {
            Module::Redis => Service::Redis,
            Module::Postgres { .. } => Service::Postgres,
            Module::Qdrant => Service::Qdrant,
        }
    }

    /// The error for a request that the engine refused.
    pub(super) fn engine_error(&self, action: &'static str, reason: String) -> StackError {
        StackError::Engine { service: self.service().name(), action, reason }
    }
}

/// The path of the configuration file in the Redis container.
const REDIS_CONFIG: &str = "/etc/shakedown-redis.conf";

/// Redis: password required, no eviction, an append-only file that survives a restart.
pub(super) fn redis(engine: &Engine, image: ImageRef, password: &SecretString, port: u16) -> Plan {
    // The password goes into a file: arguments are visible in the process list of the machine.
    let config = format!(
        "bind * -::*\nprotected-mode yes\nrequirepass {}\ndaemonize no\nlogfile \"\"\nmaxmemory-policy noeviction\n\
         save \"\"\nappendonly yes\nappendfsync everysec\nauto-aof-rewrite-percentage 0\n{}",
        password.expose_secret(),
        protected_configs(image.major()),
    );
    let url = format!("redis://default:{}@{}:{port}/0", password.expose_secret(), engine.reach);
    Plan {
        module: Module::Redis,
        image,
        command: vec!["redis-server".to_owned(), REDIS_CONFIG.to_owned()],
        environment: Vec::new(),
        files: vec![(REDIS_CONFIG, config.into())],
        ports: vec![(6379, port)],
        readiness: Readiness::Redis { url: url.into() },
        stop_signal: "SIGTERM",
    }
}

/// Postgres as its image configures it, without syncs to disk.
pub(super) fn postgres(
    engine: &Engine,
    image: &PostgresImage,
    password: &SecretString,
    connections: u32,
    port: u16,
) -> Plan {
    let url = format!("postgres://postgres:{}@{}:{port}/postgres", password.expose_secret(), engine.reach);
    let mut command = if image.command.is_empty() { vec!["postgres".to_owned()] } else { image.command.clone() };
    let connections = format!("max_connections={connections}");
    for setting in [connections.as_str(), "fsync=off", "full_page_writes=off"] {
        command.extend(["-c".to_owned(), setting.to_owned()]);
    }
    Plan {
        module: Module::Postgres {
            user: image.user.clone(),
            database: image.database.clone(),
            password: password.clone(),
        },
        image: image.reference.clone(),
        command,
        environment: Vec::new(),
        files: Vec::new(),
        ports: vec![(5432, port)],
        readiness: Readiness::Postgres { url: url.into() },
        stop_signal: "SIGINT",
    }
}

/// Qdrant with an API key.
pub(super) fn qdrant(engine: &Engine, image: ImageRef, key: &SecretString, http: u16, grpc: u16) -> Plan {
    Plan {
        module: Module::Qdrant,
        image,
        command: Vec::new(),
        environment: vec![("QDRANT__SERVICE__API_KEY", key.clone()), ("QDRANT__TELEMETRY_DISABLED", "true".into())],
        files: Vec::new(),
        ports: vec![(6333, http), (6334, grpc)],
        readiness: Readiness::Qdrant {
            url: format!("http://{}:{http}", engine.reach),
            grpc_url: format!("http://{}:{grpc}", engine.reach),
            key: Some(key.clone()),
        },
        stop_signal: "SIGTERM",
    }
}
