//! The Docker engine, or what speaks its protocol: whether it answers, and its errors in words.

use std::io::ErrorKind;
use std::time::Duration;

use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::query_parameters::{InspectContainerOptions, InspectNetworkOptions};
use url::Url;

use crate::settings::podman_socket;
use crate::stack::StackError;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(120);

/// An engine that has answered.
#[derive(Debug, Clone)]
pub(in crate::stack) struct Engine {
    pub(super) docker: Docker,
    /// Where it listens, as in `DOCKER_HOST`.
    pub(super) host: String,
    /// The address on which it publishes ports for us.
    pub(super) publish: &'static str,
    /// Where those ports are reached from here.
    pub(super) reach: String,
}

impl Engine {
    /// Connects to the engine at `host`, which must answer within `patience`.
    pub(in crate::stack) async fn at(host: &str, patience: Duration) -> Result<Self, StackError> {
        let fail = |reason: String, remedy: String| StackError::NoEngine { host: host.to_owned(), reason, remedy };
        reachable(host, patience).await.map_err(|(reason, remedy)| fail(reason, remedy))?;
        let docker = connect(host).map_err(|error| fail(words(&error), remedy()))?;
        match tokio::time::timeout(patience, docker.ping()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(fail(words(&error), remedy())),
            Err(_) => return Err(fail(format!("no answer within {} ms", patience.as_millis()), remedy())),
        }
        let remote = Url::parse(host).ok().filter(|url| matches!(url.scheme(), "tcp" | "http" | "https"));
        let remote = remote.and_then(|url| url.host_str().map(str::to_owned)).filter(|name| !is_loopback(name));
        let gateway = if is_container_of(&docker).await { gateway(&docker).await } else { None };
        let (publish, reach) = match remote.or(gateway) {
            // From elsewhere, the loopback of the engine's machine cannot be reached.
            Some(name) => ("0.0.0.0", name),
            None => ("127.0.0.1", "127.0.0.1".to_owned()),
        };
        Ok(Self { docker, host: host.to_owned(), publish, reach })
    }

    /// What went wrong while `what` was done for a service.
    pub(super) fn refusal(service: &'static str, what: &'static str, error: &DockerError) -> StackError {
        StackError::Engine { service, what, reason: words(error) }
    }
}

/// A client of the engine at `host`; says nothing about whether one is there.
pub(in crate::stack) fn connect(host: &str) -> Result<Docker, DockerError> {
    Docker::connect_with_host(host).map(|docker| docker.with_timeout(REQUEST))
}

/// Whether anything listens there at all; the error is the reason and the remedy.
async fn reachable(host: &str, patience: Duration) -> Result<(), (String, String)> {
    let Some(path) = host.strip_prefix("unix://") else {
        let known = ["tcp://", "http://", "https://"].iter().any(|scheme| host.starts_with(scheme));
        let wrong = || {
            let remedy = "set DOCKER_HOST to unix:///path/of.sock or tcp://host:port, or use `--provider native`";
            (format!("`{host}` is no address of an engine"), remedy.to_owned())
        };
        let url = Url::parse(host).ok().filter(|_| known).ok_or_else(wrong)?;
        let name = url.host_str().ok_or_else(wrong)?;
        let port = url.port_or_known_default().unwrap_or(2375);
        return match tokio::time::timeout(patience, tokio::net::TcpStream::connect((name, port))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err((error.to_string(), remedy())),
            Err(_) => Err((format!("no connection within {} ms", patience.as_millis()), remedy())),
        };
    };
    match tokio::net::UnixStream::connect(path).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(("there is no such socket".to_owned(), remedy())),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err((
            "this user may not use the socket".to_owned(),
            "join the group `docker` and log in again, point DOCKER_HOST at a rootless engine, \
             or use `--provider native`"
                .to_owned(),
        )),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Err((
            "the socket is there and nobody listens: the daemon is down".to_owned(),
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
        None => "start Docker, point DOCKER_HOST at an engine (`docker context inspect` shows where yours is), \
                 or use `--provider native`, which needs none"
            .to_owned(),
    }
}

fn is_loopback(name: &str) -> bool {
    name == "localhost" || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether this program runs in a container of the engine's own: its host name is then the container's id. A file such
/// as `/.dockerenv` says less: it is also left in machines that were made from an image.
async fn is_container_of(docker: &Docker) -> bool {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let is_id = name.len() >= 12 && name.chars().all(|letter| letter.is_ascii_hexdigit());
    is_id && docker.inspect_container(name, None::<InspectContainerOptions>).await.is_ok()
}

/// The engine's machine as containers on its default network see it: this program is in one of them.
async fn gateway(docker: &Docker) -> Option<String> {
    let network = docker.inspect_network("bridge", None::<InspectNetworkOptions>).await.ok()?;
    network.ipam?.config?.into_iter().find_map(|config| config.gateway)
}

/// What the engine said, without the library's wrapping.
pub(super) fn words(error: &DockerError) -> String {
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

    async fn refused(host: &str) -> String {
        Engine::at(host, Duration::from_millis(500)).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_named_with_the_reason_and_the_remedy() {
        let place = tempfile::tempdir().unwrap();
        let missing = format!("unix://{}/none.sock", place.path().display());
        let error = refused(&missing).await;
        assert!(error.contains(&missing) && error.contains("no such socket") && error.contains("native"), "{error}");

        let dead = place.path().join("dead.sock");
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let error = refused(&format!("unix://{}", dead.display())).await;
        assert!(error.contains("the daemon is down"), "{error}");

        let mute = place.path().join("mute.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&mute).unwrap();
        let error = refused(&format!("unix://{}", mute.display())).await;
        assert!(error.contains("no answer within 500 ms"), "{error}");

        assert!(refused("tcp://127.0.0.1:1").await.contains("refused"));
        assert!(refused("ssh://somewhere").await.contains("no address of an engine"));
    }

    #[test]
    fn a_loopback_is_known_in_all_its_spellings() {
        assert!(["localhost", "127.0.0.1", "127.8.8.8", "[::1]"].into_iter().all(is_loopback));
        assert!(!["10.0.0.5", "docker", "dind.local"].into_iter().any(is_loopback));
    }
}
