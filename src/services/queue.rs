//! A BullMQ queue: adding jobs through the queue library, and reading its keys in Redis.

use std::collections::{BTreeMap, BTreeSet};

use bullmq::options::{JobOptions, QueueOptions, RedisConnectionOptions};
use bullmq::types::BackoffStrategy;
use bullmq::{BulkJob, Queue, QueueKeys};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::ServiceError;
use super::client_list::clients;
use super::redis::Redis;
use crate::outcome::TraceParent;
use crate::settings::{Backoff, BackoffKind, JobContract, RedisEndpoint};

/// The field of W3C Trace Context.
const TRACEPARENT: &str = "traceparent";

/// One job, from its hash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobHash {
    /// Attempts made (`atm`).
    pub attempts: u64,
    /// Times it was started (`ats`).
    pub starts: u64,
    /// Times it stalled (`stc`).
    pub stalls: u64,
    /// Why it failed most recently.
    pub failed_reason: Option<String>,
    /// When it was last started, in ms since 1970.
    pub processed_on: Option<u64>,
    /// When it finished, in ms since 1970.
    pub finished_on: Option<u64>,
    /// What it returned, as JSON text.
    pub returnvalue: Option<String>,
    /// Bytes of its data, progress and log; `None` if the job is not kept.
    pub notes: Option<u64>,
}

/// Number of jobs in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// `wait`.
    pub waiting: u64,
    /// `active`.
    pub active: u64,
    /// `delayed`.
    pub delayed: u64,
    /// `paused`.
    pub paused: u64,
    /// `prioritized`.
    pub prioritized: u64,
    /// `completed`.
    pub completed: u64,
    /// `failed`.
    pub failed: u64,
    /// `waiting-children`.
    pub waiting_children: u64,
}

/// Connections of workers to a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attached {
    /// Connections that the `getWorkers` of a BullMQ library finds: those named `<prefix>:<base64(queue)>`, and those
    /// named `<prefix>:<queue>` that wait for a job, as the Python library (3.4.4) names them.
    pub registered: usize,
    /// Other connections named `<prefix>:<queue>`: the Python library gives this name to a second connection too, and
    /// any program may use it.
    pub unregistered: usize,
}

impl Attached {
    /// The total.
    #[must_use]
    pub const fn all(self) -> usize {
        self.registered + self.unregistered
    }

    /// Counts them in the server's client list.
    ///
    /// # Errors
    /// Redis does not respond, or denies `CLIENT LIST`.
    pub async fn read(redis: &Redis, keys: &QueueKeys) -> Result<Self, ServiceError> {
        let list: String = redis.get(&redis::cmd("CLIENT").arg("LIST").to_owned()).await?;
        let named = keys.client_name("");
        let plain = format!("{}:{}", keys.prefix(), keys.name());
        let mut attached = Self::default();
        for client in clients(&list) {
            if client.has_name(&named) || (client.has_name(&plain) && client.waits_for_job()) {
                attached.registered += 1;
            } else if client.has_name(&plain) {
                attached.unregistered += 1;
            }
        }
        Ok(attached)
    }
}

impl Counts {
    /// Jobs that have not finished.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.waiting + self.active + self.delayed + self.paused + self.prioritized
    }

    /// Each state, named as in BullMQ's `getJobCounts`, with its number of jobs.
    #[must_use]
    pub const fn by_state(&self) -> [(&'static str, u64); 8] {
        [
            ("waiting", self.waiting),
            ("paused", self.paused),
            ("prioritized", self.prioritized),
            ("delayed", self.delayed),
            ("active", self.active),
            ("waiting-children", self.waiting_children),
            ("completed", self.completed),
            ("failed", self.failed),
        ]
    }

    /// Counts in one round trip. Changes nothing; the queue need not exist.
    ///
    /// # Errors
    /// Redis does not respond, or denies a command.
    pub async fn read(redis: &Redis, keys: &QueueKeys) -> Result<Self, ServiceError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("LLEN").arg(keys.wait());
        pipeline.cmd("LLEN").arg(keys.active());
        pipeline.cmd("ZCARD").arg(keys.delayed());
        pipeline.cmd("LLEN").arg(keys.paused());
        pipeline.cmd("ZCARD").arg(keys.prioritized());
        pipeline.cmd("ZCARD").arg(keys.completed());
        pipeline.cmd("ZCARD").arg(keys.failed());
        pipeline.cmd("ZCARD").arg(keys.waiting_children());
        let [waiting, active, delayed, paused, prioritized, completed, failed, waiting_children]: [u64; 8] =
            redis.pipeline(&pipeline).await?;
        Ok(Self { waiting, active, delayed, paused, prioritized, completed, failed, waiting_children })
    }
}

