//! How each service is run in a container.

use secrecy::{ExposeSecret, SecretString};

use super::engine::Engine;
use super::images::ImageRef;
use crate::stack::Service;
use crate::stack::native::redis::protected_configs;
use crate::stack::ready::Readiness;

/// How to run one service.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) service: Service,
    pub(super) image: ImageRef,
    /// Command; what the image says when it is empty.
    pub(super) command: Vec<String>,
    pub(super) environment: Vec<(&'static str, SecretString)>,
    /// Files that are there before it starts, readable by whatever user it runs as inside.
    pub(super) files: Vec<(&'static str, SecretString)>,
    /// Ports inside, each with the one outside.
    pub(super) ports: Vec<(u16, u16)>,
    pub(super) readiness: Readiness,
    /// The signal that makes it end with its data in order.
    pub(super) polite: &'static str,
}

/// Where the configuration lies in Redis' container.
const REDIS_CONFIG: &str = "/etc/shakedown-redis.conf";

/// Redis: password enforced, nothing evicted, an append-only file that survives a restart.
pub(super) fn redis(engine: &Engine, image: ImageRef, password: &SecretString, port: u16) -> Plan {
    // The password goes into a file: whoever lists the machine's processes sees the arguments.
    let config = format!(
        "bind * -::*\nprotected-mode yes\nrequirepass {}\ndaemonize no\nlogfile \"\"\nmaxmemory-policy noeviction\n\
         save \"\"\nappendonly yes\nappendfsync everysec\nauto-aof-rewrite-percentage 0\n{}",
        password.expose_secret(),
        protected_configs(image.major()),
    );
    let url = format!("redis://default:{}@{}:{port}/0", password.expose_secret(), engine.reach);
    Plan {
        service: Service::Redis,
        image,
        command: vec!["redis-server".to_owned(), REDIS_CONFIG.to_owned()],
        environment: Vec::new(),
        files: vec![(REDIS_CONFIG, config.into())],
        ports: vec![(6379, port)],
        readiness: Readiness::Redis { url: url.into() },
        polite: "SIGTERM",
    }
}

/// Postgres as its image sets it up, without waiting for disks. `command` is the image's own.
pub(super) fn postgres(
    engine: &Engine,
    image: ImageRef,
    command: Vec<String>,
    password: &SecretString,
    connections: u32,
    port: u16,
) -> Plan {
    let url = format!("postgres://postgres:{}@{}:{port}/postgres", password.expose_secret(), engine.reach);
    let mut command = if command.is_empty() { vec!["postgres".to_owned()] } else { command };
    let connections = format!("max_connections={connections}");
    for setting in [connections.as_str(), "fsync=off", "full_page_writes=off"] {
        command.extend(["-c".to_owned(), setting.to_owned()]);
    }
    Plan {
        service: Service::Postgres,
        image,
        command,
        environment: vec![("POSTGRES_PASSWORD", password.clone())],
        files: Vec::new(),
        ports: vec![(5432, port)],
        readiness: Readiness::Postgres { url: url.into() },
        polite: "SIGINT",
    }
}

/// Qdrant, with a key.
pub(super) fn qdrant(engine: &Engine, image: ImageRef, key: &SecretString, http: u16, grpc: u16) -> Plan {
    Plan {
        service: Service::Qdrant,
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
        polite: "SIGTERM",
    }
}
