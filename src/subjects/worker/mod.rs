//! The reference worker: takes jobs from the queue, chunks, embeds, stores, and completes a job only
//! when its document is stored, counted and recorded. Reached only as a process, like any other worker.

pub mod chunk;
mod defect;
mod guard;
mod job;
mod store;
pub mod tokens;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullmq::options::{RedisConnectionOptions, WorkerOptions};
use bullmq::worker::{CancellationToken, WorkerEvent};
use bullmq::{Job, Worker};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

pub use defect::Defect;
pub use guard::Policy;

use crate::services::jina::{Encoding, JinaClient, JinaError, JinaOptions};
use crate::settings::Endpoints;
use chunk::{ChunkError, ChunkOptions, Chunker};
use defect::planted;
use guard::Guard;
use job::{Order, Shared};
use store::{Store, StoreError};
use tokens::Tokens;

/// Everything the worker is told.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The stack.
    pub endpoints: Endpoints,
    /// Jobs at once.
    pub concurrency: usize,
    /// How long a job's lock lasts without renewal.
    pub lock: Duration,
    /// How often stalled jobs are looked for.
    pub stalled: Duration,
    /// How often a job may stall before it fails.
    pub max_stalled: u32,
    /// How long jobs in flight may take after SIGTERM.
    pub grace: Duration,
    /// How long to wait for the services at the start.
    pub startup: Duration,
    /// Texts in a request.
    pub embed_batch: usize,
    /// Requests at once.
    pub embed_concurrency: usize,
    /// How vectors travel.
    pub encoding: Encoding,
    /// Retries and circuit breakers.
    pub policy: Policy,
    /// Points in an upsert.
    pub upsert_batch: usize,
    /// Size and overlap of chunks.
    pub chunks: ChunkOptions,
    /// The model's own `tokenizer.json`; `cl100k_base` without one.
    pub tokenizer: Option<PathBuf>,
    /// A defect to plant; only with the feature `defects`.
    pub defect: Option<Defect>,
}