/// One entry of a queue's event stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueEvent {
    /// Its id in the stream, `<ms since 1970>-<number>` on the clock of the server.
    pub id: String,
    /// The event, named as in BullMQ: `added`, `waiting`, `active`, `delayed`, `completed`, `failed`, `stalled` …
    pub what: String,
    /// The job, if the event is about one.
    pub job: Option<String>,
    /// The return value, or the failure reason.
    pub detail: Option<String>,
}

impl QueueEvent {
    /// When it happened, in milliseconds since 1970 on the clock of the server.
    #[must_use]
    pub fn at_ms(&self) -> i64 {
        self.id.split('-').next().and_then(|ms| ms.parse().ok()).unwrap_or_default()
    }
}

/// The jobs that have ended an attempt, in success or failure, and those that have not, by the entries of the event stream.
#[must_use]
pub fn by_attempt(events: &[QueueEvent]) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let (mut attempted, mut others, mut active) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for event in events {
        let Some(job) = event.job.as_deref() else { continue };
        match event.what.as_str() {
            "active" => {
                active.insert(job);
            }
            // A job that is retried without a pause is `waiting` at once.
            "completed" | "failed" | "delayed" | "waiting" | "waiting-children" if active.contains(job) => {
                attempted.insert(job);
            }
            _ => {}
        }
        others.insert(job);
    }
    others.retain(|job| !attempted.contains(job));
    (attempted, others)
}

/// A job to add.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its queue, if it is not the worker's own.
    pub queue: Option<String>,
    /// Job id, unique in the queue.
    pub id: String,
    /// Job name.
    pub name: String,
    /// Job data.
    pub data: Value,
    /// Attempts in total.
    pub attempts: u32,
    /// Wait between two attempts.
    pub backoff: Option<Backoff>,
    /// Further options, by BullMQ's names.
    pub options: serde_json::Map<String, Value>,
}

impl NewJob {
    /// A job of `contract` with its placeholders replaced by `lookup`; the error is a placeholder without a value.
    pub fn from_contract(
        contract: &JobContract,
        id: String,
        lookup: &impl Fn(&str) -> Option<Value>,
    ) -> Result<Self, String> {
        let JobContract { queue, name, attempts, backoff, options, .. } = contract;
        let (queue, name, data, options) = (queue.clone(), name.clone(), contract.fill(lookup)?, options.clone());
        Ok(Self { queue, id, name, data, attempts: attempts.unwrap_or(1), backoff: *backoff, options })
    }
}

/// A queue by name and prefix.
pub struct QueueClient {
    queue: Queue,
    redis: Redis,
    keys: QueueKeys,
}

impl std::fmt::Debug for QueueClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueClient").field("prefix", &self.keys.prefix()).field("name", &self.keys.name()).finish()
    }
}

/// An error of the queue library as a [`ServiceError`].
#[must_use]
pub fn failure(error: &bullmq::Error) -> ServiceError {
    if let bullmq::Error::Redis(error) = error
        && error.code() == Some("NOPERM")
    {
        return ServiceError::Denied { service: "redis", detail: error.to_string() };
    }
    ServiceError::Refused { service: "bullmq", detail: error.to_string() }
}

/// Connection options of the queue library for this endpoint.
#[must_use]
pub fn connection(endpoint: &RedisEndpoint) -> RedisConnectionOptions {
    RedisConnectionOptions::new().url(endpoint.url.expose_secret())
}

impl QueueClient {
    /// Opens the queue; BullMQ writes its `meta` key.
    pub async fn open(endpoint: &RedisEndpoint, name: &str, prefix: &str) -> Result<Self, ServiceError> {
        let redis = Redis::connect(endpoint).await?;
        let options =
            QueueOptions { connection: connection(endpoint), prefix: prefix.to_owned(), ..QueueOptions::default() };
        let queue = Queue::with_options(name, options).await.map_err(|error| failure(&error))?;
        Ok(Self { queue, redis, keys: QueueKeys::new(name, Some(prefix)) })
    }

    /// Adds jobs in one batch.
    pub async fn add(&self, jobs: Vec<NewJob>) -> Result<(), ServiceError> {
        let jittered: Vec<(String, Backoff)> = jobs
            .iter()
            .filter_map(|job| Some((job.id.clone(), job.backoff.filter(|backoff| backoff.jitter > 0.0)?)))
            .collect();
        let jobs = jobs
            .into_iter()
            .map(|job| {
                let options = JobOptions {
                    job_id: Some(job.id),
                    attempts: Some(job.attempts),
                    backoff: job.backoff.map(|backoff| match backoff.kind {
                        BackoffKind::Fixed => BackoffStrategy::Fixed(backoff.delay.into()),
                        BackoffKind::Exponential => BackoffStrategy::Exponential(backoff.delay.into()),
                    }),
                    // The contract's options were parsed into this type before, so parsing cannot fail.
                    ..serde_json::from_value(Value::Object(job.options)).unwrap_or_default()
                };
                BulkJob::with_options(job.name, job.data, options)
            })
            .collect();
        self.queue.add_bulk(jobs).await.map_err(|error| failure(&error))?;
        self.add_jitter(&jittered).await
    }

