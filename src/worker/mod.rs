//! The worker under test: always a process, started, signalled and watched from outside.

mod container;
mod environment;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use regex::Regex;

use container::Container;
pub use environment::WorkerEnv;

use crate::settings::{Contract, Hook, Program, Ready};
use crate::stack::{Launch, Ledger, Process, ProcessId, StackError, in_words, tail};

/// How much of an output is kept in memory, of its beginning and of its end; the file has all of it.
const HEAD: u64 = 1 << 20;
const TAIL: u64 = 15 << 20;
/// What stands in the place of the middle of an output that is too long.
pub const LEFT_OUT: &str = "bytes left out …";
/// How long a worker's URL may take to say that it is ready.
const ANSWER: Duration = Duration::from_secs(1);

/// How long Docker may take to say whether an image is there, and to fetch it.
const LOOK: Duration = Duration::from_secs(10);
const PULL: Duration = Duration::from_mins(10);

/// Why a worker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The process could not be had.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// A place of the contract has no value.
    #[error("`{{{{{place}}}}}` in [worker] has no value; set the variable that it stands for, or remove it")]
    NoValue {
        /// The place.
        place: String,
    },
    /// The worker is an image, and nothing can start it.
    #[error(
        "[worker] names an image, and there is no `docker` on PATH to run it; install Docker, or name a `command` instead"
    )]
    NoDocker,
    /// A command of the contract failed.
    #[error("[worker.{what}] command `{command}` {how}; its output ends with:\n{log}")]
    Hook {
        /// `build`, `prepare` or `image`.
        what: &'static str,
        /// The command.
        command: String,
        /// How it ended.
        how: String,
        /// Its last lines.
        log: String,
    },
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
    says_ready: SaysReady,
    /// Where it runs in one; `process` is then the command line that looks after it. Dropped after that.
    container: Option<Container>,
}

/// How this worker says that it takes jobs.
#[derive(Debug, Clone)]
enum SaysReady {
    ByQueue,
    InLog(Regex),
    OverHttp(String),
}

impl Worker {
    /// Starts the worker that `contract` describes; its output goes to a file in `directory`.
    ///
    /// # Errors
    /// The program cannot be found or run, a place of its environment has no value, or the log cannot be written.
    pub fn start(
        contract: &Contract,
        surroundings: &WorkerEnv,
        grace: Duration,
        directory: &Path,
        name: &str,
        ledger: &Ledger,
    ) -> Result<Self, WorkerError> {
        let log = directory.join(format!("{name}.log"));
        // An attempt before this one may have left its own; of a missing file nothing need be removed.
        let _ = std::fs::remove_file(&log);
        let port = free_port()?;
        let no_value = |place: String| WorkerError::NoValue { place };
        let environment = surroundings.environment(contract, port).map_err(no_value)?;
        let says_ready = match &contract.worker.ready {
            Ready::Queue => SaysReady::ByQueue,
            Ready::Log(pattern) => SaysReady::InLog(pattern.clone()),
            Ready::Http(url) => SaysReady::OverHttp(surroundings.fill(url, port).map_err(no_value)?),
        };
        let (container, launch) = match &contract.worker.program {
            Program::Command(command) => (None, launch(command, &contract.worker.cwd, environment, name, log.clone())),
            Program::Image { image, command } => {
                let (container, launch) = Container::prepare(image, command, environment, name, log.clone(), ledger)?;
                (Some(container), launch)
            }
        };
        Ok(Self { process: Process::start(&launch, ledger)?, log, grace, says_ready, container })
    }