/// Why the worker could not run.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Chunk settings or the tokenizer file are unusable.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The embeddings client could not be made.
    #[error("embeddings: {0}")]
    Jina(#[from] JinaError),
    /// Collection or table are unusable or unreachable.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Redis is unusable or unreachable.
    #[error("redis: {0}; check REDIS_URL")]
    Queue(#[from] bullmq::Error),
    /// Signals cannot be received.
    #[error("signals cannot be received: {0}")]
    Signals(#[from] std::io::Error),
}

impl WorkerError {
    /// Whether a service may yet come up.
    fn may_pass(&self) -> bool {
        use guard::{Class, Classified};
        match self {
            Self::Store(error) => matches!(error.class(), Class::Retry { .. }),
            Self::Queue(_) => true,
            Self::Chunk(_) | Self::Jina(_) | Self::Signals(_) => false,
        }
    }
}

/// Runs until SIGTERM or SIGINT; a second signal ends the process at once with code 1.
///
/// # Errors
/// Settings make no sense, or a service was not there within [`WorkerConfig::startup`].
pub async fn run(config: WorkerConfig) -> Result<(), WorkerError> {
    #[cfg(feature = "defects")]
    if let Some(defect) = config.defect {
        defect::plant(defect);
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shared = Arc::new(share(&config)?);
    let worker = tokio::select! {
        started = start(&config, &shared) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
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
    loop {
        tokio::select! {
            event = worker.next_event() => report(event),
            _ = terminate.recv() => if !planted(Defect::IgnoresSignals) { break },
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!(grace_ms = millis(config.grace), "ending: no new jobs are taken");
    tokio::select! {
        () = end(&worker, &shared, config.grace) => {}
        _ = terminate.recv() => std::process::exit(1),
        _ = interrupt.recv() => std::process::exit(1),
    }
    tracing::info!("ended");
    if planted(Defect::ExitsWithOne) {
        std::process::exit(1);
    }
    Ok(())
}

fn share(config: &WorkerConfig) -> Result<Shared, WorkerError> {
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
    let task = if planted(Defect::WrongTask) { "retrieval.query" } else { "retrieval.passage" };
    let options = JinaOptions { encoding: config.encoding, task: Some(task.to_owned()), ..JinaOptions::default() };
    Ok(Shared {
        chunker: Arc::new(Chunker::new(chunks, tokens)?),
        jina: JinaClient::new(&config.endpoints.jina, options)?,
        jina_guard: Guard::new("jina", config.policy),
        requests: Semaphore::new(config.embed_concurrency.max(1)),
        parallel: config.embed_concurrency.max(1),
        batch: if planted(Defect::BigBatches) { 120 } else { config.embed_batch.clamp(1, 100) },
        store: Store::open(&config.endpoints, config.upsert_batch, config.policy)?,
        spoiled: std::sync::OnceLock::new(),
    })
}

/// Waits for the services, then takes the first job.
async fn start(config: &WorkerConfig, shared: &Arc<Shared>) -> Result<Worker, WorkerError> {
    let deadline = Instant::now() + config.startup;
    loop {
        let started = match shared.store.check(config.endpoints.jina.dimensions).await {
            Ok(()) => take_jobs(config, shared).await,
            Err(error) => Err(error.into()),
        };
        match started {
            Err(error) if error.may_pass() && Instant::now() < deadline => {
                tracing::warn!(%error, "a service is not there yet");
                tokio::time::sleep(config.policy.base).await;
            }
            other => return other,
        }
    }
}

async fn take_jobs(config: &WorkerConfig, shared: &Arc<Shared>) -> Result<Worker, WorkerError> {
    let names = &config.endpoints.names;
    let options = WorkerOptions {
        connection: RedisConnectionOptions::new().url(config.endpoints.redis.url.expose_secret()),
        prefix: names.prefix.clone(),
        concurrency: config.concurrency.max(1),
        lock_duration: millis(config.lock),
        stalled_interval: millis(config.stalled),
        max_stalled_count: config.max_stalled,
        ..WorkerOptions::default()
    };
    let jobs = Arc::clone(shared);
    let worker = Worker::with_options(
        &names.queue,
        move |job: Job, cancelled: CancellationToken| {
            let shared = Arc::clone(&jobs);
            async move { process(&shared, job, cancelled).await }
        },
        options,
    )
    .await?;
    Ok(worker)
}

/// One attempt at one job.
async fn process(shared: &Shared, job: Job, cancelled: CancellationToken) -> Result<Value, bullmq::Error> {
    let begun = Instant::now();
    let order = match Order::read(job.data()) {
        Ok(order) => order,
        Err(error) => {
            tracing::error!(job = job.id(), %error, "job given up");
            return Err(bullmq::Error::Unrecoverable(error.to_string()));
        }
    };
    if planted(Defect::NeverEnds) {
        std::future::pending::<()>().await;
    }
    let identity = order.identity.clone();
    let attempt = job.attempts_made();
    let outcome = tokio::select! {
        outcome = shared.ingest(order, attempt) => outcome,
        () = cancelled.cancelled() => {
            // The grace is over: the job goes back to the queue, and another worker takes it at once.
            job.move_to_wait(None).await?;
            tracing::warn!(job = job.id(), document = identity.document, "job handed back");
            return Err(bullmq::Error::Delayed);
        }
    };
    let took_ms = millis(begun.elapsed());
    match outcome {
        Ok(value) => {
            tracing::info!(
                job = job.id(),
                document = identity.document,
                took_ms,
                chunks = value["chunks"].as_u64(),
                "job done"
            );
            Ok(value)
        }
        Err(error) if error.may_be_retried() => {
            let last = job.opts().attempts.is_none_or(|attempts| attempt + 1 >= attempts);
            tracing::warn!(job = job.id(), document = identity.document, took_ms, last, %error, "job failed");
            if last {
                shared.give_up(&identity, &error.to_string()).await;
            }
            Err(bullmq::Error::ProcessingError(error.to_string()))
        }
        Err(error) => {
            tracing::error!(job = job.id(), document = identity.document, took_ms, %error, "job given up");
            shared.give_up(&identity, &error.to_string()).await;
            if planted(Defect::RetriesPoison) {
                return Err(bullmq::Error::ProcessingError(error.to_string()));
            }
            Err(bullmq::Error::Unrecoverable(error.to_string()))
        }
    }
}

/// Lets jobs in flight finish within the grace, hands back the rest, closes every connection.
async fn end(worker: &Worker, shared: &Shared, grace: Duration) {
    let hand_back = async {
        // A tenth of the grace is kept for handing back.
        tokio::time::sleep(grace.mul_f64(0.9)).await;
        worker.cancel_all_jobs().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        closed = worker.close(millis(grace)) => {
            if let Err(error) = closed {
                tracing::warn!(%error, "the queue was not closed cleanly");
            }
        }
        () = hand_back => {}
    }
    shared.store.close().await;
}

fn report(event: Option<WorkerEvent>) {
    match event {
        Some(WorkerEvent::Error(error)) => tracing::warn!(error, "queue error"),
        Some(WorkerEvent::Stalled { job_id }) => tracing::warn!(job = job_id, "a stalled job goes back to the queue"),
        _ => {}
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