    /// Adds jobs that carry the parent span, if there is one, in the option `tm` (`telemetry.metadata`), as BullMQ for
    /// Node does.
    ///
    /// The queue library (1.4) does not support that option, and workers read it when they take a job, so the queue is
    /// paused until it is written.
    pub async fn add_below(&self, jobs: Vec<NewJob>, parent: Option<TraceParent>) -> Result<(), ServiceError> {
        let Some(parent) = parent else { return self.add(jobs).await };
        let ids: Vec<(String, ())> = jobs.iter().map(|job| (job.id.clone(), ())).collect();
        let carried = json!({ TRACEPARENT: parent.to_string() }).to_string();
        self.queue.pause().await.map_err(|error| failure(&error))?;
        let added = async {
            self.add(jobs).await?;
            self.change_options(&ids, |options, ()| options["tm"] = carried.clone().into()).await
        };
        let added = added.await;
        self.queue.resume().await.map_err(|error| failure(&error))?;
        added
    }

    /// The parent span that a job carries, if any.
    ///
    /// # Errors
    /// Redis does not respond.
    pub async fn trace_parent(redis: &Redis, keys: &QueueKeys, id: &str) -> Result<Option<TraceParent>, ServiceError> {
        let command = redis::cmd("HGET").arg(keys.job_key(id)).arg("opts").to_owned();
        let options: Option<String> = redis.get(&command).await?;
        let options: Option<Value> = options.and_then(|text| serde_json::from_str(&text).ok());
        // `telemetry.omitContext`: the producer asked for no parent span.
        let options = options.filter(|options| options["omc"] != true);
        let carried = options.and_then(|options| serde_json::from_str::<Value>(options["tm"].as_str()?).ok());
        Ok(carried.and_then(|carried| carried[TRACEPARENT].as_str()?.parse().ok()))
    }

    /// The queue library (1.4) does not support `jitter`. Workers read it from the job's options when they retry the
    /// job, so it is written right after the job.
    async fn add_jitter(&self, jobs: &[(String, Backoff)]) -> Result<(), ServiceError> {
        self.change_options(jobs, |options, backoff| options["backoff"]["jitter"] = backoff.jitter.into()).await
    }

    /// Changes options of existing jobs.
    async fn change_options<T>(
        &self,
        jobs: &[(String, T)],
        change: impl Fn(&mut Value, &T),
    ) -> Result<(), ServiceError> {
        if jobs.is_empty() {
            return Ok(());
        }
        let mut read = redis::pipe();
        for (id, _) in jobs {
            read.cmd("HGET").arg(self.keys.job_key(id)).arg("opts");
        }
        let options: Vec<Option<String>> = self.redis.pipeline(&read).await?;
        let mut write = redis::pipe();
        for ((id, what), options) in jobs.iter().zip(options) {
            let Some(mut options) = options.and_then(|text| serde_json::from_str::<Value>(&text).ok()) else {
                continue;
            };
            change(&mut options, what);
            write.cmd("HSET").arg(self.keys.job_key(id)).arg("opts").arg(options.to_string()).ignore();
        }
        self.redis.pipeline::<()>(&write).await
    }

    /// Number of jobs in each state.
    pub async fn counts(&self) -> Result<Counts, ServiceError> {
        Counts::read(&self.redis, &self.keys).await
    }

    /// Number of jobs in each state, without the next runs of job schedulers, which are always delayed.
    pub async fn counts_without_schedulers(&self) -> Result<Counts, ServiceError> {
        let counts = self.counts().await?;
        if counts.delayed == 0 {
            return Ok(counts);
        }
        let command = redis::cmd("ZRANGE").arg(self.keys.delayed()).arg(0).arg(-1).to_owned();
        let delayed: Vec<String> = self.redis.get(&command).await?;
        let scheduled = delayed.iter().filter(|id| id.starts_with("repeat:")).count() as u64;
        Ok(Counts { delayed: counts.delayed.saturating_sub(scheduled), ..counts })
    }

    /// Number of jobs that a worker would take now: those that wait, and delayed ones whose time has come.
    pub async fn takeable(&self) -> Result<u64, ServiceError> {
        // The score of a delayed job is its time in ms, multiplied by this, and a running number.
        const DELAYED_SCALE: i64 = 0x1000;
        let due = (self.clock_ms().await? + 1) * DELAYED_SCALE;
        let mut pipeline = redis::pipe();
        pipeline.cmd("LLEN").arg(self.keys.wait());
        pipeline.cmd("ZCARD").arg(self.keys.prioritized());
        pipeline.cmd("ZCOUNT").arg(self.keys.delayed()).arg("-inf").arg(due);
        let [waiting, prioritized, delayed]: [u64; 3] = self.redis.pipeline(&pipeline).await?;
        Ok(waiting + prioritized + delayed)
    }

