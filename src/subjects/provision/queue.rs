//! The queue's `meta` key, which is all that BullMQ keeps of a queue's settings in Redis.

use std::collections::BTreeMap;

use bullmq::QueueKeys;

use super::{Action, Change, Pace, Task};
use crate::services::redis::Redis;
use crate::settings::{Desired, DesiredQueue, Names};
use crate::subjects::setup::SetupError;
use crate::subjects::setup::queue::LAYOUT;

const SERVICE: &str = "bullmq";

fn keys(queue: &DesiredQueue, names: &Names) -> QueueKeys {
    let name = queue.name.as_deref().unwrap_or(&names.queue);
    QueueKeys::new(name, Some(queue.prefix.as_deref().unwrap_or(&names.prefix)))
}

/// Each setting: the field of the `meta` key, what a person calls it, and what it is to be.
fn settings(queue: &DesiredQueue) -> [(&'static str, &'static str, Option<String>); 4] {
    let limit = queue.rate_limit;
    [
        ("opts.maxLenEvents", "events kept", Some(queue.events.to_string())),
        ("concurrency", "jobs in work at once", queue.concurrency.map(|limit| limit.to_string())),
        ("max", "jobs begun in that time", limit.map(|limit| limit.max.to_string())),
        ("duration", "time of the rate limit in ms", limit.map(|limit| limit.per.as_millis().to_string())),
    ]
}

pub(super) async fn changes(redis: &Redis, desired: &Desired, names: &Names) -> Result<Vec<Change>, SetupError> {
    let Some(queue) = &desired.queue else { return Ok(Vec::new()) };
    let keys = keys(queue, names);
    let what = keys.base();
    let meta: BTreeMap<String, String> = redis.get(redis::cmd("HGETALL").arg(keys.meta())).await?;
    let mut changes = Vec::new();
    let (mut fields, mut details) = (Vec::new(), Vec::new());
    for (field, called, wanted) in settings(queue) {
        match (meta.get(field), wanted) {
            (found, Some(wanted)) if found != Some(&wanted) => {
                details.push(match found {
                    Some(found) => format!("{called}: {found} → {wanted}"),
                    None => format!("{called}: {wanted}"),
                });
                fields.push((field, wanted));
            }
            (Some(found), None) => {
                let detail = format!("{called}: {found}, of which shakedown.toml says nothing");
                changes.push(Change::drift(SERVICE, "queue", what.clone(), detail));
            }
            _ => {}
        }
    }
    if !fields.is_empty() {
        let action = if meta.contains_key("opts.maxLenEvents") { Action::Change } else { Action::Create };
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
    Ok(changes)
}

/// Writes the fields in one go, and the layout where nobody has said anything of it.
pub(super) async fn make(
    redis: &Redis,
    desired: &Desired,
    names: &Names,
    fields: &[(&'static str, String)],
    pace: &mut Pace,
) -> Result<(), SetupError> {
    let Some(queue) = &desired.queue else { return Ok(()) };
    let meta = keys(queue, names).meta();
    // First, for it is not looked at: a run that is killed after it finds the fields missing, and comes this way again.
    if redis.get(redis::cmd("HSETNX").arg(&meta).arg("version").arg(LAYOUT)).await? {
        pace.step();
    }
    let mut command = redis::cmd("HSET");
    command.arg(&meta);
    for (field, value) in fields {
        command.arg(*field).arg(value);
    }
    redis.send(&command).await?;
    pace.step();
    Ok(())
}
