//! A process that the worker needs beside it, such as a gateway.

use std::path::Path;

use super::environment::WorkerEnv;
use super::error::WorkerError;
use super::log::WorkerLog;
use super::{Readiness, answers, launch};
use crate::settings::{Contract, Ready, Sidecar as SidecarContract};
use crate::stack::{Ledger, Process, in_words};

/// A running sidecar. Its whole process tree is ended when it is dropped.
#[derive(Debug)]
pub struct Sidecar {
    process: Process,
    log: WorkerLog,
    command: String,
    readiness: Option<Readiness>,
}

impl Sidecar {
    /// Starts a sidecar of `contract` with the worker's environment; its output goes to a file in `directory`.
    ///
    /// # Errors
    /// The program cannot be found or run, or a placeholder has no value.
    pub fn start(
        sidecar: &SidecarContract,
        contract: &Contract,
        worker_env: &WorkerEnv,
        (directory, name): (&Path, &str),
        ledger: &Ledger,
    ) -> Result<Self, WorkerError> {
        let no_value = |place: String| WorkerError::NoValue { place };
        let environment = worker_env.environment(contract, 0).map_err(no_value)?;
        let readiness = match &sidecar.ready {
            None | Some(Ready::Queue) => None,
            Some(Ready::Log(pattern)) => Some(Readiness::Log(pattern.clone())),
            Some(Ready::Http(url)) => Some(Readiness::Http(worker_env.fill(url, 0).map_err(no_value)?)),
        };
        let log = directory.join(format!("{name}.log"));
        // An earlier attempt may have left its log. A missing file is no error.
        let _ = std::fs::remove_file(&log);
        let process = Process::start(&launch(&sidecar.command, &sidecar.cwd, environment, name, log.clone()), ledger)?;
        Ok(Self { process, log: WorkerLog::new(log), command: sidecar.command.join(" "), readiness })
    }

    /// Whether it is ready. One that has ended is an error, with its last lines.
    ///
    /// # Errors
    /// It has ended.
    pub async fn is_ready(&self) -> Result<bool, WorkerError> {
        if let Some(status) = self.process.exit_status() {
            return Err(self.failed(in_words(status)));
        }
        Ok(match &self.readiness {
            None | Some(Readiness::Queue) => true,
            Some(Readiness::Log(pattern)) => self.log.has_line(pattern),
            Some(Readiness::Http(url)) => answers(url).await,
        })
    }

    /// The error that it has failed in this way.
    #[must_use]
    pub fn failed(&self, how: String) -> WorkerError {
        WorkerError::Hook { what: "sidecar", command: self.command.clone(), how, log: self.log.tail() }
    }
}
