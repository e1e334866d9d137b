//! Process identities that survive the reuse of a pid, and scans by descent, working directory or mark.
//!
//! On Linux the source is `/proc`. Elsewhere `ps` gives identities and descendants; a scan by working
//! directory or mark then finds nothing, and clean-up relies on the recorded process groups alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// The environment variable that marks every process of a run, so that a process that left its process
/// group is still found. The leading underscore keeps it out of the `SHAKEDOWN_` settings.
pub const MARK: &str = "_SHAKEDOWN_RUN";

/// The environment variable that marks the descendants of one program that we started.
pub(super) const FAMILY: &str = "_SHAKEDOWN_FAMILY";

/// How long descendants are searched that start others faster than they are stopped.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// The system on which a pid is valid: boot id and pid namespace. Elsewhere the same pid is another process.
#[must_use]
pub fn system_id() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_else(|_| Path::new("?").to_owned());
    format!("{} {}", boot.trim(), namespace.display())
}

/// A process, distinct from a later one with the same pid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// The pid. For processes that shakedown starts it is also the process group.
    pub pid: i32,
    /// When it started, in the format of the system (Linux: clock ticks since boot).
    pub started: String,
}

impl ProcessId {
    /// The identity of the running process `pid`; `None` if no such process runs.
    #[must_use]
    pub fn from_pid(pid: i32) -> Option<Self> {
        let stat = system::stat(pid)?;
        (!stat.zombie).then_some(Self { pid, started: stat.started })
    }

    /// The identity of this process.
    #[must_use]
    pub fn own() -> Self {
        let pid = nix::unistd::getpid().as_raw();
        Self::from_pid(pid).unwrap_or(Self { pid, started: String::new() })
    }

