//! The state of a BullMQ queue in use: counts, and samples of its jobs. Changes nothing, searches no keys by pattern,
//! and reads only a sample of a long queue.
//!
//! A queue's keys are `PREFIX:QUEUE:NAME`: the lists `wait`, `paused` and `active`; the sorted sets `prioritized`,
//! `delayed`, `failed`, `completed` and `repeat`; the hash `meta`; the stream `events`; and a hash for each job. The score of
//! a delayed job is its due time in milliseconds times 4096, that of a finished job the time when it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use redis::Value as Reply;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::services::ServiceError;
use crate::services::redis::Redis;
use crate::settings::Names;
use crate::spec::{QueueFact, QueueStateProbe};

/// Jobs of each state that are read.
const SAMPLE: isize = 50;
/// Job data above this size, in bytes, should not be in Redis.
const LARGE_DATA: u64 = 64 * 1024;
/// A delayed job is overdue after this many milliseconds.
const OVERDUE_MS: u64 = 60_000;
/// No job should be delayed by more than this many milliseconds, a year.
const YEAR_MS: u64 = 365 * 24 * 3_600_000;
/// A job is active for too long after this many milliseconds.
const LONG_ACTIVE_MS: u64 = 3_600_000;
/// This many jobs with the same failure reason have a common cause.
const COMMON: usize = 10;
/// BullMQ's failure reason of a job that stalled too often.
const STALLED_OUT: &str = "job stalled more than allowable limit";

pub(super) async fn observe(probe: &QueueStateProbe, context: &Context) -> Result<Observation, ProbeError> {
    let state = context.clients.fact("queue", async { Ok(json!(read_state(context).await?)) }).await?;
    let state: QueueState = serde_json::from_value(state).map_err(|error| ProbeError::Undecided(error.to_string()))?;
    let (what, place) = match probe.yields {
        QueueFact::Waiting => ("waiting jobs", "waiting"),
        QueueFact::Workers => ("workers attached to the queue", "workers"),
        QueueFact::WaitingWithoutWorker => ("jobs waiting without an attached worker", "waiting_without_worker"),
        QueueFact::Overdue => ("delayed jobs that were due more than a minute ago", "overdue"),
        QueueFact::ActiveWithoutLock => ("active jobs without a lock", "without_lock"),
        QueueFact::WithoutJob => ("ids in lists without a job", "without_job"),
        QueueFact::LargeData => ("jobs whose data is larger than 64 KiB", "large_data"),
        QueueFact::WithoutRetries => ("jobs with fewer than three attempts, or without backoff", "without_retries"),
        QueueFact::WithoutJitter => ("jobs with backoff and without jitter", "without_jitter"),
        QueueFact::StalledOut => ("jobs that failed by stalling, with attempts left", "stalled_out"),
        QueueFact::Failed => ("failed jobs", "failed"),
        QueueFact::LegacyRepeatables => ("legacy repeatable jobs", "legacy_repeatables"),
        QueueFact::EventBytes => ("size of the event stream in bytes", "event_bytes"),
        QueueFact::OldestWaitingMinutes => ("age of the oldest waiting job in minutes", "oldest_waiting_minutes"),
        QueueFact::OldestFinishedHours => ("age of the oldest finished job in hours", "oldest_finished_hours"),
        QueueFact::PausedWithJobs => ("jobs waiting in a paused queue", "paused_with_jobs"),
        QueueFact::CommonFailures => ("failure reasons shared by ten jobs or more", "common_failures"),
        QueueFact::DelayedOverAYear => ("delayed jobs that are due in more than a year", "delayed_over_a_year"),
        QueueFact::LongActive => ("jobs active for more than an hour", "long_active"),
    };
    if let Some(denied) = state.denied.get(place) {
        return Err(ProbeError::Undecided(format!("cannot read {what}: {denied}")));
    }
    // Without jobs there is nothing to check.
    if matches!(place, "large_data" | "without_retries" | "without_jitter") && state.sampled == 0 {
        return Err(ProbeError::Missing("the queue has no jobs to inspect".to_owned()));
    }
    let mut observation = Observation::new(what, state.values.get(place).cloned().unwrap_or_default());
    observation.also.extend(state.evidence.into_iter().map(|(name, value)| Evidence::seen(name, value)));
    Ok(observation)
}

