//! `PgBouncer` before a Postgres, as hosted databases have a pooler; `scripts/install clients` installs it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use tokio::net::TcpStream;
use url::Url;

/// A running `PgBouncer`; it ends when it is dropped.
pub struct PgBouncer {
    pub address: String,
    process: Child,
    _place: TempDir,
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl PgBouncer {
    /// In front of the Postgres at `url`, whose user and password it knows; it admits every client.
    pub async fn start(url: &SecretString, mode: &str) -> Self {
        let server = Url::parse(url.expose_secret()).unwrap();
        let place = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = place.path().join("pgbouncer.ini");
        let (host, server_port) = (server.host_str().unwrap(), server.port().unwrap());
        let (user, password) = (server.username(), server.password().unwrap());
        // It refuses to run as root.
        let as_whom = if nix::unistd::Uid::effective().is_root() { "user = postgres" } else { "" };
        let text = format!(
            "[databases]\n\
             postgres = host={host} port={server_port} user={user} password={password} dbname=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = {mode}\ndefault_pool_size = 8\nignore_startup_parameters = extra_float_digits\n{as_whom}\n"
        );
        fs::write(&config, text).unwrap();
        fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        let program = ["/usr/sbin/pgbouncer", "pgbouncer"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(program.unwrap_or("pgbouncer"));
        command.arg("--quiet").arg(&config).stdin(Stdio::null());
        let process = command.spawn().unwrap_or_else(|error| panic!("pgbouncer: {error}: run scripts/install clients"));
        let address = format!("127.0.0.1:{port}");
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(&address).await.is_err() {
            assert!(Instant::now() < deadline, "pgbouncer does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self { address, process, _place: place }
    }
}
