//! `shakedown plan` and `shakedown setup`: what a stack lacks of a desired state, and how that is mended.
//!
//! The state is what `shakedown.toml` describes under `[desired]`, or what a worker needs by the names that its variables
//! say. Nothing is remembered between two runs. What is to be done follows from what is there, each time anew, so that a run
//! that was interrupted is gone on with by the next one, and a run that is complete leaves nothing for another to do.

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

/// The stack that is to look like this. A service of which nothing is desired is not asked for its address.
#[derive(Debug, Clone)]
pub struct SetupTarget {
    /// Redis.
    pub redis: Option<RedisEndpoint>,
    /// Postgres.
    pub postgres: Option<PostgresEndpoint>,
    /// Qdrant.
    pub qdrant: Option<QdrantEndpoint>,
    /// Names as the variables have them.
    pub names: Names,
    /// Numbers in a vector, where nothing else says so.
    pub dimensions: u32,
    /// Passwords of roles, by the variable that holds them; those that are not set are absent.
    pub passwords: BTreeMap<String, SecretString>,
    /// Variables that workers read, to be compared with what is desired: `JINA_MODEL` and the like.
    pub variables: BTreeMap<&'static str, String>,
    /// Files to be written, beside the one for producers and workers.
    pub files: Vec<File>,
}

/// A file to be written.
#[derive(Debug, Clone)]
pub struct File {
    /// Where.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
    /// Whether it is for its owner alone, such as one with secrets.
    pub private: bool,
    /// How lines begin that must be in it, where it is only written once: then it is never overwritten, for the rest of it
    /// is somebody else's. Empty for one that is compared as a whole.
    pub lines: Vec<String>,
}

/// What somebody has agreed to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Consent {
    /// Collections may be replaced.
    pub replace: bool,
    /// Points that cannot be carried over may be lost.
    pub discard: bool,
    /// Files may be overwritten.
    pub force: bool,
}

/// Counts what is done, so that tests can end the process after any of it.
#[derive(Debug, Default)]
pub struct WriteCounter {
    done: u32,
    end_after: Option<u32>,
}

impl WriteCounter {
    /// Ends the process after so many writes, or never.
    #[must_use]
    pub const fn ending_after(end_after: Option<u32>) -> Self {
        Self { done: 0, end_after }
    }

    /// Something was written.
    fn count(&mut self) {
        self.done += 1;
        if self.end_after == Some(self.done) {
            // As if it was killed: nothing is on_step, nothing is tidied up.
            std::process::exit(137);
        }
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct PlanError {
    /// The service that did not do its part.
    pub service: &'static str,
    /// What it said.
    pub error: SetupError,
}

/// What is not as described, in the order in which it would be mended. Only reads.
///
/// # Errors
/// A service cannot be reached, or does not let itself be read.
pub async fn plan(desired: &Desired, target: &SetupTarget, force: bool) -> Result<Vec<Change>, PlanError> {
    let mut all = Vec::new();
    for part in Part::wanted(desired, target) {
        let failed = |error| PlanError { service: part.service(), error };
        let (connection, _) = part.connect(target).await.map_err(failed)?;
        let changes = connection.changes(desired, target, force).await;
        connection.close().await;
        all.extend(changes.map_err(|stop| failed(stop.error))?);
    }
    Ok(all)
}

/// Mends what is not as described, one thing after the other. `on_step` hears of each step once it is done. The steps after
/// one that failed are skipped.
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

/// A step for each change that is made, and one for each thing that is left.
struct ChangeReporter<F> {
    on_step: F,
    steps: Vec<Step>,
    made: bool,
}

impl<F: FnMut(&Step)> ChangeReporter<F> {
    fn take(&mut self, service: &'static str, name: &'static str, what: String, outcome: Outcome, notes: Vec<String>) {
        let step = Step { service, name, what, outcome, notes };
        (self.on_step)(&step);
        self.steps.push(step);
    }
}

impl<F: FnMut(&Step)> Reporter for ChangeReporter<F> {
    fn skipped(&mut self, part: Part, prerequisite: &str) {
        let outcome = Outcome::Skipped { prerequisite: prerequisite.to_owned() };
        self.take(part.service(), STATE, String::new(), outcome, Vec::new());
    }

    fn reached(&mut self, part: Part, found: Found) {
        self.take(part.service(), "connection", found.what, Outcome::Unchanged, found.notes);
    }

    fn made(&mut self, change: &Change) {
        self.made = true;
        let outcome = if change.action == Action::Create { Outcome::Created } else { Outcome::Changed };
        let details = change.details.join(", ");
        let what = if details.is_empty() { change.what.clone() } else { format!("{}: {details}", change.what) };
        self.take(change.service, change.kind, what, outcome, change.destroys.clone().into_iter().collect());
    }

    fn ended(&mut self, part: Part, left: &[Change]) {
        for change in left {
            let notes = change.details.iter().map(|detail| format!("{detail}; left unchanged")).collect();
            self.take(change.service, change.kind, change.what.clone(), Outcome::Unchanged, notes);
        }
        if !std::mem::take(&mut self.made) && left.is_empty() {
            self.take(part.owner(), STATE, "all as described".to_owned(), Outcome::Unchanged, Vec::new());
        }
    }

    fn failed(&mut self, part: Part, Stop { kind, error }: Stop) -> String {
        let service = if kind == "connection" { part.service() } else { part.owner() };
        self.take(service, kind, error.to_string(), Outcome::Failed(error), Vec::new());
        format!("{service} {kind}")
    }
}
