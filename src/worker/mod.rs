//! The worker under test: always a process, started, signalled and watched from outside.

mod container;
mod environment;
mod error;
mod log;
mod manifest;
mod sidecar;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use regex::Regex;

use container::Container;
pub use environment::WorkerEnv;
pub use error::WorkerError;
pub use log::OMISSION_MARK;
use log::WorkerLog;
pub use manifest::libraries;
pub use sidecar::Sidecar;

use crate::services::http_client;
use crate::settings::{Contract, Hook, Program, Ready};
use crate::stack::{Launch, Ledger, Process, ProcessId, StackError, exit_code, in_words};

/// How long the URL of `ready` may take to answer.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// How long Docker may take to inspect an image.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long Docker may take to pull an image.
const PULL_TIMEOUT: Duration = Duration::from_mins(10);

/// How the worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Such as `exited with code 0` or `was ended by SIGKILL`.
    pub how: String,
    /// Exit code; 128 and its number for a signal.
    pub code: Option<i32>,
    /// Time from the signal to the end.
    pub after: Duration,
}

/// A running worker. Its whole process tree is ended when it is dropped.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    log: WorkerLog,
    grace: Duration,
    readiness: Readiness,
    /// Its container, if it runs in one; `process` is then Docker's command line. Dropped after `process`.
    container: Option<Container>,
}

/// How this worker shows that it takes jobs.
#[derive(Debug, Clone)]
enum Readiness {
    /// It is registered on the queue.
    Queue,
    /// A line of its output matches.
    Log(Regex),
    /// This URL answers with success.
    Http(String),
}

impl Worker {
    /// Starts the worker that `contract` describes; its output goes to a file in `directory`.
    ///
    /// # Errors
    /// The program cannot be found or run, a placeholder of its environment has no value, or the log cannot be written.
    pub fn start(
        contract: &Contract,
        worker_env: &WorkerEnv,
        grace: Duration,
        directory: &Path,
        name: &str,
        ledger: &Ledger,
    ) -> Result<Self, WorkerError> {
        let log = directory.join(format!("{name}.log"));
        // An earlier attempt may have left its log. A missing file is no error.
        let _ = std::fs::remove_file(&log);
        let port = free_port()?;
        let no_value = |place: String| WorkerError::NoValue { place };
        let environment = worker_env.environment(contract, port).map_err(no_value)?;
        let readiness = match &contract.worker.ready {
            Ready::Queue => Readiness::Queue,
            Ready::Log(pattern) => Readiness::Log(pattern.clone()),
            Ready::Http(url) => Readiness::Http(worker_env.fill(url, port).map_err(no_value)?),
        };
        let (container, launch) = match &contract.worker.program {
            Program::Command(command) => (None, launch(command, &contract.worker.cwd, environment, name, log.clone())),
            Program::Image { image, command } => {
                let (container, launch) = Container::prepare(image, command, environment, name, log.clone(), ledger)?;
                (Some(container), launch)
            }
        };
        let process = Process::start(&launch, ledger)?;
        Ok(Self { process, log: WorkerLog::new(log), grace, readiness, container })
    }

    /// Whether it shows itself that it takes jobs; `None` if only the queue knows.
    pub async fn is_ready(&self) -> Option<bool> {
        match &self.readiness {
            Readiness::Queue => None,
            Readiness::Log(pattern) => Some(self.log.has_line(pattern)),
            Readiness::Http(url) => Some(answers(url).await),
        }
    }

    /// How it ended, such as `exited with code 0`; `None` while it runs.
    #[must_use]
    pub fn ended(&self) -> Option<String> {
        self.process.exit_status().map(in_words)
    }

    /// How it ended, and its exit code; `None` while it runs.
    #[must_use]
    pub fn exit(&self) -> Option<(String, Option<i32>)> {
        self.process.exit_status().map(|status| (in_words(status), exit_code(status)))
    }

    /// Sends SIGTERM and does not wait.
    pub fn send_sigterm(&self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// The last lines of its output.
    #[must_use]
    pub fn tail(&self) -> String {
        self.log.tail()
    }

    /// Its output. Invalid UTF-8 is replaced; the middle of more than 16 MiB is omitted.
    #[must_use]
    pub fn output(&self) -> String {
        self.log.read()
    }

    /// The length of its output in bytes.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.log.length()
    }

    /// The peak resident memory in MiB of the largest of its processes: of itself and all its descendants, because a
    /// shell or npm that starts a worker is small. While it runs, and on Linux only.
    #[must_use]
    pub fn peak_memory_mib(&self) -> Option<f64> {
        self.processes().iter().filter_map(ProcessId::peak_memory_mib).reduce(f64::max)
    }

    /// Its first process and all descendants of it: those inside the container, if it runs in one.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessId> {
        let first = match &self.container {
            Some(container) => container.pid().and_then(ProcessId::from_pid),
            None => Some(self.process.id().clone()),
        };
        first.into_iter().flat_map(|first| first.descendants().into_iter().chain([first])).collect()
    }

    /// Sends SIGTERM and waits for its grace and two seconds more. `None` if it had to be killed then.
    pub async fn terminate(&self) -> Option<Ended> {
        let begun = Instant::now();
        self.process.signal(Signal::SIGTERM);
        let status = self.process.wait(self.grace + Duration::from_secs(2)).await?;
        Some(Ended { how: in_words(status), code: exit_code(status), after: begun.elapsed() })
    }

    /// Sends SIGSTOP to it and all its descendants: connections stay open, and nothing answers.
    pub fn pause(&self) {
        if let Some(container) = &self.container {
            container.run(&["pause"]);
            return;
        }
        self.process.signal_tree(Signal::SIGSTOP);
    }

    /// Sends SIGCONT to it and all its descendants.
    pub fn resume(&self) {
        if let Some(container) = &self.container {
            container.run(&["unpause"]);
            return;
        }
        self.process.signal_tree(Signal::SIGCONT);
    }

    /// Ends it and all its descendants with SIGKILL. Returns its output.
    #[must_use]
    pub fn output_after_kill(self) -> String {
        let Self { process, log, container, .. } = self;
        if let Some(container) = &container {
            container.run(&["kill"]);
        }
        process.kill();
        log.read()
    }

    /// How long it may take to end after SIGTERM.
    #[must_use]
    pub const fn grace(&self) -> Duration {
        self.grace
    }
}

