//! Probes over HTTP.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// Which key a request has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// The configured one.
    #[default]
    Key,
    /// None.
    None,
    /// An invalid one.
    Wrong,
}

/// Which part of an HTTP answer is the value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HttpYield {
    /// The status code.
    Status,
    /// The body as text.
    Text,
    /// The value at this JSON pointer (RFC 6901) of the body.
    Pointer(String),
    /// A header of the answer; null if it is missing.
    Header(String),
    /// Milliseconds until the answer.
    LatencyMs,
    /// The first group, or else the whole match, of this regular expression in the body; null if it does not match.
    Capture(String),
}

/// An HTTP request, with others before and after it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// `qdrant`, `jina`; `supabase` with the secret key, `supabase-public` with the key for browsers,
    /// `supabase-management` with the access token; or the base URL of any other service.
    pub service: String,
    /// For any other service: the key, sent as a bearer token; name its variable, as in `{{env.NAME}}`.
    #[serde(default)]
    pub bearer: Option<String>,
    /// Method; GET when absent.
    #[serde(default)]
    pub method: Option<String>,
    /// Path below the service's base URL; placeholders are filled.
    pub path: String,
    /// Which key is sent.
    #[serde(default)]
    pub auth: Auth,
    /// JSON body; placeholders in texts are filled.
    #[serde(default)]
    pub body: Option<Value>,
    /// Requests to send before this one; each must get a 2xx.
    #[serde(default)]
    pub before: Vec<HttpStep>,
    /// Requests to send afterwards in any case; they remove what was created.
    #[serde(default)]
    pub after: Vec<HttpStep>,
    /// Which part of the answer is the value; the status when absent.
    #[serde(default)]
    pub yields: Option<HttpYield>,
    /// With a pointer: the service omits empty values, so that a missing key means none if the table around it exists.
    #[serde(default)]
    pub sparse: bool,
}

/// A request that prepares for the probe's request, or cleans up after it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpStep {
    /// Method.
    pub method: String,
    /// Path below the service's base URL.
    pub path: String,
    /// JSON body.
    #[serde(default)]
    pub body: Option<Value>,
}
