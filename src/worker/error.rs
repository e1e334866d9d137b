//! Why a worker could not be started.

use crate::stack::StackError;

/// Why a worker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The process could not be started.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// A placeholder of the contract has no value.
    #[error("placeholder `{{{{{place}}}}}` in [worker] has no value: set its variable, or remove the placeholder")]
    NoValue {
        /// The placeholder.
        place: String,
    },
    /// The worker is an image, and Docker is not installed.
    #[error("[worker] names an image, but `docker` is not on PATH: install Docker, or set `command` instead")]
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
