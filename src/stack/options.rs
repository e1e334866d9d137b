//! How a stack is started: the provider and its options.

use std::path::PathBuf;

use super::containers::images::Images;
use super::jina::JinaConfig;
use super::native::programs::Overrides;
use super::ports::Ports;
use crate::settings::Endpoints;

/// Where a stack comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProviderKind {
    /// `containers` if a Docker engine answers within a second, otherwise `native`.
    #[default]
    Auto,
    /// Throwaway local processes.
    Native,
    /// Containers.
    Containers,
    /// Existing services; read-only.
    Remote,
}

/// How a stack is started.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// The id of the run: lower-case letters, digits and `-`. Every name that is created carries it.
    pub run: String,
    /// Whether the throwaway directory is kept when the stack is stopped.
    pub keep: bool,
    /// This program, which is run as `shakedown qdrant` if no other Qdrant is found.
    pub shakedown: PathBuf,
    /// The parent of the throwaway directory. The default is [`crate::stack::usual_data_dir`], or the temporary
    /// directory of the system for a throwaway directory that is kept.
    pub data_dir: Option<PathBuf>,
    /// The directory of the clean-up ledgers, [`crate::settings::state_dir`].
    pub state_dir: PathBuf,
    /// The search path for programs, [`crate::settings::search_path`].
    pub search: Vec<PathBuf>,
    /// Programs to use instead of those found.
    pub programs: Overrides,
    /// Ports to use instead of free ones.
    pub ports: Ports,
    /// The configuration of the Jina mock.
    pub jina: JinaConfig,
    /// The endpoints of the services, for [`ProviderKind::Remote`].
    pub endpoints: Option<Endpoints>,
    /// The address of the Docker engine, [`crate::settings::docker_host`].
    pub docker_host: String,
    /// Images to use instead of the pinned ones.
    pub images: Images,
    /// The memory limit of each container in MiB.
    pub container_memory_mb: u64,
    /// `max_connections` of Postgres.
    pub postgres_connections: u32,
    /// Whether containers stay warm for the next run with the same options.
    pub reuse: bool,
}

/// The default memory limit of each container in MiB.
pub const CONTAINER_MEMORY_MB: u64 = 1024;

/// The default `max_connections`: the default of Postgres itself.
const POSTGRES_CONNECTIONS: u32 = 100;

impl StackOptions {
    /// The default options for `run`, with the search path and the state directory of this machine.
    #[must_use]
    pub fn new(run: impl Into<String>, shakedown: impl Into<PathBuf>) -> Self {
        Self {
            run: run.into(),
            keep: false,
            shakedown: shakedown.into(),
            data_dir: None,
            state_dir: crate::settings::state_dir(),
            search: crate::settings::search_path(),
            programs: Overrides::default(),
            ports: Ports::default(),
            jina: JinaConfig::default(),
            endpoints: None,
            docker_host: crate::settings::docker_host(),
            images: Images::default(),
            container_memory_mb: CONTAINER_MEMORY_MB,
            postgres_connections: POSTGRES_CONNECTIONS,
            reuse: false,
        }
    }
}
