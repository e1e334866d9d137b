//! Probes of services that Shakedown does not know: an address, a host name, a certificate, a program.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// A TCP connection to an address; nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpProbe {
    /// `host:port`; placeholders are filled.
    pub address: String,
    /// Which fact is the value.
    #[serde(default)]
    pub yields: TcpYield,
}

/// What a TCP probe yields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TcpYield {
    /// Whether the connection is accepted.
    #[default]
    Connects,
    /// Milliseconds until the connection is open.
    Ms,
}

/// The addresses of a host name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsProbe {
    /// The host name; placeholders are filled.
    pub host: String,
    /// Which fact is the value.
    #[serde(default)]
    pub yields: DnsYield,
}

/// What a DNS probe yields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DnsYield {
    /// Its addresses, sorted.
    #[default]
    Addresses,
    /// `ipv4`, `ipv6`, or both.
    Families,
}

/// A server's certificate and TLS connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsProbe {
    /// `host:port`; placeholders are filled.
    pub address: String,
    /// The scheme of the service's URL: the case is skipped for a scheme without TLS (`redis`, `http`).
    #[serde(default)]
    pub scheme: Option<String>,
    /// The host name that the certificate must be valid for; the address's host when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// A PEM file with the trusted authorities; those of browsers when absent.
    #[serde(default)]
    pub authorities: Option<String>,
    /// What is sent before the handshake.
    #[serde(default)]
    pub before: TlsBefore,
    /// Which fact is the value.
    #[serde(default)]
    pub yields: TlsYield,
}

/// What is sent before the handshake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsBefore {
    /// Nothing.
    #[default]
    Nothing,
    /// Postgres's request for TLS.
    Postgres,
}

/// What a TLS probe yields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsYield {
    /// What is wrong with the certificate, as text; null if a client that verifies it accepts it.
    #[default]
    Problem,
    /// Days until it expires; negative if it has expired.
    DaysLeft,
    /// Whether it is valid for the host name.
    HostMatches,
    /// Whether it is self-signed.
    SelfSigned,
    /// The version of TLS, such as `1.3`.
    Version,
}

/// A program, run in the working directory with the environment and the variables of `.env`.
///
/// It may print a JSON object: a `verdict` of `skip` or `unknown` becomes the verdict, with its `reason`, and its
/// `evidence` is shown.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandProbe {
    /// The program and its arguments; placeholders are filled.
    pub command: Vec<String>,
    /// Additional variables; placeholders are filled.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Timeout in seconds, after which it is killed.
    #[serde(default = "ten")]
    pub within_s: u64,
    /// Which fact is the value.
    #[serde(default)]
    pub yields: CommandYield,
}

const fn ten() -> u64 {
    10
}

/// What a program probe yields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CommandYield {
    /// The exit code.
    #[default]
    Exit,
    /// Its output, without surrounding blanks.
    Stdout,
    /// The value at this JSON pointer (RFC 6901) of its output.
    Pointer(String),
    /// The first group, or else the whole match, of this regular expression in its output.
    Capture(String),
    /// The `verdict` in its output.
    Verdict,
}

impl fmt::Display for TcpYield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connects => "whether it is accepted",
            Self::Ms => "the time until it is open in ms",
        })
    }
}

impl fmt::Display for DnsYield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Addresses => "its addresses",
            Self::Families => "its address families",
        })
    }
}

impl fmt::Display for TlsYield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Problem => "what is wrong with it",
            Self::DaysLeft => "days until it expires",
            Self::HostMatches => "whether it is valid for the host name",
            Self::SelfSigned => "whether it is self-signed",
            Self::Version => "the version of TLS",
        })
    }
}

impl fmt::Display for CommandYield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit => f.write_str("its exit code"),
            Self::Stdout => f.write_str("its output"),
            Self::Pointer(pointer) => write!(f, "{pointer} of its output"),
            Self::Capture(regex) => write!(f, "the match of /{regex}/ in its output"),
            Self::Verdict => f.write_str("the verdict in its output"),
        }
    }
}
