//! The BullMQ commands that the user of the queue may not run.

use super::bullmq_commands::{COMMANDS, short, words};
use super::redis::hidden_commands;
use super::{Context, Observation, ProbeError};
use crate::services::ServiceError;
use crate::services::redis::Redis;

/// The commands that the user may not run, from `ACL DRYRUN` (Redis 7), or else from a discarded transaction.
pub(super) async fn observe(context: &Context) -> Result<Observation, ProbeError> {
    let denied = match dry_run(context).await {
        Err(ServiceError::Denied { .. } | ServiceError::Refused { .. }) => discarded_transaction(context).await?,
        denied => denied?,
    };
    Ok(Observation::new(
        format!("commands that the user may not run, of the {} that BullMQ needs", COMMANDS.len()),
        denied,
    ))
}

/// Sends `ACL DRYRUN` for each command, all in one round trip.
async fn dry_run(context: &Context) -> Result<Vec<String>, ServiceError> {
    let redis = context.clients.redis().await?;
    let user = redis.command(&["ACL", "WHOAMI"]).await.map_err(hidden_commands)?;
    let user = user.as_str().unwrap_or("default").to_owned();
    let key = format!("{}:{}:wait", context.endpoints.names.prefix, context.endpoints.names.queue);
    let mut pipe = redis::pipe();
    for command in COMMANDS {
        let asked = pipe.cmd("ACL").arg("DRYRUN").arg(&user);
        words(command, &key).for_each(|word| {
            asked.arg(word);
        });
    }
    let mut denied = Vec::new();
    for (command, reply) in COMMANDS.iter().zip(redis.all(&pipe).await?) {
        match reply {
            redis::Value::Okay => {}
            redis::Value::ServerError(error) => {
                return Err(ServiceError::Denied { service: "redis", detail: error.to_string() });
            }
            _ => denied.push(short(command)),
        }
    }
    Ok(denied)
}

/// Queues each command in a transaction, where the server checks permissions without running it, and discards the
/// transaction. Users of workers seldom have permission for `ACL`.
async fn discarded_transaction(context: &Context) -> Result<Vec<String>, ProbeError> {
    // A key that does not exist: if a proxy runs the commands anyway, they affect only this key.
    let key = format!(
        "{}:{}:shakedown-{}",
        context.endpoints.names.prefix,
        context.endpoints.names.queue,
        jiff::Timestamp::now().as_millisecond()
    );
    let asked: Vec<&str> = COMMANDS.iter().copied().filter(|command| !matches!(*command, "MULTI" | "EXEC")).collect();
    let mut pipe = redis::pipe();
    for command in &asked {
        let mut written = words(command, &key);
        let begun = pipe.cmd(&written.next().unwrap_or_default());
        written.for_each(|word| {
            begun.arg(word);
        });
    }
    let replies = Redis::queue_and_discard(&context.endpoints.redis, pipe)
        .await
        .map_err(|error| undecided(&error.to_string()))?;
    let replies = replies.ok_or_else(|| undecided("the server does not queue commands"))?;
    let denied = |reply: &redis::Value| match reply {
        redis::Value::ServerError(error) => {
            error.code() == "NOPERM" || error.details().is_some_and(|text| text.contains("unknown command"))
        }
        _ => false,
    };
    Ok(asked.iter().zip(&replies).filter(|(_, reply)| denied(reply)).map(|(command, _)| short(command)).collect())
}

fn undecided(why: &str) -> ProbeError {
    ProbeError::Undecided(format!(
        "cannot determine whether BullMQ's commands are allowed: {why}; the user needs permission for MULTI and DISCARD, or \
         for ACL WHOAMI and ACL DRYRUN"
    ))
}
