//! Scenarios: run a worker through a workload with faults, read the evidence it leaves, and assess it.
//!
//! `setup` → `run` (one `step` after the other) → [`Observations`] → [`Assessment`] (the outcome of every document,
//! compared with the baseline) → `expectations` (findings and a verdict), `causes` and `timeline`.
//!
//! The evidence reader shares no chunking, id or payload code with the reference worker: a shared bug would hide itself.
//! A scenario runs once; every case that names it judges the same [`Assessment`].

mod assessment;
mod before;
pub mod causes;
mod clients;
mod deadline;
mod document_ids;
mod document_outcome;
mod documents;
mod evidence;
mod expectations;
mod harness;
mod jobs;
mod observations;
mod other_queues;
mod output;
mod premises;
mod pressure;
mod profile;
mod run;
mod scheduler;
mod setup;
mod sidecars;
mod sizing;
mod step;
mod stored_chunks;
#[cfg(test)]
mod testing;
mod timeline;
mod trial;
mod vectors;
mod words;

pub use assessment::{Assessment, DocumentAssessment, DocumentOutcome};
pub use documents::Document;
pub use evidence::{Point, Row, Snapshot, StoredCounts};
pub use expectations::{Violation, evaluate, level_for, missing_evidence, undeclared, violations};
pub use harness::{Harness, ScenarioError};
pub use observations::{
    ApiFault, ContractTerms, EmbeddingsObservations, JobState, NetworkObservations, Observations, OtherQueue,
    QueueObservations, StepRecord, TimingObservations, WorkerObservations,
};
pub use premises::{PREMISE, are_met};
pub use pressure::{Pressure, TOO_BUSY};
pub use run::run_scenario;
pub use scheduler::{Exit, FaultRecord, Output, ProxiedConnection, Proxies, WorkerEvent};
pub use setup::set_up;
pub use sizing::{Cut, Sizing, probes};
pub use timeline::timeline;
pub use trial::{PointsProblem, RowProblem, TrialFailure, run_trial};
pub use vectors::{EmbeddingDifference, VectorMatch, VectorMatches, VectorMismatch};
