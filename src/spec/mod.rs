//! Suites: TOML tables read into typed, validated cases. No I/O but reading the files themselves.
//!
//! Reading goes in two passes. `written` is the file as a person wrote it: unknown keys are
//! rejected and every error points at file, line and column. `resolve` turns it into [`Case`]s:
//! exactly one thing to do, at least one expectation of the right kind, unique ids, known
//! prerequisites.

mod builtin;
pub mod catalogue;
mod error;
mod expect;
mod fault;
mod generic;
pub mod jina;
mod probe;
mod resolve;
mod scenario;
#[cfg(test)]
mod scenario_tests;
mod template;
mod words;
mod written;

pub use builtin::builtin_suites;
pub use error::{Place, SpecError};
pub use expect::{Expectation, Matcher, Range};
pub use fault::{
    Direction, Fault, FaultKind, Lasts, Milestone, NetworkFault, Requests, ServiceFault, Target, When, WorkerFault,
    duration,
};
pub use generic::{CommandProbe, CommandYield, DnsProbe, DnsYield, TcpProbe, TcpYield, TlsBefore, TlsProbe, TlsYield};
pub use probe::{
    Auth, ConsistencyProbe, EnvProbe, EnvYield, HttpProbe, HttpStep, HttpYield, IngestionProbe, InteropProbe,
    JinaProbe, JinaYield, MigrationsFact, MigrationsProbe, Probe, QueueCanary, QueueFact, QueueProbe, QueueStateProbe,
    RedisProbe, RedisYield, Rule, SearchFact, SearchProbe, SetupProbe, SetupYield, SqlProbe,
};
pub use resolve::{Case, Check, Need, Suite, Suites, Verb, meant};
pub use scenario::{Documents, Scenario, ScenarioWritten, Step};
pub use template::{Template, TemplateError};
pub use written::SuiteWritten;
