//! Interoperability of BullMQ libraries: each library adds jobs for each other library.

mod peers;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};

use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::services::queue::QueueClient;
use crate::spec::InteropProbe;
use peers::{Kind, Peer};

/// How long the jobs of one pair may take, and how often they are polled.
const DEADLINE: Duration = Duration::from_secs(25);
const POLL: Duration = Duration::from_millis(50);
/// How long a paused queue is observed.
const PAUSED: Duration = Duration::from_millis(600);

pub(super) async fn observe(probe: &InteropProbe, context: &Context) -> Result<Observation, ProbeError> {
    let redis = &context.own.redis;
    let started = join_all(Kind::ALL.map(|kind| Peer::start(kind, redis, &context.shakedown))).await;
    let mut peers = Vec::new();
    let mut missing = Vec::new();
    for (kind, peer) in Kind::ALL.into_iter().zip(started) {
        match peer {
            Ok(peer) => peers.push(peer),
            Err(reason) => missing.push(format!("{}: {reason}", kind.name())),
        }
    }
    if peers.len() < 2 {
        return Err(ProbeError::Missing(missing.join("; ")));
    }
    let pairs: Vec<(&Peer, &Peer)> = peers
        .iter()
        .flat_map(|producer| peers.iter().map(move |consumer| (producer, consumer)))
        .filter(|(producer, consumer)| producer.kind != consumer.kind)
        .collect();
    let results = join_all(pairs.iter().map(|(producer, consumer)| async {
        let pair = Pair { probe, context, producer, consumer };
        let wrong = pair.run().await.unwrap_or_else(|error| vec![error]);
        (format!("{} → {}", producer.kind.name(), consumer.kind.name()), wrong)
    }))
    .await;
    let mut wrong = Vec::new();
    let mut also = vec![Evidence::seen("pairs of producer and consumer", results.len())];
    for (pair, found) in results {
        if let Some(first) = found.first() {
            wrong.push(format!("{pair}: {first}"));
        }
        also.extend(found.into_iter().skip(1).take(3).map(|what| Evidence::seen(pair.clone(), what)));
    }
    if wrong.is_empty() && !missing.is_empty() {
        let there: Vec<&str> = peers.iter().map(|peer| peer.kind.name()).collect();
        return Err(ProbeError::Missing(format!("{}; {} agree", missing.join("; "), there.join(", "))));
    }
    also.extend(missing.into_iter().map(|reason| Evidence::seen("left out", reason)));
    let shown = if wrong.is_empty() { "nothing".to_owned() } else { wrong.join("; ") };
    let mut observation = Observation::new("disagreements of pairs", wrong);
    observation.shown = Some(shown.into());
    observation.also = also;
    Ok(observation)
}

/// A library that adds jobs, and one that processes them.
struct Pair<'a> {
    probe: &'a InteropProbe,
    context: &'a Context,
    producer: &'a Peer,
    consumer: &'a Peer,
}

