//! Where the services come from: a provider starts or finds them and says what may be done to them.
//!
//! [`Stack::start`] gives [`Endpoints`](crate::settings::Endpoints), records of the services, and the
//! [`Capabilities`] of the provider. Everything made is in the [`Ledger`] before it is made.

mod addresses;
mod compose;
mod containers;
mod error;
pub mod jina;
mod ledger;
mod names;
mod native;
mod place;
mod ports;
mod proc;
mod process;
mod provider;
mod ready;
mod remote;
mod shape;
mod sweep;

use std::fmt;

use rand::distr::{Alphanumeric, SampleString};
use serde::{Deserialize, Serialize};

use crate::settings::public_url;
use ready::Readiness;

pub use compose::{
    CheckError as ComposeCheckError, ComposeError, Finding as ComposeFinding, RULES as COMPOSE_RULES,
    check as check_compose, files as compose_files, write as write_compose,
};
pub use containers::{
    CleanedContainers, Images, POSTGRES_IMAGE, QDRANT_IMAGE, REDIS_IMAGE, clean_containers, container_labels,
    engine_answers,
};
pub use error::{Package, StackError};
pub use ledger::{Entry, Ledger, Resource, emergency, exit_cleanup, replay_on_panic};
pub use names::{are_ours, drop_any_names, drop_names, names_for};
pub use native::Overrides;
pub use place::usual_data_dir;
pub use ports::Ports;
pub use proc::{MARK, ProcessId, marked, working_in};
pub use process::{Account, Launch, Process, in_words, tail};
pub use provider::{CONTAINER_MEMORY_MB, Capabilities, Capability, ProviderKind, Stack, StackOptions};
pub use remote::look as ask_services;
pub use sweep::{Cleaned, Found, clean};

/// A service of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Redis or Valkey, with the queue on it.
    Redis,
    /// Postgres in Supabase's shape.
    Postgres,
    /// Qdrant.
    Qdrant,
    /// Jina or its mock.
    Jina,
}

impl Service {
    /// All of them, in dependency order.
    pub const ALL: [Self; 4] = [Self::Redis, Self::Postgres, Self::Qdrant, Self::Jina];

    /// Its name in suites, reports and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::Qdrant => "qdrant",
            Self::Jina => "jina",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// `length` random letters and digits, from the system's generator.
fn random_word(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}

/// Where a service is, without credentials.
fn public_address(readiness: &Readiness) -> String {
    match readiness {
        Readiness::Redis { url } | Readiness::Postgres { url } => public_url(url),
        Readiness::Qdrant { url, .. } | Readiness::Jina { url, .. } => public_url(&url.as_str().into()),
    }
}