/// A reply, or the server's error.
fn reply<T: redis::FromRedisValue>(replies: &[Reply], place: usize) -> Result<T, String> {
    match replies.get(place) {
        Some(Reply::ServerError(error)) => Err(error.to_string()),
        Some(reply) => T::from_redis_value(reply.clone()).map_err(|error| error.to_string()),
        None => Err("no reply".to_owned()),
    }
}

/// Reads everything in two round trips: the lists, then the jobs in them.
async fn read_state(context: &Context) -> Result<QueueState, ServiceError> {
    let redis = context.clients.redis().await?;
    let names = &context.endpoints.names;
    let key = |rest: &str| format!("{}:{}:{rest}", names.prefix, names.queue);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or_default();
    let last = SAMPLE - 1;

    let mut pipe = redis::pipe();
    pipe.cmd("LLEN").arg(key("wait"));
    pipe.cmd("ZCARD").arg(key("prioritized"));
    pipe.cmd("LLEN").arg(key("paused"));
    pipe.cmd("HGET").arg(key("meta")).arg("paused");
    pipe.cmd("ZCOUNT").arg(key("delayed")).arg("-inf").arg(now_ms.saturating_sub(OVERDUE_MS).saturating_mul(4096));
    pipe.cmd("ZCARD").arg(key("failed"));
    pipe.cmd("MEMORY").arg("USAGE").arg(key("events"));
    pipe.cmd("CLIENT").arg("LIST");
    // The jobs that wait longest are at the right end, from which workers take them.
    pipe.cmd("LRANGE").arg(key("wait")).arg(-SAMPLE).arg(-1);
    pipe.cmd("LRANGE").arg(key("active")).arg(0).arg(last);
    pipe.cmd("ZRANGE").arg(key("delayed")).arg(0).arg(last);
    pipe.cmd("ZRANGE").arg(key("prioritized")).arg(0).arg(last);
    pipe.cmd("ZREVRANGE").arg(key("failed")).arg(0).arg(last);
    pipe.cmd("ZRANGE").arg(key("completed")).arg(0).arg(0).arg("WITHSCORES");
    pipe.cmd("ZRANGE").arg(key("repeat")).arg(0).arg(last);
    pipe.cmd("ZCOUNT").arg(key("delayed")).arg((now_ms + YEAR_MS).saturating_mul(4096)).arg("+inf");
    let replies: Vec<Reply> = redis.all(&pipe).await?;

    let mut state = QueueState::default();
    state.add_counts(&replies, names, now_ms);
    let lists = Lists::from_replies(&replies);
    let jobs = Jobs::read(&redis, &key, lists.all()).await?;
    state.add_samples(&jobs, lists, now_ms);
    Ok(state)
}

/// What was read of the queue.
#[derive(Debug, Default, Serialize, Deserialize)]
struct QueueState {
    /// Values by name.
    values: BTreeMap<String, Value>,
    /// Why a value could not be read, by name.
    denied: BTreeMap<String, String>,
    /// Further evidence.
    evidence: BTreeMap<String, u64>,
    /// Number of sampled jobs.
    sampled: usize,
}

impl QueueState {
    /// Adds a value, or why it cannot be read.
    fn put(&mut self, name: &str, value: Result<impl Into<Value>, String>) {
        match value {
            Ok(value) => drop(self.values.insert(name.to_owned(), value.into())),
            Err(denied) => drop(self.denied.insert(name.to_owned(), denied)),
        }
    }