impl Pair<'_> {
    /// Returns the disagreements; an error is a step that failed.
    async fn run(&self) -> Result<Vec<String>, String> {
        let names = &self.context.own.names;
        let name = format!("{}-{}-{}", names.queue, self.producer.kind.name(), self.consumer.kind.name());
        let order = json!({ "queue": name, "prefix": names.prefix });
        let with = |more: Value| {
            let mut order = order.clone();
            if let (Some(order), Value::Object(more)) = (order.as_object_mut(), more) {
                order.extend(more);
            }
            order
        };
        let queue = QueueClient::open(&self.context.own.redis, &name, &names.prefix)
            .await
            .map_err(|error| error.to_string())?;
        let work = with(json!({ "options": self.probe.work }));
        let mut wrong = Vec::new();
        if self.probe.paused {
            self.producer.request("pause", order.clone()).await?;
        }
        if self.probe.waiting {
            self.consumer.request("work", work.clone()).await?;
        }
        let added = unix_ms();
        let jobs: Vec<Value> =
            self.probe.jobs.iter().map(|job| json!({ "name": job.name, "data": job.data, "opts": job.opts })).collect();
        let ids = self.producer.request("add", with(json!({ "jobs": jobs }))).await?;
        let ids: Vec<String> = serde_json::from_value(ids).map_err(|error| format!("invalid job ids: {error}"))?;
        if self.probe.paused {
            self.consumer.request("work", work).await?;
            if self.consumer.request("paused", order.clone()).await? != json!(true) {
                wrong.push(format!(
                    "{} paused the queue, but {} sees it running",
                    self.producer.kind.name(),
                    self.consumer.kind.name()
                ));
            }
            tokio::time::sleep(PAUSED).await;
            let early = self.taken_jobs(self.consumer, &order).await?;
            if !early.is_empty() {
                wrong.push(format!("{} jobs were taken while the queue was paused", early.len()));
            }
            self.consumer.request("resume", order.clone()).await?;
        } else if self.probe.killed {
            // A separate process: the consumer is needed for the other pairs.
            let victim = Peer::start(self.consumer.kind, &self.context.own.redis, &self.context.shakedown).await?;
            victim.request("work", work.clone()).await?;
            let deadline = Instant::now() + DEADLINE;
            while self.taken_jobs(&victim, &order).await?.is_empty() && Instant::now() < deadline {
                tokio::time::sleep(POLL).await;
            }
            victim.kill();
            self.producer.request("work", work).await?;
        } else if !self.probe.waiting {
            self.consumer.request("work", work).await?;
        }
        self.wait_until_done(&queue, &ids, &mut wrong).await?;
        self.check(&queue, &with, &ids, added, &mut wrong).await?;
        for peer in [self.producer, self.consumer] {
            peer.request("stop", order.clone()).await?;
        }
        queue.close().await;
        Ok(wrong)
    }

    /// Waits until every job has finished; adds a disagreement if the deadline passes first.
    async fn wait_until_done(
        &self,
        queue: &QueueClient,
        ids: &[String],
        wrong: &mut Vec<String>,
    ) -> Result<(), String> {
        let distinct: BTreeSet<&String> = ids.iter().collect();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let counts = queue.counts().await.map_err(|error| error.to_string())?;
            let events = queue.events(None, 10_000).await.map_err(|error| error.to_string())?;
            let ended = events.iter().filter(|event| matches!(event.what.as_str(), "completed" | "failed")).count();
            if counts.pending() == 0 && ended >= distinct.len() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let states = counts.by_state().map(|(state, count)| format!("{state} {count}")).join(", ");
                let seconds = DEADLINE.as_secs();
                wrong.push(format!("{ended} of {} jobs ended within {seconds} s: {states}", distinct.len()));
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn taken_jobs(&self, peer: &Peer, order: &Value) -> Result<Vec<Value>, String> {
        Ok(peer.request("taken", order.clone()).await?.as_array().cloned().unwrap_or_default())
    }

    /// Checks the order of processing, the jobs as both libraries and Redis have them, and the events.
    async fn check(
        &self,
        queue: &QueueClient,
        with: &impl Fn(Value) -> Value,
        ids: &[String],
        added: i64,
        wrong: &mut Vec<String>,
    ) -> Result<(), String> {
        let want = &self.probe.want;
        let taken = self.taken_jobs(self.consumer, &with(json!({}))).await?;
        if let Some(order) = &want.taken {
            let seen: Vec<Option<usize>> =
                taken.iter().map(|job| ids.iter().position(|id| job["id"].as_str() == Some(id))).collect();
            if seen != order.iter().copied().map(Some).collect::<Vec<_>>() {
                let seen: Vec<String> =
                    seen.iter().map(|place| place.map_or("?".to_owned(), |place| place.to_string())).collect();
                let wanted: Vec<String> = order.iter().map(ToString::to_string).collect();
                wrong.push(format!("jobs were taken in the order {}, wanted {}", seen.join(", "), wanted.join(", ")));
            }
        }
        let mut before = added;
        for (number, [least, most]) in want.waits_ms.iter().enumerate() {
            let Some(at) = taken.get(number).and_then(|job| job["at"].as_i64()) else {
                wrong.push(format!("start {number} did not happen"));
                break;
            };
            let waited = at - before;
            if waited < *least || waited > *most {
                wrong.push(format!("start {number} happened after {waited} ms, wanted {least} to {most}"));
            }
            before = at;
        }
        for (place, fields) in want.jobs.iter().enumerate() {
            let Some(id) = ids.get(place) else { continue };
            let hash = queue.job(id).await.map_err(|error| error.to_string())?;
            for peer in [self.producer, self.consumer] {
                let seen = peer.request("job", with(json!({ "id": id }))).await?;
                for (field, wanted) in fields {
                    let seen = match (field.as_str(), &hash) {
                        ("id", _) => json!(id),
                        ("kept", hash) => json!(hash.is_some()),
                        ("atm", Some(hash)) => json!(hash.attempts),
                        ("ats", Some(hash)) => json!(hash.starts),
                        ("stc", Some(hash)) => json!(hash.stalls),
                        _ => field.split('.').fold(&seen, |inside, name| &inside[name]).clone(),
                    };
                    if !same(&seen, wanted) {
                        let reader = peer.kind.name();
                        wrong.push(format!("job {place} as read by {reader}: {field} is {seen}, wanted {wanted}"));
                    }
                }
            }
        }
        if let Some(count) = want.distinct {
            let distinct: BTreeSet<&String> = ids.iter().collect();
            if distinct.len() != count {
                wrong.push(format!("{} jobs were created, wanted {count}", distinct.len()));
            }
        }
        if !want.events.is_empty() {
            let count = queue.events(None, 10_000).await.map_err(|error| error.to_string())?.len();
            for peer in [self.producer, self.consumer] {
                let events = peer.request("events", with(json!({ "count": count }))).await?;
                for (place, wanted) in want.events.iter().enumerate() {
                    let is_of_job =
                        |event: &&Value| ids.get(place).is_some_and(|id| event["jobId"].as_str() == Some(id));
                    let events = events.as_array().into_iter().flatten().filter(is_of_job);
                    let seen: Vec<&str> = events.filter_map(|event| event["event"].as_str()).collect();
                    if seen != wanted.iter().map(String::as_str).collect::<Vec<_>>() {
                        let listener = peer.kind.name();
                        wrong.push(format!(
                            "events of job {place} as received by {listener}: {}; wanted {}",
                            seen.join(", "),
                            wanted.join(", ")
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether two JSON values are equal; 40 equals 40.0.
fn same(seen: &Value, wanted: &Value) -> bool {
    match (seen, wanted) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, left)| right.get(name).is_some_and(|right| same(left, right)))
        }
        (seen, wanted) => seen == wanted,
    }
}

fn unix_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
