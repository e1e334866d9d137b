//! One voyage: set-up, worker, workload, step by step, then the end; everything seen is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::crew::{Berth, Contact, Crew, Exit, FaultRecord, Proxies};
use super::direct::Direct;
use super::documents::{self, Document};
use super::evidence::{EvidenceKeys, Snapshot};
use crate::faults::ServiceFaultError;
use crate::outcome::Events;
use crate::services::ServiceError;
use crate::services::postgres::Postgres;
use crate::services::queue::{Counts, JobHash, NewJob, QueueClient};
use crate::settings::{Endpoints, JinaEndpoint};
use crate::spec::{Milestone, Scenario, Step, Target};
use crate::stack::jina::{JinaConfig, JinaMock, JinaRequest};
use crate::stack::{Ledger, Stack, StackError};
use crate::worker::{Ended, Worker, WorkerCommand};

const WITHIN: Duration = Duration::from_mins(1);
const READY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// How often is looked for a point of the pipeline, which passes quickly.
const WATCH: Duration = Duration::from_millis(4);
/// How long a service may fail the harness while no fault is in force.
const PATIENCE: Duration = Duration::from_secs(10);

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
    /// The stack, if this scenario has it alone and may disturb its services.
    pub stack: Option<Arc<Stack>>,
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
    /// A service could not be disturbed, or not be mended.
    #[error("a fault could not be made or undone: {0}")]
    Fault(#[from] ServiceFaultError),
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
    /// The fewest points that the collection held at any look, after a step before this one had stored some.
    pub least_points: Option<u64>,
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
pub struct Voyage {
    /// The scenario's title.
    pub title: String,
    /// Its steps.
    pub steps: Vec<StepRecord>,
    /// Every request the mock was sent.
    pub requests: Vec<JinaRequest>,
    /// The harness's own connections, with the mock that knows the vector of every text.
    direct: Arc<Direct>,
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
    /// How workers ended that were told to during the voyage.
    pub exits: Vec<Exit>,
    /// Connections of the workers to the services before which a proxy stood.
    pub contacts: BTreeMap<Target, Vec<Contact>>,
    /// When the voyage began, on the clock of the mock's log.
    pub mock_offset: Duration,
    /// The voyage over the same documents on which nothing went wrong.
    pub calm: Option<Arc<Voyage>>,
    /// Secrets that must not be in its output, by variable.
    pub secrets: Vec<(&'static str, SecretString)>,
}

impl Voyage {
    /// The mock, which knows the vector of every text.
    pub(super) fn mock(&self) -> &JinaMock {
        &self.direct.mock
    }

    /// The last step in which documents were ingested.
    #[must_use]
    pub fn last(&self) -> Option<&StepRecord> {
        self.steps.last()
    }
}

impl std::fmt::Debug for Voyage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voyage").field("title", &self.title).field("faults", &self.faults).finish_non_exhaustive()
    }
}

/// Runs the scenario to its end. Whatever the worker did is evidence, not an error.
pub async fn sail(name: &str, scenario: &Scenario, harness: &Harness) -> Result<Voyage, ScenarioError> {
    let documents = documents::choose(&scenario.documents, harness.seed).map_err(ScenarioError::Spec)?;
    let mut endpoints = harness.endpoints.clone();
    let mock = JinaMock::start(JinaConfig {
        model: endpoints.jina.model.clone(),
        dimensions: endpoints.jina.dimensions,
        seed: harness.seed,
        behaviours: scenario.jina.clone(),
        limits: scenario.limits.clone(),
        ..JinaConfig::default()
    })
    .await?;
    endpoints.jina = mock.endpoint();
    set_up(&endpoints, &harness.shakedown).await?;

    let names = &endpoints.names;
    let direct = Arc::new(Direct {
        queue: QueueClient::open(&endpoints.redis, &names.queue, &names.prefix).await?,
        postgres: Postgres::connect(&endpoints.postgres).await?,
        endpoints,
        mock,
        behaviours: scenario.jina.clone(),
        stack: harness.stack.clone(),
    });
    let (proxies, through) = Proxies::before(scenario, &direct.endpoints).await?;
    let variables = through.environment();
    let mut environment: Vec<(String, SecretString)> =
        variables.iter().map(|variable| (variable.name.to_owned(), variable.value.clone())).collect();
    environment.extend(scenario.env.iter().map(|(name, value)| (name.clone(), SecretString::from(value.as_str()))));
    let mut command = harness.worker.clone();
    command.grace = scenario.grace.unwrap_or(command.grace);
    let grace = command.grace;
    let berth = Berth {
        command,
        environment,
        directory: harness.directory.clone(),
        name: format!("worker-{name}"),
        ledger: harness.ledger.clone(),
    };
    let mut crew = Crew::sign_on(berth, scenario.workers, &scenario.faults, proxies, Arc::clone(&direct))?;
    let within = scenario.within_s.map_or(WITHIN, Duration::from_secs);
    let registered = ready(&crew, &direct.queue, scenario.workers, within.min(READY)).await?;
    let mock_offset = crew.begin().saturating_duration_since(direct.mock.started());

    let deadline = Instant::now() + within;
    let mut steps = Vec::new();
    for (number, step) in scenario.steps.iter().enumerate() {
        let documents: Vec<Document> = match step {
            Step::Ingest => documents.clone(),
            Step::Shorten => documents.iter().map(Document::shortened).collect(),
            Step::Rest => Vec::new(),
        };
        harness.events.note(format!(
            "{name}: step {} of {}, {} documents",
            number + 1,
            scenario.steps.len(),
            documents.len()
        ));
        let record = take(number, documents, &direct, &harness.keys, &mut crew, deadline).await?;
        if *step != Step::Rest {
            steps.push(record);
        }
    }

    let counts = patiently(|| direct.queue.counts()).await?;
    let died = crew.died();
    let peak_memory_mib = crew.worker().and_then(Worker::peak_memory_mib);
    let ended = crew.sign_off().await;
    let log = crew.said();
    let (faults, exits, contacts) = (crew.faults(), crew.exits(), crew.contacts());
    drop(crew);
    direct.queue.close().await;
    direct.postgres.close().await;
    let secrets =
        variables.iter().filter(|variable| variable.secret).map(|variable| (variable.name, variable.value.clone()));
    Ok(Voyage {
        title: scenario.title.clone(),
        steps,
        requests: direct.mock.requests(),
        jina: direct.mock.endpoint(),
        direct,
        counts,
        registered,
        ended,
        died,
        grace,
        log,
        peak_memory_mib,
        faults,
        exits,
        contacts,
        mock_offset,
        calm: None,
        secrets: secrets.collect(),
    })
}

