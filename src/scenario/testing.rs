//! Observations for unit tests, made by hand: no service and no worker runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::assessment::Assessment;
use super::documents::Document;
use super::evidence::{Point, Row, Snapshot, StoredCounts};
use super::observations::{
    ContractTerms, EmbeddingsObservations, JobState, NetworkObservations, Observations, QueueObservations, StepRecord,
    TimingObservations, WorkerObservations,
};
use super::pressure::Pressure;
use super::scheduler::{Exit, FaultRecord, ProxiedConnection};
use crate::faults::ClosedBy;
use crate::services::queue::{Attached, JobHash};
use crate::settings::{ChunksContract, EmbeddingsContract, EvidenceContract, Idle, JinaEndpoint};
use crate::spec::{Step, Target, WorkerFault};
use crate::stack::jina::JinaRequest;
use crate::worker::Ended;

/// A secret of every test run; its variable is `REDIS_URL`.
pub(super) const SECRET: &str = "redis://:long-password@127.0.0.1:6379";

/// The task of every request.
const PASSAGE_TASK: Option<&str> = Some("retrieval.passage");

/// A scenario run. It begins as one in which all is well, and a test changes what it is about.
#[derive(Clone)]
pub(super) struct TestRun {
    observations: Box<Observations>,
    baseline: Option<Box<Observations>>,
}

impl TestRun {
    /// One step that ingested `a.md` in two chunks and `b.md` in one.
    pub(super) fn two_documents() -> Self {
        Self::ingested(&[("a.md", &["First chunk. ", "Second chunk."]), ("b.md", &["Only chunk."])])
    }

    /// One step that ingested documents: for each its id and its chunks, which together are its text.
    pub(super) fn ingested(documents: &[(&str, &[&str])]) -> Self {
        let mut run = Self { observations: Box::new(observations()), baseline: None };
        run.observations.steps.push(StepRecord::empty());
        for (id, chunks) in documents {
            run.store(id, &chunks.concat(), chunks);
        }
        run
    }

    /// One step that ingested `a.md` with `text` in these chunks.
    pub(super) fn chunked(text: &str, chunks: &[&str]) -> Self {
        let mut run = Self::ingested(&[]);
        run.store("a.md", text, chunks);
        run
    }

    /// The run after `edit` has changed its observations.
    pub(super) fn edit(&self, edit: impl FnOnce(&mut Observations)) -> Self {
        let mut edited = self.clone();
        edit(&mut edited.observations);
        edited
    }

    /// The run after `edit` has changed its last step.
    pub(super) fn edit_step(&self, edit: impl FnOnce(&mut StepRecord)) -> Self {
        self.edit(|seen| edit(seen.steps.last_mut().unwrap()))
    }

    /// The run with one more step, which is the last one once more after `edit` has changed it.
    pub(super) fn then(&self, edit: impl FnOnce(&mut StepRecord)) -> Self {
        let again = self.edit(|seen| seen.steps.push(seen.last().unwrap().clone()));
        again.edit_step(edit)
    }

    /// The run, compared with `baseline`.
    pub(super) fn compared_with(&self, baseline: &Self) -> Self {
        Self { baseline: Some(baseline.observations.clone()), ..self.clone() }
    }

    pub(super) fn assessment(&self) -> Assessment {
        let baseline = self.baseline.clone().map(|baseline| Arc::new(Assessment::new(*baseline, None)));
        Assessment::new(*self.observations.clone(), baseline)
    }