/// Whether `url` answers with a status below 400.
async fn answers(url: &str) -> bool {
    let Ok(client) = http_client::client(READY_TIMEOUT) else { return false };
    client.get(url).send().await.is_ok_and(|answer| answer.status().as_u16() < 400)
}

/// A process of the worker, or of one of its hooks. It inherits what a shell would give it (PATH, HOME, TZ …);
/// `environment` overrides that.
fn launch(
    command: &[String],
    cwd: &Path,
    environment: Vec<(String, secrecy::SecretString)>,
    name: &str,
    log: PathBuf,
) -> Launch {
    let (program, arguments) = command.split_first().map_or((PathBuf::new(), &[][..]), |(first, rest)| {
        (crate::settings::find_program(first, cwd).unwrap_or_else(|| PathBuf::from(first)), rest)
    });
    let mut variables = crate::settings::inherited();
    variables.extend(environment);
    Launch {
        name: name.to_owned(),
        program,
        arguments: arguments.to_vec(),
        environment: variables,
        directory: cwd.to_owned(),
        log,
        account: None,
        on_harness_death: Signal::SIGKILL,
    }
}

/// A hook of the worker that runs. Its whole process tree is ended when it is dropped.
#[derive(Debug)]
pub struct RunningHook<'a> {
    what: &'static str,
    hook: &'a Hook,
    process: Process,
    log: WorkerLog,
}

impl<'a> RunningHook<'a> {
    /// Starts the hook `what`; its output goes to a file in `directory`.
    ///
    /// # Errors
    /// The program cannot be found or run.
    pub fn start(
        what: &'static str,
        hook: &'a Hook,
        environment: Vec<(String, secrecy::SecretString)>,
        directory: &Path,
        name: &str,
        ledger: &Ledger,
    ) -> Result<Self, WorkerError> {
        let log = directory.join(format!("{name}.log"));
        let process = Process::start(&launch(&hook.command, &hook.cwd, environment, name, log.clone()), ledger)?;
        Ok(Self { what, hook, process, log: WorkerLog::new(log) })
    }

    /// Whether it succeeded; `None` while it runs. The error has its last lines.
    #[must_use]
    pub fn result(&self) -> Option<Result<(), WorkerError>> {
        let status = self.process.exit_status()?;
        Some(if status.success() { Ok(()) } else { Err(self.error(in_words(status))) })
    }

    /// The error of a hook that has exceeded its time limit.
    #[must_use]
    pub fn too_late(&self) -> WorkerError {
        self.error(format!("did not finish within {} s", self.hook.within.as_secs_f64()))
    }

    /// Its first process and all descendants of it.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessId> {
        let first = self.process.id().clone();
        first.descendants().into_iter().chain([first]).collect()
    }

    fn error(&self, how: String) -> WorkerError {
        WorkerError::Hook { what: self.what, command: self.hook.command.join(" "), how, log: self.log.tail() }
    }
}

/// Runs a hook of the worker to its end.
///
/// # Errors
/// It cannot be run, fails, or exceeds its time limit; the error has its last lines.
pub async fn run_hook(
    what: &'static str,
    hook: &Hook,
    environment: Vec<(String, secrecy::SecretString)>,
    directory: &Path,
    name: &str,
    ledger: &Ledger,
) -> Result<(), WorkerError> {
    let running = RunningHook::start(what, hook, environment, directory, name, ledger)?;
    running.process.wait(hook.within).await;
    running.result().unwrap_or_else(|| Err(running.too_late()))
}

/// A port that is free at the moment.
///
/// # Errors
/// No port can be listened on.
pub fn free_port() -> Result<u16, StackError> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).map_err(StackError::NoPort)?;
    listener.local_addr().map(|address| address.port()).map_err(StackError::NoPort)
}

/// Makes sure that the image of the contract is present, if it names one: pulls it if necessary.
///
/// # Errors
/// Docker is not installed, or the image can neither be found nor pulled.
pub async fn have_image(program: &Program, directory: &Path, ledger: &Ledger) -> Result<(), WorkerError> {
    let Program::Image { image, .. } = program else { return Ok(()) };
    let docker = container::docker()?.display().to_string();
    let hook = |arguments: &[&str], within: Duration| Hook {
        command: [docker.as_str()].iter().chain(arguments).chain([&image.as_str()]).map(ToString::to_string).collect(),
        cwd: PathBuf::from("/"),
        within,
    };
    let inspect = hook(&["image", "inspect", "--format", "{{.Id}}"], INSPECT_TIMEOUT);
    if run_hook("image", &inspect, Vec::new(), directory, "image", ledger).await.is_ok() {
        return Ok(());
    }
    let pull = hook(&["pull", "--quiet"], PULL_TIMEOUT);
    run_hook("image", &pull, Vec::new(), directory, "pull", ledger).await
}
