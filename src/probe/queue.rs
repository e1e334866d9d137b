//! BullMQ canaries: jobs on a private queue, processed with the queue's own library.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bullmq::options::{JobOptions, WorkerOptions};
use bullmq::types::BackoffStrategy;
use bullmq::{Job, Worker};
use serde_json::{Value, json};

use super::queue_commands;
use super::redis::hidden_commands;
use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::services::queue::{QueueClient, connection, failure};
use crate::services::redis::field;
use crate::spec::{QueueCanary, QueueProbe};

const DEADLINE: Duration = Duration::from_secs(15);

pub(super) async fn observe(probe: &QueueProbe, context: &Context) -> Result<Observation, ProbeError> {
    match probe.canary {
        QueueCanary::Commands => queue_commands::observe(context).await,
        QueueCanary::OtherPrefixes => other_prefixes(context).await,
        QueueCanary::OneSlot => one_slot(context).await,
        QueueCanary::Complete => complete(context).await,
        QueueCanary::Backoff => backoff(context).await,
        QueueCanary::Stalled => stalled(context).await,
        QueueCanary::Delayed => delayed(context).await,
        QueueCanary::Duplicate => duplicate(context).await,
    }
}

/// Most keys that are scanned for a queue of the same name: a server in use may hold millions.
const KEYS: usize = 20_000;

async fn other_prefixes(context: &Context) -> Result<Observation, ProbeError> {
    let redis = context.clients.redis().await?;
    let names = &context.endpoints.names;
    let own = format!("{}:{}:meta", names.prefix, names.queue);
    let (mut keys, all) = redis.scan_some(&format!("*:{}:meta", case_insensitive(&names.queue)), KEYS).await?;
    keys.retain(|key| *key != own);
    if keys.is_empty() && !all {
        return Err(ProbeError::Undecided(format!(
            "no other queue named `{}` is among the first {KEYS} keys, but the server has more keys",
            names.queue
        )));
    }
    let what =
        format!("queues named `{}` with a prefix other than `{}` or in different case", names.queue, names.prefix);
    Ok(Observation::new(what, keys))
}

/// A pattern that matches a name in any case.
fn case_insensitive(name: &str) -> String {
    name.chars().fold(String::new(), |mut pattern, letter| {
        match letter {
            letter if letter.is_ascii_alphabetic() => {
                pattern.extend(['[', letter.to_ascii_lowercase(), letter.to_ascii_uppercase(), ']']);
            }
            '*' | '?' | '[' | ']' | '\\' | '^' => pattern.extend(['\\', letter]),
            letter => pattern.push(letter),
        }
        pattern
    })
}

/// Whether `text` has a hash tag, a non-empty `{…}`: all keys with the same tag hash to one slot.
fn has_hash_tag(text: &str) -> bool {
    text.split_once('{').and_then(|(_, rest)| rest.split_once('}')).is_some_and(|(tag, _)| !tag.is_empty())
}

async fn one_slot(context: &Context) -> Result<Observation, ProbeError> {
    let info = context.clients.reply(&["INFO".to_owned(), "cluster".to_owned()]).await.map_err(hidden_commands)?;
    let cluster = field(&info, "cluster_enabled");
    let names = &context.endpoints.names;
    let spread = match cluster.as_str() {
        None => return Err(ProbeError::Undecided("INFO cluster does not report cluster_enabled".to_owned())),
        Some("1") if !has_hash_tag(&format!("{}:{}", names.prefix, names.queue)) => vec![format!(
            "the server is a cluster (cluster_enabled is 1), and neither prefix `{}` nor queue `{}` has a hash tag",
            names.prefix, names.queue
        )],
        Some(_) => Vec::new(),
    };
    let mut observation = Observation::new("reasons why the queue's keys hash to several slots", spread);
    observation.also.push(Evidence::seen("cluster_enabled", cluster));
    Ok(observation)
}

/// A private queue, and a worker if [`Canary::work`] started one.
struct Canary {
    queue: QueueClient,
    worker: Option<Worker>,
}

impl Canary {
    async fn open(context: &Context) -> Result<Self, ProbeError> {
        let names = &context.own.names;
        let queue = QueueClient::open(&context.own.redis, &names.queue, &names.prefix).await?;
        Ok(Self { queue, worker: None })
    }

    async fn work<F, Fut>(&mut self, context: &Context, options: WorkerOptions, processor: F) -> Result<(), ProbeError>
    where
        F: Fn(Job) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, bullmq::Error>> + Send + 'static,
    {
        let names = &context.own.names;
        let options =
            WorkerOptions { connection: connection(&context.own.redis), prefix: names.prefix.clone(), ..options };
        let worker = Worker::with_options(&names.queue, move |job: Job, _| processor(job), options)
            .await
            .map_err(|error| failure(&error))?;
        self.worker = Some(worker);
        Ok(())
    }

    async fn add(&self, id: &str, options: JobOptions) -> Result<(), ProbeError> {
        let options = JobOptions { job_id: Some(id.to_owned()), ..options };
        self.queue
            .queue()
            .add("canary", json!({ "canary": true }))
            .options(options)
            .await
            .map_err(|error| failure(&error))?;
        Ok(())
    }

    /// The hash of a job.
    async fn hash(&self, id: &str) -> Result<BTreeMap<String, String>, ProbeError> {
        let command = redis::cmd("HGETALL").arg(self.queue.keys().job_key(id)).to_owned();
        Ok(self.queue.redis().get(&command).await?)
    }

