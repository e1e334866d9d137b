//! A thin HTTP client over one service's base URL, with its key.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::ServiceError;
use super::http_client::{self, BodyError};
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

    /// Where a redirect leads: scheme, host, port and path, which contain no credentials.
    #[must_use]
    pub fn redirect(&self) -> Option<String> {
        let location = self.status.is_redirection().then(|| self.headers.get("location"))??;
        Some(match url::Url::parse(location) {
            Ok(_) => public_address(location),
            // Relative to the same service.
            Err(_) => location.split(['?', '#']).next().unwrap_or_default().to_owned(),
        })
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
        let client = http_client::builder()
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

    /// What distinguishes the answers of this client from those of another: the address, the header of the key, and a
    /// digest of the key.
    #[must_use]
    pub fn identity(&self) -> String {
        let digest = self.key.as_ref().map(|key| Sha256::digest(key.expose_secret().as_bytes()));
        let digest = digest.iter().flatten().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("{} {:?} {digest}", self.base, self.header)
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
        let unreachable = |error: reqwest::Error| {
            ServiceError::no_answer(self.service, &public_address(&self.base), with_causes(&error.without_url()))
        };
        let begun = Instant::now();
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let readable = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers =
            response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), readable(value))).collect();
        let body = match http_client::read_body(response, http_client::MAX_BODY).await {
            Ok(body) => body,
            Err(BodyError::Network(error)) => return Err(unreachable(error)),
            Err(too_long) => {
                return Err(ServiceError::Refused { service: self.service, detail: format!("{path}: {too_long}") });
            }
        };
        let text = String::from_utf8_lossy(&body).into_owned();
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
        let status = answer.status.as_u16();
        let detail = redacted(if let Some(target) = answer.redirect() {
            format!(
                "{method} {path}: {status} redirects to {target}, which was not followed; if that is the right address, \
                 configure it"
            )
        } else {
            // Masked before it is cut: what is left of a cut secret may be too short to be found.
            let text: String = redact(&answer.text).chars().take(300).collect();
            format!("{method} {path}: {status} {text}")
        });
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

#[cfg(test)]
mod tests {
    use wiremock::matchers::{any, header};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    #[tokio::test]
    async fn a_redirect_is_reported_and_the_key_goes_nowhere_else() {
        let (first, second) = (MockServer::start().await, MockServer::start().await);
        Mock::given(any()).respond_with(ResponseTemplate::new(200)).expect(0).mount(&second).await;
        let target = format!("{}/collections?token=hunter2", second.uri().replace("http://", "http://user:hunter2@"));
        let answer = ResponseTemplate::new(307).insert_header("location", target.as_str());
        Mock::given(header("api-key", "the-key")).respond_with(answer).expect(2).mount(&first).await;
        let http = Http::new("qdrant", &first.uri(), Some("the-key".to_owned().into()), KeyHeader::ApiKey).unwrap();
        let answer = http.send("GET", "/collections", &Key::Own, None).await.unwrap();
        assert_eq!(answer.redirect(), Some(format!("{}/collections", second.uri())));
        let error = http.call("PUT", "/collections/a", Some(&Value::Null)).await.unwrap_err().to_string();
        assert!(error.contains("307 redirects to") && error.contains(&second.uri()), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn a_body_above_the_limit_is_not_read() {
        let server = MockServer::start().await;
        let body = vec![b'a'; http_client::MAX_BODY + 1];
        Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_bytes(body)).mount(&server).await;
        let http = Http::new("qdrant", &server.uri(), None, KeyHeader::ApiKey).unwrap();
        let error = http.call("GET", "/collections", None).await.unwrap_err().to_string();
        assert!(error.contains("longer than the limit of 33554432 bytes"), "{error}");
    }
}
