//! A Redis command.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::services::ServiceError;
use crate::services::redis::{Redis, field};
use crate::spec::{RedisProbe, RedisYield};

pub(super) async fn observe(probe: &RedisProbe, context: &Context) -> Result<Observation, ProbeError> {
    let template = context.template();
    let words = probe.command.iter().map(|word| template.fill(word)).collect::<Result<Vec<_>, _>>()?;
    let mut what = words.join(" ");
    if let Some(yields) = probe.yields {
        let redis = context.lines.redis().await?;
        return match yields {
            RedisYield::ClockSkewMs => clock_skew(&redis).await,
            RedisYield::LatencyMs => latency(&redis, &words).await,
        }
        .map_err(|error| hidden_commands(error).into());
    }
    let reply = if probe.anonymous {
        what.push_str(" without credentials");
        Redis::connect_anonymously(&context.endpoints.redis).await?.command(&words).await
    } else if context.writes {
        context.lines.redis().await?.command(&words).await
    } else {
        context.lines.reply(&words).await
    }
    .map_err(hidden_commands)?;
    Ok(match (&probe.field, &probe.percent_of) {
        (Some(name), None) => {
            let value = field(&reply, name);
            // A section that is not there names nothing, whether it happened or not.
            let section_is_there = reply.as_str().is_none_or(|text| !text.trim().is_empty());
            if value.is_null() && !(probe.sparse && section_is_there) {
                return Err(lacking(&what, name));
            }
            Observation::new(format!("{what} → {name}"), value)
        }
        (Some(name), Some(whole)) => share(&what, &reply, name, whole)?,
        (None, _) => Observation::new(what, reply),
    })
}

/// Servers that are not Redis itself, and managed ones, leave out fields of INFO and CONFIG.
fn lacking(what: &str, name: &str) -> ProbeError {
    ProbeError::Undecided(format!("the server's answer to {what} has no {name}"))
}

/// How much of `whole` is taken by `name`, in per cent; 0 where nothing limits it.
fn share(what: &str, reply: &Value, name: &str, whole: &str) -> Result<Observation, ProbeError> {
    let number = |name: &str| {
        field(reply, name).as_str().and_then(|text| text.parse::<f64>().ok()).ok_or_else(|| lacking(what, name))
    };
    let (part, most) = (number(name)?, number(whole)?);
    let share = if most > 0.0 { (1000.0 * part / most).round() / 10.0 } else { 0.0 };
    let mut observation = Observation::new(format!("{what} → {name} in per cent of {whole}"), share);
    observation.also.push(Evidence::seen(name, field(reply, name)));
    observation.also.push(Evidence::seen(whole, field(reply, whole)));
    Ok(observation)
}

async fn clock_skew(redis: &Redis) -> Result<Observation, ServiceError> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let before = now();
    let (seconds, micros): (u64, u64) = redis.get(&redis::cmd("TIME")).await?;
    let after = now();
    // The answer was given some time between the two: nobody knows when, so the benefit of the doubt is the server's.
    let theirs = Duration::from_secs(seconds) + Duration::from_micros(micros);
    let skew = before.saturating_sub(theirs).max(theirs.saturating_sub(after));
    let millis = u64::try_from(skew.as_millis()).unwrap_or(u64::MAX);
    Ok(Observation::new("milliseconds between the server's clock and ours", millis))
}

async fn latency(redis: &Redis, words: &[String]) -> Result<Observation, ServiceError> {
    let mut took = Vec::new();
    for _ in 0..3 {
        let begun = Instant::now();
        redis.command(words).await?;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    let millis = took[1].as_secs_f64() * 1000.0;
    let what = format!("milliseconds until {} is answered", words.join(" "));
    Ok(Observation::new(what, (millis * 10.0).round() / 10.0))
}

/// Managed services hide commands such as CONFIG; that is a missing permission, not a fault of the server.
pub(super) fn hidden_commands(error: ServiceError) -> ServiceError {
    match error {
        ServiceError::Refused { service, detail } if detail.contains("unknown command") => {
            ServiceError::Denied { service, detail }
        }
        other => other,
    }
}
