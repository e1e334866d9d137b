//! A thin HTTP client over one service's base URL, with its key.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::ServiceError;
use crate::redaction::{public_address, redact, redacted};
use crate::settings::{JinaEndpoint, QdrantEndpoint};

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(20);

/// The header that carries the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHeader {
    /// `api-key`, for Qdrant.
    ApiKey,
    /// `Authorization: Bearer`.
    Bearer,
    /// `apikey`, for Supabase's gateway. A key that is a JWT is also sent as a bearer token, because it names the role.
    Apikey,
}

/// A response with any status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Body as text.
    pub text: String,
    /// Headers, by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Time from the first byte sent to the last byte received.
    pub took: Duration,
}

impl Answer {
    /// The body as JSON; null if it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

/// The key a request carries.
#[derive(Debug, Clone)]
pub enum Key {
    /// The key of the endpoint.
    Own,
    /// No key.
    None,
    /// Another key.
    Other(String),
}

/// A service that speaks HTTP.
#[derive(Debug, Clone)]
pub struct Http {
    client: reqwest::Client,
    service: &'static str,
    base: String,
    key: Option<SecretString>,
    header: KeyHeader,
}

impl Http {
    /// Qdrant's REST API.
    pub fn qdrant(endpoint: &QdrantEndpoint) -> Result<Self, ServiceError> {
        Self::new("qdrant", &endpoint.url, endpoint.api_key.clone(), KeyHeader::ApiKey)
    }

    /// The embeddings API.
    pub fn jina(endpoint: &JinaEndpoint) -> Result<Self, ServiceError> {
        Self::new("jina", &endpoint.base_url, endpoint.api_key.clone(), KeyHeader::Bearer)
    }

    /// A service at `base`.
    pub fn new(
        service: &'static str,
        base: &str,
        key: Option<SecretString>,
        header: KeyHeader,
    ) -> Result<Self, ServiceError> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .build()
            .map_err(|error| ServiceError::Refused { service, detail: error.without_url().to_string() })?;
        Ok(Self { client, service, base: base.trim_end_matches('/').to_owned(), key, header })
    }

    /// Another service with the same HTTP client: creating a client, which loads the trusted authorities, takes longer
    /// than many requests.
    #[must_use]
    pub fn other(&self, service: &'static str, base: &str, key: Option<SecretString>, header: KeyHeader) -> Self {
        let base = base.trim_end_matches('/').to_owned();
        Self { client: self.client.clone(), service, base, key, header }
    }

    /// The service's base URL, without a trailing slash.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request and returns the response, whatever its status.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        key: &Key,
        body: Option<&Value>,
    ) -> Result<Answer, ServiceError> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| ServiceError::Refused {
            service: self.service,
            detail: format!("invalid HTTP method `{method}`"),
        })?;
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        let key = match key {
            Key::Own => self.key.as_ref().map(|key| key.expose_secret().to_owned()),
            Key::None => None,
            Key::Other(key) => Some(key.clone()),
        };
        if let Some(key) = key {
            request = match self.header {
                KeyHeader::ApiKey => request.header("api-key", key),
                KeyHeader::Bearer => request.bearer_auth(key),
                KeyHeader::Apikey if key.starts_with("eyJ") => request.header("apikey", &key).bearer_auth(&key),
                KeyHeader::Apikey => request.header("apikey", key),
            };
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let unreachable = |error: reqwest::Error| ServiceError::Unreachable {
            service: self.service,
            endpoint: public_address(&self.base),
            detail: with_causes(&error.without_url()),
        };
        let begun = Instant::now();
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let readable = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers =
            response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), readable(value))).collect();
        let text = response.text().await.map_err(unreachable)?;
        Ok(Answer { status, text, headers, took: begun.elapsed() })
    }

    /// Sends a request with the endpoint's key and returns the body. A status other than 2xx is an error.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, ServiceError> {
        let answer = self.send(method, path, &Key::Own, body).await?;
        self.accept(method, path, &answer)
    }

    /// The body of a response. A status other than 2xx is an error.
    pub fn accept(&self, method: &str, path: &str, answer: &Answer) -> Result<Value, ServiceError> {
        if answer.status.is_success() {
            return Ok(answer.json());
        }
        // Masked before it is cut: what is left of a cut secret may be too short to be found.
        let text: String = redact(&answer.text).chars().take(300).collect();
        let detail = redacted(format!("{method} {path}: {} {text}", answer.status.as_u16()));
        Err(match answer.status.as_u16() {
            401 => ServiceError::Unauthorised {
                service: self.service,
                endpoint: public_address(&self.base),
                detail,
                variable: match self.service {
                    "qdrant" => "QDRANT_API_KEY",
                    "jina" => "JINA_API_KEY",
                    "supabase" => "SUPABASE_SERVICE_ROLE_KEY",
                    "supabase-public" => "SUPABASE_ANON_KEY",
                    _ => "SUPABASE_ACCESS_TOKEN",
                },
            },
            403 => ServiceError::Denied { service: self.service, detail },
            _ => ServiceError::Refused { service: self.service, detail },
        })
    }
}

/// An error with its causes: reqwest reports "error sending request" and hides the cause, such as "connection refused".
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
