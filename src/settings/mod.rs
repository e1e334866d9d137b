//! Settings: the only reader of the environment and of `shakedown.toml`.
//!
//! [`TABLE`] describes every variable. A value comes from a flag, the environment, `.env`, the chosen profile of
//! `shakedown.toml` or the table's default, in this order; an empty value counts as not set. Every variable can also be
//! set as `NAME_FILE`, the path of a file that contains the value.
//!
//! Data is separate from its readers: `file` reads `shakedown.toml` into [`Config`], [`Contract`] and [`Desired`],
//! `load` combines all sources, and [`Settings`] answers questions. No module imports one that imports it.

mod config;
mod contract;
mod desired;
mod dotenv;
mod endpoint;
mod error;
mod file;
mod given;
mod load;
mod machine;
mod origin;
mod pairs;
mod private_dir;
mod profile;
mod render;
mod source;
mod suggest;
mod table;
mod telemetry;
mod template;
mod value;
mod values;
mod waiver;

pub use config::Config;
pub use contract::{
    Backoff, BackoffKind, ChunkFigure, ChunksContract, Contract, Creates, Data, DocumentContract, DocumentId, Dropped,
    Embedded, EmbeddingsContract, EvidenceContract, Grace, Hook, Idle, JobContract, Order, PointIds, PostgresEvidence,
    Program, QdrantEvidence, QueueContract, Ready, Sidecar, SizeUnit, Whitespace, WorkerContract, document_place,
    is_blank, payload_field,
};
pub use desired::{
    Desired, DesiredCollection, DesiredColumn, DesiredFiles, DesiredGrant, DesiredJina, DesiredJob, DesiredPostgres,
    DesiredQueue, DesiredRole, DesiredTable, Distance, Keep, Quantization, RateLimit,
};
pub use endpoint::{
    Endpoints, JinaEndpoint, Names, PostgresEndpoint, QdrantEndpoint, RedisEndpoint, SupabaseEndpoint, Variable,
    public_url,
};
pub use error::{Missing, Place, Problem, SettingsError};
pub use file::contract_place;
pub use given::{Given, GivenVariable};
pub use load::Ignored;
pub use machine::{
    Runner, cache_dir, docker_host, find_program, inherited, learn_process_environment, podman_socket,
    process_variable, runner, search_path, state_dir,
};
pub use origin::Origin;
pub use private_dir::{PrivateDirError, check_private, private_dir};
pub use profile::PROFILES;
pub use render::{dotenv, json, markdown, resolved_json, resolved_markdown};
pub use source::Source;
pub use suggest::similar;
pub use table::{Entry, Kind, Need, Secrecy, TABLE, entry, nearest};
pub use telemetry::{Telemetry, TelemetryProtocol};
pub use template::{DOCUMENT_PLACES, ENDPOINT_PLACES, SEQUENCE, TABLE_PLACES, Template, TemplateError};
pub use value::shown;
pub use values::Settings;
pub use waiver::Waiver;

#[cfg(test)]
mod tests;
