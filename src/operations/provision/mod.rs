//! `shakedown plan` and `shakedown setup`: compare a stack with its desired state, and apply the differences.
//!
//! The desired state is `[desired]` of `shakedown.toml`, or what a worker needs by the names in its variables. Nothing
//! is remembered between two runs: each run compares the stack anew. So the next run resumes an interrupted one, and a
//! run after a complete one changes nothing.

mod change;
mod engine;
mod files;
mod postgres;
mod qdrant;
mod queue;
mod step;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;

use crate::settings::{Desired, Names, PostgresEndpoint, QdrantEndpoint, RedisEndpoint};
use engine::{Part, Reporter, converge_all};
use step::{Found, STATE, Stop};

pub use change::{Action, Change};
pub use step::{Outcome, SetupError, Step};
pub use worker::{Wanted, prepare};

/// The stack to set up. A service without desired state needs no address.
#[derive(Debug, Clone)]
pub struct SetupTarget {
    /// Redis.
    pub redis: Option<RedisEndpoint>,
    /// Postgres.
    pub postgres: Option<PostgresEndpoint>,
    /// Qdrant.
    pub qdrant: Option<QdrantEndpoint>,
    /// Names from the variables.
    pub names: Names,
    /// Vector size, if nothing else sets it.
    pub dimensions: u32,
    /// Passwords of roles, by variable; unset variables are absent.
    pub passwords: BTreeMap<String, SecretString>,
    /// Variables that workers read, to compare with the desired state: `JINA_MODEL` and others.
    pub variables: BTreeMap<&'static str, String>,
    /// Files to write, besides the one for producers and workers.
    pub files: Vec<File>,
}

/// A file to write.
#[derive(Debug, Clone)]
pub struct File {
    /// Its path.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
    /// Whether only its owner may read it, e.g. because it holds secrets.
    pub private: bool,
    /// Beginnings of required lines, for a file that is written only once and never overwritten because users edit it.
    /// Empty for a file that is compared as a whole.
    pub lines: Vec<String>,
}

/// What the user has agreed to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Consent {
    /// Collections may be replaced.
    pub replace: bool,
    /// Points that cannot be converted may be lost.
    pub discard: bool,
    /// Files may be overwritten.
    pub force: bool,
}

/// Counts writes, so that tests can end the process after any of them.
#[derive(Debug, Default)]
pub struct WriteCounter {
    done: u32,
    end_after: Option<u32>,
}

impl WriteCounter {
    /// Ends the process after this many writes, or never.
    #[must_use]
    pub const fn ending_after(end_after: Option<u32>) -> Self {
        Self { done: 0, end_after }
    }

    /// Counts a write.
    fn count(&mut self) {
        self.done += 1;
        if self.end_after == Some(self.done) {
            // Like a kill: without report or clean-up.
            std::process::exit(137);
        }
    }
}

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
