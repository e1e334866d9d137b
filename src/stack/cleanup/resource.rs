//! What a run creates and must remove again.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::remote_data::RemoteData;
use crate::stack::process_id::ProcessId;

/// How the name of every directory that we create begins; no other directory is removed.
pub const PREFIX: &str = "shakedown-";

/// Something that must be removed when a run ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// A directory with its content, and every process that works in it or prints to a file in it.
    Directory {
        /// Its absolute path.
        path: PathBuf,
        /// Whether the user keeps it: then only the processes are stopped.
        keep: bool,
    },
    /// Every container that carries the mark of the ledger.
    Containers {
        /// Where the engine listens, as in `DOCKER_HOST`.
        engine: String,
        /// Whether the user keeps them.
        keep: bool,
    },
    /// The container of a worker.
    Container {
        /// Where the engine listens, as in `DOCKER_HOST`.
        engine: String,
        /// Its name, which is also its mark.
        name: String,
    },
    /// Data in services that the run did not start.
    RemoteData(RemoteData),
    /// A program about to be started: its pid is not known yet, but its environment carries the mark of the ledger.
    Launching {
        /// What it is, such as `redis`.
        name: String,
    },
    /// A process, its process group and its descendants.
    Process {
        /// What it is, such as `redis`.
        name: String,
        /// Its identity.
        process: ProcessId,
        /// Whether it gets SIGQUIT before SIGKILL (Postgres then frees its shared memory).
        polite: bool,
    },
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory { path, keep: true } => write!(f, "directory {} (kept)", path.display()),
            Self::Directory { path, keep: false } => write!(f, "directory {}", path.display()),
            Self::Containers { engine, keep: true } => write!(f, "containers of the engine at {engine} (kept)"),
            Self::Containers { engine, keep: false } => write!(f, "containers of the engine at {engine}"),
            Self::Container { name, .. } => write!(f, "container {name}"),
            Self::RemoteData(data) => data.fmt(f),
            Self::Launching { name } => write!(f, "processes started as {name}"),
            Self::Process { name, process, .. } => write!(f, "process {} ({name})", process.pid),
        }
    }
}
