//! Redis, and the queue's `meta` key, the only place where BullMQ stores settings of a queue.

use std::collections::BTreeMap;

use bullmq::QueueKeys;
use serde_json::{Map, Value};

use super::change::{Action, Change, Field, Task};
use super::step::Found;
use super::{SetupError, WriteCounter};
use crate::services::ServiceError;
use crate::services::redis::{Redis, field};
use crate::settings::{Desired, DesiredQueue, Names, RedisEndpoint, public_url};

pub(super) const SERVICE: &str = "bullmq";

/// The BullMQ release whose key layout the queue has, for readers of its `meta` key.
///
/// Node's BullMQ overwrites it with its own when it opens the queue.
const LAYOUT: &str = "bullmq:5.81.3";

/// Connects, and checks settings that would lose jobs.
pub(super) async fn connect(endpoint: &RedisEndpoint) -> Result<(Redis, Found), SetupError> {
    let redis = Redis::connect(endpoint).await?;
    redis.command(&["PING"]).await?;
    let address = public_url(&endpoint.url);
    let (server, memory) = match (redis.command(&["INFO", "server"]).await, redis.command(&["INFO", "memory"]).await) {
        (Ok(server), Ok(memory)) => (server, memory),
        (Err(ServiceError::Denied { .. }), _) | (_, Err(ServiceError::Denied { .. })) => {
            let found = Found::new(format!("Redis at {address}"));
            return Ok((
                redis,
                found.note("INFO is not permitted, so the eviction policy is unknown; it must be noeviction"),
            ));
        }
        (Err(error), _) | (_, Err(error)) => return Err(error.into()),
    };
    let version = field(&server, "redis_version");
    let mut found = Found::new(format!("Redis {} at {address}", version.as_str().unwrap_or("?")));
    if let Some(policy) = field(&memory, "maxmemory_policy").as_str().filter(|policy| *policy != "noeviction") {
        found = found.note(format!(
            "maxmemory-policy is {policy}: under memory pressure Redis deletes jobs; \
             run CONFIG SET maxmemory-policy noeviction, and persist it"
        ));
    }
    Ok((redis, found))
}

fn keys(queue: &DesiredQueue, names: &Names) -> QueueKeys {
    let name = queue.name.as_deref().unwrap_or(&names.queue);
    QueueKeys::new(name, Some(queue.prefix.as_deref().unwrap_or(&names.prefix)))
}

/// A setting of the queue.
struct Setting {
    /// The field of the `meta` key.
    field: &'static str,
    /// Its name in messages.
    label: &'static str,
    /// Its desired value.
    wanted: Option<String>,
    /// Whether a value that another program has written is kept.
    only_if_absent: bool,
}

/// The fields that show that a queue exists.
const VERSION: &str = "version";
const EVENTS: &str = "opts.maxLenEvents";

/// The layout comes first; another BullMQ may have written its own.
fn settings(queue: &DesiredQueue, keep: bool) -> [Setting; 5] {
    let limit = queue.rate_limit;
    let setting = |field, label, wanted, only_if_absent| Setting { field, label, wanted, only_if_absent };
    [
        setting(VERSION, "layout", Some(LAYOUT.to_owned()), true),
        setting(EVENTS, "max events", Some(queue.events.to_string()), keep),
        setting("concurrency", "concurrency", queue.concurrency.map(|limit| limit.to_string()), keep),
        setting("max", "rate limit max", limit.map(|limit| limit.max.to_string()), keep),
        setting("duration", "rate limit duration in ms", limit.map(|limit| limit.per.as_millis().to_string()), keep),
    ]
}

pub(super) async fn changes(redis: &Redis, desired: &Desired, names: &Names) -> Result<Vec<Change>, SetupError> {
    let Some(queue) = &desired.queue else { return Ok(Vec::new()) };
    let keys = keys(queue, names);
    let what = keys.base();
    let meta: BTreeMap<String, String> = redis.get(redis::cmd("HGETALL").arg(keys.meta())).await?;
    let mut changes = Vec::new();
    let (mut fields, mut details) = (Vec::new(), Vec::new());
    for Setting { field: name, label, wanted, only_if_absent } in settings(queue, desired.keep) {
        match (meta.get(name), wanted) {
            (Some(_), _) if only_if_absent => {}
            (found, Some(value)) if found != Some(&value) => {
                details.push(match found {
                    Some(found) => format!("{label}: {found} → {value}"),
                    None => format!("{label}: {value}"),
                });
                fields.push(Field { name, value, only_if_absent });
            }
            (Some(found), None) => {
                let detail = format!("{label}: {found}, not described in shakedown.toml");
                changes.push(Change::drift(SERVICE, "queue", what.clone(), detail));
            }
            _ => {}
        }
    }
    if !fields.is_empty() {
        let there = meta.contains_key(VERSION) || meta.contains_key(EVENTS);
        let action = if there { Action::Change } else { Action::Create };
        changes.insert(0, Change::new(SERVICE, "queue", what.clone(), action, Task::Queue(fields)).details(details));
    }
    for (variable, wanted, found) in
        [("QUEUE_NAME", keys.name(), &names.queue), ("QUEUE_PREFIX", keys.prefix(), &names.prefix)]
    {
        if wanted != found {
            let detail = format!("{variable} is {found}: workers and producers that read it use another queue");
            changes.push(Change::drift(SERVICE, "queue", what.clone(), detail));
        }
    }
    changes.extend(jobs(redis, &keys, &queue.job.options()).await?);
    Ok(changes)
}

