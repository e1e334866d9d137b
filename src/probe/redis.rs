//! A Redis command.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::services::ServiceError;
use crate::services::redis::{Redis, field};
use crate::spec::read_only::check_redis;
use crate::spec::{RedisProbe, RedisYield};

pub(super) async fn observe(probe: &RedisProbe, context: &Context) -> Result<Observation, ProbeError> {
    let template = context.template();
    let words = probe.command.iter().map(|word| template.fill(word)).collect::<Result<Vec<_>, _>>()?;
    if !context.writes {
        let flags = if probe.anonymous { None } else { context.clients.command_flags(&words).await };
        check_redis(&words, flags).map_err(|reason| ProbeError::Undecided(format!("{reason}; it was not sent")))?;
    }
    let mut what = words.join(" ");
    if let Some(yields) = probe.yields {
        return match yields {
            RedisYield::ClockSkewMs => clock_skew(&context.clients.redis().await?).await,
            RedisYield::LatencyMs => latency(&context.clients.redis().await?, &words).await,
            RedisYield::Scheme => return scheme(context).await,
            RedisYield::RefusedCommands => refused_commands(context).await,
        }
        .map_err(|error| hidden_commands(error).into());
    }
    let reply = if probe.anonymous {
        what.push_str(" without credentials");
        Redis::connect_anonymously(&context.endpoints.redis).await?.command(&words).await
    } else if context.writes {
        context.clients.redis().await?.command(&words).await
    } else {
        context.clients.reply(&words).await
    }
    .map_err(hidden_commands)?;
    Ok(match (&probe.field, &probe.percent_of) {
        (Some(name), None) => {
            let value = field(&reply, name);
            // A missing section does not prove that the value is missing.
            let section_is_there = reply.as_str().is_none_or(|text| !text.trim().is_empty());
            if value.is_null() && !(probe.sparse && section_is_there) {
                return Err(missing_field(&what, name));
            }
            Observation::new(format!("{what} → {name}"), value)
        }
        (Some(name), Some(whole)) => share(&what, &reply, name, whole)?,
        (None, _) => Observation::new(what, reply),
    })
}

/// The error for a missing field: managed servers, and servers other than Redis, omit fields of INFO and CONFIG.
fn missing_field(what: &str, name: &str) -> ProbeError {
    ProbeError::Undecided(format!("the server's reply to {what} has no {name}"))
}

/// `name` in percent of `whole`; 0 if there is no limit.
fn share(what: &str, reply: &Value, name: &str, whole: &str) -> Result<Observation, ProbeError> {
    let number = |name: &str| {
        field(reply, name).as_str().and_then(|text| text.parse::<f64>().ok()).ok_or_else(|| missing_field(what, name))
    };
    let (part, most) = (number(name)?, number(whole)?);
    let share = if most > 0.0 { (1000.0 * part / most).round() / 10.0 } else { 0.0 };
    let mut observation = Observation::new(format!("{what} → {name} in percent of {whole}"), share);
    observation.also.push(Evidence::seen(name, field(reply, name)));
    observation.also.push(Evidence::seen(whole, field(reply, whole)));
    Ok(observation)
}

async fn clock_skew(redis: &Redis) -> Result<Observation, ServiceError> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let before = now();
    let (seconds, micros): (u64, u64) = redis.get(&redis::cmd("TIME")).await?;
    let after = now();
    // The server read its clock at an unknown time between the two; assume the time with the smallest skew.
    let theirs = Duration::from_secs(seconds) + Duration::from_micros(micros);
    let skew = before.saturating_sub(theirs).max(theirs.saturating_sub(after));
    let millis = u64::try_from(skew.as_millis()).unwrap_or(u64::MAX);
    Ok(Observation::new("difference between the server's clock and the local clock in ms", millis))
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
    let what = format!("response time of {} in ms", words.join(" "));
    Ok(Observation::new(what, (millis * 10.0).round() / 10.0))
}

/// How long a port may take to respond to a greeting.
const GREETING: Duration = Duration::from_secs(2);

/// The URL scheme of the port, detected with a plain and a TLS greeting.
async fn scheme(context: &Context) -> Result<Observation, ProbeError> {
    let place = |what: &str| context.endpoints.place(&format!("redis.{what}")).unwrap_or_default();
    let (scheme, host) = (place("scheme"), place("host"));
    let address = format!("{host}:{}", place("port"));
    let secure = || super::tls::supports_tls(&address, &host);
    // A port that closes the connection or does not respond may be broken, which says nothing about the scheme.
    let silent = || ProbeError::Missing(format!("{address} accepts connections but does not respond"));
    let protocol = match scheme.as_str() {
        "rediss" if secure().await? => "rediss",
        "rediss" => plain_protocol(&address).await?.ok_or_else(silent)?,
        "redis" => match plain_protocol(&address).await? {
            Some(protocol) => protocol,
            None if secure().await? => "rediss",
            None => return Err(silent()),
        },
        other => return Err(ProbeError::Missing(format!("{other}:// does not use a port"))),
    };
    Ok(Observation::new(format!("protocol at {address}"), protocol))
}

