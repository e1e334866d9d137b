//! Free ports on 127.0.0.1.

use std::net::{Ipv4Addr, TcpListener};

use super::error::StackError;

/// Ports that the user requests instead of free ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ports {
    /// Redis.
    pub redis: Option<u16>,
    /// Postgres.
    pub postgres: Option<u16>,
    /// Qdrant's REST API.
    pub qdrant_http: Option<u16>,
    /// Qdrant's gRPC API.
    pub qdrant_grpc: Option<u16>,
    /// The Jina mock.
    pub jina: Option<u16>,
}

/// A port that is occupied until its service is about to start, so that no two services get the same one.
#[derive(Debug)]
pub(super) struct ReservedPort {
    /// The port.
    pub(super) port: u16,
    /// Whether the user requested it: then it is not replaced by another one.
    pub(super) requested: bool,
    _listener: TcpListener,
}

impl ReservedPort {
    /// Reserves the `requested` port, or a free one.
    pub(super) fn reserve(service: &'static str, requested: Option<u16>) -> Result<Self, StackError> {
        let listener = listen(service, requested)?;
        let port = listener.local_addr().map_err(StackError::NoPort)?.port();
        Ok(Self { port, requested: requested.is_some(), _listener: listener })
    }

    /// Frees the port for the service.
    pub(super) fn release(self) -> u16 {
        self.port
    }
}

/// Listens on the `requested` port, or on a free one.
pub(super) fn listen(service: &'static str, requested: Option<u16>) -> Result<TcpListener, StackError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, requested.unwrap_or(0))).map_err(|cause| match requested {
        Some(port) => StackError::PortInUse { service, port, cause },
        None => StackError::NoPort(cause),
    })
}

/// Whether the log of a service shows that its port was taken before it could bind it.
pub(super) fn is_port_conflict(log: &str) -> bool {
    let log = log.to_lowercase();
    log.contains("address already in use") || log.contains("could not bind") || log.contains("failed listening on port")
}
