//! What `shakedown.toml` says of the worker: how it is started, how it gets jobs, where its results are, and what it
//! promises about chunks and requests.

mod chunks;
mod document;
mod embeddings;
mod evidence;
mod payload;
mod queue;
mod worker;

use std::path::{Path, PathBuf};

pub use chunks::{ChunkFigure, ChunksContract, Dropped, Embedded, PointIds, SizeUnit, Whitespace, is_blank};
pub use document::document_place;
pub use embeddings::EmbeddingsContract;
pub use evidence::{EvidenceContract, PostgresEvidence, QdrantEvidence};
pub use payload::{check_payload_path, payload_field};
pub use queue::{
    Backoff, BackoffKind, Data, DocumentContract, DocumentId, JOB_OPTIONS, JobContract, Order, QueueContract,
};
pub(super) use worker::{BUILD_WITHIN, GRACE, PREPARE_WITHIN, READY_WITHIN};
pub use worker::{Creates, Grace, Hook, Idle, Program, Ready, Sidecar, WorkerContract};

use super::endpoint::Names;

/// How to run and observe the worker under test. The reference worker has a contract too.
#[derive(Debug, Clone)]
pub struct Contract {
    /// The file that the contract was read from; `None` for the reference worker.
    pub path: Option<PathBuf>,
    /// The process.
    pub worker: WorkerContract,
    /// How documents become jobs.
    pub queue: QueueContract,
    /// Where the results are stored.
    pub evidence: EvidenceContract,
    /// What it promises about its chunks.
    pub chunks: ChunksContract,
    /// What it promises about its requests for embeddings.
    pub embeddings: EmbeddingsContract,
}

impl Contract {
    /// The reference worker: `shakedown worker`.
    #[must_use]
    pub fn reference(shakedown: &Path, cwd: &Path) -> Self {
        let command = vec![shakedown.display().to_string(), "worker".to_owned()];
        let mut worker = WorkerContract::new(Program::Command(command), cwd.to_owned());
        worker.exit_codes = vec![0];
        worker.shutdown_grace = Grace::Variable("WORKER_SHUTDOWN_GRACE_MS".to_owned());
        let embeddings = EmbeddingsContract { declared: true, ..EmbeddingsContract::default() };
        let mut contract = Self { chunks: ChunksContract::reference(), embeddings, ..Self::for_worker(worker) };
        contract.queue.document.order = Some(Order::Data);
        contract
    }

    /// A worker that takes the reference worker's jobs and stores the same results, and promises nothing else.
    #[must_use]
    pub fn for_worker(worker: WorkerContract) -> Self {
        Self {
            path: None,
            worker,
            queue: QueueContract::default(),
            evidence: EvidenceContract::default(),
            chunks: ChunksContract::default(),
            embeddings: EmbeddingsContract::default(),
        }
    }

    /// Whether the worker has fixed names, so that two scenarios on one stack would share data.
    #[must_use]
    pub fn has_fixed_names(&self) -> bool {
        let table = self.evidence.postgres.as_ref().and_then(|postgres| postgres.table.as_ref());
        // Further queues have fixed names; under a prefix of the scenario they are its own all the same.
        let other_queues = self.queue.prefix.is_some() && self.queue.others().next().is_some();
        let collection = self.evidence.qdrant.collection.is_some();
        self.queue.name.is_some() || other_queues || collection || table.is_some()
    }

    /// `names`, with the worker's fixed names where it has any.
    #[must_use]
    pub fn names(&self, names: Names) -> Names {
        let table = self.evidence.postgres.as_ref().and_then(|postgres| postgres.table.as_ref());
        let prefix = self.queue.prefix.clone();
        Names {
            // A fixed queue without a prefix has BullMQ's default prefix.
            prefix: prefix.or_else(|| self.queue.name.as_ref().map(|_| "bull".to_owned())).unwrap_or(names.prefix),
            queue: self.queue.name.clone().unwrap_or(names.queue),
            collection: self.evidence.qdrant.collection.clone().unwrap_or(names.collection),
            table: table.map_or(names.table, |table| {
                if table.contains('.') { table.clone() } else { format!("public.{table}") }
            }),
        }
    }

    /// Whether a job uses this placeholder.
    #[must_use]
    pub fn mentions(&self, place: &str) -> bool {
        let jobs = [Some(&self.queue.job), self.queue.reingest.as_ref(), self.queue.delete.as_ref()];
        jobs.into_iter().flatten().any(|job| job.mentions(place))
    }
}
