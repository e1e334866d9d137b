//! A throwaway Postgres in Supabase's shape: password enforced over TCP, no socket, nothing synced to disk.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};
use secrecy::{ExposeSecret, SecretString};

use super::{Plan, launch_environment, private_directory, write_private};
use crate::stack::ledger::Ledger;
use crate::stack::process::{Account, Launch, Process};
use crate::stack::ready::Readiness;
use crate::stack::{Service, StackError};

/// How long `initdb` may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Byte order and case rules of text: the ones Supabase uses, where the system has them.
const LOCALE: &str = if cfg!(target_os = "linux") { "C.UTF-8" } else { "C" };

/// The user to run Postgres as: it refuses root. `None` when this user will do.
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

/// Creates the data directory, with `password` for the user `postgres`.
pub(super) async fn initialise(
    initdb: &Path,
    directory: &Path,
    account: Option<Account>,
    password: &SecretString,
    ledger: &Ledger,
) -> Result<(), StackError> {
    private_directory(directory, account)?;
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
        on_harness_death: Signal::SIGKILL,
    };
    let process = Process::start(&launch, ledger)?;
    let status = process.wait(PATIENCE).await;
    // The file has served; the directory is private and goes away in the end anyway.
    let _ = fs::remove_file(&password_file);
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(process.died(status)),
        None => Err(StackError::NotReady {
            service: "initdb",
            seconds: PATIENCE.as_secs(),
            reason: "it is still running".to_owned(),
            log: process.log_tail(),
        }),
    }
}

/// Says how to run Postgres on `port` over the data directory that [`initialise`] made.
pub(super) fn plan(
    program: &Path,
    directory: &Path,
    account: Option<Account>,
    password: &SecretString,
    connections: u32,
    port: u16,
) -> Plan {
    let url = format!("postgres://postgres:{}@127.0.0.1:{port}/postgres", password.expose_secret());
    let mut arguments = vec!["-D".to_owned(), "data".to_owned(), "-p".to_owned(), port.to_string()];
    let connections = format!("max_connections={connections}");
    for setting in [
        connections.as_str(),
        "listen_addresses=127.0.0.1",
        // No socket: nothing to clash with, no path that may be too long, one way in for everyone.
        "unix_socket_directories=",
        "shared_buffers=32MB",
        // Commits reach the kernel, so that they survive a SIGKILL; nothing waits for the disk.
        "fsync=off",
        "full_page_writes=off",
        // Segments in the data directory go away with it; those in /dev/shm would outlive a SIGKILL.
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
        polite: Signal::SIGINT,
    }
}

/// Frees the System V segment of a Postgres under `directory` that was killed before it could do so.
///
/// `postmaster.pid` names it; it is freed only while its key matches and no process is attached.
pub(in crate::stack) fn release_shared_memory(directory: &Path) {
    let Ok(text) = fs::read_to_string(directory.join("postgres/data/postmaster.pid")) else { return };
    let Some((key, id)) = text.lines().nth(6).and_then(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    }) else {
        return;
    };
    let table = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let unused = table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // key shmid perms size cpid lpid nattch …; the key may be printed signed.
        let same_key = fields.first().and_then(|field| field.parse::<i64>().ok()).map(|found| found & 0xffff_ffff)
            == key.parse::<i64>().ok().map(|wanted| wanted & 0xffff_ffff);
        same_key && fields.get(1) == Some(&id.as_str()) && fields.get(6) == Some(&"0")
    });
    if unused {
        // Without the program the segment stays: 56 bytes until the next boot.
        let _ = std::process::Command::new("ipcrm").args(["-m", &id]).output();
    }
}
