//! A supervised child process with its own process group, a log file and a ledger entry.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use secrecy::{ExposeSecret, SecretString};

use super::cleanup::ledger::{Entry, Ledger};
use super::cleanup::resource::Resource;
use super::error::StackError;
use super::orphans::{hold, release};
use super::process_id::{FAMILY, MARK, ProcessId, carrying};
use super::random::random_word;

/// How many of the last lines of a log an error shows.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 16 * 1024;

/// The user that a program runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id; supplementary groups are cleared.
    pub gid: u32,
}

/// How to start a program.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Its name in messages and in the ledger: `redis`, `worker`, …
    pub name: String,
    /// The absolute path of the program.
    pub program: PathBuf,
    /// Its arguments. Every user of the machine can read them, so they must not contain a secret.
    pub arguments: Vec<String>,
    /// Its whole environment: nothing is inherited.
    pub environment: Vec<(String, SecretString)>,
    /// Its working directory.
    pub directory: PathBuf,
    /// The file to which its standard output and error are appended.
    pub log: PathBuf,
    /// The user to run as; `None` for the current user.
    pub account: Option<Account>,
    /// The signal that it gets when the harness dies (Linux only).
    pub on_harness_death: Signal,
}

/// A running program that is killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    id: ProcessId,
    child: Mutex<Child>,
    log: PathBuf,
    polite: bool,
    ledger: Ledger,
    entry: Entry,
    /// The value of [`FAMILY`] in its environment.
    family: String,
}

impl Process {
    /// Starts the program as the leader of a new process group, after recording it in the ledger.
    ///
    /// # Errors
    /// The ledger or the log cannot be written, or the program cannot be run.
    pub fn start(launch: &Launch, ledger: &Ledger) -> Result<Self, StackError> {
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&launch.log)
            .map_err(|cause| StackError::Directory { action: "write", path: launch.log.clone(), cause })?;
        let fail = |cause: std::io::Error| match launch.account {
            // The system does not report whether it refused the program or the directory; the program is executable.
            Some(Account { uid, .. }) if cause.kind() == ErrorKind::PermissionDenied => {
                StackError::OutOfReach { uid, directory: launch.directory.clone() }
            }
            _ => StackError::Spawn { program: launch.program.clone(), cause },
        };
        let family = random_word(16);
        let mut command = Command::new(&launch.program);
        command
            .args(&launch.arguments)
            .env_clear()
            .envs(launch.environment.iter().map(|(name, value)| (name, value.expose_secret())))
            .env(MARK, ledger.mark())
            .env(FAMILY, &family)
            .current_dir(&launch.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(fail)?)
            .stderr(log)
            .process_group(0);
        if let Some(account) = launch.account {
            command.uid(account.uid).gid(account.gid);
        }
        end_with_harness(&mut command, launch.on_harness_death);

        let launching = ledger.add(Resource::Launching { name: launch.name.clone() })?;
        let child = match spawn(command) {
            Ok(child) => child,
            Err(cause) => {
                ledger.mark_removed(launching);
                return Err(fail(cause));
            }
        };
        let pid = i32::try_from(child.id()).unwrap_or_default();
        hold(pid);
        // A program that has already exited has no identity; its zombie keeps the pid from being reused.
        let id = ProcessId::from_pid(pid).unwrap_or(ProcessId { pid, started: String::new() });
        let polite = launch.on_harness_death == Signal::SIGQUIT;
        let recorded = ledger.add(Resource::Process { name: launch.name.clone(), process: id.clone(), polite });
        let (entry, failure) = match recorded {
            Ok(entry) => (entry, None),
            // The entry of the launch still covers it while it is killed below.
            Err(error) => (launching, Some(error)),
        };
        let process = Self {
            name: launch.name.clone(),
            id,
            child: Mutex::new(child),
            log: launch.log.clone(),
            polite,
            ledger: ledger.clone(),
            entry,
            family,
        };
        if let Some(error) = failure {
            return Err(error);
        }
        ledger.mark_removed(launching);
        Ok(process)
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> &ProcessId {
        &self.id
    }

