//! Removing resources: stopping processes and deleting directories and containers.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::ledger::Ledger;
use super::resource::{PREFIX, Resource};
use crate::stack::containers::sweep::remove_marked;
use crate::stack::error::StackError;
use crate::stack::native::shared_memory::release_shared_memory;
use crate::stack::process_id::{ProcessId, marked, working_in};

/// How long processes may take to exit after SIGQUIT, and again after SIGKILL.
const TIMEOUT: Duration = Duration::from_secs(3);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

impl Ledger {
    /// Opens a new ledger for `run` under `state_dir`, as `runs/<run>.jsonl`.
    ///
    /// # Errors
    /// The directory or file cannot be created or written.
    pub fn open(state_dir: &Path, run: &str) -> Result<Self, StackError> {
        Self::create(state_dir, run, remove)
    }
}

/// Stops the processes and removes the directories and containers of `resources`. Returns what could not be removed.
///
/// It touches only processes that were recorded with their start time, their descendants, processes that work in a
/// recorded directory or print to a file in it, and processes that carry `mark`.
pub(super) fn remove(resources: &[Resource], mark: &str) -> Vec<String> {
    let mut left = stop_processes(resources, mark);
    for resource in resources.iter().rev() {
        if let Resource::Containers { engine, keep: false } = resource {
            left.extend(remove_marked(engine, mark));
        }
        if let Resource::RemoteData(data) = resource {
            // Its removal needs credentials, which no ledger contains.
            left.push(format!("{data}: run `shakedown clean` with the variables of these services"));
        }
        if let Resource::Container { engine, name } = resource {
            left.extend(remove_marked(engine, name));
        }
        let Resource::Directory { path, keep } = resource else { continue };
        release_shared_memory(path);
        if *keep {
            continue;
        }
        let is_ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        if !is_ours {
            left.push(format!("directory {}: its name does not begin with {PREFIX}", path.display()));
            continue;
        }
        if let Err(error) = remove_directory(path) {
            left.push(format!("directory {}: {error}", path.display()));
        }
    }
    left
}

fn stop_processes(resources: &[Resource], mark: &str) -> Vec<String> {
    let polite: Vec<&ProcessId> = resources
        .iter()
        .filter_map(|resource| match resource {
            Resource::Process { process, polite: true, .. } if process.is_alive() => Some(process),
            _ => None,
        })
        .collect();
    for process in &polite {
        process.signal(Signal::SIGQUIT);
        // A paused process handles the signal only after SIGCONT; so do the descendants that it waits for.
        process.signal(Signal::SIGCONT);
        process.descendants().iter().for_each(|process| process.signal(Signal::SIGCONT));
    }
    wait_until(|| polite.iter().all(|process| !process.is_alive()));

    let deadline = Instant::now() + TIMEOUT;
    loop {
        let running = running(resources, mark);
        if running.is_empty() {
            return Vec::new();
        }
        if Instant::now() > deadline {
            return running.iter().map(|process| format!("process {} did not exit", process.pid)).collect();
        }
        for process in &running {
            process.signal(Signal::SIGKILL);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Every process that still belongs to `resources`.
fn running(resources: &[Resource], mark: &str) -> BTreeSet<ProcessId> {
    let mut found = BTreeSet::new();
    if resources.iter().any(|resource| matches!(resource, Resource::Launching { .. } | Resource::Process { .. })) {
        found.extend(marked(mark));
    }
    for resource in resources {
        match resource {
            Resource::Process { process, .. } if process.is_alive() => {
                found.extend(process.descendants());
                found.insert(process.clone());
            }
            Resource::Directory { path, .. } => found.extend(working_in(path)),
            Resource::Process { .. }
            | Resource::Launching { .. }
            | Resource::Containers { .. }
            | Resource::Container { .. }
            | Resource::RemoteData(_) => {}
        }
    }
    found
}

/// Removes a directory to which exiting processes may still write.
fn remove_directory(path: &Path) -> std::io::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound && !path.exists() => return Ok(()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied || Instant::now() > deadline => {
                return Err(error);
            }
            Err(_) => std::thread::sleep(POLL_INTERVAL),
        }
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() && Instant::now() <= deadline {
        std::thread::sleep(POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_pid_is_never_signalled() {
        let mut unrelated = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let pid = i32::try_from(unrelated.id()).unwrap();
        let process = ProcessId { pid, started: "1".to_owned() };
        let resource = Resource::Process { name: "redis".to_owned(), process, polite: false };
        assert_eq!(remove(&[resource], "no-such-mark"), Vec::<String>::new());
        assert!(unrelated.try_wait().unwrap().is_none(), "an unrelated process was killed");
        unrelated.kill().unwrap();
        unrelated.wait().unwrap();
    }
}