    /// Whether it says itself that it takes jobs; `None` where only the queue knows.
    pub async fn is_ready(&self) -> Option<bool> {
        match &self.says_ready {
            SaysReady::ByQueue => None,
            SaysReady::InLog(pattern) => Some(self.output().lines().any(|line| pattern.is_match(line))),
            SaysReady::OverHttp(url) => {
                let answer = tokio::time::timeout(ANSWER, reqwest::get(url)).await;
                Some(answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status().as_u16() < 400)))
            }
        }
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

    /// Its output; bytes that are no UTF-8 are replaced, and of more than 16 MiB the middle is left out.
    #[must_use]
    pub fn output(&self) -> String {
        read(&self.log)
    }

    /// How many bytes it has put out.
    #[must_use]
    pub fn written(&self) -> u64 {
        std::fs::metadata(&self.log).map_or(0, |about| about.len())
    }

    /// The peak resident memory in MiB of the process that had most, of it and all that descends from it: what starts
    /// a worker, a shell or npm, is small. While it runs, and on Linux only.
    #[must_use]
    pub fn peak_memory_mib(&self) -> Option<f64> {
        let first = match &self.container {
            Some(container) => ProcessId::of(container.pid()?)?,
            None => self.process.id().clone(),
        };
        let tree = std::iter::once(first.clone()).chain(first.descendants());
        tree.filter_map(|process| process.peak_memory_mib()).reduce(f64::max)
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
        if let Some(container) = &self.container {
            container.tell(&["pause"]);
            return;
        }
        self.process.signal_tree(Signal::SIGSTOP);
    }

    /// SIGCONT to it and all that descends from it.
    pub fn resume(&self) {
        if let Some(container) = &self.container {
            container.tell(&["unpause"]);
            return;
        }
        self.process.signal_tree(Signal::SIGCONT);
    }

    /// Ends it with SIGKILL, with all that descends from it, and gives its output.
    #[must_use]
    pub fn output_after_kill(self) -> String {
        let Self { process, log, container, .. } = self;
        if let Some(container) = &container {
            container.tell(&["kill"]);
        }
        process.kill();
        read(&log)
    }

    /// The grace it was promised.
    #[must_use]
    pub const fn grace(&self) -> Duration {
        self.grace
    }
}

/// A process for the worker's sake, under what a shell would give it (PATH, HOME, TZ …) and `environment`, which comes
/// last.
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

/// Runs a command for the worker's sake to its end.
///
/// # Errors
/// It cannot be run, fails, or takes longer than it may; with its last lines.
pub async fn run_hook(
    what: &'static str,
    hook: &Hook,
    environment: Vec<(String, secrecy::SecretString)>,
    directory: &Path,
    name: &str,
    ledger: &Ledger,
) -> Result<(), WorkerError> {
    let log = directory.join(format!("{name}.log"));
    let process = Process::start(&launch(&hook.command, &hook.cwd, environment, name, log.clone()), ledger)?;
    let how = match process.wait(hook.within).await {
        Some(status) if status.success() => return Ok(()),
        Some(status) => in_words(status),
        None => format!("was not done within {} s", hook.within.as_secs_f64()),
    };
    Err(WorkerError::Hook { what, command: hook.command.join(" "), how, log: tail(&log) })
}

/// The file's text; of one that is very long, its beginning and its end.
fn read(log: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(log)?;
        let length = file.metadata()?.len();
        let mut bytes = Vec::new();
        if length <= HEAD + TAIL {
            file.read_to_end(&mut bytes)?;
            return Ok(bytes);
        }
        (&file).take(HEAD).read_to_end(&mut bytes)?;
        bytes.extend(format!("\n… {} {LEFT_OUT}\n", length - HEAD - TAIL).bytes());
        file.seek(SeekFrom::Start(length - TAIL))?;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// A port that nobody listens on at this moment.
fn free_port() -> Result<u16, StackError> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).map_err(StackError::NoPort)?;
    listener.local_addr().map(|address| address.port()).map_err(StackError::NoPort)
}

/// Creates sure that the image is there which the contract names, if it names one.
///
/// # Errors
/// There is no Docker, or the image can neither be found nor be pulled.
pub async fn have_image(program: &Program, directory: &Path, ledger: &Ledger) -> Result<(), WorkerError> {
    let Program::Image { image, .. } = program else { return Ok(()) };
    let docker = container::docker()?.display().to_string();
    let hook = |arguments: &[&str], within: Duration| Hook {
        command: [docker.as_str()].iter().chain(arguments).chain([&image.as_str()]).map(ToString::to_string).collect(),
        cwd: PathBuf::from("/"),
        within,
    };
    let look = hook(&["image", "inspect", "--format", "{{.Id}}"], LOOK);
    if run_hook("image", &look, Vec::new(), directory, "image", ledger).await.is_ok() {
        return Ok(());
    }
    let pull = hook(&["pull", "--quiet"], PULL);
    run_hook("image", &pull, Vec::new(), directory, "pull", ledger).await
}