    /// Its exit status, if it has exited.
    ///
    /// The process is not reaped: as long as it is a zombie, its pid names its process group and nothing else.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        match system::peek(self.id.pid) {
            Ok(status) => status,
            Err(_) => self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().ok().flatten(),
        }
    }

    /// Sends `signal` to the process and all its descendants, including those in other process groups and sessions.
    pub fn signal_tree(&self, signal: Signal) {
        if self.exit_status().is_some() {
            return;
        }
        let mut tree = self.id.descendants();
        tree.insert(0, self.id.clone());
        for process in tree {
            process.signal(signal);
        }
    }

    /// Sends `signal` to the process alone.
    pub fn signal(&self, signal: Signal) {
        if self.exit_status().is_none() {
            self.id.signal(signal);
        }
    }

    /// Waits until it has exited; `None` if it has not after `timeout`.
    pub async fn wait(&self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.exit_status() {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Sends `signal`, and kills the process if it has not exited after `timeout`.
    pub async fn stop(self, signal: Signal, timeout: Duration) {
        self.signal(signal);
        // A paused process handles the signal only after SIGCONT; so do the descendants that it waits for.
        self.signal_tree(Signal::SIGCONT);
        self.wait(timeout).await;
        // The drop kills what is left.
    }

    /// Sends SIGKILL to it and all its descendants. Blocks for a few milliseconds until they are gone.
    pub fn kill(mut self) {
        self.polite = false;
    }

    /// The error for an unexpected exit.
    #[must_use]
    pub fn died(&self, status: ExitStatus) -> StackError {
        let log = tail(&self.log);
        StackError::Died { service: self.name.clone(), how: in_words(status), hint: remedy_from_log(&log), log }
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::mem::take(&mut self.polite) {
            self.signal(Signal::SIGQUIT);
            self.signal_tree(Signal::SIGCONT);
            let deadline = Instant::now() + Duration::from_secs(2);
            while self.exit_status().is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        // What is stopped starts no other process meanwhile.
        self.signal(Signal::SIGSTOP);
        let mut family: BTreeSet<ProcessId> = self.id.stop_descendants().into_iter().collect();
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It may have exited and left children in its group: until it is reaped below, its pid names that group only.
        if self.id.pid > 0 {
            // A group without processes is not an error.
            let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(self.id.pid), Signal::SIGKILL);
        }
        let _ = child.kill();
        let _ = child.wait();
        release(self.id.pid);
        // Descendants in other groups and sessions, also those that others have adopted, so that none writes after this.
        let deadline = Instant::now() + Duration::from_secs(3);
        loop {
            family.extend(carrying(FAMILY, &self.family));
            family.retain(ProcessId::is_alive);
            if family.is_empty() || Instant::now() > deadline {
                break;
            }
            for process in &family {
                process.signal(Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.ledger.mark_removed(self.entry);
    }
}

/// Describes how a process exited: `exited with code 1`, `was killed by SIGKILL`.
#[must_use]
pub fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => {
            let name = Signal::try_from(signal).map_or_else(|_| signal.to_string(), |signal| signal.to_string());
            format!("was killed by {name}")
        }
        (None, None) => "exited".to_owned(),
    }
}

/// The exit code as a shell gives it: 128 and its number for a signal.
#[must_use]
pub fn exit_code(status: ExitStatus) -> Option<i32> {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal))
}

/// The remedy for a cause that the log shows and the user can fix, or nothing.
fn remedy_from_log(log: &str) -> &'static str {
    if log.contains("No space left on device") {
        "; the disk is full: free some space, or set --data-dir to another directory"
    } else if log.contains("Permission denied") {
        "; access to its directory is denied: set --data-dir to a directory that its user can reach"
    } else {
        ""
    }
}