/// The protocol with which a port responds to a plain PING: `redis`, `http` or something else; `None` if it does not.
async fn plain_protocol(address: &str) -> Result<Option<&'static str>, ProbeError> {
    let connected = super::tcp::connect(address, "redis").await;
    let mut stream = connected.map_err(|error| ProbeError::Missing(error.to_string()))?;
    let mut first = [0; 1];
    let asked = async {
        stream.write_all(b"*1\r\n$4\r\nPING\r\n").await?;
        stream.read_exact(&mut first).await
    };
    if !tokio::time::timeout(GREETING, asked).await.is_ok_and(|asked| asked.is_ok()) {
        return Ok(None);
    }
    Ok(Some(match first {
        [b'+' | b'-'] => "redis",
        [b'H'] => "http",
        // A TLS alert, the response to an invalid greeting.
        [0x15] => return Ok(None),
        _ => "something else",
    }))
}

/// Commands that BullMQ needs and the server refused. Others may be refusals of this program's own commands.
async fn refused_commands(context: &Context) -> Result<Observation, ServiceError> {
    let section = |name: &str| ["INFO".to_owned(), name.to_owned()];
    let (errors, commands) = (section("errorstats"), section("commandstats"));
    let (errors, commands) = tokio::join!(context.clients.reply(&errors), context.clients.reply(&commands));
    let (errors, commands) = (errors?, commands?);
    let counted = field(&errors, "errorstat_NOPERM");
    let mut observation = Observation::new("BullMQ commands that the server refused", refusals(&counted, &commands));
    if errors.as_str().is_none_or(|text| text.trim().is_empty()) {
        observation.missing = Some("the server's reply to INFO errorstats is empty".to_owned());
    }
    observation.also.push(Evidence::seen("errorstat_NOPERM", counted));
    Ok(observation)
}

/// The commands, by `errorstat_NOPERM` and the text of INFO commandstats.
fn refusals(counted: &Value, commands: &Value) -> Vec<String> {
    let count = |text: &str, name: &str| {
        let value = text.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|count| count.parse::<u64>().ok()).unwrap_or_default()
    };
    let Some(refused) = counted.as_str().map(|text| count(text, "count")) else { return Vec::new() };
    let lines = commands.as_str().unwrap_or_default().lines();
    let rejected: Vec<(&str, u64)> = lines
        .filter_map(|line| line.strip_prefix("cmdstat_")?.trim().split_once(':'))
        .map(|(name, stats)| (name, count(stats, "rejected_calls")))
        .filter(|(_, times)| *times > 0)
        .collect();
    let needed = rejected.iter().filter(|(name, _)| super::bullmq_commands::needs(name));
    let mut refusals: Vec<String> = needed.map(|(name, times)| format!("{name} ({times} times)")).collect();
    // Refusals within scripts, and those of servers that do not count them per command, are unnamed.
    let named: u64 = rejected.iter().map(|(_, times)| times).sum();
    if refusals.is_empty() && refused > named {
        refusals.push(format!("{} unnamed commands", refused - named));
    }
    refusals
}

/// Turns the error of a hidden command into a missing permission: managed services hide commands such as CONFIG.
pub(super) fn hidden_commands(error: ServiceError) -> ServiceError {
    match error {
        ServiceError::Refused { service, detail } if detail.contains("unknown command") => {
            ServiceError::Denied { service, detail }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::nothing(json!(null), "cmdstat_bzpopmin:calls=1,rejected_calls=4,failed_calls=0", &[])]
    #[case::a_worker(json!("count=4"), "# Commandstats\r\ncmdstat_bzpopmin:calls=1,rejected_calls=4\r\n", &["bzpopmin (4 times)"])]
    #[case::only_us(json!("count=2"), "cmdstat_config|get:calls=0,rejected_calls=1\ncmdstat_time:calls=0,rejected_calls=1", &[])]
    #[case::in_a_script(json!("count=3"), "cmdstat_time:calls=0,rejected_calls=1", &["2 unnamed commands"])]
    #[case::not_counted(json!("count=3"), "cmdstat_get:calls=7,usec=9", &["3 unnamed commands"])]
    fn a_refusal_counts_where_bullmq_needs_the_command(
        #[case] counted: Value,
        #[case] commands: &str,
        #[case] wanted: &[&str],
    ) {
        assert_eq!(refusals(&counted, &json!(commands)), wanted);
    }
}