    fn add_counts(&mut self, replies: &[Reply], names: &Names, now_ms: u64) {
        let number = |place: usize| reply::<Option<u64>>(replies, place).map(Option::unwrap_or_default);
        let ids = |place: usize| reply::<Vec<String>>(replies, place);
        let waiting = number(0).and_then(|wait| Ok(wait + number(1)? + number(2)?));
        let paused = reply::<Option<String>>(replies, 3).map(|paused| paused.is_some());
        let clients = reply::<String>(replies, 7);
        let workers = clients.map(|clients| workers(&clients, &names.prefix, &names.queue));
        self.put("waiting", waiting.clone());
        self.put("workers", workers.clone());
        self.put(
            "waiting_without_worker",
            waiting.clone().and_then(|waiting| Ok(if workers.clone()? == 0 { waiting } else { 0 })),
        );
        self.put("paused_with_jobs", waiting.clone().and_then(|waiting| Ok(if paused? { waiting } else { 0 })));
        self.put("overdue", number(4));
        self.put("delayed_over_a_year", number(15));
        self.put("failed", number(5));
        self.put("event_bytes", number(6));
        self.put(
            "legacy_repeatables",
            ids(14).map(|all| all.into_iter().filter(|id| is_legacy(id)).collect::<Vec<_>>()),
        );
        self.put("oldest_finished_hours", oldest_hours(replies, now_ms));
        if let (Ok(waiting), Ok(workers)) = (&waiting, &workers) {
            self.evidence.insert("waiting jobs".to_owned(), *waiting);
            self.evidence.insert("workers attached".to_owned(), *workers);
        }
    }

    fn add_samples(&mut self, jobs: &Jobs, lists: Lists, now_ms: u64) {
        let all = lists.ids();
        let Lists { wait, active, failed, .. } = lists;
        self.sampled = jobs.jobs.values().filter(|job| job.exists).count();
        // These values need the jobs themselves, not only their ids.
        let readable =
            |ids: Result<Vec<String>, String>, aspect: Aspect| ids.and_then(|ids| jobs.require(aspect).map(|()| ids));
        let locks = readable(readable(active, Aspect::Fields), Aspect::Lock);
        let is_long_active =
            |job: &SampledJob| job.locked && job.begun > 0 && now_ms.saturating_sub(job.begun) > LONG_ACTIVE_MS;
        self.put("long_active", locks.clone().map(|ids| jobs.matching(&ids, is_long_active)));
        self.put("without_lock", locks.map(|ids| jobs.matching(&ids, |job| job.exists && !job.locked)));
        let sizes = readable(all.clone(), Aspect::Size);
        self.put("large_data", sizes.map(|ids| jobs.matching(&ids, |job| job.bytes > LARGE_DATA)));
        let (all, failed) = (readable(all, Aspect::Fields), readable(failed, Aspect::Fields));
        let wait = readable(wait, Aspect::Fields);
        self.put("without_job", all.clone().map(|ids| jobs.matching(&ids, |job| !job.exists)));
        self.put("without_retries", all.clone().map(|ids| jobs.matching(&ids, |job| job.exists && !job.retries())));
        self.put(
            "without_jitter",
            all.map(|ids| jobs.matching(&ids, |job| job.exists && job.retries() && job.jitter() == 0.0)),
        );
        self.put("common_failures", failed.clone().map(|ids| jobs.common_failures(&ids)));
        self.put(
            "stalled_out",
            failed.map(|ids| jobs.matching(&ids, |job| job.reason.contains(STALLED_OUT) && job.made < job.attempts())),
        );
        let oldest = wait.map(|ids| {
            let first = ids.iter().filter_map(|id| jobs.get(id)).filter(|job| job.since > 0).map(|job| job.since).min();
            first.map_or(0, |since| now_ms.saturating_sub(since) / 60_000)
        });
        self.put("oldest_waiting_minutes", oldest);
    }
}

/// Ids of the sampled jobs in each list, or why a list could not be read.
struct Lists {
    wait: Result<Vec<String>, String>,
    active: Result<Vec<String>, String>,
    delayed: Result<Vec<String>, String>,
    prioritized: Result<Vec<String>, String>,
    failed: Result<Vec<String>, String>,
}

impl Lists {
    fn from_replies(replies: &[Reply]) -> Self {
        let ids = |place: usize| reply(replies, place);
        Self { wait: ids(8), active: ids(9), delayed: ids(10), prioritized: ids(11), failed: ids(12) }
    }

    const fn all(&self) -> [&Result<Vec<String>, String>; 5] {
        [&self.wait, &self.active, &self.delayed, &self.prioritized, &self.failed]
    }

    /// The ids of all lists; an error if one could not be read.
    fn ids(&self) -> Result<Vec<String>, String> {
        self.all().into_iter().try_fold(Vec::new(), |mut all, ids| {
            all.extend(ids.clone()?);
            Ok(all)
        })
    }
}

