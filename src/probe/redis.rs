//! A Redis command.

use super::{Context, Observation, ProbeError};
use crate::services::ServiceError;
use crate::services::redis::{Redis, field};
use crate::spec::RedisProbe;

pub(super) async fn observe(probe: &RedisProbe, context: &Context) -> Result<Observation, ProbeError> {
    let template = context.template();
    let words = probe.command.iter().map(|word| template.fill(word)).collect::<Result<Vec<_>, _>>()?;
    let endpoint = &context.endpoints.redis;
    let redis =
        if probe.anonymous { Redis::connect_anonymously(endpoint).await } else { Redis::connect(endpoint).await }?;
    let reply = redis.command(&words).await.map_err(hidden_commands)?;
    let mut what = words.join(" ");
    if probe.anonymous {
        what.push_str(" without credentials");
    }
    Ok(match &probe.field {
        Some(name) => Observation::new(format!("{what} → {name}"), field(&reply, name)),
        None => Observation::new(what, reply),
    })
}

/// Managed services hide commands such as CONFIG; that is a missing permission, not a fault of the server.
fn hidden_commands(error: ServiceError) -> ServiceError {
    match error {
        ServiceError::Refused { service, detail } if detail.contains("unknown command") => {
            ServiceError::Denied { service, detail }
        }
        other => other,
    }
}
