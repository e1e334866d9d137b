//! Everything observed of one scenario run, as plain data. The assessment, expectations, causes and timeline read it;
//! nothing here judges it.

mod embeddings;
mod network;
mod queue;
mod step;
mod terms;
mod timing;
mod workers;

use std::time::Duration;

pub use embeddings::{ApiFault, EmbeddingsObservations};
pub use network::NetworkObservations;
pub use queue::{OtherQueue, QueueObservations};
pub use step::{JobState, StepRecord};
pub use terms::ContractTerms;
pub use timing::TimingObservations;
pub use workers::WorkerObservations;

use super::scheduler::FaultRecord;

/// Everything observed of one scenario run.
#[derive(Clone)]
pub struct Observations {
    /// The scenario's title.
    pub title: String,
    /// The duration of the run.
    pub length: Duration,
    /// Its steps, without `idle` steps.
    pub steps: Vec<StepRecord>,
    /// The worker processes.
    pub workers: WorkerObservations,
    /// The queue.
    pub queue: QueueObservations,
    /// The embeddings API.
    pub embeddings: EmbeddingsObservations,
    /// The traffic between workers and services.
    pub network: NetworkObservations,
    /// The injected faults and their effects.
    pub faults: Vec<FaultRecord>,
    /// What the times depend on.
    pub timing: TimingObservations,
    /// The terms by which the run is assessed.
    pub contract: ContractTerms,
}

impl Observations {
    /// The last step, other than `idle` steps.
    #[must_use]
    pub fn last(&self) -> Option<&StepRecord> {
        self.steps.last()
    }
}

/// Without the workers' output, which may hold secrets.
impl std::fmt::Debug for Observations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observations").field("title", &self.title).field("faults", &self.faults).finish_non_exhaustive()
    }
}
