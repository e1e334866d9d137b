//! Scenarios: run a worker through a workload with faults, read the evidence it leaves, and assess it.
//!
//! `setup` → `run` (one `step` after the other) → [`Observations`] → `assessment` (the outcome of every document),
//! `timeline` and `diagnosis` → `expectations` (findings and a verdict).
//!
//! The evidence reader shares no chunking, id or payload code with the reference worker: a shared bug would hide itself.
//! A scenario runs once; every case that names it judges the same [`Observations`].

mod assessment;
mod clients;
mod diagnosis;
mod documents;
mod evidence;
mod expectations;
mod harness;
mod jobs;
mod observations;
mod run;
mod scheduler;
mod setup;
mod step;
mod timeline;

pub use assessment::{DocumentAssessment, DocumentOutcome};
pub use documents::Document;
pub use evidence::{Point, Row, Snapshot};
pub use expectations::{evaluate as judge, missing_evidence as lacks};
pub use harness::{Harness, ScenarioError};
pub use observations::{JobState, Observations, StepRecord};
pub use run::run_scenario;
pub use scheduler::{Exit, FaultRecord, Output, ProxiedConnection, Proxies};
pub use setup::set_up;
pub use timeline::timeline;
