//! Settings: the only reader of the environment and of `shakedown.toml`.
//!
//! [`TABLE`] is the single source for every variable. A value comes from a flag, the environment,
//! `.env`, the chosen profile of `shakedown.toml` or the table's default, in this order; an empty
//! value counts as not set. Every variable is also understood as `NAME_FILE`, the path of a file
//! that holds it.

mod config;
mod contract;
mod desired;
mod dotenv;
mod endpoint;
mod error;
mod given;
mod load;
mod machine;
mod origin;
mod render;
mod source;
mod table;
mod telemetry;
mod template;
mod value;
mod values;
mod waiver;

pub use config::{Config, PROFILES};
pub use contract::{
    Backoff, BackoffKind, Contract, Creates, Data, EvidenceContract, Hook, JobContract, PostgresEvidence, Program,
    QdrantEvidence, QueueContract, Ready, WorkerContract,
};
pub use desired::{
    Desired, DesiredCollection, DesiredColumn, DesiredFiles, DesiredGrant, DesiredJina, DesiredJob, DesiredPostgres,
    DesiredQueue, DesiredRole, DesiredTable, Distance, Keep, Quantization, RateLimit,
};
pub use endpoint::{
    Endpoints, JinaEndpoint, Names, PostgresEndpoint, QdrantEndpoint, RedisEndpoint, Variable, public_url,
};
pub use error::{Missing, Place, Problem, SettingsError};
pub use given::{Given, GivenVariable};
pub use machine::{
    Runner, cache_dir, docker_host, find_program, inherited, podman_socket, process_variable, runner, search_path,
    state_dir,
};
pub use origin::Origin;
pub use render::{dotenv, json, markdown, resolved_json, resolved_markdown};
pub use source::Source;
pub use table::{Entry, Kind, Need, Secrecy, TABLE, entry, nearest, similar};
pub use telemetry::{Telemetry, TelemetryProtocol};
pub use template::{DOCUMENT_PLACES, ENDPOINT_PLACES, Template, TemplateError};
pub use value::{MASK, shown};
pub use values::Settings;
pub use waiver::Waiver;

#[cfg(test)]
mod tests;
