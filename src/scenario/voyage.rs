//! One voyage: set-up, worker, workload, step by step, then the end; everything seen is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::crew::{self, Berth, Crew, FaultRecord};
use super::documents::{self, Document};
use super::evidence::{EvidenceKeys, Snapshot};
use crate::outcome::Events;
use crate::services::ServiceError;
use crate::services::postgres::Postgres;
use crate::services::queue::{Counts, JobHash, NewJob, QueueClient};
use crate::settings::{Endpoints, JinaEndpoint};
use crate::spec::{Scenario, Step};
use crate::stack::jina::{Behaviour, JinaConfig, JinaMock, JinaRequest};
use crate::stack::{Ledger, StackError};
use crate::worker::{Ended, Worker, WorkerCommand};

const WITHIN: Duration = Duration::from_mins(1);
const READY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// What a scenario needs from its surroundings.
#[derive(Debug, Clone)]
pub struct Harness {
    /// The stack under names of this scenario alone; whoever runs it removes them.
    pub endpoints: Endpoints,
    /// The shakedown binary, for `setup`.
    pub shakedown: PathBuf,
    /// The worker under test.
    pub worker: WorkerCommand,
    /// Where logs may be written; removed with the stack.
    pub directory: PathBuf,
    /// Where what is made is written down first.
    pub ledger: Ledger,
    /// The run's seed.
    pub seed: u64,
    /// Keys of the evidence.
    pub keys: EvidenceKeys,
    /// Who listens.
    pub events: Events,
}

/// Why a scenario could not be sailed to its end.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The workload or the mock's behaviours make no sense.
    #[error("the scenario cannot be run: {0}")]
    Spec(String),
    /// A service failed the harness itself.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The mock or a process could not be started.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// `shakedown setup` failed.
    #[error("`shakedown setup` failed ({how}): {said}")]
    Setup {
        /// How it ended.
        how: String,
        /// Its last lines.
        said: String,
    },
    /// The worker did not register on its queue.
    #[error("the worker was not ready within {seconds} s ({how}); its last output:\n{said}")]
    NeverReady {
        /// Whether it runs or how it ended.
        how: String,
        /// Its last lines.
        said: String,
        /// How long it was waited for.
        seconds: u64,
    },
}

/// One step and what was there when the queue had settled.
#[derive(Debug, Clone)]
pub struct StepRecord {
    /// The documents as this step enqueued them.
    pub documents: Vec<Document>,
    /// The job of each document: its state and its hash.
    pub jobs: BTreeMap<String, (JobState, JobHash)>,
    /// Points and rows afterwards.
    pub snapshot: Snapshot,
    /// Whether the queue settled before the deadline.
    pub settled: bool,
    /// Time from the end of the last fault until it had; `None` without a fault, or when it never did.
    pub recovered: Option<Duration>,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// In `completed`.
    Completed,
    /// In `failed`.
    Failed,
    /// In neither when the scenario was given up.
    Unfinished,
    /// Nowhere: its hash is gone.
    Missing,
}