    /// Ids of the jobs that are `completed` and that are `failed`.
    pub async fn ended(&self) -> Result<(Vec<String>, Vec<String>), ServiceError> {
        let range = |key: String| redis::cmd("ZRANGE").arg(key).arg(0).arg(-1).to_owned();
        let completed = self.redis.get(&range(self.keys.completed())).await?;
        let failed = self.redis.get(&range(self.keys.failed())).await?;
        Ok((completed, failed))
    }

    /// Entries of the queue's event stream after the entry `after`, or from its beginning; at most `most`.
    pub async fn events(&self, after: Option<&str>, most: usize) -> Result<Vec<QueueEvent>, ServiceError> {
        let from = after.map_or_else(|| "-".to_owned(), |id| format!("({id}"));
        let command = redis::cmd("XRANGE").arg(self.keys.events()).arg(from).arg("+").arg("COUNT").arg(most).to_owned();
        let entries: Vec<(String, BTreeMap<String, String>)> = self.redis.get(&command).await?;
        let event = |(id, mut fields): (String, BTreeMap<String, String>)| QueueEvent {
            id,
            what: fields.remove("event").unwrap_or_default(),
            job: fields.remove("jobId"),
            detail: fields.remove("failedReason").or_else(|| fields.remove("returnvalue")),
        };
        Ok(entries.into_iter().map(event).collect())
    }

    /// The server's clock, in milliseconds since 1970.
    pub async fn clock_ms(&self) -> Result<i64, ServiceError> {
        let (seconds, microseconds): (i64, i64) = self.redis.get(&redis::cmd("TIME")).await?;
        Ok(seconds * 1000 + microseconds / 1000)
    }

    /// Ids of the active jobs.
    pub async fn active(&self) -> Result<Vec<String>, ServiceError> {
        self.redis.get(&redis::cmd("LRANGE").arg(self.keys.active()).arg(0).arg(-1).to_owned()).await
    }

    /// The hash of one job.
    pub async fn job(&self, id: &str) -> Result<Option<JobHash>, ServiceError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGETALL").arg(self.keys.job_key(id));
        pipeline.cmd("LRANGE").arg(format!("{}:logs", self.keys.job_key(id))).arg(0).arg(-1);
        let (hash, log): (BTreeMap<String, String>, Vec<String>) = self.redis.pipeline(&pipeline).await?;
        if hash.is_empty() {
            return Ok(None);
        }
        let kept = ["data", "progress"].into_iter().filter_map(|field| hash.get(field));
        let notes = kept.chain(&log).map(|text| text.len() as u64).sum();
        let number = |field: &str| hash.get(field).and_then(|text| text.parse().ok());
        Ok(Some(JobHash {
            attempts: number("atm").unwrap_or(0),
            starts: number("ats").unwrap_or(0),
            stalls: number("stc").unwrap_or(0),
            failed_reason: hash.get("failedReason").cloned(),
            processed_on: number("processedOn"),
            finished_on: number("finishedOn"),
            returnvalue: hash.get("returnvalue").cloned(),
            notes: Some(notes),
        }))
    }

    /// Connections with this queue's worker name, as BullMQ's monitors count them.
    pub async fn workers(&self) -> Result<Attached, ServiceError> {
        Attached::read(&self.redis, &self.keys).await
    }

    /// Its Redis connection.
    #[must_use]
    pub const fn redis(&self) -> &Redis {
        &self.redis
    }

    /// The key names of this queue.
    #[must_use]
    pub const fn keys(&self) -> &QueueKeys {
        &self.keys
    }

    /// The queue library's own handle.
    #[must_use]
    pub const fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Closes its connections.
    pub async fn close(&self) {
        self.queue.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_ended_an_attempt_when_it_is_not_active_any_more() {
        let event = |(job, what): (&str, &str)| QueueEvent {
            job: Some(job.to_owned()),
            what: what.to_owned(),
            ..QueueEvent::default()
        };
        let events = [
            ("a", "waiting"),
            ("b", "waiting"),
            ("c", "added"),
            ("a", "active"),
            ("b", "active"),
            ("b", "delayed"),
            ("d", "active"),
            ("d", "progress"),
            ("e", "active"),
            ("e", "waiting"),
        ];
        let events: Vec<QueueEvent> = events.into_iter().map(event).collect();
        let (attempted, others) = by_attempt(&events);
        assert_eq!((attempted, others), (BTreeSet::from(["b", "e"]), BTreeSet::from(["a", "c", "d"])));
    }
}
