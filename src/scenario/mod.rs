//! Scenarios: drive a worker through a workload, gather the evidence it left, judge it.
//!
//! The evidence reader shares no chunking, id or payload code with the reference worker, or one bug
//! would acquit both. A scenario is run once; every case that names it judges the same [`Observations`].

mod assessment;
mod clients;
mod diagnosis;
mod documents;
mod evidence;
mod expectations;
mod jobs;
mod run;
mod scheduler;
mod timeline;

pub use assessment::{DocumentAssessment, DocumentOutcome};
pub use documents::Document;
pub use evidence::{Point, Row, Snapshot};
pub use expectations::{evaluate as judge, missing_evidence as lacks};
pub use run::{Harness, Observations, ScenarioError, StepRecord, redact, run_scenario, set_up};
pub use scheduler::{Exit, FaultRecord, Output, ProxiedConnection, Proxies};
pub use timeline::timeline;
