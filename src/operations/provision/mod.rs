//! `shakedown plan` and `shakedown setup`: compare a stack with its desired state, and apply the differences.
//!
//! The desired state is `[desired]` of `shakedown.toml`, or what a worker needs by the names in its variables. Nothing
//! is remembered between two runs: each run compares the stack anew. So the next run resumes an interrupted one, and a
//! run after a complete one changes nothing.

mod change;
mod consent;
mod engine;
mod files;
mod postgres;
mod qdrant;
mod queue;
mod step;
mod target;
mod worker;

use crate::settings::Desired;
use engine::{Part, Reporter, converge_all};
use step::{Found, STATE, Stop};

pub use change::{Action, Change};
pub use consent::{Consent, WriteCounter};
pub use step::{Outcome, SetupError, Step};
pub use target::{File, SetupTarget};
pub use worker::{Wanted, prepare};

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct PlanError {
    /// The service that failed.
    pub service: &'static str,
    /// Its error.
    pub error: SetupError,
}

/// The differences, in the order in which setup applies them. Only reads.
///
/// # Errors
/// A service cannot be reached or read.
pub async fn plan(desired: &Desired, target: &SetupTarget, force: bool) -> Result<Vec<Change>, PlanError> {
    let mut all = Vec::new();
    for part in Part::described(desired, target) {
        let failed = |error| PlanError { service: part.service(), error };
        let (connection, _) = part.connect(target).await.map_err(failed)?;
        let changes = connection.changes(desired, target, force).await;
        connection.close().await;
        all.extend(changes.map_err(|stop| failed(stop.error))?);
    }
    Ok(all)
}

/// Applies the differences one by one; calls `on_step` after each step. The steps after a failed one are skipped.
pub async fn apply(
    desired: &Desired,
    target: &SetupTarget,
    consent: Consent,
    writes: &mut WriteCounter,
    on_step: impl FnMut(&Step),
) -> Vec<Step> {
    let mut reporter = ChangeReporter { on_step, steps: Vec::new(), made: false };
    converge_all(desired, target, consent, writes, &mut reporter).await;
    reporter.steps
}

/// Reports a step for each change made and for each difference left.
struct ChangeReporter<F> {
    on_step: F,
    steps: Vec<Step>,
    made: bool,
}

impl<F: FnMut(&Step)> ChangeReporter<F> {
    fn record(
        &mut self,
        service: &'static str,
        name: &'static str,
        what: String,
        outcome: Outcome,
        notes: Vec<String>,
    ) {
        let step = Step { service, name, what, outcome, notes };
        (self.on_step)(&step);
        self.steps.push(step);
    }
}

impl<F: FnMut(&Step)> Reporter for ChangeReporter<F> {
    fn skipped(&mut self, part: Part, prerequisite: &str) {
        let outcome = Outcome::Skipped { prerequisite: prerequisite.to_owned() };
        self.record(part.service(), STATE, String::new(), outcome, Vec::new());
    }

    fn reached(&mut self, part: Part, found: Found) {
        self.record(part.service(), "connection", found.what, Outcome::Unchanged, found.notes);
    }

    fn made(&mut self, change: &Change) {
        self.made = true;
        let outcome = if change.action == Action::Create { Outcome::Created } else { Outcome::Changed };
        let details = change.details.join(", ");
        let what = if details.is_empty() { change.what.clone() } else { format!("{}: {details}", change.what) };
        self.record(change.service, change.kind, what, outcome, change.destroys.clone().into_iter().collect());
    }

    fn ended(&mut self, part: Part, left: &[Change]) {
        for change in left {
            let notes = change.details.iter().map(|detail| format!("{detail}; left unchanged")).collect();
            self.record(change.service, change.kind, change.what.clone(), Outcome::Unchanged, notes);
        }
        if !std::mem::take(&mut self.made) && left.is_empty() {
            self.record(part.owner(), STATE, "all as described".to_owned(), Outcome::Unchanged, Vec::new());
        }
    }

    fn failed(&mut self, part: Part, Stop { kind, error }: Stop) -> String {
        let service = if kind == "connection" { part.service() } else { part.owner() };
        self.record(service, kind, error.to_string(), Outcome::Failed(error), Vec::new());
        format!("{service} {kind}")
    }
}