/// Number of connections with a worker's name: `prefix:base64(queue)`, followed by `:w:NAME` if workers are named. The
/// Python library does not encode the queue name.
fn workers(clients: &str, prefix: &str, queue: &str) -> u64 {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(queue);
    let names = [format!("{prefix}:{encoded}"), format!("{prefix}:{queue}")];
    let is_worker = |line: &&str| {
        let name = line.split(' ').find_map(|field| field.strip_prefix("name=")).unwrap_or_default();
        names
            .iter()
            .any(|worker| name == worker || name.strip_prefix(worker).is_some_and(|rest| rest.starts_with(":w:")))
    };
    clients.lines().filter(is_worker).count() as u64
}

/// Whether `id` is that of a repeatable job from before job schedulers: five parts, `name:id:endDate:tz:pattern`.
fn is_legacy(id: &str) -> bool {
    id.split(':').count() >= 5
}

fn oldest_hours(replies: &[Reply], now_ms: u64) -> Result<u64, String> {
    let pair = reply::<Vec<String>>(replies, 13)?;
    let score = pair.get(1).and_then(|score| score.parse::<f64>().ok());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds since 1970")]
    Ok(score.map_or(0, |ended| now_ms.saturating_sub(ended as u64) / 3_600_000))
}

/// The start of a failure reason, with numbers and ids that differ between jobs replaced.
fn kind_of(reason: &str) -> String {
    let line = reason.lines().next().unwrap_or_default();
    let words =
        line.split(' ').map(|word| if word.chars().any(|c| c.is_ascii_digit()) && word.len() > 4 { "…" } else { word });
    words.collect::<Vec<_>>().join(" ").chars().take(100).collect()
}

/// A sampled job.
#[derive(Debug, Default)]
struct SampledJob {
    exists: bool,
    locked: bool,
    bytes: u64,
    options: Value,
    made: u64,
    reason: String,
    /// When it was added, in ms since 1970.
    since: u64,
    /// When it was last started, in ms since 1970; 0 if never.
    begun: u64,
}

impl SampledJob {
    fn attempts(&self) -> u64 {
        self.options["attempts"].as_u64().unwrap_or(1)
    }

    /// Whether it has at least three attempts and waits between them; a number instead of an object is a fixed wait.
    fn retries(&self) -> bool {
        let backoff = &self.options["backoff"];
        let waits = backoff.as_u64().or_else(|| backoff["delay"].as_u64()).is_some_and(|ms| ms > 0)
            || backoff["type"].as_str().is_some_and(|kind| kind != "fixed" && kind != "exponential");
        self.attempts() >= 3 && waits
    }

    fn jitter(&self) -> f64 {
        let backoff = &self.options["backoff"];
        let custom = backoff["type"].as_str().is_some_and(|kind| kind != "fixed" && kind != "exponential");
        // The jitter of a custom strategy is unknown.
        if custom { 1.0 } else { backoff["jitter"].as_f64().unwrap_or(0.0) }
    }
}

/// What is read of each sampled job, in this order.
#[derive(Debug, Clone, Copy)]
enum Aspect {
    Fields,
    Size,
    Lock,
}

/// The sampled jobs by id, and for each aspect why it could not be read.
#[derive(Debug, Default)]
struct Jobs {
    jobs: BTreeMap<String, SampledJob>,
    denied: [Option<String>; 3],
}

impl Jobs {
    async fn read(
        redis: &Redis,
        key: &impl Fn(&str) -> String,
        lists: [&Result<Vec<String>, String>; 5],
    ) -> Result<Self, ServiceError> {
        let ids: BTreeSet<&String> = lists.iter().filter_map(|ids| ids.as_ref().ok()).flatten().collect();
        if ids.is_empty() {
            return Ok(Self::default());
        }
        let mut pipe = redis::pipe();
        for id in &ids {
            // Not the data itself, which may be large and confidential.
            pipe.cmd("HMGET").arg(key(id)).arg(&["opts", "atm", "failedReason", "timestamp", "name", "processedOn"]);
            pipe.cmd("HSTRLEN").arg(key(id)).arg("data");
            pipe.cmd("EXISTS").arg(format!("{}:lock", key(id)));
        }
        let replies: Vec<Reply> = redis.all(&pipe).await?;
        let mut all = Self::default();
        for (number, id) in ids.into_iter().enumerate() {
            let place = |aspect: Aspect| 3 * number + aspect as usize;
            let fields =
                all.value_or_denied(Aspect::Fields, reply::<Vec<Option<String>>>(&replies, place(Aspect::Fields)));
            let field = |place: usize| fields.get(place).cloned().flatten();
            let job = SampledJob {
                exists: fields.iter().any(Option::is_some),
                locked: all.value_or_denied(Aspect::Lock, reply::<u64>(&replies, place(Aspect::Lock))) > 0,
                bytes: all.value_or_denied(Aspect::Size, reply(&replies, place(Aspect::Size))),
                options: field(0).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
                made: field(1).and_then(|text| text.parse().ok()).unwrap_or_default(),
                reason: field(2).unwrap_or_default(),
                since: field(3).and_then(|text| text.parse().ok()).unwrap_or_default(),
                begun: field(5).and_then(|text| text.parse().ok()).unwrap_or_default(),
            };
            all.jobs.insert(id.clone(), job);
        }
        Ok(all)
    }