    /// Adds a document to the last step: its job, its row, its points, and one request with its chunks.
    fn store(&mut self, id: &str, text: &str, chunks: &[&str]) {
        let embeddings = &mut self.observations.embeddings;
        let point = |(chunk, text): (usize, &&str)| Point {
            id: format!("{id}-{chunk}"),
            document: Some(id.to_owned()),
            version: Some("v1".to_owned()),
            chunk: Some(chunk as u64),
            offset: None,
            text: Some((*text).to_owned()),
            vector: embeddings.vector_for_task(PASSAGE_TASK, text),
        };
        let points: Vec<Point> = chunks.iter().enumerate().map(point).collect();
        if !chunks.is_empty() {
            embeddings.requests.push(request(0, chunks));
        }
        let step = self.observations.steps.last_mut().unwrap();
        step.documents.push(Document { id: id.to_owned(), text: text.to_owned(), rejected: false });
        let job = JobHash { attempts: 1, starts: 1, notes: Some(4), ..JobHash::default() };
        step.jobs.insert(id.to_owned(), (JobState::Completed, job));
        let is_skipped = text.is_empty();
        let row = Row {
            status: if is_skipped { "skipped" } else { "ready" }.to_owned(),
            done: !is_skipped,
            version: Some("v1".to_owned()),
            chunks: Some(points.len() as u64),
            error: None,
        };
        step.snapshot.rows.insert(id.to_owned(), row);
        step.snapshot.points.insert(id.to_owned(), points);
    }
}

/// The parts of a step that a test changes, by the id of the document.
impl StepRecord {
    fn empty() -> Self {
        Self {
            step: Step::Ingest,
            number: 0,
            documents: Vec::new(),
            jobs: BTreeMap::new(),
            snapshot: Snapshot::default(),
            settled: true,
            least_points: None,
            seen_done: BTreeMap::new(),
            recovered: None,
        }
    }

    pub(super) fn document(&mut self, id: &str) -> &mut Document {
        self.documents.iter_mut().find(|document| document.id == id).unwrap()
    }

    pub(super) fn state(&mut self, id: &str) -> &mut JobState {
        &mut self.jobs.get_mut(id).unwrap().0
    }

    pub(super) fn job(&mut self, id: &str) -> &mut JobHash {
        &mut self.jobs.get_mut(id).unwrap().1
    }

    pub(super) fn row(&mut self, id: &str) -> &mut Row {
        self.snapshot.rows.get_mut(id).unwrap()
    }

    pub(super) fn points(&mut self, id: &str) -> &mut Vec<Point> {
        self.snapshot.points.get_mut(id).unwrap()
    }

    /// Lets the job of a document fail as it should: the row says so, and nothing is stored.
    pub(super) fn fail(&mut self, id: &str, reason: &str) {
        *self.state(id) = JobState::Failed;
        self.job(id).failed_reason = Some(reason.to_owned());
        self.points(id).clear();
        let row = self.row(id);
        "failed".clone_into(&mut row.status);
        (row.done, row.error) = (false, Some(reason.to_owned()));
    }

    /// Stores the first chunk of a document twice, and counts it twice.
    pub(super) fn duplicate(&mut self, id: &str) {
        let mut again = self.points(id)[0].clone();
        "another-id".clone_into(&mut again.id);
        self.points(id).push(again);
        self.row(id).chunks = Some(self.points(id).len() as u64);
    }

    /// Makes this a step that removed `id` alone.
    pub(super) fn remove(&mut self, id: &str) {
        self.documents.retain(|document| document.id == id);
        self.snapshot.points.remove(id);
        self.snapshot.rows.remove(id);
    }
}

/// Observations without a step.
fn observations() -> Observations {
    Observations {
        title: "a test run".to_owned(),
        length: Duration::from_secs(20),
        steps: Vec::new(),
        workers: WorkerObservations {
            ended: Some(Ended { how: "exited with code 0".to_owned(), code: Some(0), after: Duration::from_secs(1) }),
            grace: Duration::from_secs(10),
            log: "{\"msg\":\"ready\"}\n".to_owned(),
            peak_memory_mib: Some(100.0),
            ..WorkerObservations::default()
        },
        queue: QueueObservations {
            attached: Attached { registered: 1, unregistered: 0 },
            ..QueueObservations::default()
        },
        embeddings: EmbeddingsObservations {
            requests: Vec::new(),
            endpoint: JinaEndpoint {
                base_url: "http://127.0.0.1:1/v1".to_owned(),
                api_key: None,
                model: "jina-embeddings-v3".to_owned(),
                dimensions: 8,
            },
            mock_offset: Duration::ZERO,
            api_fault: None,
        },
        network: NetworkObservations::default(),
        faults: Vec::new(),
        timing: TimingObservations::default(),
        contract: ContractTerms {
            evidence: EvidenceContract::default(),
            chunks: ChunksContract::reference(),
            embeddings: EmbeddingsContract::default(),
            exit_codes: vec![0],
            idle: Idle::Waits,
            retry_waits: Duration::from_secs(3),
            timeout_factor: 1.0,
            secrets: vec![("REDIS_URL".to_owned(), SECRET.into())],
        },
    }
}

