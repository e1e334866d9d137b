//! Scenarios: drive a worker through a workload, gather the evidence it left, judge it.
//!
//! The evidence reader shares no chunking, id or payload code with the reference worker, or one bug
//! would acquit both. A scenario is run once; every case that names it judges the same [`Voyage`].

mod crew;
mod diagnosis;
mod direct;
mod documents;
mod evidence;
mod handover;
mod invariants;
mod ledger;
mod timeline;
mod voyage;

pub use crew::{Contact, Exit, FaultRecord, Output, Proxies};
pub use documents::Document;
pub use evidence::{Point, Row, Snapshot};
pub use invariants::{judge, lacks};
pub use ledger::{Account, Fate};
pub use timeline::timeline;
pub use voyage::{Harness, ScenarioError, StepRecord, Voyage, redact, sail, set_up};