/// Everything that was seen.
#[derive(Debug)]
pub struct Voyage {
    /// The scenario's title.
    pub title: String,
    /// Its steps.
    pub steps: Vec<StepRecord>,
    /// Every request the mock was sent.
    pub requests: Vec<JinaRequest>,
    /// The mock, which knows the vector of every text.
    pub mock: JinaMock,
    /// The endpoint the worker was given for embeddings.
    pub jina: JinaEndpoint,
    /// Jobs by state at the end.
    pub counts: Counts,
    /// Connections under BullMQ's worker name while the worker ran.
    pub registered: usize,
    /// How the worker ended on SIGTERM; absent when it had to be killed.
    pub ended: Option<Ended>,
    /// How the worker ended before it was told to, if it did.
    pub died: Option<String>,
    /// The grace it was promised.
    pub grace: Duration,
    /// Its whole output.
    pub log: String,
    /// Its peak resident memory.
    pub peak_memory_mib: Option<f64>,
    /// What was broken on purpose, and what that did.
    pub faults: Vec<FaultRecord>,
    /// Secrets that must not be in its output, by variable.
    pub secrets: Vec<(&'static str, SecretString)>,
}

impl Voyage {
    /// The last step: there is always one.
    #[must_use]
    pub fn last(&self) -> Option<&StepRecord> {
        self.steps.last()
    }
}

/// Runs the scenario to its end. Whatever the worker did is evidence, not an error.
pub async fn sail(name: &str, scenario: &Scenario, harness: &Harness) -> Result<Voyage, ScenarioError> {
    let documents = documents::choose(&scenario.documents, harness.seed).map_err(ScenarioError::Spec)?;
    let behaviours = scenario
        .jina
        .iter()
        .map(|value| serde_json::from_value::<Behaviour>(value.clone()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| ScenarioError::Spec(format!("a behaviour of the Jina mock: {error}")))?;
    let mut endpoints = harness.endpoints.clone();
    let mock = JinaMock::start(JinaConfig {
        model: endpoints.jina.model.clone(),
        dimensions: endpoints.jina.dimensions,
        seed: harness.seed,
        behaviours,
        ..JinaConfig::default()
    })
    .await?;
    endpoints.jina = mock.endpoint();
    set_up(&endpoints, &harness.shakedown).await?;

    let names = &endpoints.names;
    let queue = QueueClient::open(&endpoints.redis, &names.queue, &names.prefix).await?;
    let postgres = Postgres::connect(&endpoints.postgres).await?;
    let (proxies, through) = crew::proxies(&scenario.faults, &endpoints).await?;
    let variables = through.environment();
    let mut environment: Vec<(String, SecretString)> =
        variables.iter().map(|variable| (variable.name.to_owned(), variable.value.clone())).collect();
    environment.extend(scenario.env.iter().map(|(name, value)| (name.clone(), SecretString::from(value.as_str()))));
    let berth = Berth {
        command: harness.worker.clone(),
        environment,
        directory: harness.directory.clone(),
        name: format!("worker-{name}"),
        ledger: harness.ledger.clone(),
    };
    let mut crew = Crew::sign_on(berth, &scenario.faults, proxies)?;
    let within = scenario.within_s.map_or(WITHIN, Duration::from_secs);
    let registered = ready(&crew, &queue, within.min(READY)).await?;

    let deadline = Instant::now() + within;
    let mut steps = Vec::new();
    for (number, step) in scenario.steps.iter().enumerate() {
        let documents: Vec<Document> = match step {
            Step::Ingest => documents.clone(),
            Step::Shorten => documents.iter().map(Document::shortened).collect(),
        };
        harness.events.note(format!(
            "{name}: step {} of {}, {} documents",
            number + 1,
            scenario.steps.len(),
            documents.len()
        ));
        steps.push(take(number, documents, &queue, &postgres, &endpoints, &harness.keys, &mut crew, deadline).await?);
    }

    let counts = queue.counts().await?;
    let died = crew.died();
    let peak_memory_mib = crew.worker().and_then(Worker::peak_memory_mib);
    let grace = harness.worker.grace;
    let ended = crew.sign_off().await;
    let log = crew.said();
    let faults = crew.faults();
    drop(crew);
    queue.close().await;
    postgres.close().await;
    let secrets =
        variables.iter().filter(|variable| variable.secret).map(|variable| (variable.name, variable.value.clone()));
    Ok(Voyage {
        title: scenario.title.clone(),
        steps,
        requests: mock.requests(),
        jina: mock.endpoint(),
        mock,
        counts,
        registered,
        ended,
        died,
        grace,
        log,
        peak_memory_mib,
        faults,
        secrets: secrets.collect(),
    })
}

/// Prepares queue, table and collection with the same verb that a user would.
pub async fn set_up(endpoints: &Endpoints, shakedown: &Path) -> Result<(), ScenarioError> {
    let mut command = tokio::process::Command::new(shakedown);
    command.args(["setup", "--format", "json"]).stdin(Stdio::null()).kill_on_drop(true);
    for variable in endpoints.environment() {
        command.env(variable.name, variable.value.expose_secret());
    }
    let failed = |how: String, said: String| ScenarioError::Setup { how, said };
    let output = tokio::time::timeout(READY, command.output())
        .await
        .map_err(|_| failed(format!("not done after {} s", READY.as_secs()), String::new()))?
        .map_err(|error| failed("could not be started".to_owned(), error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(failed(crate::stack::in_words(output.status), said))
}

/// Waits until the worker is registered on the queue, and says with how many connections.
async fn ready(crew: &Crew, queue: &QueueClient, within: Duration) -> Result<usize, ScenarioError> {
    let deadline = Instant::now() + within;
    loop {
        let registered = queue.workers().await?;
        if registered > 0 {
            return Ok(registered);
        }
        let ended = crew.died();
        if ended.is_some() || Instant::now() >= deadline {
            let how = ended.unwrap_or_else(|| "it runs, and is not registered on the queue".to_owned());
            return Err(ScenarioError::NeverReady {
                how,
                said: crew.worker().map(Worker::tail).unwrap_or_default(),
                seconds: within.as_secs(),
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

#[expect(clippy::too_many_arguments, reason = "one call site; a struct would only rename them")]
async fn take(
    number: usize,
    documents: Vec<Document>,
    queue: &QueueClient,
    postgres: &Postgres,
    endpoints: &Endpoints,
    keys: &EvidenceKeys,
    crew: &mut Crew,
    deadline: Instant,
) -> Result<StepRecord, ScenarioError> {
    let ids: BTreeMap<String, String> =
        documents.iter().map(|document| (document.id.clone(), job_id(number, &document.id))).collect();
    let jobs = documents
        .iter()
        .map(|document| NewJob {
            id: ids[&document.id].clone(),
            name: "ingest-document".to_owned(),
            data: json!({ "documentId": document.id, "text": document.text, "source": document.id }),
            attempts: 5,
            backoff_ms: 200,
        })
        .collect();
    crew.set_sail();
    queue.add(jobs).await?;

    let wanted: BTreeSet<&String> = ids.values().collect();
    let mut over_at = None;
    let (settled, recovered, completed, failed) = loop {
        let (completed, failed) = queue.ended().await?;
        let over = completed.iter().chain(&failed).filter(|id| wanted.contains(id)).count();
        let settled = over == wanted.len();
        #[expect(clippy::cast_precision_loss, reason = "a share of a few thousand jobs")]
        crew.tick(if wanted.is_empty() { 1.0 } else { over as f64 / wanted.len() as f64 }).await?;
        if (settled && crew.is_calm()) || Instant::now() >= deadline || crew.died().is_some() {
            let calm_since = crew.calm_since();
            let recovered =
                calm_since.filter(|_| settled).map(|calm| over_at.unwrap_or(crew.elapsed()).saturating_sub(calm));
            crew.calm()?;
            break (settled, recovered, completed, failed);
        }
        if settled && over_at.is_none() {
            over_at = Some(crew.elapsed());
        }
        tokio::time::sleep(POLL).await;
    };
    let mut records = BTreeMap::new();
    for (document, id) in &ids {
        let hash = queue.job(id).await?;
        let state = if completed.contains(id) {
            JobState::Completed
        } else if failed.contains(id) {
            JobState::Failed
        } else if hash.is_some() {
            JobState::Unfinished
        } else {
            JobState::Missing
        };
        records.insert(document.clone(), (state, hash.unwrap_or_default()));
    }
    let snapshot = Snapshot::take(endpoints, keys, postgres).await?;
    Ok(StepRecord { documents, jobs: records, snapshot, settled, recovered })
}

/// A job id that is new in each step: BullMQ swallows an id that it has seen (FAILURES b, jobid-swallowed).
fn job_id(step: usize, document: &str) -> String {
    let digest = Sha256::digest(document.as_bytes());
    let hex: String = digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    format!("s{step}-{hex}")
}
