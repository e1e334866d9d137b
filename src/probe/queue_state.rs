//! What a BullMQ queue that is in use looks like: counts, and samples of its jobs. Nothing is changed, no key is looked
//! for by pattern, and however long the queue is no more than a sample of it is read.
//!
//! Keys, scores and fields: FAILURES.md 0.1.

use std::time::{SystemTime, UNIX_EPOCH};

use redis::Value as Reply;
use serde_json::{Value, json};

use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::services::ServiceError;
use crate::services::redis::Redis;
use crate::spec::{QueueFact, QueueStateProbe};

/// Jobs of each state that are looked at.
const SAMPLE: isize = 50;
/// A job whose data is larger, in bytes, keeps in Redis what belongs elsewhere.
const FAT: u64 = 64 * 1024;
/// A delayed job is overdue when it should have begun so many milliseconds ago.
const OVERDUE_MS: u64 = 60_000;
/// A delayed job is far off when it is due in more milliseconds than this, a year.
const FAR_MS: u64 = 365 * 24 * 3_600_000;
/// A job that has been active for more milliseconds is at it too long.
const LONG_MS: u64 = 3_600_000;
/// So many jobs that failed for one reason have one cause.
const ALIKE: usize = 10;
/// The words with which BullMQ fails a job that stalled too often.
const BURNT: &str = "job stalled more than allowable limit";

pub(super) async fn observe(probe: &QueueStateProbe, context: &Context) -> Result<Observation, ProbeError> {
    let sight = context.clients.fact("queue", look(context)).await?;
    let (what, place) = match probe.yields {
        QueueFact::Waiting => ("jobs that wait", "waiting"),
        QueueFact::Workers => ("workers attached to the queue", "workers"),
        QueueFact::WaitingWithoutWorker => ("jobs that wait while no worker is attached", "waiting_without_worker"),
        QueueFact::Overdue => ("delayed jobs that were due more than a minute ago", "overdue"),
        QueueFact::ActiveWithoutLock => ("active jobs without a lock", "without_lock"),
        QueueFact::WithoutJob => ("ids in lists for which there is no job", "without_job"),
        QueueFact::Fat => ("jobs whose data is larger than 64 KiB", "fat"),
        QueueFact::WithoutRetries => ("jobs with fewer than three attempts, or without backoff", "without_retries"),
        QueueFact::WithoutJitter => ("jobs with backoff and without jitter", "without_jitter"),
        QueueFact::BurntByStalls => ("jobs that failed by stalling, with attempts left", "burnt"),
        QueueFact::Failed => ("failed jobs", "failed"),
        QueueFact::LegacyRepeatables => ("repeatable jobs of the old kind", "legacy_repeatables"),
        QueueFact::EventBytes => ("bytes of the event stream", "event_bytes"),
        QueueFact::OldestWaitingMinutes => ("minutes for which the oldest job has waited", "oldest_waiting_minutes"),
        QueueFact::OldestFinishedHours => ("hours since the oldest kept job ended", "oldest_finished_hours"),
        QueueFact::PausedWithJobs => ("jobs that wait in a paused queue", "paused_with_jobs"),
        QueueFact::FailedAlike => ("reasons for which ten jobs or more failed alike", "failed_alike"),
        QueueFact::FarOff => ("delayed jobs that are due in more than a year", "far_off"),
        QueueFact::LongActive => ("jobs that have been active for more than an hour", "long_active"),
    };
    if let Some(denied) = sight["denied"][place].as_str() {
        return Err(ProbeError::Undecided(format!("{what} cannot be told: {denied}")));
    }
    // Of jobs that are not there nothing is known.
    if matches!(place, "fat" | "without_retries" | "without_jitter") && sight["sampled"] == 0 {
        return Err(ProbeError::Missing("the queue holds no job that could be looked at".to_owned()));
    }
    let mut observation = Observation::new(what, sight[place].clone());
    for (name, value) in sight["beside"].as_object().into_iter().flatten() {
        observation.also.push(Evidence::seen(name.clone(), value.clone()));
    }
    Ok(observation)
}

/// A reply, or what the server said instead.
fn reply<T: redis::FromRedisValue>(replies: &[Reply], place: usize) -> Result<T, String> {
    match replies.get(place) {
        Some(Reply::ServerError(error)) => Err(error.to_string()),
        Some(reply) => T::from_redis_value(reply.clone()).map_err(|error| error.to_string()),
        None => Err("there was no reply".to_owned()),
    }
}

