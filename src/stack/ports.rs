//! Free ports on 127.0.0.1.

use std::net::{Ipv4Addr, TcpListener};

use super::StackError;

/// Ports that the user wants instead of free ones.
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

/// A port held until its service is about to be started, so that no two services get the same one.
#[derive(Debug)]
pub(super) struct Held {
    /// The port.
    pub(super) port: u16,
    /// Whether the user asked for it: then another one will not do.
    pub(super) wanted: bool,
    _listener: TcpListener,
}

impl Held {
    /// Holds the `wanted` port, or a free one.
    pub(super) fn hold(service: &'static str, wanted: Option<u16>) -> Result<Self, StackError> {
        let listener = listen(service, wanted)?;
        let port = listener.local_addr().map_err(StackError::NoPort)?.port();
        Ok(Self { port, wanted: wanted.is_some(), _listener: listener })
    }

    /// Lets go of the port, for the service to take.
    pub(super) fn release(self) -> u16 {
        self.port
    }
}

/// Listens on the `wanted` port, or on a free one.
pub(super) fn listen(service: &'static str, wanted: Option<u16>) -> Result<TcpListener, StackError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, wanted.unwrap_or(0))).map_err(|cause| match wanted {
        Some(port) => StackError::PortInUse { service, port, cause },
        None => StackError::NoPort(cause),
    })
}

/// Whether a service's log says that its port was taken in the meantime.
pub(super) fn says_port_taken(log: &str) -> bool {
    let log = log.to_lowercase();
    log.contains("address already in use") || log.contains("could not bind") || log.contains("failed listening on port")
}
