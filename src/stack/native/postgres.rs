//! A throwaway Postgres in the shape of Supabase: password required over TCP, no socket, no syncs to disk.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};
use secrecy::{ExposeSecret, SecretString};

use super::files::{private_directory, write_private};
use super::plan::{Plan, launch_environment};
use crate::stack::cleanup::ledger::Ledger;
use crate::stack::error::StackError;
use crate::stack::process::{Account, Launch, Process};
use crate::stack::ready::Readiness;
use crate::stack::service::Service;

/// How long `initdb` may take.
const INITDB_TIMEOUT: Duration = Duration::from_mins(1);

/// The collation and character type: those of Supabase, if the system has them.
const LOCALE: &str = if cfg!(target_os = "linux") { "C.UTF-8" } else { "C" };

/// The user to run Postgres as, which refuses root; `None` for the current user.
pub(super) fn account() -> Result<Option<Account>, StackError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .map(|user| Some(Account { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
        .ok_or(StackError::NoUnprivilegedUser)
}

/// A database cluster that belongs to one run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cluster<'a> {
    /// The directory that contains the data directory.
    pub(super) directory: &'a Path,
    /// The user to run as.
    pub(super) account: Option<Account>,
    /// The password of the user `postgres`.
    pub(super) password: &'a SecretString,
}

impl Cluster<'_> {
    /// Creates the data directory.
    pub(super) async fn initialise(self, initdb: &Path, ledger: &Ledger) -> Result<(), StackError> {
        let Self { directory, account, password } = self;
        private_directory(directory, account)?;
        // If `initdb` fails, it empties this directory and keeps it; without it, the shared memory of a killed Postgres
        // could not be found.
        private_directory(&directory.join("data"), account)?;
        let password_file = directory.join("password");
        write_private(&password_file, password.expose_secret(), account)?;
        let arguments = [
            "--pgdata",
            "data",
            "--username",
            "postgres",
            "--pwfile",
            "password",
            "--auth",
            "scram-sha-256",
            "--encoding",
            "UTF8",
            "--locale",
            LOCALE,
            "--no-sync",
        ];
        let launch = Launch {
            name: "initdb".to_owned(),
            program: initdb.to_owned(),
            arguments: arguments.map(str::to_owned).to_vec(),
            environment: launch_environment(),
            directory: directory.to_owned(),
            log: directory.join("initdb.log"),
            account,
            // It then waits for the Postgres that it has started, which frees its shared memory, unlike after SIGKILL.
            on_harness_death: Signal::SIGQUIT,
        };
        let process = Process::start(&launch, ledger)?;
        let status = process.wait(INITDB_TIMEOUT).await;
        // It is no longer needed. If it stays, the directory is private and removed in the end.
        let _ = fs::remove_file(&password_file);
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(process.died(status)),
            None => Err(StackError::NotReady {
                service: "initdb",
                seconds: INITDB_TIMEOUT.as_secs(),
                reason: "still running".to_owned(),
                log: process.log_tail(),
            }),
        }
    }

    /// How to run Postgres on `port` with the data directory of [`Self::initialise`].
    pub(super) fn plan(self, program: &Path, connections: u32, port: u16) -> Plan {
        let Self { directory, account, password } = self;
        let url = format!("postgres://postgres:{}@127.0.0.1:{port}/postgres", password.expose_secret());
        let mut arguments = vec!["-D".to_owned(), "data".to_owned(), "-p".to_owned(), port.to_string()];
        let connections = format!("max_connections={connections}");
        for setting in [
            connections.as_str(),
            "listen_addresses=127.0.0.1",
            // No socket: no conflict, no path that may be too long, one way to connect for everyone.
            "unix_socket_directories=",
            "shared_buffers=32MB",
            // Commits reach the kernel, so they survive a SIGKILL; nothing waits for the disk.
            "fsync=off",
            "full_page_writes=off",
            // Segments in the data directory are removed with it; those in /dev/shm would survive a SIGKILL.
            "dynamic_shared_memory_type=mmap",
            "log_min_messages=warning",
            "log_checkpoints=off",
        ] {
            arguments.extend(["-c".to_owned(), setting.to_owned()]);
        }
        Plan {
            service: Service::Postgres,
            kind: "postgres".to_owned(),
            launch: Launch {
                name: "postgres".to_owned(),
                program: program.to_owned(),
                arguments,
                environment: launch_environment(),
                directory: directory.to_owned(),
                log: directory.join("postgres.log"),
                account,
                // Immediate shutdown: frees its shared memory, unlike SIGKILL.
                on_harness_death: Signal::SIGQUIT,
            },
            readiness: Readiness::Postgres { url: SecretString::from(url) },
            stop_signal: Signal::SIGINT,
        }
    }
}