/// Asks again where a service does not answer yet: it may just have been started again.
async fn patiently<T, F>(question: impl Fn() -> F) -> Result<T, ServiceError>
where
    F: Future<Output = Result<T, ServiceError>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match question().await {
            Err(ServiceError::Unreachable { .. } | ServiceError::Refused { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(POLL).await;
            }
            answer => return answer,
        }
    }
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

/// Waits until the workers are registered on the queue, and says with how many connections.
async fn ready(crew: &Crew, queue: &QueueClient, workers: usize, within: Duration) -> Result<usize, ScenarioError> {
    let deadline = Instant::now() + within;
    loop {
        let registered = queue.workers().await?;
        if registered >= workers {
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

async fn take(
    number: usize,
    documents: Vec<Document>,
    direct: &Direct,
    keys: &EvidenceKeys,
    crew: &mut Crew,
    deadline: Instant,
) -> Result<StepRecord, ScenarioError> {
    let ids: BTreeMap<String, String> =
        documents.iter().map(|document| (document.id.clone(), job_id(number, &document.id))).collect();
    let jobs: Vec<NewJob> = documents
        .iter()
        .map(|document| NewJob {
            id: ids[&document.id].clone(),
            name: "ingest-document".to_owned(),
            data: json!({ "documentId": document.id, "text": document.text, "source": document.id }),
            attempts: 5,
            backoff_ms: 200,
        })
        .collect();
    crew.set_sail().await?;
    if !jobs.is_empty() {
        direct.queue.add(jobs).await?;
    }
    let (settled, recovered, least_points) = follow(&ids, direct, crew, number > 0, deadline).await?;
    let (completed, failed) = patiently(|| direct.ended()).await?;
    let mut records = BTreeMap::new();
    for (document, id) in &ids {
        let hash = patiently(|| direct.queue.job(id)).await?;
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
    let snapshot = patiently(|| Snapshot::take(&direct.endpoints, keys, &direct.postgres)).await?;
    Ok(StepRecord { documents, jobs: records, snapshot, settled, least_points, recovered })
}

/// Lets the faults of a step strike, until every job has ended and all is calm again, or there is no more time.
/// Gives whether every job has ended, how long after the last fault that was, and the fewest points that were seen.
async fn follow(
    ids: &BTreeMap<String, String>,
    direct: &Direct,
    crew: &mut Crew,
    counts_points: bool,
    deadline: Instant,
) -> Result<(bool, Option<Duration>, Option<u64>), ScenarioError> {
    let wanted: BTreeSet<&String> = ids.values().collect();
    let mut over_at = None;
    let mut share = 0.0;
    let mut settled = wanted.is_empty();
    let mut answered = Instant::now();
    let mut least_points = None;
    loop {
        if counts_points && let Ok(points) = direct.count(Milestone::Points).await {
            least_points = Some(least_points.map_or(points, |least: u64| least.min(points)));
        }
        match direct.ended().await {
            Ok((completed, failed)) => {
                answered = Instant::now();
                let over = completed.iter().chain(&failed).filter(|id| wanted.contains(id)).count();
                settled = over == wanted.len();
                #[expect(clippy::cast_precision_loss, reason = "a share of a few thousand jobs")]
                let now = if wanted.is_empty() { 1.0 } else { over as f64 / wanted.len() as f64 };
                share = now;
            }
            Err(_) if crew.is_service_down() || answered.elapsed() < PATIENCE => {}
            Err(error) => return Err(error.into()),
        }
        crew.tick(share).await?;
        let over = settled && crew.is_calm() && (!wanted.is_empty() || crew.is_through());
        if over || Instant::now() >= deadline || crew.died().is_some() {
            let calm_since = crew.calm_since();
            let recovered =
                calm_since.filter(|_| settled).map(|calm| over_at.unwrap_or(crew.elapsed()).saturating_sub(calm));
            crew.calm().await?;
            return Ok((settled, recovered, least_points));
        }
        if settled && over_at.is_none() {
            over_at = Some(crew.elapsed());
        }
        tokio::time::sleep(if crew.is_watching() { WATCH } else { POLL }).await;
    }
}

/// A job id that is new in each step: BullMQ swallows an id that it has seen (FAILURES b, jobid-swallowed).
fn job_id(step: usize, document: &str) -> String {
    let digest = Sha256::digest(document.as_bytes());
    let hex: String = digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    format!("s{step}-{hex}")
}
