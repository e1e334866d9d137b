//! The worker under test: always a process, started, signalled and watched from outside.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use secrecy::SecretString;

use crate::stack::{Launch, Ledger, Process, StackError, in_words, tail};

/// How to start the worker under test.
#[derive(Debug, Clone)]
pub struct WorkerCommand {
    /// Program and arguments; no secret may be among them.
    pub command: Vec<String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// Variables beside the contract's.
    pub env: Vec<(String, SecretString)>,
    /// How long it may take to end after SIGTERM.
    pub grace: Duration,
}

/// How the worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// In words: `exited with code 0`, `was ended by SIGKILL`.
    pub how: String,
    /// Exit code, where it had one.
    pub code: Option<i32>,
    /// Time from the signal to the end.
    pub after: Duration,
}

/// A running worker; its whole process tree is ended when it is dropped.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    log: PathBuf,
    grace: Duration,
}

impl Worker {
    /// Starts the worker with `environment` beside its own; its output goes to a file in `directory`.
    ///
    /// # Errors
    /// The program cannot be found or run, or the log cannot be written.
    pub fn start(
        command: &WorkerCommand,
        environment: Vec<(String, SecretString)>,
        directory: &Path,
        name: &str,
        ledger: &Ledger,
    ) -> Result<Self, StackError> {
        let log = directory.join(format!("{name}.log"));
        let (program, arguments) = command.command.split_first().map_or((PathBuf::new(), &[][..]), |(first, rest)| {
            (crate::settings::find_program(first, &command.cwd).unwrap_or_else(|| PathBuf::from(first)), rest)
        });
        // The worker inherits what a shell would give it (PATH, HOME, TZ …); the contract's variables come last.
        let mut variables = crate::settings::inherited();
        variables.extend(command.env.iter().cloned());
        variables.extend(environment);
        let launch = Launch {
            name: name.to_owned(),
            program,
            arguments: arguments.to_vec(),
            environment: variables,
            directory: command.cwd.clone(),
            log: log.clone(),
            account: None,
            on_harness_death: Signal::SIGKILL,
        };
        Ok(Self { process: Process::start(&launch, ledger)?, log, grace: command.grace })
    }

    /// How it ended, in words, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<String> {
        self.process.exit_status().map(in_words)
    }

    /// How it ended, in words, and its exit code where it had one.
    #[must_use]
    pub fn exit(&self) -> Option<(String, Option<i32>)> {
        self.process.exit_status().map(|status| (in_words(status), status.code()))
    }

    /// SIGTERM, without waiting for anything.
    pub fn tell_to_end(&self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// The last lines of its output.
    #[must_use]
    pub fn tail(&self) -> String {
        tail(&self.log)
    }

    /// Its whole output; bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Its peak resident memory in MiB, while it runs (Linux only).
    #[must_use]
    pub fn peak_memory_mib(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id().pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches("kB").trim().parse::<f64>().ok().map(|kib| kib / 1024.0)
    }

    /// Sends SIGTERM and waits for its grace and two seconds more; what has not ended by then is killed.
    pub async fn terminate(&self) -> Option<Ended> {
        let begun = Instant::now();
        self.process.signal(Signal::SIGTERM);
        let status = self.process.wait(self.grace + Duration::from_secs(2)).await?;
        Some(Ended { how: in_words(status), code: status.code(), after: begun.elapsed() })
    }

    /// SIGSTOP to it and all that descends from it: connections stay open, nothing answers.
    pub fn pause(&self) {
        self.process.signal_tree(Signal::SIGSTOP);
    }

    /// SIGCONT to it and all that descends from it.
    pub fn resume(&self) {
        self.process.signal_tree(Signal::SIGCONT);
    }

    /// Ends it with SIGKILL, with all that descends from it, and gives its whole output.
    #[must_use]
    pub fn output_after_kill(self) -> String {
        let Self { process, log, .. } = self;
        process.kill();
        std::fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The grace it was promised.
    #[must_use]
    pub const fn grace(&self) -> Duration {
        self.grace
    }
}
