//! The stack to set up, and the files to write.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;

use crate::settings::{Names, PostgresEndpoint, QdrantEndpoint, RedisEndpoint};

/// The stack to set up. A service without desired state needs no address.
#[derive(Debug, Clone)]
pub struct SetupTarget {
    /// Redis.
    pub redis: Option<RedisEndpoint>,
    /// Postgres.
    pub postgres: Option<PostgresEndpoint>,
    /// Qdrant.
    pub qdrant: Option<QdrantEndpoint>,
    /// Names from the variables.
    pub names: Names,
    /// Vector size, if nothing else sets it.
    pub dimensions: u32,
    /// Passwords of roles, by variable; unset variables are absent.
    pub passwords: BTreeMap<String, SecretString>,
    /// Variables that workers read, to compare with the desired state: `JINA_MODEL` and others.
    pub variables: BTreeMap<&'static str, String>,
    /// Files to write, besides the one for producers and workers.
    pub files: Vec<File>,
}

/// A file to write.
#[derive(Debug, Clone)]
pub struct File {
    /// Its path.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
    /// Whether only its owner may read it, e.g. because it holds secrets.
    pub private: bool,
    /// Beginnings of required lines, for a file that is written only once and never overwritten because users edit it.
    /// Empty for a file that is compared as a whole.
    pub lines: Vec<String>,
}