/// Everything, in two round trips: the lists, then the jobs in them.
async fn look(context: &Context) -> Result<Value, ServiceError> {
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
    // Jobs that wait longest are at the right end: workers take them from there.
    pipe.cmd("LRANGE").arg(key("wait")).arg(-SAMPLE).arg(-1);
    pipe.cmd("LRANGE").arg(key("active")).arg(0).arg(last);
    pipe.cmd("ZRANGE").arg(key("delayed")).arg(0).arg(last);
    pipe.cmd("ZRANGE").arg(key("prioritized")).arg(0).arg(last);
    pipe.cmd("ZREVRANGE").arg(key("failed")).arg(0).arg(last);
    pipe.cmd("ZRANGE").arg(key("completed")).arg(0).arg(0).arg("WITHSCORES");
    pipe.cmd("ZRANGE").arg(key("repeat")).arg(0).arg(last);
    pipe.cmd("ZCOUNT").arg(key("delayed")).arg((now_ms + FAR_MS).saturating_mul(4096)).arg("+inf");
    let replies: Vec<Reply> = redis.all(&pipe).await?;

    let mut sight = json!({ "denied": {}, "beside": {} });
    let number = |place: usize| reply::<Option<u64>>(&replies, place).map(Option::unwrap_or_default);
    let ids = |place: usize| reply::<Vec<String>>(&replies, place);
    let waiting = number(0).and_then(|wait| Ok(wait + number(1)? + number(2)?));
    let paused = reply::<Option<String>>(&replies, 3).map(|paused| paused.is_some());
    let clients = reply::<String>(&replies, 7);
    let workers = clients.map(|clients| workers(&clients, &names.prefix, &names.queue));
    put(&mut sight, "waiting", waiting.clone());
    put(&mut sight, "workers", workers.clone());
    put(
        &mut sight,
        "waiting_without_worker",
        waiting.clone().and_then(|waiting| Ok(if workers.clone()? == 0 { waiting } else { 0 })),
    );
    put(&mut sight, "paused_with_jobs", waiting.clone().and_then(|waiting| Ok(if paused? { waiting } else { 0 })));
    put(&mut sight, "overdue", number(4));
    put(&mut sight, "far_off", number(15));
    put(&mut sight, "failed", number(5));
    put(&mut sight, "event_bytes", number(6));
    put(
        &mut sight,
        "legacy_repeatables",
        ids(14).map(|all| all.into_iter().filter(|id| is_legacy(id)).collect::<Vec<_>>()),
    );
    put(&mut sight, "oldest_finished_hours", oldest_hours(&replies, now_ms));
    if let (Ok(waiting), Ok(workers)) = (&waiting, &workers) {
        sight["beside"] = json!({ "jobs that wait": waiting, "workers attached": workers });
    }

    let (wait, active, delayed) = (ids(8), ids(9), ids(10));
    let (prioritised, failed) = (ids(11), ids(12));
    let jobs = Jobs::read(&redis, &key, [&wait, &active, &delayed, &prioritised, &failed]).await?;
    let listed = [&wait, &active, &delayed, &prioritised, &failed];
    let all: Result<Vec<String>, String> = listed.iter().try_fold(Vec::new(), |mut all, ids| {
        all.extend((*ids).clone()?);
        Ok(all)
    });
    sight["sampled"] = Value::from(jobs.jobs.values().filter(|job| job.exists).count());
    // What is said of jobs needs the jobs themselves, and not only their ids.
    let readable =
        |ids: Result<Vec<String>, String>, aspect: Aspect| ids.and_then(|ids| jobs.told(aspect).map(|()| ids));
    let locks = readable(readable(active, Aspect::Fields), Aspect::Lock);
    let at_it = |job: &JobSight| job.locked && job.begun > 0 && now_ms.saturating_sub(job.begun) > LONG_MS;
    put(&mut sight, "long_active", locks.clone().map(|ids| jobs.named(&ids, at_it)));
    put(&mut sight, "without_lock", locks.map(|ids| jobs.named(&ids, |job| job.exists && !job.locked)));
    let sizes = readable(all.clone(), Aspect::Size);
    put(&mut sight, "fat", sizes.map(|ids| jobs.named(&ids, |job| job.bytes > FAT)));
    let (all, failed) = (readable(all, Aspect::Fields), readable(failed, Aspect::Fields));
    let wait = readable(wait, Aspect::Fields);
    put(&mut sight, "without_job", all.clone().map(|ids| jobs.named(&ids, |job| !job.exists)));
    put(&mut sight, "without_retries", all.clone().map(|ids| jobs.named(&ids, |job| job.exists && !job.retries())));
    put(
        &mut sight,
        "without_jitter",
        all.map(|ids| jobs.named(&ids, |job| job.exists && job.retries() && job.jitter() == 0.0)),
    );
    put(&mut sight, "failed_alike", failed.clone().map(|ids| jobs.alike(&ids)));
    put(
        &mut sight,
        "burnt",
        failed.map(|ids| jobs.named(&ids, |job| job.reason.contains(BURNT) && job.made < job.attempts())),
    );
    let oldest = wait.map(|ids| {
        let first = ids.iter().filter_map(|id| jobs.of(id)).filter(|job| job.since > 0).map(|job| job.since).min();
        first.map_or(0, |since| now_ms.saturating_sub(since) / 60_000)
    });
    put(&mut sight, "oldest_waiting_minutes", oldest);
    Ok(sight)
}

