//! Whether the libraries of several languages understand each other's jobs: each makes jobs for each of the others.

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

/// How long the jobs of one pair may take, and how often is looked.
const DEADLINE: Duration = Duration::from_secs(25);
const LOOK: Duration = Duration::from_millis(50);
/// A queue that is paused is looked at for so long.
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
        .flat_map(|maker| peers.iter().map(move |taker| (maker, taker)))
        .filter(|(maker, taker)| maker.kind != taker.kind)
        .collect();
    let judged = join_all(pairs.iter().map(|(maker, taker)| async {
        let pair = Pair { probe, context, maker, taker };
        let wrong = pair.judge().await.unwrap_or_else(|error| vec![error]);
        (format!("{} → {}", maker.kind.name(), taker.kind.name()), wrong)
    }))
    .await;
    let mut wrong = Vec::new();
    let mut also = vec![Evidence::seen("pairs of maker and taker", judged.len())];
    for (pair, found) in judged {
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
    let mut observation = Observation::new("what pairs disagree on", wrong);
    observation.shown = Some(shown.into());
    observation.also = also;
    Ok(observation)
}

/// One that makes jobs, and one that takes them.
struct Pair<'a> {
    probe: &'a InteropProbe,
    context: &'a Context,
    maker: &'a Peer,
    taker: &'a Peer,
}

impl Pair<'_> {
    /// Says what is wrong; an error is something that could not even be done.
    async fn judge(&self) -> Result<Vec<String>, String> {
        let names = &self.context.own.names;
        let name = format!("{}-{}-{}", names.queue, self.maker.kind.name(), self.taker.kind.name());
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
            self.maker.tell("pause", order.clone()).await?;
        }
        if self.probe.waiting {
            self.taker.tell("work", work.clone()).await?;
        }
        let added = unix_ms();
        let jobs: Vec<Value> =
            self.probe.jobs.iter().map(|job| json!({ "name": job.name, "data": job.data, "opts": job.opts })).collect();
        let ids = self.maker.tell("add", with(json!({ "jobs": jobs }))).await?;
        let ids: Vec<String> = serde_json::from_value(ids).map_err(|error| format!("the ids of jobs: {error}"))?;
        if self.probe.paused {
            self.taker.tell("work", work).await?;
            if self.taker.tell("paused", order.clone()).await? != json!(true) {
                wrong.push(format!(
                    "{} paused the queue, and {} sees it running",
                    self.maker.kind.name(),
                    self.taker.kind.name()
                ));
            }
            tokio::time::sleep(PAUSED).await;
            let early = self.taken(self.taker, &order).await?;
            if !early.is_empty() {
                wrong.push(format!("{} jobs were taken while the queue was paused", early.len()));
            }
            self.taker.tell("resume", order.clone()).await?;
        } else if self.probe.killed {
            // A process of its own: the others have the taker's work to do.
            let victim = Peer::start(self.taker.kind, &self.context.own.redis, &self.context.shakedown).await?;
            victim.tell("work", work.clone()).await?;
            let deadline = Instant::now() + DEADLINE;
            while self.taken(&victim, &order).await?.is_empty() && Instant::now() < deadline {
                tokio::time::sleep(LOOK).await;
            }
            victim.kill();
            self.maker.tell("work", work).await?;
        } else if !self.probe.waiting {
            self.taker.tell("work", work).await?;
        }
        let distinct: BTreeSet<&String> = ids.iter().collect();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let counts = queue.counts().await.map_err(|error| error.to_string())?;
            let events = queue.events(None, 10_000).await.map_err(|error| error.to_string())?;
            let ended = events.iter().filter(|event| matches!(event.what.as_str(), "completed" | "failed")).count();
            if counts.pending() == 0 && ended >= distinct.len() {
                break;
            }
            if Instant::now() >= deadline {
                wrong.push(format!(
                    "{ended} of {} jobs ended within {} s: {counts:?}",
                    distinct.len(),
                    DEADLINE.as_secs()
                ));
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        self.look(&queue, &with, &ids, added, &mut wrong).await?;
        for peer in [self.maker, self.taker] {
            peer.tell("stop", order.clone()).await?;
        }
        queue.close().await;
        Ok(wrong)
    }

    async fn taken(&self, peer: &Peer, order: &Value) -> Result<Vec<Value>, String> {
        Ok(peer.tell("taken", order.clone()).await?.as_array().cloned().unwrap_or_default())
    }

    /// Looks at what was taken, at the jobs as both read them and as they stand in Redis, and at the events.
    async fn look(
        &self,
        queue: &QueueClient,
        with: &impl Fn(Value) -> Value,
        ids: &[String],
        added: i64,
        wrong: &mut Vec<String>,
    ) -> Result<(), String> {
        let want = &self.probe.want;
        let taken = self.taken(self.taker, &with(json!({}))).await?;
        if let Some(order) = &want.taken {
            let seen: Vec<Option<usize>> =
                taken.iter().map(|job| ids.iter().position(|id| job["id"].as_str() == Some(id))).collect();
            let wanted: Vec<Option<usize>> = order.iter().copied().map(Some).collect();
            if seen != wanted {
                let seen: Vec<String> =
                    seen.iter().map(|place| place.map_or("?".to_owned(), |place| place.to_string())).collect();
                wrong.push(format!("jobs were taken in the order {}, wanted {order:?}", seen.join(", ")));
            }
        }
        let mut before = added;
        for (number, [least, most]) in want.waits_ms.iter().enumerate() {
            let Some(at) = taken.get(number).and_then(|job| job["at"].as_i64()) else {
                wrong.push(format!("start {number} never came"));
                break;
            };
            let waited = at - before;
            if waited < *least || waited > *most {
                wrong.push(format!("start {number} came after {waited} ms, wanted {least} to {most}"));
            }
            before = at;
        }
        for (place, fields) in want.jobs.iter().enumerate() {
            let Some(id) = ids.get(place) else { continue };
            let hash = queue.job(id).await.map_err(|error| error.to_string())?;
            for peer in [self.maker, self.taker] {
                let seen = peer.tell("job", with(json!({ "id": id }))).await?;
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
                        wrong.push(format!("job {place} as {reader} reads it: {field} is {seen}, wanted {wanted}"));
                    }
                }
            }
        }
        if let Some(count) = want.distinct {
            let distinct: BTreeSet<&String> = ids.iter().collect();
            if distinct.len() != count {
                wrong.push(format!("{} jobs were made, wanted {count}", distinct.len()));
            }
        }
        if !want.events.is_empty() {
            let count = queue.events(None, 10_000).await.map_err(|error| error.to_string())?.len();
            for peer in [self.maker, self.taker] {
                let heard = peer.tell("events", with(json!({ "count": count }))).await?;
                for (place, wanted) in want.events.iter().enumerate() {
                    let of_job = |event: &&Value| ids.get(place).is_some_and(|id| event["jobId"].as_str() == Some(id));
                    let heard = heard.as_array().into_iter().flatten().filter(of_job);
                    let seen: Vec<&str> = heard.filter_map(|event| event["event"].as_str()).collect();
                    if seen != wanted.iter().map(String::as_str).collect::<Vec<_>>() {
                        let listener = peer.kind.name();
                        wrong
                            .push(format!("job {place} as {listener} hears of it: events {seen:?}, wanted {wanted:?}"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether two pieces of JSON say the same; 40 and 40.0 do.
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
