//! Client of the embeddings API: one request per call, with a strict check of the response.

mod answer;
mod error;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Client, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use url::Url;

use super::http_client::{self, BodyError};
use crate::settings::JinaEndpoint;
pub use error::{Class, JinaError};

/// Bytes of a response besides its vectors: names, usage, error text.
const ENVELOPE: usize = 64 * 1024;
/// Most bytes of one number of a vector, in JSON with whitespace.
const NUMBER: usize = 32;
/// Bytes of one item besides its vector.
const ITEM: usize = 512;

/// Encoding of vectors in responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Base64 of little-endian 32-bit floats: a quarter of the bytes, and no parsing of numbers.
    #[default]
    Base64,
    /// A JSON array of numbers.
    Float,
}

impl Encoding {
    /// Its name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base64 => "base64",
            Self::Float => "float",
        }
    }
}

/// Options of requests.
#[derive(Debug, Clone)]
pub struct JinaOptions {
    /// Encoding of vectors in responses.
    pub encoding: Encoding,
    /// The task adapter, for models that have task adapters.
    pub task: Option<String>,
    /// Timeout for connecting.
    pub connect_timeout: Duration,
    /// Timeout of a request, from connecting to the last byte of the response.
    pub timeout: Duration,
    /// Whether a response with too few vectors is accepted. Only a test defect sets this.
    pub accepts_too_few_vectors: bool,
    /// Whether the API may truncate a text that is too long. Only a test defect sets this.
    pub truncate: bool,
}

impl Default for JinaOptions {
    fn default() -> Self {
        Self {
            encoding: Encoding::default(),
            task: Some("retrieval.passage".to_owned()),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            accepts_too_few_vectors: false,
            truncate: false,
        }
    }
}

/// The embeddings of a list of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// A vector for each text, in the order of the texts.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens that the service billed; 0 if it did not report them.
    pub tokens: u64,
}

/// The body of a request.
#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a str>,
    dimensions: u32,
    normalized: bool,
    embedding_type: &'static str,
    /// A text that is too long must be rejected: if it were truncated silently, its end would never be found.
    truncate: bool,
    input: &'a [String],
}

/// A client of one embeddings endpoint. Clones share its connections.
#[derive(Clone)]
pub struct JinaClient {
    client: Client,
    url: Url,
    /// Marked as sensitive, so that logs of the HTTP client do not show it.
    authorization: Option<HeaderValue>,
    model: String,
    dimensions: u32,
    options: JinaOptions,
}

impl fmt::Debug for JinaClient {
    /// Omits the key and the address, which may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JinaClient")
            .field("model", &self.model)
            .field("dimensions", &self.dimensions)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl JinaClient {
    /// A client of `endpoint`. Sends nothing.
    ///
    /// # Errors
    /// [`JinaError::Settings`] if the address or the key is invalid.
    pub fn new(endpoint: &JinaEndpoint, options: JinaOptions) -> Result<Self, JinaError> {
        let url = format!("{}/embeddings", endpoint.base_url.trim_end_matches('/'));
        let url = Url::parse(&url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or(JinaError::Settings {
                variable: "JINA_BASE_URL",
                problem: "is not an http or https URL such as https://api.jina.ai/v1",
            })?;
        if endpoint.dimensions == 0 {
            return Err(JinaError::Settings {
                variable: "EMBEDDING_DIMENSIONS",
                problem: "is 0; set it to the collection's vector size",
            });
        }
        let client = http_client::builder()
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout)
            .build()
            .map_err(JinaError::network)?;
        Ok(Self {
            client,
            url,
            authorization: endpoint.api_key.as_ref().map(bearer).transpose()?,
            model: endpoint.model.clone(),
            dimensions: endpoint.dimensions,
            options,
        })
    }

    /// The requested vector size.
    #[must_use]
    pub const fn dimensions(&self) -> u32 {
        self.dimensions
    }

    /// Requests the vectors of `texts` with one request; sends nothing if there are no texts.
    ///
    /// # Errors
    /// See [`JinaError`]; [`JinaError::class`] tells whether to retry.
    pub async fn embed(&self, texts: &[String]) -> Result<Embedded, JinaError> {
        if texts.is_empty() {
            return Ok(Embedded { vectors: Vec::new(), tokens: 0 });
        }
        let body = Request {
            model: &self.model,
            task: self.options.task.as_deref(),
            dimensions: self.dimensions,
            normalized: true,
            embedding_type: self.options.encoding.name(),
            truncate: self.options.truncate,
            input: texts,
        };
        let mut request = self.client.post(self.url.clone()).header(ACCEPT, "application/json").json(&body);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let response = request.send().await.map_err(JinaError::network)?;
        let status = response.status();
        if !status.is_success() {
            let after = error::retry_after(response.headers());
            // An error status is reported even if its body cannot be read.
            let body = read(response, ENVELOPE).await.unwrap_or_default();
            return Err(JinaError::refused(status.as_u16(), &body, after));
        }
        let dimensions = usize::try_from(self.dimensions).unwrap_or(usize::MAX);
        let most = dimensions.saturating_mul(NUMBER).saturating_add(ITEM).saturating_mul(texts.len());
        let body = read(response, most.saturating_add(ENVELOPE)).await?;
        answer::check(&body, &self.model, texts.len(), dimensions, self.options.accepts_too_few_vectors)
    }
}

fn bearer(key: &SecretString) -> Result<HeaderValue, JinaError> {
    let mut value =
        HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).map_err(|_| JinaError::Settings {
            variable: "JINA_API_KEY",
            problem: "contains characters that are invalid in an HTTP header; check for a line break",
        })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The body of `response`, unless it is longer than `most` bytes.
async fn read(response: Response, most: usize) -> Result<Vec<u8>, JinaError> {
    http_client::read_body(response, most).await.map_err(|error| match error {
        BodyError::Network(error) => JinaError::network(error),
        BodyError::TooLong(most) => JinaError::Malformed(format!("longer than {most} bytes")),
    })
}