/// Notes a fact, or why it cannot be told.
fn put(sight: &mut Value, place: &str, fact: Result<impl Into<Value>, String>) {
    match fact {
        Ok(fact) => sight[place] = fact.into(),
        Err(denied) => sight["denied"][place] = Value::from(denied),
    }
}

/// Connections whose name is a worker's: `prefix:base64(queue)`, with `:w:NAME` behind it where workers have names.
/// The Python library does not encode the queue's name.
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

/// Repeatable jobs before schedulers have ids of five parts, `name:id:endDate:tz:pattern`.
fn is_legacy(id: &str) -> bool {
    id.split(':').count() >= 5
}

fn oldest_hours(replies: &[Reply], now_ms: u64) -> Result<u64, String> {
    let pair = reply::<Vec<String>>(replies, 13)?;
    let score = pair.get(1).and_then(|score| score.parse::<f64>().ok());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds since 1970")]
    Ok(score.map_or(0, |ended| now_ms.saturating_sub(ended as u64) / 3_600_000))
}

/// A reason without what differs from job to job: numbers and ids, and all but its beginning.
fn kind_of(reason: &str) -> String {
    let line = reason.lines().next().unwrap_or_default();
    let words =
        line.split(' ').map(|word| if word.chars().any(|c| c.is_ascii_digit()) && word.len() > 4 { "…" } else { word });
    words.collect::<Vec<_>>().join(" ").chars().take(100).collect()
}

/// What is known of a sampled job.
#[derive(Debug, Default)]
struct JobSight {
    exists: bool,
    locked: bool,
    bytes: u64,
    options: Value,
    made: u64,
    reason: String,
    /// When it was added, in ms since 1970.
    since: u64,
    /// When it was begun last, likewise; 0 where it never was.
    begun: u64,
}

impl JobSight {
    fn attempts(&self) -> u64 {
        self.options["attempts"].as_u64().unwrap_or(1)
    }

    /// Whether it is tried at least three times, with a wait in between; a number instead of a table is a fixed one.
    fn retries(&self) -> bool {
        let backoff = &self.options["backoff"];
        let waits = backoff.as_u64().or_else(|| backoff["delay"].as_u64()).is_some_and(|ms| ms > 0)
            || backoff["type"].as_str().is_some_and(|kind| kind != "fixed" && kind != "exponential");
        self.attempts() >= 3 && waits
    }

    fn jitter(&self) -> f64 {
        let backoff = &self.options["backoff"];
        let custom = backoff["type"].as_str().is_some_and(|kind| kind != "fixed" && kind != "exponential");
        // What a strategy of somebody's own does is not known.
        if custom { 1.0 } else { backoff["jitter"].as_f64().unwrap_or(0.0) }
    }
}

/// What is asked of each sampled job, in this order.
#[derive(Debug, Clone, Copy)]
enum Aspect {
    Fields,
    Size,
    Lock,
}

/// The sampled jobs, by id; and of each aspect, why it could not be read.
#[derive(Debug, Default)]
struct Jobs {
    jobs: std::collections::BTreeMap<String, JobSight>,
    denied: [Option<String>; 3],
}

