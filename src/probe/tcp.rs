//! A TCP connection to an address; sends nothing.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpStream;

use super::{Context, Observation, ProbeError};
use crate::outcome::Evidence;
use crate::services::ServiceError;
use crate::spec::{TcpProbe, TcpYield};

pub(super) const CONNECT: Duration = Duration::from_secs(5);

pub(super) async fn observe(probe: &TcpProbe, context: &Context) -> Result<Observation, ProbeError> {
    let address = context.template().fill(&probe.address)?;
    let begun = Instant::now();
    let connected = connect(&address, "tcp").await;
    let millis = (begun.elapsed().as_secs_f64() * 10_000.0).round() / 10.0;
    match probe.yields {
        TcpYield::Ms => {
            connected?;
            Ok(Observation::new(format!("connection time of {address} in ms"), millis))
        }
        TcpYield::Connects => {
            let mut observation = Observation::new(format!("whether {address} accepts connections"), connected.is_ok());
            if let Err(error) = connected {
                observation.also.push(Evidence::seen("answer", error.to_string()));
            }
            Ok(observation)
        }
    }
}

/// Connects to `address`; `service` is the name in the error.
pub(super) async fn connect(address: &str, service: &'static str) -> Result<TcpStream, ServiceError> {
    let unreachable = |detail: String| ServiceError::no_answer(service, address, detail);
    match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(unreachable(format!("no connection within {} s", CONNECT.as_secs()))),
    }
}

/// The match of `pattern` in `text`: its first group, else the whole match; null if there is none.
pub(super) fn captured(pattern: &str, text: &str) -> Result<Value, ProbeError> {
    let regex = regex::Regex::new(pattern)
        .map_err(|error| ProbeError::Undecided(format!("invalid regular expression `{pattern}`: {error}")))?;
    let found = regex.captures(text).and_then(|groups| groups.get(1).or_else(|| groups.get(0)));
    Ok(found.map_or(Value::Null, |found| Value::from(found.as_str())))
}
