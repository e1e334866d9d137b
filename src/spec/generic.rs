//! Probe kinds for services that shakedown does not know: an address, a name, a certificate, a program.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// A connection to an address; nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpProbe {
    /// `host:port`; placeholders are filled.
    pub address: String,
    /// What about it counts.
    #[serde(default)]
    pub yields: TcpYield,
}

/// What about a connection counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TcpYield {
    /// Whether it can be made.
    #[default]
    Connects,
    /// How many milliseconds it takes to make it.
    Ms,
}

/// The addresses of a name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsProbe {
    /// The name; placeholders are filled.
    pub host: String,
    /// What about it counts.
    #[serde(default)]
    pub yields: DnsYield,
}

/// What about a name counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DnsYield {
    /// Its addresses, sorted.
    #[default]
    Addresses,
    /// `ipv4`, `ipv6`, or both.
    Families,
}

/// A server's certificate, and the connection that it gives.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsProbe {
    /// `host:port`; placeholders are filled.
    pub address: String,
    /// The scheme by which the service is reached: without TLS in it (`redis`, `http`), the case is skipped.
    #[serde(default)]
    pub scheme: Option<String>,
    /// The name that the certificate must be for; the address's host when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// A PEM file of the authorities that are trusted; those of browsers when absent.
    #[serde(default)]
    pub authorities: Option<String>,
    /// What is said before the handshake.
    #[serde(default)]
    pub before: TlsBefore,
    /// What about it counts.
    #[serde(default)]
    pub yields: TlsYield,
}

/// What is said before the handshake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsBefore {
    /// Nothing.
    #[default]
    Nothing,
    /// What Postgres wants to hear.
    Postgres,
}

/// What about a certificate counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsYield {
    /// What is wrong with it, in words; null when a client that checks accepts it.
    #[default]
    Problem,
    /// Days until it expires; negative when it has.
    DaysLeft,
    /// Whether it is for this name.
    HostMatches,
    /// Whether it was signed by nobody else.
    SelfSigned,
    /// The version of TLS, such as `1.3`.
    Version,
}

/// A program, run in the working directory with the environment of this one and the variables of `.env`.
///
/// What it prints may be JSON: a table whose `verdict` is `skip` or `unknown` makes that the verdict, with its `reason`;
/// what is in its `evidence` is shown.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandProbe {
    /// The program and its arguments; placeholders are filled.
    pub command: Vec<String>,
    /// Variables beside those of the environment; placeholders are filled.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Seconds until it is killed.
    #[serde(default = "ten")]
    pub within_s: u64,
    /// What about it counts.
    #[serde(default)]
    pub yields: CommandYield,
}

const fn ten() -> u64 {
    10
}

/// What about a program counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CommandYield {
    /// Its exit code.
    #[default]
    Exit,
    /// What it prints, without blanks around it.
    Stdout,
    /// A place in the JSON that it prints, as a JSON pointer (RFC 6901).
    Pointer(String),
    /// The first group, or else the whole, of what this regular expression matches in what it prints.
    Capture(String),
    /// The `verdict` of the table that it prints.
    Verdict,
}
