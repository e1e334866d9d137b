//! A worker in a container. Docker's command line starts it and passes on its output, its exit code and SIGTERM; it is
//! killed, paused and removed by name.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use secrecy::SecretString;

use super::error::WorkerError;
use crate::settings::{docker_host, find_program};
use crate::stack::{Entry, Launch, Ledger, Resource, container_labels};

/// The container of one worker. It is in the ledger before it exists, and is removed when dropped.
#[derive(Debug)]
pub(super) struct Container {
    docker: PathBuf,
    name: String,
    ledger: Ledger,
    entry: Entry,
}

/// Docker's command line.
///
/// # Errors
/// It is not on PATH.
pub(super) fn docker() -> Result<PathBuf, WorkerError> {
    find_program("docker", Path::new(".")).ok_or(WorkerError::NoDocker)
}

impl Container {
    /// Adds the container to the ledger, before it exists. Returns how it is started.
    ///
    /// It shares the network of this machine, because the services and the proxies listen on 127.0.0.1.
    pub(super) fn prepare(
        image: &str,
        command: &[String],
        environment: Vec<(String, SecretString)>,
        name: &str,
        log: PathBuf,
        ledger: &Ledger,
    ) -> Result<(Self, Launch), WorkerError> {
        let docker = docker()?;
        let container = format!("{}-{name}", ledger.mark());
        let mut arguments: Vec<String> =
            ["run", "--rm", "--pull", "never", "--network", "host", "--name", &container].map(str::to_owned).to_vec();
        for (label, value) in container_labels(ledger.mark(), &container) {
            arguments.extend(["--label".to_owned(), format!("{label}={value}")]);
        }
        // Only the names: the values go through the environment, which other users cannot read.
        for (variable, _) in &environment {
            arguments.extend(["--env".to_owned(), variable.clone()]);
        }
        arguments.push(image.to_owned());
        arguments.extend(command.iter().cloned());
        let mut variables = crate::settings::inherited();
        variables.extend(environment);
        let entry = ledger.add(Resource::Container { engine: docker_host(), name: container.clone() })?;
        let launch = Launch {
            name: name.to_owned(),
            program: docker.clone(),
            arguments,
            environment: variables,
            directory: PathBuf::from("/"),
            log,
            account: None,
            on_harness_death: Signal::SIGKILL,
        };
        Ok((Self { docker, name: container, ledger: ledger.clone(), entry }, launch))
    }

    /// Runs a command of Docker on it: `pause`, `unpause`, `kill`. Returns whether it succeeded.
    pub(super) fn run(&self, arguments: &[&str]) -> bool {
        self.output(arguments).is_some()
    }

    /// The id of its process on this machine.
    pub(super) fn pid(&self) -> Option<i32> {
        self.output(&["inspect", "--format", "{{.State.Pid}}"])?.trim().parse().ok().filter(|pid| *pid > 0)
    }

    /// The output of a command of Docker on it; `None` if it fails.
    fn output(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new(&self.docker)
            .args(arguments)
            .arg(&self.name)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It removes itself when it ends, so it may be gone already. One that remains stays in the ledger.
        let removed = self.run(&["rm", "--force", "--volumes"]) || !self.run(&["inspect"]);
        if removed {
            self.ledger.mark_removed(self.entry);
        }
    }
}
