//! One scenario run: set-up, worker, workload, step by step, then the end; everything seen is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::clients::ServiceClients;
use super::documents::{self, Document};
use super::evidence::Snapshot;
use super::jobs::{JobBuilder, JobKind, job_id};
use super::scheduler::{Exit, FaultRecord, FaultScheduler, LaunchConfig, Output, ProxiedConnection, Proxies};
use crate::faults::{Answered, ServiceFaultError, Writes};
use crate::outcome::{Events, Role, Span, Trace};
use crate::services::ServiceError;
use crate::services::http::Http;
use crate::services::postgres::Postgres;
use crate::services::queue::{Attached, Counts, JobHash, NewJob, QueueClient, QueueEvent};
use crate::settings::{Contract, Endpoints, EvidenceContract, JinaEndpoint};
use crate::spec::{Milestone, Scenario, Step, Target};
use crate::stack::jina::{JinaConfig, JinaMock, JinaRequest};
use crate::stack::{Ledger, Stack, StackError};
use crate::worker::{Ended, Worker, WorkerEnv, WorkerError, run_hook};

const WITHIN: Duration = Duration::from_mins(1);
const READY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// Between two looks at jobs that are in work, while no fault waits for a point that passes quickly.
const FOLLOW: Duration = Duration::from_millis(50);
/// How often is looked for a point of the pipeline, which passes quickly.
const WATCH: Duration = Duration::from_millis(4);
/// How long a row may need to say what the queue says already.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// With more documents than this, rows are not looked at while a step lasts.
const FEW: usize = 32;
/// How long a service may fail the harness while no fault is in injected.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a scenario needs from its worker_env.
#[derive(Debug, Clone)]
pub struct Harness {
    /// The stack under names of this scenario alone; whoever runs it removes them.
    pub endpoints: Endpoints,
    /// The shakedown binary, for `setup`.
    pub shakedown: PathBuf,
    /// The worker under test.
    pub contract: Arc<Contract>,
    /// What its `{{env.NAME}}` takes from the environment.
    pub variables: BTreeMap<String, SecretString>,
    /// Where logs may be written; removed with the stack.
    pub directory: PathBuf,
    /// Where what is made is written down first.
    pub ledger: Ledger,
    /// The run's seed.
    pub seed: u64,
    /// Who listens.
    pub events: Events,
    /// The stack, if this scenario has it alone and may disturb its services.
    pub stack: Option<Arc<Stack>>,
}