    /// The value of a reply; a refusal is recorded and gives the default.
    fn value_or_denied<T: Default>(&mut self, aspect: Aspect, reply: Result<T, String>) -> T {
        reply.unwrap_or_else(|why| {
            self.denied[aspect as usize] = Some(why);
            T::default()
        })
    }

    /// An error if `aspect` could not be read for some job.
    fn require(&self, aspect: Aspect) -> Result<(), String> {
        self.denied[aspect as usize].clone().map_or(Ok(()), Err)
    }

    fn get(&self, id: &str) -> Option<&SampledJob> {
        self.jobs.get(id)
    }

    /// The failure reasons that many of the jobs share.
    fn common_failures(&self, ids: &[String]) -> Vec<String> {
        let mut counts = BTreeMap::<String, usize>::new();
        for job in ids.iter().filter_map(|id| self.get(id)).filter(|job| !job.reason.is_empty()) {
            *counts.entry(kind_of(&job.reason)).or_default() += 1;
        }
        let many = counts.into_iter().filter(|(_, count)| *count >= COMMON);
        many.map(|(reason, count)| format!("{count} of {}: {reason}", ids.len())).collect()
    }

    /// The jobs among `ids` that match `is`.
    fn matching(&self, ids: &[String], is: impl Fn(&SampledJob) -> bool) -> Vec<String> {
        ids.iter().filter(|id| self.get(id).is_some_and(&is)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn workers_are_recognised_by_their_connection_names() {
        let clients = "id=1 addr=a name=bull:aW5nZXN0 cmd=bzpopmin\nid=2 name=bull:aW5nZXN0:w:one cmd=bzpopmin\n\
                       id=3 name=bull:aW5nZXN0:qe cmd=xread\nid=4 name= cmd=client\nid=5 name=bull:ingest cmd=bzpopmin\n";
        assert_eq!(workers(clients, "bull", "ingest"), 3);
        assert_eq!(workers(clients, "other", "ingest"), 0);
    }

    #[rstest]
    #[case("401 AUTH_INVALID_API_KEY", "401 AUTH_INVALID_API_KEY")]
    #[case("document 5c56c793-69f3 is gone\nat line 5", "document … is gone")]
    fn reasons_of_different_jobs_are_grouped(#[case] reason: &str, #[case] kind: &str) {
        assert_eq!(kind_of(reason), kind);
    }

    #[rstest]
    #[case(json!({}), false, 0.0)]
    #[case(json!({ "attempts": 5 }), false, 0.0)]
    #[case(json!({ "attempts": 5, "backoff": 1000 }), true, 0.0)]
    #[case(json!({ "attempts": 2, "backoff": { "type": "exponential", "delay": 100 } }), false, 0.0)]
    #[case(json!({ "attempts": 5, "backoff": { "type": "exponential", "delay": 100, "jitter": 0.5 } }), true, 0.5)]
    #[case(json!({ "attempts": 5, "backoff": { "type": "mine" } }), true, 1.0)]
    fn retries_and_jitter_are_read_from_job_options(
        #[case] options: Value,
        #[case] retries: bool,
        #[case] jitter: f64,
    ) {
        let job = SampledJob { options, ..SampledJob::default() };
        assert_eq!(job.retries(), retries);
        assert!((job.jitter() - jitter).abs() < f64::EPSILON);
    }
}
