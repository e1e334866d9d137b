//! Everything observed of one scenario run. Expectations, timeline and diagnoses read it; nothing here judges it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use secrecy::SecretString;

use super::assessment::{self, DocumentAssessment};
use super::clients::ServiceClients;
use super::documents::Document;
use super::evidence::Snapshot;
use super::scheduler::{Exit, FaultRecord, Output, ProxiedConnection};
use crate::faults::{Answered, Writes};
use crate::services::queue::{Attached, Counts, JobHash, QueueEvent};
use crate::settings::{EvidenceContract, JinaEndpoint};
use crate::spec::Target;
use crate::stack::jina::{JinaMock, JinaRequest};
use crate::worker::Ended;

/// One step of a scenario, and the state after its jobs ended.
#[derive(Debug, Clone)]
pub struct StepRecord {
    /// The documents in the version that this step enqueued.
    pub documents: Vec<Document>,
    /// The job of each document: its state and its hash.
    pub jobs: BTreeMap<String, (JobState, JobHash)>,
    /// Points and rows after the step.
    pub snapshot: Snapshot,
    /// Whether all jobs ended before the deadline.
    pub settled: bool,
    /// The lowest number of points that the collection held during the step; `None` in the first step.
    pub least_points: Option<u64>,
    /// Documents whose row was seen as done during the step, with an error text if points were missing then. Recorded
    /// in the first step only, and only with few documents and no fault on a service.
    pub seen_done: BTreeMap<String, Option<String>>,
    /// Time from the end of the last fault until all jobs had ended; `None` without a fault, or if they never did.
    pub recovered: Option<Duration>,
}

/// The final state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// In `completed`.
    Completed,
    /// In `failed`.
    Failed,
    /// Not ended when the step ended.
    Unfinished,
    /// Not in Redis any more, and no event says how it ended.
    Missing,
}

/// Everything observed of one scenario run.
pub struct Observations {
    /// The scenario's title.
    pub title: String,
    /// Its steps, without `idle` steps.
    pub steps: Vec<StepRecord>,
    /// Every request to the embeddings mock.
    pub requests: Vec<JinaRequest>,
    /// The harness's connections; kept for the mock, which knows the vector of every text.
    pub(super) clients: Arc<ServiceClients>,
    /// The embeddings endpoint of the worker.
    pub jina: JinaEndpoint,
    /// The number of jobs by state at the end.
    pub counts: Counts,
    /// Connections of workers to the queue when the run began.
    pub attached: Attached,
    /// How the worker ended after the final SIGTERM; `None` if it had to be killed.
    pub ended: Option<Ended>,
    /// How a worker ended without being told to, if one did.
    pub died: Option<String>,
    /// The shutdown grace of the worker.
    pub grace: Duration,
    /// The output of all workers.
    pub log: String,
    /// The output by worker, with the times at which it was seen.
    pub outputs: Vec<Output>,
    /// The lifecycle of the workers: milliseconds since the run began, the worker's number, what happened.
    pub worker_events: Vec<(i64, usize, String)>,
    /// The entries of the queue's event stream, with the time in milliseconds since the run began.
    pub job_events: Vec<(i64, QueueEvent)>,
    /// The duration of the run.
    pub length: Duration,
    /// The highest peak resident memory of a single worker process or descendant, in MiB.
    pub peak_memory_mib: Option<f64>,
    /// The injected faults and their effects.
    pub faults: Vec<FaultRecord>,
    /// The behaviour configured for the embeddings mock, and whether a request met it; `None` without one.
    pub api_fault: Option<(&'static str, bool)>,
    /// How workers ended that were told to end during the run.
    pub exits: Vec<Exit>,
    /// Connections of the workers, for services behind a proxy.
    pub proxied_connections: BTreeMap<Target, Vec<ProxiedConnection>>,
    /// Requests that a proxy answered instead of its service.
    pub answered: BTreeMap<Target, Vec<Answered>>,
    /// The workers' changes of points, if a proxy was in front of Qdrant.
    pub writes: Option<Writes>,
    /// When the run began, on the clock of the mock's log.
    pub mock_offset: Duration,
    /// The run over the same documents without faults.
    pub baseline: Option<Arc<Observations>>,
    /// Secrets that must not be in the output, by variable.
    pub secrets: Vec<(String, SecretString)>,
    /// The evidence contract of the worker.
    pub evidence: EvidenceContract,
    /// The factor by which deadlines are extended.
    pub timeout_factor: f64,
    /// See [`Observations::assessment`].
    pub(super) assessment: OnceLock<Vec<DocumentAssessment>>,
}

impl Observations {
    /// Sets the run to compare with; before anything is assessed.
    #[must_use]
    pub fn with_baseline(self, baseline: Option<Arc<Self>>) -> Self {
        Self { baseline, assessment: OnceLock::new(), ..self }
    }

    /// The outcome of every document. It is computed once, on the first call.
    pub fn assessment(&self) -> &[DocumentAssessment] {
        self.assessment.get_or_init(|| assessment::assess_documents(self))
    }

    /// The embeddings mock, which knows the vector of every text.
    pub(super) fn mock(&self) -> &JinaMock {
        &self.clients.mock
    }

    /// The last step, other than `idle` steps.
    #[must_use]
    pub fn last(&self) -> Option<&StepRecord> {
        self.steps.last()
    }
}

impl std::fmt::Debug for Observations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observations").field("title", &self.title).field("faults", &self.faults).finish_non_exhaustive()
    }
}