/// A request as it should be, answered at once with 200.
pub(super) fn request(at_ms: u64, texts: &[&str]) -> JinaRequest {
    JinaRequest {
        at_ms,
        texts: texts.iter().map(ToString::to_string).collect(),
        status: 200,
        tokens: 1,
        in_flight: 1,
        authorised: true,
        model: Some("jina-embeddings-v3".to_owned()),
        task: PASSAGE_TASK.map(ToOwned::to_owned),
        dimensions: Some(8),
        embedding_type: None,
        late_chunking: false,
        truncate: false,
        wait_ms: None,
        took_ms: 0,
        disturbed: false,
        unreadable: None,
    }
}

/// A connection from one time to another, in milliseconds; without an end it is open.
pub(super) fn connection(opened: u64, closed: Option<u64>) -> ProxiedConnection {
    ProxiedConnection {
        opened: Duration::from_millis(opened),
        closed: closed.map(Duration::from_millis),
        closed_by: closed.map(|_| ClosedBy::Client),
        up: 1,
        down: 1,
        idle_in_transaction: None,
    }
}

/// A fault that took effect, from one time to another, in milliseconds.
pub(super) fn fault(target: Target, began: u64, ended: u64) -> FaultRecord {
    FaultRecord {
        what: format!("cut of {}", target.word()),
        targets: vec![target],
        worker: None,
        lasts: Some(Duration::from_millis(ended.saturating_sub(began))),
        began: Some(Duration::from_millis(began)),
        ended: Some(Duration::from_millis(ended)),
        affected: "1 connections, 1 bytes".to_owned(),
        took_effect: true,
        others: 0,
        stored: None,
    }
}

/// A fault of a worker at a time in milliseconds, with what was stored then: points by document, and documents with a row.
pub(super) fn worker_fault(worker: WorkerFault, at: u64, points: &[(&str, usize)], done: &[&str]) -> FaultRecord {
    FaultRecord {
        what: format!("{} of the worker", worker.word()),
        targets: Vec::new(),
        worker: Some(worker),
        affected: "a running worker".to_owned(),
        stored: Some(StoredCounts {
            points: points.iter().map(|(document, count)| ((*document).to_owned(), *count)).collect(),
            done: done.iter().map(ToString::to_string).collect(),
        }),
        ..fault(Target::Jina, at, at + 200)
    }
}

/// A fault that began and affected nothing.
pub(super) fn missed_fault(target: Target) -> FaultRecord {
    FaultRecord { affected: "nothing".to_owned(), took_effect: false, ..fault(target, 1000, 2000) }
}

/// The exit of a worker that ended as it should after SIGTERM, and that ran alone.
pub(super) fn exit() -> Exit {
    Exit {
        signalled: Duration::from_millis(500),
        after: Duration::from_secs(1),
        grace: Duration::from_secs(10),
        how: "exited with code 0".to_owned(),
        code: Some(0),
        killed: false,
        slept: false,
        taken: Some(Vec::new()),
        left: Some(Vec::new()),
    }
}

/// How busy a machine was on which the worker waited for a CPU for 14 of 20 seconds.
pub(super) fn starved() -> Pressure {
    Pressure {
        elapsed: Duration::from_secs(20),
        cpu: Some(0.62),
        worker_waited: Duration::from_secs(14),
        worker_ran: Duration::from_secs(2),
        own_waited: Duration::from_secs(1),
        stalled: Duration::from_secs(14),
        cpus: 2,
    }
}
