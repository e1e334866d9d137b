//! Suites: TOML tables, read into typed and validated cases. The only I/O is reading the files.
//!
//! Reading has two passes. `written` is the file as it is: unknown keys are rejected, and every error has file, line and
//! column. `suites` and `resolve` turn it into [`Case`]s: exactly one probe or scenario, at least one expectation of the
//! right kind, unique ids, known prerequisites. Keys with a new name are in `renamed`; `expect`
//! describes how to add an expectation.

mod bounded;
mod builtin;
mod case;
mod error;
mod expect;
mod fault;
pub mod jina;
mod lines;
mod premise;
mod probe;
pub mod read_only;
mod references;
mod renamed;
mod resolve;
mod scenario;
mod similar;
mod suites;
mod template;
mod words;
mod written;

pub(crate) use bounded::read_text;
pub use builtin::builtin_suites;
pub use case::{Case, Check, Need, Verb};
pub use error::{Place, SpecError};
pub use expect::{All, Expect, Expectation, Intact, Matcher, Pattern, Range};
pub use fault::{
    Commands, Direction, Fault, FaultKind, Lasts, Milestone, NetworkFault, RedisError, Requests, ServiceFault,
    SqlState, Statements, Target, When, WorkerFault, parse_duration,
};
pub use premise::{Premise, SizedDocuments, Work};
pub use probe::{
    Auth, CommandProbe, CommandYield, ConsistencyProbe, DnsProbe, DnsYield, EnvProbe, EnvYield, HttpProbe, HttpStep,
    HttpYield, IngestionProbe, InteropJob, InteropProbe, InteropWant, JinaProbe, JinaYield, MigrationsFact,
    MigrationsProbe, Probe, QueueCanary, QueueFact, QueueProbe, QueueStateProbe, RedisProbe, RedisYield, Rule,
    SearchFact, SearchProbe, SetupProbe, SetupYield, SqlProbe, TcpProbe, TcpYield, TlsBefore, TlsProbe, TlsYield,
};
pub use scenario::{Documents, Overlap, Scenario, ScenarioWritten, Step};
pub use similar::did_you_mean;
pub use suites::{Suite, Suites};
pub use template::{Template, TemplateError};
pub use written::SuiteWritten;