    /// Waits until the job is `completed` or `failed` and returns that state, or `never ended` at the deadline.
    async fn end_of(&self, id: &str) -> Result<&'static str, ProbeError> {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let (completed, failed) = self.queue.ended().await?;
            if completed.iter().any(|job| job == id) {
                return Ok("completed");
            }
            if failed.iter().any(|job| job == id) {
                return Ok("failed");
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok("never ended");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn close(self) {
        if let Some(worker) = self.worker {
            // A worker that cannot be closed ends with the process.
            let _ = worker.close(500).await;
        }
        self.queue.close().await;
    }
}

async fn complete(context: &Context) -> Result<Observation, ProbeError> {
    let mut canary = Canary::open(context).await?;
    canary.add("canary-complete", JobOptions::default()).await?;
    canary.work(context, WorkerOptions::default(), |_| async { Ok(json!("done")) }).await?;
    let state = canary.end_of("canary-complete").await?;
    let returned = canary.hash("canary-complete").await?.get("returnvalue").cloned().unwrap_or_default();
    canary.close().await;
    let mut observation = Observation::new("state of a canary job", state);
    observation.also.push(Evidence::seen("returnvalue", returned));
    Ok(observation)
}

async fn backoff(context: &Context) -> Result<Observation, ProbeError> {
    const DELAY: u64 = 100;
    const ATTEMPTS: u32 = 4;
    let mut canary = Canary::open(context).await?;
    let options = JobOptions {
        attempts: Some(ATTEMPTS),
        backoff: Some(BackoffStrategy::Exponential(DELAY)),
        ..JobOptions::default()
    };
    let starts = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&starts);
    canary.add("canary-backoff", options).await?;
    canary
        .work(context, WorkerOptions::default(), move |_| {
            if let Ok(mut starts) = seen.lock() {
                starts.push(tokio::time::Instant::now());
            }
            async { Err(bullmq::Error::ProcessingError("planned".to_owned())) }
        })
        .await?;
    let state = canary.end_of("canary-backoff").await?;
    canary.close().await;
    let starts: Vec<_> = starts.lock().map(|starts| starts.clone()).unwrap_or_default();
    let waits: Vec<u64> =
        starts.windows(2).map(|pair| u64::try_from((pair[1] - pair[0]).as_millis()).unwrap_or(u64::MAX)).collect();
    // BullMQ waits 2^(n−1)·delay after the nth failure (suites/FAILURES.md#bullmq.backoff-shape). A retry may come late on a busy machine, never early.
    let early = waits
        .iter()
        .enumerate()
        .map(|(n, wait)| (DELAY << n).saturating_sub(*wait) * 100 / (DELAY << n))
        .max()
        .unwrap_or(100);
    let value = if waits.len() + 1 == ATTEMPTS as usize && state == "failed" { early } else { 100 };
    let mut observation = Observation::new("earliness of the earliest retry in percent of its wait", value);
    observation.also.push(Evidence::seen("waits in ms, after failures 1, 2, 3", waits));
    observation.also.push(Evidence::seen("state", state));
    Ok(observation)
}

async fn stalled(context: &Context) -> Result<Observation, ProbeError> {
    let mut canary = Canary::open(context).await?;
    canary.add("canary-stalled", JobOptions::default()).await?;
    let keys = canary.queue.keys();
    // As after the death of a worker: the job is active without a lock.
    let moved: Value = canary.queue.redis().command(&["RPOPLPUSH", &keys.wait(), &keys.active()]).await?;
    if moved.as_str() != Some("canary-stalled") {
        return Err(ProbeError::Undecided(format!("the canary job was not in `wait` but {moved}")));
    }
    let options = WorkerOptions { stalled_interval: 100, lock_duration: 1000, ..WorkerOptions::default() };
    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    canary
        .work(context, options, move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok(Value::Null) }
        })
        .await?;
    let state = canary.end_of("canary-stalled").await?;
    let stalls = canary.hash("canary-stalled").await?.get("stc").cloned().unwrap_or_else(|| "0".to_owned());
    canary.close().await;
    let mut observation = Observation::new("state of a job whose worker died", state);
    observation.also.push(Evidence::seen("stalled count (stc)", stalls));
    observation.also.push(Evidence::seen("runs", runs.load(Ordering::SeqCst)));
    Ok(observation)
}

async fn delayed(context: &Context) -> Result<Observation, ProbeError> {
    const DELAY: u64 = 300;
    let mut canary = Canary::open(context).await?;
    canary.work(context, WorkerOptions::default(), |_| async { Ok(Value::Null) }).await?;
    let before = now_ms();
    canary.add("canary-delayed", JobOptions { delay: Some(DELAY), ..JobOptions::default() }).await?;
    let state = canary.end_of("canary-delayed").await?;
    let hash = canary.hash("canary-delayed").await?;
    canary.close().await;
    if state != "completed" {
        return Ok(Observation::new("state of a delayed job after its time", state));
    }
    let started = hash.get("processedOn").and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
    let late = started - i64::try_from(before + DELAY).unwrap_or(i64::MAX);
    Ok(Observation::new(format!("lateness of a job delayed by {DELAY} ms, in ms"), late))
}

async fn duplicate(context: &Context) -> Result<Observation, ProbeError> {
    let canary = Canary::open(context).await?;
    canary.add("canary-duplicate", JobOptions::default()).await?;
    canary.add("canary-duplicate", JobOptions::default()).await?;
    let waiting = canary.queue.counts().await?.waiting;
    canary.close().await;
    Ok(Observation::new("jobs after one job id was added twice", waiting))
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
