//! A thin HTTP client over one service's base URL, with its key.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::ServiceError;
use crate::settings::{JinaEndpoint, QdrantEndpoint};

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(20);

/// How the key travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyHeader {
    ApiKey,
    Bearer,
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Body as text.
    pub text: String,
}

impl Answer {
    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

/// The key a request carries.
#[derive(Debug, Clone)]
pub enum Key {
    /// The endpoint's own.
    Own,
    /// None.
    None,
    /// Another one.
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

    fn new(
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

    /// Sends a request and gives the answer, whatever its status.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        key: &Key,
        body: Option<&Value>,
    ) -> Result<Answer, ServiceError> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| ServiceError::Refused {
            service: self.service,
            detail: format!("`{method}` is no HTTP method"),
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
            };
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let unreachable = |error: reqwest::Error| ServiceError::Unreachable {
            service: self.service,
            endpoint: self.base.clone(),
            detail: chain(&error.without_url()),
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let text = response.text().await.map_err(unreachable)?;
        Ok(Answer { status, text })
    }

    /// Sends a request with the endpoint's own key; anything but 2xx is an error.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, ServiceError> {
        let answer = self.send(method, path, &Key::Own, body).await?;
        self.accept(method, path, &answer)
    }

    /// The body of an answer; anything but 2xx is an error.
    pub fn accept(&self, method: &str, path: &str, answer: &Answer) -> Result<Value, ServiceError> {
        if answer.status.is_success() {
            return Ok(answer.json());
        }
        let detail = format!(
            "{method} {path}: {} {}",
            answer.status.as_u16(),
            answer.text.chars().take(300).collect::<String>()
        );
        Err(match answer.status.as_u16() {
            401 => ServiceError::Unauthorised {
                service: self.service,
                endpoint: self.base.clone(),
                detail,
                variable: if self.service == "qdrant" { "QDRANT_API_KEY" } else { "JINA_API_KEY" },
            },
            403 => ServiceError::Denied { service: self.service, detail },
            _ => ServiceError::Refused { service: self.service, detail },
        })
    }
}

/// An error with its causes: reqwest says "error sending request" and hides "connection refused" below.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
