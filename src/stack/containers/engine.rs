//! The Docker engine, or another that speaks its protocol: how to connect, and its errors as text.

use std::io::ErrorKind;
use std::time::Duration;

use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::query_parameters::{InspectContainerOptions, InspectNetworkOptions};
use url::Url;

use crate::settings::podman_socket;
use crate::stack::error::StackError;

/// The timeout of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// An engine that has answered.
#[derive(Debug, Clone)]
pub(in crate::stack) struct Engine {
    pub(super) docker: Docker,
    /// Where it listens, as in `DOCKER_HOST`.
    pub(super) host: String,
    /// The address on which it publishes ports.
    pub(super) publish: &'static str,
    /// The host name or address at which this process reaches published ports.
    pub(super) reach: String,
}

impl Engine {
    /// Connects to the engine at `host`, which must answer within `timeout`.
    pub(in crate::stack) async fn connect(host: &str, timeout: Duration) -> Result<Self, StackError> {
        let fail = |reason: String, remedy: String| StackError::NoEngine { host: host.to_owned(), reason, remedy };
        reachable(host, timeout).await.map_err(|(reason, remedy)| fail(reason, remedy))?;
        let docker = client(host).map_err(|error| fail(error_text(&error), remedy()))?;
        match tokio::time::timeout(timeout, docker.ping()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(fail(error_text(&error), remedy())),
            Err(_) => return Err(fail(format!("no answer within {} ms", timeout.as_millis()), remedy())),
        }
        let remote = Url::parse(host).ok().filter(|url| matches!(url.scheme(), "tcp" | "http" | "https"));
        let remote = remote.and_then(|url| url.host_str().map(str::to_owned)).filter(|name| !is_loopback(name));
        let gateway = if is_container_of(&docker).await { gateway(&docker).await } else { None };
        let (publish, reach) = match remote.or(gateway) {
            // The loopback address of another machine cannot be reached from here.
            Some(name) => ("0.0.0.0", name),
            None => ("127.0.0.1", "127.0.0.1".to_owned()),
        };
        Ok(Self { docker, host: host.to_owned(), publish, reach })
    }
}

/// A client for the engine at `host`. It does not connect yet.
pub(super) fn client(host: &str) -> Result<Docker, DockerError> {
    Docker::connect_with_host(host).map(|docker| docker.with_timeout(REQUEST_TIMEOUT))
}

/// Checks that something listens at `host`. The error is a reason and a remedy.
async fn reachable(host: &str, timeout: Duration) -> Result<(), (String, String)> {
    let Some(path) = host.strip_prefix("unix://") else {
        let known = ["tcp://", "http://", "https://"].iter().any(|scheme| host.starts_with(scheme));
        let wrong = || {
            let remedy = "set DOCKER_HOST to unix:///path/of.sock or tcp://host:port, or use `--provider native`";
            (format!("invalid engine address `{host}`"), remedy.to_owned())
        };
        let url = Url::parse(host).ok().filter(|_| known).ok_or_else(wrong)?;
        let name = url.host_str().ok_or_else(wrong)?;
        let port = url.port_or_known_default().unwrap_or(2375);
        return match tokio::time::timeout(timeout, tokio::net::TcpStream::connect((name, port))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err((error.to_string(), remedy())),
            Err(_) => Err((format!("no connection within {} ms", timeout.as_millis()), remedy())),
        };
    };
    match tokio::net::UnixStream::connect(path).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(("no such socket".to_owned(), remedy())),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err((
            "permission to use the socket is denied".to_owned(),
            "join the group `docker` and log in again, point DOCKER_HOST at a rootless engine, \
             or use `--provider native`"
                .to_owned(),
        )),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Err((
            "the socket exists but nothing listens on it: the daemon is down".to_owned(),
            "start it (systemctl start docker), or use `--provider native`".to_owned(),
        )),
        Err(error) => Err((error.to_string(), remedy())),
    }
}

fn remedy() -> String {
    match podman_socket() {
        Some(socket) => format!(
            "Podman listens at {}: set DOCKER_HOST=unix://{}, or use `--provider native`",
            socket.display(),
            socket.display()
        ),
        None => "start Docker, set DOCKER_HOST to an engine (`docker context inspect` shows its address), \
                 or use `--provider native`, which needs no engine"
            .to_owned(),
    }
}

fn is_loopback(name: &str) -> bool {
    name == "localhost" || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether this program runs in a container of this engine: its host name is then the id of the container. A file such
/// as `/.dockerenv` is no proof: machines that were created from an image may contain it too.
async fn is_container_of(docker: &Docker) -> bool {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let is_id = name.len() >= 12 && name.chars().all(|letter| letter.is_ascii_hexdigit());
    is_id && docker.inspect_container(name, None::<InspectContainerOptions>).await.is_ok()
}

/// The address of the engine's machine on its default network. This program runs in a container on that network.
async fn gateway(docker: &Docker) -> Option<String> {
    let network = docker.inspect_network("bridge", None::<InspectNetworkOptions>).await.ok()?;
    network.ipam?.config?.into_iter().find_map(|config| config.gateway)
}

/// The engine's own message, without the wrapping of the client library.
pub(super) fn error_text(error: &DockerError) -> String {
    match error {
        DockerError::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        other => {
            let mut text = other.to_string();
            let mut cause = std::error::Error::source(other);
            while let Some(inner) = cause {
                let inner_text = inner.to_string();
                if !text.contains(&inner_text) {
                    text = format!("{text}: {inner_text}");
                }
                cause = inner.source();
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn connect_error(host: &str) -> String {
        Engine::connect(host, Duration::from_millis(500)).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn an_unreachable_engine_is_reported_with_reason_and_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let missing = format!("unix://{}/none.sock", directory.path().display());
        let error = connect_error(&missing).await;
        assert!(error.contains(&missing) && error.contains("no such socket") && error.contains("native"), "{error}");

        let dead = directory.path().join("dead.sock");
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let error = connect_error(&format!("unix://{}", dead.display())).await;
        assert!(error.contains("the daemon is down"), "{error}");

        let mute = directory.path().join("mute.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&mute).unwrap();
        let error = connect_error(&format!("unix://{}", mute.display())).await;
        assert!(error.contains("no answer within 500 ms"), "{error}");

        assert!(connect_error("tcp://127.0.0.1:1").await.contains("refused"));
        assert!(connect_error("ssh://somewhere").await.contains("invalid engine address"));
    }

    #[test]
    fn every_spelling_of_a_loopback_address_is_recognised() {
        assert!(["localhost", "127.0.0.1", "127.8.8.8", "[::1]"].into_iter().all(is_loopback));
        assert!(!["10.0.0.5", "docker", "dind.local"].into_iter().any(is_loopback));
    }
}