/// Jobs sampled per state.
const SAMPLED_JOBS: usize = 100;

/// Waiting jobs whose options differ from the desired ones: their producer sets others.
async fn jobs(redis: &Redis, keys: &QueueKeys, wanted: &Map<String, Value>) -> Result<Option<Change>, SetupError> {
    if wanted.is_empty() {
        return Ok(None);
    }
    let mut commands = redis::pipe();
    for list in [keys.wait(), keys.paused()] {
        commands.cmd("LRANGE").arg(list).arg(0).arg(SAMPLED_JOBS - 1);
    }
    for set in [keys.prioritized(), keys.delayed()] {
        commands.cmd("ZRANGE").arg(set).arg(0).arg(SAMPLED_JOBS - 1);
    }
    let ids: Vec<Vec<String>> = redis.pipeline(&commands).await?;
    let mut commands = redis::pipe();
    // BullMQ marks an empty queue by a pseudo id.
    for id in ids.iter().flatten().filter(|id| !id.starts_with("0:")) {
        commands.cmd("HGET").arg(keys.job_key(id)).arg("opts");
    }
    if commands.cmd_iter().next().is_none() {
        return Ok(None);
    }
    let options: Vec<Option<String>> = redis.pipeline(&commands).await?;
    let jobs: Vec<Value> = options.iter().flatten().filter_map(|text| serde_json::from_str(text).ok()).collect();
    let differ = |(name, wanted): (&String, &Value)| {
        let other: Vec<&Value> =
            jobs.iter().map(|job| &job[name]).filter(|found| !is_same_option(found, wanted)).collect();
        let (count, all) = (other.len(), jobs.len());
        let found =
            other.first().map(|found| if found.is_null() { "nothing".to_owned() } else { found.to_string() })?;
        Some(format!("{count} of {all} waiting jobs were added with another {name}: {found} instead of {wanted}"))
    };
    let details: Vec<String> = wanted.iter().filter_map(differ).collect();
    Ok((!details.is_empty())
        .then(|| Change::new(SERVICE, "jobs", keys.base(), Action::Drift, Task::Nothing).details(details)))
}

/// Whether two options are equal: numbers compare by value, and a missing field equals zero.
fn is_same_option(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => found.keys().chain(wanted.keys()).all(|key| {
            let side = |side: &Map<String, Value>| side.get(key).cloned().unwrap_or_else(|| 0.into());
            is_same_option(&side(found), &side(wanted))
        }),
        _ => found == wanted || found.as_f64().is_some_and(|found| wanted.as_f64() == Some(found)),
    }
}

/// Writes the fields: those with `only_if_absent` only if absent, the others in one command.
pub(super) async fn make(
    redis: &Redis,
    desired: &Desired,
    names: &Names,
    fields: &[Field],
    writes: &mut WriteCounter,
) -> Result<(), SetupError> {
    let Some(queue) = &desired.queue else { return Ok(()) };
    let meta = keys(queue, names).meta();
    for field in fields.iter().filter(|field| field.only_if_absent) {
        if redis.get(redis::cmd("HSETNX").arg(&meta).arg(field.name).arg(&field.value)).await? {
            writes.count();
        }
    }
    let mut command = redis::cmd("HSET");
    command.arg(&meta);
    let mut any = false;
    for field in fields.iter().filter(|field| !field.only_if_absent) {
        command.arg(field.name).arg(&field.value);
        any = true;
    }
    if any {
        redis.send(&command).await?;
        writes.count();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!(5), json!(5.0), true)]
    #[case(json!(5), json!(3), false)]
    #[case(json!({ "type": "fixed", "delay": 10 }), json!({ "type": "fixed", "delay": 10, "jitter": 0.0 }), true)]
    #[case(json!({ "type": "fixed", "delay": 10 }), json!({ "type": "fixed", "delay": 10, "jitter": 0.5 }), false)]
    #[case(json!({ "age": 60, "count": 1 }), json!({ "age": 60 }), false)]
    #[case(Value::Null, json!(5), false)]
    #[case(json!(true), json!({ "count": 10 }), false)]
    fn an_option_is_the_same_however_it_is_written(#[case] found: Value, #[case] wanted: Value, #[case] same: bool) {
        assert_eq!(is_same_option(&found, &wanted), same);
    }
}
