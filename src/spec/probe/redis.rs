//! Probes of Redis.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// A Redis command, and which part of its answer is the value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisProbe {
    /// The command with its arguments; placeholders such as `{{queue.prefix}}` are filled.
    pub command: Vec<String>,
    /// For INFO-like text or a list of pairs: the field with the value.
    #[serde(default)]
    pub field: Option<String>,
    /// With `field`: the answer lists only what exists, so that a missing field means none. Otherwise a missing field makes
    /// the verdict `unknown`.
    #[serde(default)]
    pub sparse: bool,
    /// With `field`: another field; the value is then `field` as a percentage of it.
    #[serde(default)]
    pub percent_of: Option<String>,
    /// The value instead of the answer.
    #[serde(default)]
    pub yields: Option<RedisYield>,
    /// Connect without credentials.
    #[serde(default)]
    pub anonymous: bool,
}

/// The value of a Redis probe, if it is not the command's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RedisYield {
    /// By how many milliseconds the server's clock (`TIME`) differs from ours; never negative.
    ClockSkewMs,
    /// Milliseconds until the answer: the median of three.
    LatencyMs,
    /// The scheme of the port: `redis`, or `rediss` if it uses TLS; for any other protocol, its name. The case is skipped
    /// if no connection is possible or nothing answers.
    Scheme,
    /// The commands that BullMQ needs and that the server has refused to some client while it refused commands for lack of
    /// permission (`INFO commandstats`), each with the number of refusals.
    RefusedCommands,
}

impl fmt::Display for RedisYield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClockSkewMs => "the difference between its clock and ours in ms",
            Self::LatencyMs => "the time until the answer in ms",
            Self::Scheme => "the scheme of its port",
            Self::RefusedCommands => "the refused commands that BullMQ needs",
        })
    }
}