/// Why a scenario could not be run to its end.
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
    /// The worker could not be started.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// `shakedown setup` failed.
    #[error("`shakedown setup` failed ({how}): {said}")]
    Setup {
        /// How it ended.
        how: String,
        /// Its last lines.
        said: String,
    },
    /// The worker did not register on its queue.
    #[error("the worker was not ready within {seconds} s: {how}; its last output:\n{said}")]
    NeverReady {
        /// Whether it runs or how it ended.
        how: String,
        /// Its last lines.
        said: String,
        /// How long it was waited for.
        seconds: f64,
        /// All that it put out.
        output: String,
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
    /// Documents whose row was seen to say that they are stored, and what was missing of their points at that event.
    /// Looked for in the first step only, while documents are few and no service is disturbed.
    pub seen_done: BTreeMap<String, Option<String>>,
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
pub struct Observations {
    /// The scenario's title.
    pub title: String,
    /// Its steps.
    pub steps: Vec<StepRecord>,
    /// Every request the mock was sent.
    pub requests: Vec<JinaRequest>,
    /// The harness's own connections, with the mock that knows the vector of every text.
    clients: Arc<ServiceClients>,
    /// The endpoint the worker was given for embeddings.
    pub jina: JinaEndpoint,
    /// Jobs by state at the end.
    pub counts: Counts,
    /// Connections of workers to the queue when the scenario run began.
    pub attached: Attached,
    /// How the worker ended on SIGTERM; absent when it had to be killed.
    pub ended: Option<Ended>,
    /// How the worker ended before it was told to, if it did.
    pub died: Option<String>,
    /// The grace it was promised.
    pub grace: Duration,
    /// Their whole output.
    pub log: String,
    /// The same by worker, with the time at which it was seen.
    pub outputs: Vec<Output>,
    /// What became of the workers: milliseconds since the scenario run began, the worker's number, what happened.
    pub worker_events: Vec<(i64, usize, String)>,
    /// What the queue's event stream said, with the time in milliseconds since the scenario run began.
    pub job_events: Vec<(i64, QueueEvent)>,
    /// How long it took.
    pub length: Duration,
    /// The peak resident memory of the process that had most, of any worker and all that descends from it.
    pub peak_memory_mib: Option<f64>,
    /// What was broken on purpose, and what that did.
    pub faults: Vec<FaultRecord>,
    /// What the embeddings API was to do to requests, and whether it did it to one; `None` when it was to do nothing.
    pub api_fault: Option<(&'static str, bool)>,
    /// How workers ended that were told to during the scenario run.
    pub exits: Vec<Exit>,
    /// Connections of the workers to the services before which a proxy stood.
    pub proxied_connections: BTreeMap<Target, Vec<ProxiedConnection>>,
    /// Requests that a proxy answered in the place of its service.
    pub answered: BTreeMap<Target, Vec<Answered>>,
    /// The workers' changes of points, where a proxy stood before Qdrant.
    pub writes: Option<Writes>,
    /// When the scenario run began, on the clock of the mock's log.
    pub mock_offset: Duration,
    /// The scenario run over the same documents on which nothing went wrong.
    pub baseline: Option<Arc<Observations>>,
    /// Secrets that must not be in its output, by variable.
    pub secrets: Vec<(String, SecretString)>,
    /// What the worker leaves, and where.
    pub evidence: EvidenceContract,
    /// By how much deadlines are stretched.
    pub timeout_factor: f64,
    /// What must be in no report: the secrets above, and what the contract takes from the environment.
    pub private: Vec<SecretString>,
}

impl Observations {
    /// The mock, which knows the vector of every text.
    pub(super) fn mock(&self) -> &JinaMock {
        &self.clients.mock
    }

    /// `text` without secrets.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        redact(text, &self.private)
    }

    /// The last step in which documents were ingested.
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

/// Runs the scenario to its end. Whatever the worker did is evidence, not an error.
pub async fn run_scenario(name: &str, scenario: &Scenario, harness: &Harness) -> Result<Observations, ScenarioError> {
    let trace = harness.events.trace();
    let phase = trace.begin("set up");
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
    let contract = &harness.contract;
    let timeout_factor = contract.worker.timeout_factor;
    set_up(&endpoints, contract, &harness.shakedown).await?;

    let names = &endpoints.names;
    let clients = Arc::new(ServiceClients {
        queue: QueueClient::open(&endpoints.redis, &names.queue, &names.prefix).await?,
        postgres: Postgres::connect_alone(&endpoints.postgres).await?,
        qdrant: Http::qdrant(&endpoints.qdrant)?,
        endpoints,
        mock,
        contract: Arc::clone(contract),
        behaviours: scenario.jina.clone(),
        stack: harness.stack.clone(),
        heard: Mutex::default(),
    });
    let (proxies, through) = Proxies::for_scenario(scenario, &clients.endpoints).await?;
    let secrets = secrets(&through);
    let private: Vec<SecretString> =
        secrets.iter().map(|(_, secret)| secret).chain(harness.variables.values()).cloned().collect();
    let worker_env =
        WorkerEnv { endpoints: through, scenario: scenario.env.clone(), variables: harness.variables.clone() };
    prepare(name, &worker_env, harness).await?;
    let grace = scenario.grace.unwrap_or(contract.worker.shutdown_grace);
    let launch = LaunchConfig {
        contract: Arc::clone(contract),
        worker_env,
        grace,
        directory: harness.directory.clone(),
        name: format!("worker-{name}"),
        ledger: harness.ledger.clone(),
    };
    let builder = JobBuilder::new(contract, &harness.directory, name, scenario.producer_clock_s).await?;
    let workers = scenario.workers.unwrap_or(contract.worker.replicas);
    drop(phase);
    let phase = trace.begin("start workers");
    phase.fact("shakedown.workers", workers);
    let mut scheduler = FaultScheduler::start(launch, workers, &scenario.faults, proxies, Arc::clone(&clients))?;
    let within = scenario.within_s.map_or(WITHIN, Duration::from_secs).mul_f64(timeout_factor);
    ready(&scheduler, contract.worker.ready_within, &private).await?;
    let attached = patiently(|| clients.queue.workers()).await?;
    drop(phase);
    let mock_offset = scheduler.begin().saturating_duration_since(clients.mock.started());
    let begun = SystemTime::now();
    // Entries of the event stream carry the server's time.
    let begun_ms = patiently(|| clients.queue.clock_ms()).await?;

    let deadline = Instant::now() + within;
    let mut steps = Vec::new();
    for (number, step) in scenario.steps.iter().enumerate() {
        let documents: Vec<Document> = match step {
            Step::Ingest => documents.clone(),
            // What nobody removes shows whether a removal takes too much.
            Step::Delete => documents.iter().step_by(2).cloned().collect(),
            Step::Truncate => documents.iter().map(Document::shortened).collect(),
            Step::Edit => documents.iter().map(Document::amended).collect(),
            Step::Empty => documents.iter().map(Document::emptied).collect(),
            Step::Idle => Vec::new(),
        };
        let kind = match step {
            Step::Delete => JobKind::Delete,
            _ if steps.is_empty() => JobKind::Ingest,
            _ => JobKind::Reingest,
        };
        let span = trace.begin(format_args!("step {}: {}", number + 1, step.word()));
        span.fact("shakedown.documents", documents.len());
        let jobs = builder.jobs(number, kind, &documents)?;
        harness.events.note(format!(
            "{name}: step {} of {}, {} documents",
            number + 1,
            scenario.steps.len(),
            documents.len()
        ));
        let record = Box::pin(take(number, documents, jobs, &clients, &mut scheduler, deadline, &span)).await?;
        if *step != Step::Idle {
            steps.push(record);
        }
    }

    let phase = trace.begin("sign off");
    let counts = patiently(|| clients.queue.counts()).await?;
    let died = scheduler.died();
    let peak_memory_mib = scheduler.peak_memory_mib();
    let ended = scheduler.stop().await;
    scheduler.drain().await;
    let length = scheduler.elapsed();
    let (outputs, worker_events) = (scheduler.outputs(), scheduler.worker_events());
    let log = outputs.iter().map(|output| output.text.as_str()).collect();
    // Without the last events the timeline lacks its end, and no verdict lacks anything.
    let _ = clients.listen().await;
    let job_events = std::mem::take(&mut *clients.heard.lock().unwrap_or_else(PoisonError::into_inner));
    let job_events = job_events.into_iter().map(|event| (event.at_ms() - begun_ms, event)).collect();
    let (faults, exits, proxied_connections, writes) =
        (scheduler.faults(), scheduler.exits(), scheduler.proxied_connections(), scheduler.writes());
    let answered = scheduler.answered();
    drop(scheduler);
    drop(phase);
    tell_faults(trace, begun, &faults);
    let requests = clients.mock.requests();
    clients.queue.close().await;
    clients.postgres.close().await;
    Ok(Observations {
        title: scenario.title.clone(),
        steps,
        jina: clients.mock.endpoint(),
        clients,
        counts,
        attached,
        ended,
        died,
        grace,
        log,
        outputs,
        worker_events,
        job_events,
        length,
        peak_memory_mib,
        api_fault: api_fault(scenario, &requests),
        requests,
        faults,
        exits,
        proxied_connections,
        answered,
        writes,
        mock_offset,
        baseline: None,
        secrets,
        evidence: contract.evidence.clone(),
        timeout_factor,
        private,
    })
}

/// The faults of a scenario run that began at `begun`.
fn tell_faults(trace: &Trace, begun: SystemTime, faults: &[FaultRecord]) {
    for fault in faults {
        let Some(began) = fault.began else { continue };
        let ended = fault.ended.unwrap_or(began);
        let span = trace.past(format_args!("fault: {}", fault.what), begun + began, begun + ended);
        span.fact("shakedown.fault.met", fault.met.as_str());
        span.fact("shakedown.fault.took_effect", fault.took_effect);
    }
}

/// Whether the embeddings API did what it was told to do to requests.
fn api_fault(scenario: &Scenario, requests: &[JinaRequest]) -> Option<(&'static str, bool)> {
    let limited = scenario.limits != crate::spec::jina::Limits::default();
    if limited {
        return Some(("limit of the embeddings API", requests.iter().any(|request| request.status == 429)));
    }
    let met = |request: &JinaRequest| request.disturbed || request.took_ms > 0;
    (!scenario.jina.is_empty()).then(|| ("behaviour of the embeddings API", requests.iter().any(met)))
}

/// `text` with every secret replaced by stars. A short one would be found in anything.
#[must_use]
pub fn redact(text: &str, secrets: &[SecretString]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().map(ExposeSecret::expose_secret).filter(|secret| secret.len() >= 8) {
        if text.contains(secret) {
            text = text.replace(secret, "********");
        }
    }
    text
}

/// Asks again where a service does not answer yet: it may just have been started again.
pub(super) async fn patiently<T, F>(question: impl Fn() -> F) -> Result<T, ServiceError>
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

/// Secrets that must not be in a worker's output, by variable: whole URLs, and the passwords inside them.
fn secrets(endpoints: &Endpoints) -> Vec<(String, SecretString)> {
    let variables = endpoints.environment().into_iter().filter(|variable| variable.secret);
    let whole = variables.map(|variable| (variable.name.to_owned(), variable.value));
    let passwords =
        [("the password in REDIS_URL", "redis.password"), ("the password in DATABASE_URL", "postgres.password")]
            .into_iter()
            .filter_map(|(name, place)| Some((name.to_owned(), endpoints.place(place)?)))
            // A short one would be found in anything.
            .filter(|(_, password)| password.len() >= 8)
            .map(|(name, password)| (name, password.into()));
    whole.chain(passwords).collect()
}

/// Prepares queue, table and collection with the same verb that a user would, but for what the worker makes itself.
pub async fn set_up(endpoints: &Endpoints, contract: &Contract, shakedown: &Path) -> Result<(), ScenarioError> {
    let mut command = tokio::process::Command::new(shakedown);
    command.args(["setup", "--worker", "--format", "json"]).stdin(Stdio::null()).kill_on_drop(true);
    for made in &contract.worker.creates {
        command.args(["--without", made.word()]);
    }
    if let Some(vector) = &contract.evidence.qdrant.vector {
        command.args(["--vector", vector]);
    }
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

/// Runs what the contract wants to be run before each scenario.
async fn prepare(name: &str, worker_env: &WorkerEnv, harness: &Harness) -> Result<(), ScenarioError> {
    let Some(kind) = &harness.contract.worker.prepare else { return Ok(()) };
    let environment = worker_env.environment(&harness.contract, 0).map_err(|place| WorkerError::NoValue { place })?;
    let name = format!("prepare-{name}");
    Ok(run_hook("prepare", kind, environment, &harness.directory, &name, &harness.ledger).await?)
}

/// Waits until all workers take jobs. What one of them said instead is told without `private`.
async fn ready(scheduler: &FaultScheduler, within: Duration, private: &[SecretString]) -> Result<(), ScenarioError> {
    let deadline = Instant::now() + within;
    loop {
        let ended = scheduler.died();
        if ended.is_none() && scheduler.are_ready().await {
            return Ok(());
        }
        if ended.is_some() || Instant::now() >= deadline {
            return Err(ScenarioError::NeverReady {
                how: ended.unwrap_or_else(|| format!("it runs, and {}", scheduler.not_ready())),
                said: redact(&scheduler.worker().map(Worker::tail).unwrap_or_default(), private),
                seconds: within.as_secs_f64(),
                output: redact(&scheduler.worker().map(Worker::output).unwrap_or_default(), private),
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn take(
    number: usize,
    documents: Vec<Document>,
    jobs: Vec<NewJob>,
    clients: &ServiceClients,
    scheduler: &mut FaultScheduler,
    deadline: Instant,
    span: &Span,
) -> Result<StepRecord, ScenarioError> {
    let ids: BTreeMap<String, String> =
        documents.iter().map(|document| (document.id.clone(), job_id(number, &document.id))).collect();
    let given: BTreeMap<String, u64> =
        jobs.iter().map(|job| (job.id.clone(), job.data.to_string().len() as u64)).collect();
    scheduler.begin_step().await?;
    if !jobs.is_empty() {
        let adding = span.trace().begin_as(Role::Producer, "add jobs");
        adding.fact("messaging.system", "bullmq");
        adding.fact("messaging.destination.name", clients.endpoints.names.queue.as_str());
        adding.fact("messaging.batch.message_count", jobs.len());
        clients.queue.add_below(jobs, adding.place()).await?;
    }
    let looks = Looks {
        points: number > 0,
        // Where a service is disturbed the harness would wait for it, and come too late for the next fault.
        rows: number == 0 && documents.len() <= FEW && clients.stack.is_none(),
    };
    let (settled, recovered, mut seen) = follow(&ids, clients, scheduler, looks, deadline).await?;
    if looks.rows {
        // On a busy machine this may be the first look that is answered in time.
        let deadline = Instant::now() + AFTERWARDS;
        while clients.look_at_rows(&mut seen.done).await.is_err() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
    }
    let (completed, failed) = patiently(|| clients.ended()).await?;
    let mut records = BTreeMap::new();
    for (document, id) in &ids {
        let kept = patiently(|| clients.queue.job(id)).await?;
        let state = if completed.contains(id) {
            JobState::Completed
        } else if failed.contains(id) {
            JobState::Failed
        } else if kept.is_some() {
            JobState::Unfinished
        } else {
            JobState::Missing
        };
        let mut hash = kept.unwrap_or_else(|| clients.remembered(id));
        // What the job was given is no note.
        hash.notes = hash.notes.map(|bytes| bytes.saturating_sub(given.get(id).copied().unwrap_or_default()));
        records.insert(document.clone(), (state, hash));
    }
    let failed = |(_, (state, _)): &(&String, &(JobState, JobHash))| *state == JobState::Failed;
    let failed: Vec<&String> = records.iter().filter(failed).map(|(document, _)| document).collect();
    let snapshot = look_back(clients, &failed).await?;
    span.fact("shakedown.settled", settled);
    if let Some(recovered) = recovered {
        span.fact("shakedown.recovered_ms", recovered);
    }
    let Seen { least_points, done } = seen;
    Ok(StepRecord { documents, jobs: records, snapshot, settled, least_points, seen_done: done, recovered })
}

/// What is there when the jobs have ended. Many a worker learns from the queue that a job has `failed`, and writes that
/// into its row a moment later.
async fn look_back(clients: &ServiceClients, failed: &[&String]) -> Result<Snapshot, ScenarioError> {
    let evidence = &clients.contract.evidence;
    let word = evidence.postgres.as_ref().and_then(|rows| rows.failed.as_deref());
    let deadline = Instant::now() + AFTERWARDS;
    loop {
        let snapshot =
            patiently(|| Snapshot::take(&clients.endpoints, evidence, &clients.postgres, &clients.qdrant)).await?;
        let is_told = |document: &&String| {
            snapshot.rows.get(document.as_str()).is_some_and(|row| Some(row.status.as_str()) == word)
        };
        if word.is_none() || failed.iter().all(is_told) || Instant::now() >= deadline {
            return Ok(snapshot);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What is looked at while a step lasts.
#[derive(Debug, Clone, Copy)]
struct Looks {
    /// How many points there are.
    points: bool,
    /// Rows that say that a document is stored.
    rows: bool,
}

/// What was seen while a step lasted.
#[derive(Debug, Default)]
struct Seen {
    least_points: Option<u64>,
    done: BTreeMap<String, Option<String>>,
}

/// Lets the faults of a step strike, until every job has ended and all is baseline again, or there is no more time.
/// Gives whether every job has ended, how long after the last fault that was, and what was seen meanwhile.
async fn follow(
    ids: &BTreeMap<String, String>,
    clients: &ServiceClients,
    scheduler: &mut FaultScheduler,
    looks: Looks,
    deadline: Instant,
) -> Result<(bool, Option<Duration>, Seen), ScenarioError> {
    let wanted: BTreeSet<&String> = ids.values().collect();
    let mut over_at = None;
    let mut share = 0.0;
    let mut settled = wanted.is_empty();
    let mut answered = Instant::now();
    let mut seen = Seen::default();
    loop {
        if looks.points
            && let Ok(points) = clients.count(Milestone::Points).await
        {
            seen.least_points = Some(seen.least_points.map_or(points, |least| least.min(points)));
        }
        if looks.rows && !scheduler.is_watching() {
            // What cannot be seen now is seen at the next look.
            let _ = clients.look_at_rows(&mut seen.done).await;
        }
        match clients.ended().await {
            Ok((completed, failed)) => {
                answered = Instant::now();
                let over = completed.iter().chain(&failed).filter(|id| wanted.contains(id)).count();
                settled = over == wanted.len();
                #[expect(clippy::cast_precision_loss, reason = "a share of a few thousand jobs")]
                let now = if wanted.is_empty() { 1.0 } else { over as f64 / wanted.len() as f64 };
                share = now;
            }
            Err(_) if scheduler.is_service_down() || answered.elapsed() < PATIENCE => {}
            Err(error) => return Err(error.into()),
        }
        scheduler.tick(share).await?;
        let over = settled && scheduler.is_idle() && (!wanted.is_empty() || scheduler.is_through());
        if over || Instant::now() >= deadline || scheduler.died().is_some() {
            let idle_since = scheduler.idle_since();
            let recovered = idle_since
                .filter(|_| settled)
                .map(|baseline| over_at.unwrap_or(scheduler.elapsed()).saturating_sub(baseline));
            scheduler.revert_all().await?;
            return Ok((settled, recovered, seen));
        }
        if settled && over_at.is_none() {
            over_at = Some(scheduler.elapsed());
        }
        tokio::time::sleep(if scheduler.is_watching() { WATCH } else { FOLLOW }).await;
    }
}
