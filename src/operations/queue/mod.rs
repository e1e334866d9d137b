//! `shakedown queue`: inspect a live BullMQ queue, and pause, resume, drain, clean or retry it.
//!
//! Changes run through BullMQ's own scripts. Inspection writes nothing: BullMQ's own handle writes a key as soon as it
//! is opened, so inspection reads the queue key by key.

mod operate;

use bullmq::QueueKeys;
use serde_json::{Value, json};

use crate::services::ServiceError;
use crate::services::queue::{Attached, Counts};
use crate::services::redis::Redis;
use crate::settings::RedisEndpoint;

pub use operate::{JobState, Operation, OperationError, OperationResult, operate};

/// Keys scanned for queues of other names.
const MAX_SCANNED_KEYS: usize = 20_000;

/// The state of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueState {
    /// Its name.
    pub name: String,
    /// The prefix of its keys.
    pub prefix: String,
    /// Whether the queue exists: it has a `meta` key or a job.
    pub exists: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// Jobs by state.
    pub counts: Counts,
    /// The BullMQ version that opened it last, as its `meta` key says: `bullmq:5.81.3`.
    pub version: Option<String>,
    /// Maximum of active jobs over all workers.
    pub concurrency: Option<u64>,
    /// Rate limit: jobs, per milliseconds.
    pub rate_limit: Option<(u64, u64)>,
    /// Length at which its event stream is trimmed.
    pub events: Option<u64>,
    /// Job schedulers.
    pub schedulers: u64,
    /// Workers; `None` if Redis forbids listing them.
    pub workers: Option<Attached>,
}

impl QueueState {
    /// Reads the queue's state without writing.
    ///
    /// # Errors
    /// Redis does not answer or denies a command.
    pub async fn read(redis: &Redis, keys: &QueueKeys) -> Result<Self, ServiceError> {
        const FIELDS: [&str; 6] = ["paused", "version", "concurrency", "max", "duration", "opts.maxLenEvents"];
        let counts = Counts::read(redis, keys).await?;
        let mut commands = redis::pipe();
        commands.cmd("EXISTS").arg(keys.meta());
        commands.cmd("ZCARD").arg(keys.repeat());
        commands.cmd("HMGET").arg(keys.meta()).arg(&FIELDS);
        let (meta, schedulers, fields): (bool, u64, Vec<Option<String>>) = redis.pipeline(&commands).await?;
        let field = |place: usize| fields.get(place).cloned().flatten();
        let number = |place: usize| field(place).and_then(|text| text.parse().ok());
        let workers = match Attached::read(redis, keys).await {
            Ok(attached) => Some(attached),
            Err(ServiceError::Denied { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            name: keys.name().to_owned(),
            prefix: keys.prefix().to_owned(),
            exists: meta || counts != Counts::default(),
            paused: field(0).is_some(),
            counts,
            version: field(1),
            concurrency: number(2),
            rate_limit: number(3).zip(number(4)),
            events: number(5),
            schedulers,
            workers,
        })
    }

    /// Whether BullMQ 5 or older manages the queue. While such a queue is paused, its jobs are in the list `paused` and
    /// not in `wait`; resuming renames `paused` to `wait` and overwrites `wait`.
    #[must_use]
    pub fn keeps_paused_list(&self) -> bool {
        let major = self.version.as_deref().and_then(|version| version.strip_prefix("bullmq:")?.split('.').next());
        major.and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major < 6)
    }

    /// The queue as JSON; programs may rely on the keys.
    #[must_use]
    pub fn json(&self) -> Value {
        let counts: serde_json::Map<_, _> =
            self.counts.by_state().into_iter().map(|(state, count)| (state.to_owned(), json!(count))).collect();
        json!({
            "queue": self.name,
            "prefix": self.prefix,
            "exists": self.exists,
            "paused": self.paused,
            "counts": counts,
            "version": self.version,
            "concurrency": self.concurrency,
            "rate_limit": self.rate_limit.map(|(max, duration)| json!({ "max": max, "duration_ms": duration })),
            "max_events": self.events,
            "schedulers": self.schedulers,
            "workers": self.workers.map(Attached::all),
        })
    }
}

/// The queue of this name, and the names of existing queues if it does not exist.
///
/// # Errors
/// Redis does not answer or denies a command.
pub async fn inspect(
    endpoint: &RedisEndpoint,
    name: &str,
    prefix: &str,
) -> Result<(QueueState, Vec<String>), ServiceError> {
    let redis = Redis::connect(endpoint).await?;
    let state = QueueState::read(&redis, &QueueKeys::new(name, Some(prefix))).await?;
    let others = if state.exists { Vec::new() } else { other_queues(&redis).await };
    Ok((state, others))
}

/// Queues in this Redis as `prefix:name`; empty if they cannot be listed.
async fn other_queues(redis: &Redis) -> Vec<String> {
    let found = redis.scan_some("*:meta", MAX_SCANNED_KEYS).await.map(|(keys, _)| keys).unwrap_or_default();
    found.iter().filter_map(|key| Some(key.strip_suffix(":meta")?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Some("bullmq:5.81.3"), true)]
    #[case(Some("bullmq:4.0.0"), true)]
    #[case(Some("bullmq:6.7.0"), false)]
    #[case(Some("bullmq-pro:7"), false)]
    #[case(None, false)]
    fn which_bullmq_keeps_a_queue_is_in_its_meta_key(#[case] version: Option<&str>, #[case] keeps_paused_list: bool) {
        let state = QueueState {
            name: String::new(),
            prefix: String::new(),
            exists: true,
            paused: false,
            counts: Counts::default(),
            version: version.map(str::to_owned),
            concurrency: None,
            rate_limit: None,
            events: None,
            schedulers: 0,
            workers: None,
        };
        assert_eq!(state.keeps_paused_list(), keeps_paused_list);
    }
}