/// The last lines of the log at `path`; empty if it cannot be read.
#[must_use]
pub fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        // The program may print faster than this reads.
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// Starts `command` from a thread that lives as long as this process: Linux sends the parent-death signal when the
/// *thread* that started the child ends, and a runtime ends idle threads of its pool.
fn spawn(command: Command) -> std::io::Result<Child> {
    type SpawnRequest = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<SpawnRequest>> = OnceLock::new();
    let gone = || std::io::Error::other("the thread that starts processes has ended");
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<SpawnRequest>();
        // If the thread does not start, sending to it fails, which is reported below.
        let _ = std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            for (mut command, reply) in requests {
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, answer) = mpsc::channel();
    spawner.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

#[cfg(target_os = "linux")]
mod system {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    use nix::unistd::Pid;

    /// The exit status of a child, without reaping it; `None` while it runs.
    pub(super) fn peek(pid: i32) -> nix::Result<Option<ExitStatus>> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        Ok(match waitid(Id::Pid(Pid::from_raw(pid)), flags)? {
            WaitStatus::Exited(_, code) => Some(ExitStatus::from_raw(code << 8)),
            WaitStatus::Signaled(_, signal, core) => {
                Some(ExitStatus::from_raw(signal as i32 | if core { 0x80 } else { 0 }))
            }
            _ => None,
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::process::ExitStatus;

    /// Not available here.
    pub(super) fn peek(_pid: i32) -> Result<Option<ExitStatus>, ()> {
        Err(())
    }
}

/// Lets `command` end with the harness (Linux only). Start it on a thread that lives as long as the harness, such as one
/// of the runtime: the signal is sent when the thread that started it ends.
pub fn kill_with_harness(command: &mut tokio::process::Command) {
    end_with_harness(command.as_std_mut(), Signal::SIGKILL);
}

#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "pre_exec is unsafe; the closure makes one prctl system call, which is async-signal-safe"
)]
fn end_with_harness(command: &mut Command, signal: Signal) {
    let arm = move || nix::sys::prctl::set_pdeathsig(signal).map_err(std::io::Error::from);
    // SAFETY: between fork and exec the closure neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(arm);
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_harness(_command: &mut Command, _signal: Signal) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::process_id::working_in;

    fn launch(directory: &Path, script: &str) -> Launch {
        Launch {
            name: "script".to_owned(),
            program: PathBuf::from("/bin/sh"),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            environment: vec![("PATH".to_owned(), SecretString::from("/usr/bin:/bin"))],
            directory: directory.to_owned(),
            log: directory.join("log"),
            account: None,
            on_harness_death: Signal::SIGKILL,
        }
    }

    #[tokio::test]
    async fn an_unexpected_exit_reports_the_code_and_the_end_of_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(directory.path(), "r").unwrap();
        let process = Process::start(&launch(directory.path(), "echo last words; exit 7"), &ledger).unwrap();
        let status = process.wait(Duration::from_secs(5)).await.unwrap();
        let message = process.died(status).to_string();
        assert!(message.contains("exited with code 7") && message.contains("last words"), "{message}");
    }

    #[tokio::test]
    async fn dropping_a_process_kills_descendants_outside_its_group() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(directory.path(), "r").unwrap();
        let process = Process::start(&launch(directory.path(), "setsid sleep 60 & echo up; wait"), &ledger).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while process.id().descendants().is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(process);
        assert!(working_in(directory.path()).is_empty());
        assert!(ledger.left().is_empty());
    }

    /// A program that has ended well may leave children: in its group, and in a session of their own.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn dropping_a_process_that_has_exited_kills_what_it_left() {
        for script in ["sleep 60 & exit 0", "setsid sleep 60 & exit 0", "(setsid sleep 60 &) & exit 3"] {
            let directory = tempfile::tempdir().unwrap();
            let ledger = Ledger::open(directory.path(), "r").unwrap();
            let process = Process::start(&launch(directory.path(), script), &ledger).unwrap();
            assert!(process.wait(Duration::from_secs(5)).await.is_some(), "{script}");
            let deadline = Instant::now() + Duration::from_secs(5);
            while working_in(directory.path()).is_empty() && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            assert_eq!(working_in(directory.path()).len(), 1, "the premise: {script} leaves a process");
            drop(process);
            assert!(working_in(directory.path()).is_empty(), "{script}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_memory_of_a_descendant_is_measured_separately() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(directory.path(), "r").unwrap();
        // The shell is small; `tail` holds 40 MB until its input ends.
        let script = "(head -c 40000000 /dev/zero; sleep 60) | tail -c 40000000 >/dev/null & wait";
        let process = Process::start(&launch(directory.path(), script), &ledger).unwrap();
        let most = || process.id().descendants().iter().filter_map(ProcessId::peak_memory_mib).fold(0.0, f64::max);
        let deadline = Instant::now() + Duration::from_secs(20);
        while most() < 35.0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(most() >= 35.0, "{} MiB", most());
        assert!(process.id().peak_memory_mib().is_some_and(|own| own < 20.0), "{:?}", process.id().peak_memory_mib());
    }

    #[tokio::test]
    async fn the_environment_is_not_inherited_but_carries_the_mark() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(directory.path(), "marked-run").unwrap();
        let process = Process::start(&launch(directory.path(), "env | sort"), &ledger).unwrap();
        process.wait(Duration::from_secs(5)).await.unwrap();
        let log = process.log_tail();
        assert!(log.contains("_SHAKEDOWN_RUN=marked-run-"), "{log}");
        assert!(!log.contains("CARGO"), "{log}");
    }
}