    /// Whether this process, and not a later one with the same pid, still runs. A zombie does not count as running.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        Self::from_pid(self.pid).as_ref() == Some(self)
    }

    /// Sends `signal` to this process. A process that is gone is not an error.
    pub fn signal(&self, signal: Signal) {
        if self.is_alive() {
            // It may exit between the check and the signal: then nothing is left to do.
            let _ = signal::kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Sends `signal` to the process group of this process, if it leads one.
    pub fn signal_group(&self, signal: Signal) {
        if self.is_alive() && nix::unistd::getpgid(Some(Pid::from_raw(self.pid))) == Ok(Pid::from_raw(self.pid)) {
            let _ = signal::killpg(Pid::from_raw(self.pid), signal);
        }
    }

    /// Its peak resident memory in MiB, while it runs (Linux only).
    #[must_use]
    pub fn peak_memory_mib(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches("kB").trim().parse::<f64>().ok().map(|kib| kib / 1024.0)
    }

    /// The descendants of this process, nearest first, without itself.
    #[must_use]
    pub fn descendants(&self) -> Vec<Self> {
        let mut children: BTreeMap<i32, Vec<Self>> = BTreeMap::new();
        for pid in system::pids() {
            if let Some(stat) = system::stat(pid).filter(|stat| !stat.zombie) {
                children.entry(stat.parent).or_default().push(Self { pid, started: stat.started });
            }
        }
        let mut found = Vec::new();
        let mut queue = vec![self.pid];
        while let Some(parent) = queue.pop() {
            for child in children.remove(&parent).unwrap_or_default() {
                queue.push(child.pid);
                found.push(child);
            }
        }
        found
    }

    /// The children of this process that have exited and are not reaped.
    pub(super) fn exited_children(&self) -> BTreeSet<Self> {
        let exited = |pid: i32| {
            let stat = system::stat(pid).filter(|stat| stat.zombie && stat.parent == self.pid)?;
            Some(Self { pid, started: stat.started })
        };
        system::pids().into_iter().filter_map(exited).collect()
    }

    /// Sends SIGSTOP to all descendants, until none is left that could start another one. Returns them.
    pub(super) fn stop_descendants(&self) -> Vec<Self> {
        let deadline = Instant::now() + STOP_TIMEOUT;
        let mut stopped = BTreeSet::new();
        loop {
            let running: Vec<Self> =
                self.descendants().into_iter().filter(|process| !stopped.contains(process)).collect();
            if running.is_empty() || Instant::now() > deadline {
                return stopped.into_iter().collect();
            }
            for process in &running {
                process.signal(Signal::SIGSTOP);
            }
            stopped.extend(running);
        }
    }
}

/// Running processes whose working directory, or the file that they print to, is in `directory`.
#[must_use]
pub fn working_in(directory: &Path) -> Vec<ProcessId> {
    others().filter(|process| system::works_in(process.pid, directory)).collect()
}

/// Running processes that carry the [`MARK`] of `run` in their environment.
#[must_use]
pub fn marked(run: &str) -> Vec<ProcessId> {
    carrying(MARK, run)
}

/// Running processes with this variable in their environment.
pub(super) fn carrying(variable: &str, value: &str) -> Vec<ProcessId> {
    let mark = format!("{variable}={value}");
    others().filter(|process| system::has_variable(process.pid, &mark)).collect()
}

fn others() -> impl Iterator<Item = ProcessId> {
    let own = nix::unistd::getpid().as_raw();
    system::pids().into_iter().filter(move |pid| *pid != own).filter_map(ProcessId::from_pid)
}

struct Stat {
    parent: i32,
    started: String,
    zombie: bool,
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs;
    use std::path::Path;

    use super::Stat;

    pub(super) fn pids() -> Vec<i32> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    pub(super) fn stat(pid: i32) -> Option<Stat> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command name may hold spaces and brackets; what follows the last bracket is plain.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        Some(Stat {
            zombie: matches!(*fields.first()?, "Z" | "X"),
            parent: fields.get(1)?.parse().ok()?,
            started: (*fields.get(19)?).to_owned(),
        })
    }

    pub(super) fn works_in(pid: i32, directory: &Path) -> bool {
        // A daemon has left its directory, but seldom closes its output, which is a log in the directory.
        ["cwd", "fd/1", "fd/2"].iter().any(|link| leads_into(pid, link, directory))
    }

    fn leads_into(pid: i32, link: &str, directory: &Path) -> bool {
        // The link of something removed reads "<path> (deleted)", which no longer matches the last component of the path,
        // so both spellings are compared.
        fs::read_link(format!("/proc/{pid}/{link}")).is_ok_and(|path| {
            path.starts_with(directory)
                || path
                    .to_string_lossy()
                    .strip_suffix(" (deleted)")
                    .is_some_and(|path| Path::new(path).starts_with(directory))
        })
    }

    pub(super) fn has_variable(pid: i32, assignment: &str) -> bool {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|variable| variable == assignment.as_bytes()))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::path::Path;
    use std::process::Command;

    use super::Stat;

    fn ps(arguments: &[&str]) -> String {
        Command::new("ps")
            .args(arguments)
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default()
    }

    pub(super) fn pids() -> Vec<i32> {
        ps(&["-axo", "pid="]).lines().filter_map(|line| line.trim().parse().ok()).collect()
    }

    pub(super) fn stat(pid: i32) -> Option<Stat> {
        let line = ps(&["-o", "ppid=,stat=,lstart=", "-p", &pid.to_string()]);
        let mut words = line.split_whitespace();
        let parent = words.next()?.parse().ok()?;
        let zombie = words.next()?.starts_with('Z');
        Some(Stat { parent, zombie, started: words.collect::<Vec<_>>().join(" ") })
    }

    pub(super) fn works_in(_pid: i32, _directory: &Path) -> bool {
        false
    }

    pub(super) fn has_variable(_pid: i32, _assignment: &str) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_pid_is_another_process() {
        let own = ProcessId::own();
        assert!(own.is_alive());
        let earlier = ProcessId { started: "1".to_owned(), ..own };
        assert!(!earlier.is_alive());
    }

    #[test]
    fn children_are_found_as_descendants_and_by_working_directory() {
        let directory = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep").arg("30").current_dir(directory.path()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let descends = ProcessId::own().descendants().iter().any(|process| process.pid == pid);
        let found = working_in(directory.path()).iter().any(|process| process.pid == pid);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(descends);
        assert!(found || !cfg!(target_os = "linux"));
        assert!(working_in(directory.path()).is_empty());
    }
    /// A daemon has another working directory and an environment without marks, but still prints to the log.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_prints_to_a_file_of_the_directory_works_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut command = std::process::Command::new("sleep");
        command.arg("30").env_clear().current_dir("/").stdout(std::process::Stdio::null()).stderr(log);
        let mut child = command.spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let found = working_in(directory.path());
        std::fs::remove_file(directory.path().join("log")).unwrap();
        let found_after_removal = working_in(directory.path());
        child.kill().unwrap();
        child.wait().unwrap();
        let pids = |found: &[ProcessId]| found.iter().map(|process| process.pid).collect::<Vec<_>>();
        assert_eq!((pids(&found), pids(&found_after_removal)), (vec![pid], vec![pid]));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn descendants_that_are_stopped_start_no_others() {
        let mut child = std::process::Command::new("sh").args(["-c", "while :; do sleep 0.01; done"]).spawn().unwrap();
        let root = ProcessId::from_pid(i32::try_from(child.id()).unwrap()).unwrap();
        root.signal(Signal::SIGSTOP);
        let stopped = root.stop_descendants();
        let running: Vec<_> = root.descendants().into_iter().filter(|process| !stopped.contains(process)).collect();
        root.signal(Signal::SIGKILL);
        child.wait().unwrap();
        for process in &stopped {
            process.signal(Signal::SIGKILL);
        }
        assert_eq!(running, Vec::new());
    }
}
