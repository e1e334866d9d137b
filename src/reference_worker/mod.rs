//! The reference worker: takes jobs from the queue, chunks, embeds, stores, and completes a job only after its document
//! is stored, counted and recorded. It runs as a process, like any other worker.

pub mod chunk;
mod config;
mod defect;
mod guard;
mod job;
mod process;
mod queue;
mod shutdown;
mod spans;
mod store;
pub mod tokens;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bullmq::options::WorkerOptions;
use bullmq::worker::{CancellationToken, WorkerEvent};
use bullmq::{Job, Worker};
use secrecy::ExposeSecret;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

pub use config::{WorkerConfig, WorkerPhase};
pub use defect::Defect;
pub use guard::{BreakerState, Breakers, Policy};

use crate::services::ServiceError;
use crate::services::jina::{JinaClient, JinaError, JinaOptions};
use crate::services::queue::connection;
use crate::services::redis::Redis;
use chunk::{ChunkError, Chunker};
use defect::planted;
use guard::Guard;
use job::Shared;
use process::{keep_lock, process};
use queue::{LISTING_DELAY, REDIS_RETRY_DELAY, millis};
use shutdown::{StalledJobRecorder, shut_down};
use spans::Traces;
use store::{Store, StoreError};
use tokens::Tokens;

/// Longest pause between two checks of services that are not available yet.
const MAX_STARTUP_PAUSE: Duration = Duration::from_secs(2);
/// Minimum time for a service to answer at start, even without a startup timeout.
const MIN_STARTUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the worker could not run.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Chunk settings or the tokenizer file are unusable.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The embeddings client could not be created.
    #[error("embeddings: {0}")]
    Jina(#[from] JinaError),
    /// Collection or table is unusable or unreachable.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Redis is unusable or unreachable.
    #[error("redis: {0}; check REDIS_URL")]
    Queue(#[from] bullmq::Error),
    /// Redis refused the connection or could not be reached.
    #[error(transparent)]
    Redis(#[from] ServiceError),
    /// A service did not answer in time.
    #[error("{service} does not answer; check its address, or raise STARTUP_TIMEOUT_MS")]
    NoAnswer {
        /// The service.
        service: &'static str,
    },
    /// Signal handlers cannot be installed.
    #[error("cannot install signal handlers: {0}")]
    Signals(#[from] std::io::Error),
}

impl WorkerError {
    /// Whether a setting is wrong or names something that does not exist, so that waiting would not help.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        use guard::{Class, Classified};
        match self {
            Self::Store(error) => !matches!(error.class(), Class::Retry { .. }),
            Self::Redis(error) => matches!(error, ServiceError::Unauthorised { .. } | ServiceError::Denied { .. }),
            Self::Chunk(_) | Self::Jina(_) => true,
            Self::Queue(_) | Self::NoAnswer { .. } | Self::Signals(_) => false,
        }
    }
}

/// Runs until SIGTERM or SIGINT; a second signal ends the process at once with code 1. Returns the rest of its grace.
///
/// # Errors
/// Settings are invalid, or a service was not available within [`WorkerConfig::startup`].
pub async fn run(config: WorkerConfig) -> Result<Duration, WorkerError> {
    #[cfg(feature = "defects")]
    if let Some(defect) = config.defect {
        defect::plant(defect);
    }
    if planted(Defect::CrashesAtStart) {
        std::process::exit(1);
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shared = Arc::new(build_shared(&config)?);
    if planted(Defect::EmbedsAtStart) && shared.jina.embed(&["a text".to_owned()]).await.is_err() {
        std::process::exit(1);
    }
    let mut starting = Box::pin(start(&config, &shared));
    let worker = loop {
        tokio::select! {
            worker = &mut starting => break worker?,
            _ = terminate.recv() => if !planted(Defect::DropsSignalAtStart) { return Ok(config.grace) },
            _ = interrupt.recv() => return Ok(config.grace),
        }
    };
    drop(starting);
    config.phase.send_replace(WorkerPhase::Ready);
    tracing::info!(
        queue = config.endpoints.names.queue,
        collection = config.endpoints.names.collection,
        concurrency = config.concurrency,
        "worker is ready"
    );
    if planted(Defect::LogsKey)
        && let Some(key) = &config.endpoints.jina.api_key
    {
        tracing::info!(key = key.expose_secret(), "planted defect");
    }
    if planted(Defect::ReconnectsWithoutDelay) {
        shared.store.storm();
    }
    let mut recorder = StalledJobRecorder { config: &config, shared: &shared, tasks: JoinSet::new() };
    loop {
        tokio::select! {
            event = worker.next_event() => {
                recorder.observe(event.as_ref());
                if planted(Defect::NeverReconnects) && matches!(event, Some(WorkerEvent::Error(_))) {
                    worker.pause();
                }
                log_event(event);
            }
            _ = terminate.recv() => if !planted(Defect::IgnoresSignals) { break },
            _ = interrupt.recv() => break,
        }
    }
    let asked_to_stop = Instant::now();
    config.phase.send_replace(WorkerPhase::Ending);
    shared.ending.cancel();
    if planted(Defect::DropsOnSigterm) {
        std::process::exit(0);
    }
    if planted(Defect::TakesJobsAfterSigterm) {
        tokio::time::sleep(config.grace.mul_f64(0.6)).await;
    }
    tracing::info!(grace_ms = millis(config.grace), "shutting down: no new jobs are taken");
    tokio::select! {
        () = shut_down(&worker, &mut recorder) => {}
        _ = terminate.recv() => std::process::exit(1),
        _ = interrupt.recv() => std::process::exit(1),
    }
    tracing::info!("stopped");
    if planted(Defect::LeavesConnections) {
        shared.store.leave_connections();
    }
    if planted(Defect::ExitsWithOne) {
        std::process::exit(1);
    }
    Ok(config.grace.saturating_sub(asked_to_stop.elapsed()))
}

fn build_shared(config: &WorkerConfig) -> Result<Shared, WorkerError> {
    let tokens = match &config.tokenizer {
        Some(path) => Tokens::from_file(path)?,
        None => Tokens::Cl100k,
    };
    let mut chunks = config.chunks;
    if planted(Defect::NoOverlap) {
        chunks.overlap = 0;
    }
    if planted(Defect::BigChunks) {
        chunks.size = 600;
    }
    if planted(Defect::TruncatesChunks) {
        chunks.size = 20_000;
    }
    let task = if planted(Defect::WrongTask) { "retrieval.query" } else { "retrieval.passage" };
    let task = (!planted(Defect::NoTask)).then(|| task.to_owned());
    let mut options = JinaOptions { encoding: config.encoding, task, ..JinaOptions::default() };
    options.accepts_too_few_vectors = planted(Defect::AcceptsTooFewVectors);
    options.truncate = planted(Defect::TruncatesChunks);
    if planted(Defect::NoTimeLimit) {
        options.timeout = Duration::from_hours(1);
    }
    let parallel = config.embed_concurrency.max(1);
    let slots = (!planted(Defect::NoSemaphore)).then_some(parallel);
    Ok(Shared {
        chunker: Arc::new(Chunker::new(chunks, tokens)?),
        jina: JinaClient::new(&config.endpoints.jina, options)?,
        jina_guard: Guard::new("jina", config.policy, &config.breakers, slots),
        parallel,
        batch: if planted(Defect::BigBatches) { 101 } else { config.embed_batch.clamp(1, 100) },
        store: Store::open(&config.endpoints, config.upsert_batch, config.policy, &config.breakers)?,
        first_rejection: std::sync::OnceLock::new(),
        ending: tokio_util::sync::CancellationToken::new(),
        traces: Traces::new(config.trace.clone(), &config.endpoints),
    })
}

/// Waits for the services, then starts to take jobs.
async fn start(config: &WorkerConfig, shared: &Arc<Shared>) -> Result<Worker, WorkerError> {
    let deadline = Instant::now() + config.startup;
    let mut pause = config.policy.base;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match try_start(config, shared, left.max(MIN_STARTUP_TIMEOUT)).await {
            Err(_) if planted(Defect::ChecksCollectionOnce) => std::process::exit(1),
            Err(error) if !error.is_configuration() && Instant::now() + pause < deadline => {
                tracing::warn!(%error, "a service is not available yet");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_STARTUP_PAUSE);
            }
            other => return other,
        }
    }
}

/// Checks each service once, for at most `limit` each.
async fn try_start(config: &WorkerConfig, shared: &Arc<Shared>, limit: Duration) -> Result<Worker, WorkerError> {
    let endpoints = &config.endpoints;
    with_timeout(limit, "qdrant", shared.store.check_collection(endpoints.jina.dimensions)).await?;
    with_timeout(limit, "postgres", shared.store.check_table()).await?;
    // The queue's own connection tries ten times before it reports the cause.
    drop(with_timeout(limit, "redis", Redis::connect(&endpoints.redis)).await?);
    with_timeout(limit, "redis", take_jobs(config, shared)).await
}

async fn with_timeout<T, E, F>(limit: Duration, service: &'static str, work: F) -> Result<T, WorkerError>
where
    F: Future<Output = Result<T, E>>,
    WorkerError: From<E>,
{
    match tokio::time::timeout(limit, work).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(WorkerError::NoAnswer { service }),
    }
}

async fn take_jobs(config: &WorkerConfig, shared: &Arc<Shared>) -> Result<Worker, WorkerError> {
    let names = &config.endpoints.names;
    let mut queue = names.queue.clone();
    if planted(Defect::WrongQueue) {
        queue.push_str("-elsewhere");
    }
    let options = WorkerOptions::new()
        .connection(connection(&config.endpoints.redis))
        .prefix(&names.prefix)
        .concurrency(config.concurrency.max(1))
        .lock_duration(config.lock)
        .stalled_interval(config.stalled)
        .max_stalled_count(if planted(Defect::NoStalledRecovery) { 0 } else { config.max_stalled })
        // After a failed fetch; the library's default of 15 s would outlast many outages.
        .run_retry_delay(REDIS_RETRY_DELAY);
    let (jobs, lock) = (Arc::clone(shared), config.lock);
    let worker = Worker::with_options(
        &queue,
        move |job: Job, cancelled: CancellationToken| {
            let shared = Arc::clone(&jobs);
            async move {
                let span = shared.traces.begin(&job).await;
                let outcome = Box::pin(process(&shared, &job, &cancelled, &span)).await;
                if let Err(error) = &outcome {
                    span.fail(error);
                }
                if planted(Defect::ShortCallTimeout)
                    && let Some(token) = job.token()
                    && tokio::time::timeout(LISTING_DELAY * 8, job.extend_lock(token, millis(lock))).await.is_err()
                {
                    return Err(bullmq::Error::Unrecoverable("planted defect".to_owned()));
                }
                if matches!(outcome, Err(bullmq::Error::Delayed)) || keep_lock(&job, lock, &cancelled).await {
                    return outcome;
                }
                tracing::warn!(job = job.id(), "the job's lock was lost: the job will run again");
                Err(bullmq::Error::Delayed)
            }
        },
        options,
    )
    .await?;
    Ok(worker)
}

fn log_event(event: Option<WorkerEvent>) {
    match event {
        Some(WorkerEvent::Error(_)) if planted(Defect::FirstErrorIsFinal) => std::process::exit(1),
        Some(WorkerEvent::Error(error)) if error.contains("OOM") => {
            tracing::error!(error, "redis is out of memory; raise maxmemory, and keep maxmemory-policy noeviction");
        }
        Some(WorkerEvent::Error(error)) => {
            tracing::warn!(error, "queue error");
        }
        Some(WorkerEvent::Stalled { job_id }) => tracing::warn!(job = job_id, "a stalled job returns to the queue"),
        _ => {}
    }
}
