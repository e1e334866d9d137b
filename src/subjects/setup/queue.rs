//! Redis and the queue on it.

use super::{Done, Outcome, SetupError};
use crate::services::ServiceError;
use crate::services::queue::QueueClient;
use crate::services::redis::{Redis, field};
use crate::settings::{Names, RedisEndpoint, public_url};

/// The BullMQ release whose layout of keys this queue has, for readers of the queue's `meta` key.
///
/// Node's BullMQ overwrites it with its own when it opens the queue.
pub(in crate::subjects) const LAYOUT: &str = "bullmq:5.81.3";

/// The length at which BullMQ trims the stream of events, unless told otherwise.
const EVENTS: u32 = 10_000;

/// Connects, and looks at what would lose jobs.
pub(in crate::subjects) async fn connect(endpoint: &RedisEndpoint) -> Result<(Redis, Done), SetupError> {
    let redis = Redis::connect(endpoint).await?;
    redis.command(&["PING"]).await?;
    let address = public_url(&endpoint.url);
    let (server, memory) = match (redis.command(&["INFO", "server"]).await, redis.command(&["INFO", "memory"]).await) {
        (Ok(server), Ok(memory)) => (server, memory),
        (Err(ServiceError::Denied { .. }), _) | (_, Err(ServiceError::Denied { .. })) => {
            let done = Done::new(format!("Redis at {address}"), Outcome::Unchanged);
            return Ok((
                redis,
                done.note("INFO is not permitted, so the eviction policy is not known; it must be noeviction"),
            ));
        }
        (Err(error), _) | (_, Err(error)) => return Err(error.into()),
    };
    let version = field(&server, "redis_version");
    let mut done = Done::new(format!("Redis {} at {address}", version.as_str().unwrap_or("?")), Outcome::Unchanged);
    if let Some(policy) = field(&memory, "maxmemory_policy").as_str().filter(|policy| *policy != "noeviction") {
        done = done.note(format!(
            "maxmemory-policy is {policy}: under memory pressure Redis deletes jobs; \
             CONFIG SET maxmemory-policy noeviction, and persist it"
        ));
    }
    Ok((redis, done))
}

/// Opens the queue, and writes those fields of its `meta` key that BullMQ for Node writes and this library does not.
pub(super) async fn prepare(endpoint: &RedisEndpoint, redis: &Redis, names: &Names) -> Result<((), Done), SetupError> {
    let queue = QueueClient::open(endpoint, &names.queue, &names.prefix).await?;
    let meta = queue.keys().meta();
    let mut set = 0;
    for (field, value) in [("version", LAYOUT.to_owned()), ("opts.maxLenEvents", EVENTS.to_string())] {
        // Only where nothing is: another BullMQ may have written its own.
        let new = redis.get::<u8>(redis::cmd("HSETNX").arg(&meta).arg(field).arg(value)).await;
        set += new?;
    }
    let read: Vec<Option<String>> =
        redis.get(redis::cmd("HMGET").arg(&meta).arg(&["version", "opts.maxLenEvents"])).await?;
    queue.close().await;
    if read.iter().any(Option::is_none) {
        return Err(SetupError::Shape {
            what: format!("the queue's key {meta}"),
            found: "lost what was just written to it".to_owned(),
            wanted: "it must keep `version` and `opts.maxLenEvents`".to_owned(),
            remedy: "look for a replica, an eviction policy or another program that deletes keys".to_owned(),
        });
    }
    let outcome = match set {
        2 => Outcome::Created,
        1 => Outcome::Changed,
        _ => Outcome::Unchanged,
    };
    Ok(((), Done::new(format!("queue {}:{}", names.prefix, names.queue), outcome)))
}