impl Jobs {
    async fn read(
        redis: &Redis,
        key: &impl Fn(&str) -> String,
        lists: [&Result<Vec<String>, String>; 5],
    ) -> Result<Self, ServiceError> {
        let ids: std::collections::BTreeSet<&String> =
            lists.iter().filter_map(|ids| ids.as_ref().ok()).flatten().collect();
        if ids.is_empty() {
            return Ok(Self::default());
        }
        let mut pipe = redis::pipe();
        for id in &ids {
            // Not the data itself, which may be large and is nobody's business.
            pipe.cmd("HMGET").arg(key(id)).arg(&["opts", "atm", "failedReason", "timestamp", "name", "processedOn"]);
            pipe.cmd("HSTRLEN").arg(key(id)).arg("data");
            pipe.cmd("EXISTS").arg(format!("{}:lock", key(id)));
        }
        let replies: Vec<Reply> = redis.all(&pipe).await?;
        let mut all = Self::default();
        for (number, id) in ids.into_iter().enumerate() {
            let place = |aspect: Aspect| 3 * number + aspect as usize;
            let fields = all.heard(Aspect::Fields, reply::<Vec<Option<String>>>(&replies, place(Aspect::Fields)));
            let field = |place: usize| fields.get(place).cloned().flatten();
            let job = JobSight {
                exists: fields.iter().any(Option::is_some),
                locked: all.heard(Aspect::Lock, reply::<u64>(&replies, place(Aspect::Lock))) > 0,
                bytes: all.heard(Aspect::Size, reply(&replies, place(Aspect::Size))),
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

    /// A reply, or that there was none.
    fn heard<T: Default>(&mut self, aspect: Aspect, reply: Result<T, String>) -> T {
        reply.unwrap_or_else(|why| {
            self.denied[aspect as usize] = Some(why);
            T::default()
        })
    }

    /// Whether this could be read of every job.
    fn told(&self, aspect: Aspect) -> Result<(), String> {
        self.denied[aspect as usize].clone().map_or(Ok(()), Err)
    }

    fn of(&self, id: &str) -> Option<&JobSight> {
        self.jobs.get(id)
    }

    /// The reasons for which many of the jobs failed.
    fn alike(&self, ids: &[String]) -> Vec<String> {
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for job in ids.iter().filter_map(|id| self.of(id)).filter(|job| !job.reason.is_empty()) {
            *counts.entry(kind_of(&job.reason)).or_default() += 1;
        }
        let many = counts.into_iter().filter(|(_, count)| *count >= ALIKE);
        many.map(|(reason, count)| format!("{count} of {}: {reason}", ids.len())).collect()
    }

    /// The jobs among `ids` of which something is true.
    fn named(&self, ids: &[String], is: impl Fn(&JobSight) -> bool) -> Vec<String> {
        ids.iter().filter(|id| self.of(id).is_some_and(&is)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn workers_are_known_by_the_names_of_their_connections() {
        let clients = "id=1 addr=a name=bull:aW5nZXN0 cmd=bzpopmin\nid=2 name=bull:aW5nZXN0:w:one cmd=bzpopmin\n\
                       id=3 name=bull:aW5nZXN0:qe cmd=xread\nid=4 name= cmd=client\nid=5 name=bull:ingest cmd=bzpopmin\n";
        assert_eq!(workers(clients, "bull", "ingest"), 3);
        assert_eq!(workers(clients, "other", "ingest"), 0);
    }

    #[rstest]
    #[case("401 AUTH_INVALID_API_KEY", "401 AUTH_INVALID_API_KEY")]
    #[case("document 5c56c793-69f3 is gone\nat line 5", "document … is gone")]
    fn reasons_are_alike_whatever_the_job(#[case] reason: &str, #[case] kind: &str) {
        assert_eq!(kind_of(reason), kind);
    }

    #[rstest]
    #[case(json!({}), false, 0.0)]
    #[case(json!({ "attempts": 5 }), false, 0.0)]
    #[case(json!({ "attempts": 5, "backoff": 1000 }), true, 0.0)]
    #[case(json!({ "attempts": 2, "backoff": { "type": "exponential", "delay": 100 } }), false, 0.0)]
    #[case(json!({ "attempts": 5, "backoff": { "type": "exponential", "delay": 100, "jitter": 0.5 } }), true, 0.5)]
    #[case(json!({ "attempts": 5, "backoff": { "type": "mine" } }), true, 1.0)]
    fn options_tell_whether_a_job_is_tried_again(#[case] options: Value, #[case] retries: bool, #[case] jitter: f64) {
        let job = JobSight { options, ..JobSight::default() };
        assert_eq!(job.retries(), retries);
        assert!((job.jitter() - jitter).abs() < f64::EPSILON);
    }
}
