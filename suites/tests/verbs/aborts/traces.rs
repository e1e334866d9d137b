//! What a run may leave on this machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use shakedown::stack::{ProcessId, marked, working_in};

use crate::support::cli_sandbox::CliSandbox;

/// How long killed processes may take to disappear.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What was seen of a run while it was alive.
#[derive(Debug, Default)]
pub(super) struct Traces {
    /// The marks of its processes.
    marks: BTreeSet<String>,
    /// Every process that it has started, and that was seen.
    processes: BTreeSet<ProcessId>,
    /// The shared memory of every Postgres.
    segments: BTreeSet<PathBuf>,
}

impl Traces {
    /// Records what runs now below the process `pid`.
    pub(super) fn collect(&mut self, pid: i32, sandbox: &CliSandbox) {
        let running = ProcessId::from_pid(pid).map(|harness| harness.descendants()).unwrap_or_default();
        // Known gap: the Postgres that `initdb` starts leaves 1 MB in /dev/shm if it crashes, and nothing tells whose it is.
        let is_server = |process: &&ProcessId| {
            let command = command(process.pid);
            command.contains("postgres") && !is_of_initdb(&command)
        };
        for process in running.iter().filter(is_server) {
            let maps = fs::read_to_string(format!("/proc/{}/maps", process.pid)).unwrap_or_default();
            let mapped = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
            self.segments.extend(mapped.filter(|path| path.starts_with("/dev/shm/PostgreSQL.")).map(PathBuf::from));
        }
        self.processes.extend(running);
        let ledgers = fs::read_dir(sandbox.path("state").join("runs")).into_iter().flatten().flatten();
        for ledger in ledgers {
            let text = fs::read_to_string(ledger.path()).unwrap_or_default();
            let first: serde_json::Value =
                serde_json::from_str(text.lines().next().unwrap_or_default()).unwrap_or_default();
            self.marks.extend(first.pointer("/harness/mark").and_then(|mark| Some(mark.as_str()?.to_owned())));
        }
    }

    /// What is left, one line each, once nothing more disappears.
    pub(super) fn left(&self, sandbox: &CliSandbox) -> Vec<String> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = self.left_now(sandbox);
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn left_now(&self, sandbox: &CliSandbox) -> Vec<String> {
        let mut running: BTreeSet<ProcessId> =
            self.processes.iter().filter(|process| process.is_alive()).cloned().collect();
        running.extend(self.marks.iter().flat_map(|mark| marked(mark)));
        running.extend(working_in(&sandbox.path("data")));
        running.extend(working_in(&sandbox.path("tmp")));
        let mut left: Vec<String> =
            running.iter().map(|process| format!("process {}: {}", process.pid, command(process.pid))).collect();
        for directory in ["data", "tmp", "state/runs"] {
            let entries = fs::read_dir(sandbox.path(directory)).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path().display().to_string()));
        }
        left.extend(self.shared_memory());
        left.extend(self.segments.iter().filter(|path| path.exists()).map(|path| path.display().to_string()));
        left
    }

    /// Segments of shared memory that one of the processes has created.
    fn shared_memory(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
        let creator = |line: &str| line.split_whitespace().nth(4)?.parse::<i32>().ok();
        let ours = |line: &&str| self.processes.iter().any(|process| Some(process.pid) == creator(line));
        table.lines().skip(1).filter(ours).map(|line| format!("shared memory: {line}")).collect()
    }
}

/// Whether a command is `initdb`, or the Postgres that it starts.
pub(super) fn is_of_initdb(command: &str) -> bool {
    ["initdb", "--boot", "--single"].iter().any(|word| command.contains(word))
}

/// The command of a process; empty if it is gone.
pub(super) fn command(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ")
}
