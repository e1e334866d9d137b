//! The embeddings API: one request a call, the answer checked before anything is believed.

mod answer;
mod error;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Client, Response, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use url::Url;

use crate::settings::JinaEndpoint;
pub use error::{Class, JinaError};

/// Bytes of an answer beside its vectors: names, usage, an error's text.
const ENVELOPE: usize = 64 * 1024;
/// Bytes that one number of a vector takes at most, in JSON and with white space.
const NUMBER: usize = 32;
/// Bytes that one item takes beside its vector.
const ITEM: usize = 512;

/// How vectors travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Base64 of little-endian 32-bit floats: a quarter of the bytes, and no parsing of numbers.
    #[default]
    Base64,
    /// A JSON array of numbers.
    Float,
}

impl Encoding {
    /// The name the API knows it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base64 => "base64",
            Self::Float => "float",
        }
    }
}

/// How to ask.
#[derive(Debug, Clone)]
pub struct JinaOptions {
    /// How vectors travel.
    pub encoding: Encoding,
    /// The task adapter, for models that have one.
    pub task: Option<String>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a request may take, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// Whether an answer with too few vectors is taken for whole. Only a defect that is planted for a test wants that.
    pub takes_short_answers: bool,
}

impl Default for JinaOptions {
    fn default() -> Self {
        Self {
            encoding: Encoding::default(),
            task: Some("retrieval.passage".to_owned()),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            takes_short_answers: false,
        }
    }
}

/// What came back for a list of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// A vector for each text, in the order of the texts.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens the service billed; 0 when it did not say.
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
    /// A text that is too long has to be refused: cut in silence, its end would never be found.
    truncate: bool,
    input: &'a [String],
}

/// A client of one embeddings endpoint; its connections are shared by all who use it.
#[derive(Clone)]
pub struct JinaClient {
    client: Client,
    url: Url,
    /// Marked as sensitive, so that no trace of the connection shows it.
    authorization: Option<HeaderValue>,
    model: String,
    dimensions: u32,
    options: JinaOptions,
}

impl fmt::Debug for JinaClient {
    /// Without key and address, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JinaClient")
            .field("model", &self.model)
            .field("dimensions", &self.dimensions)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl JinaClient {
    /// A client of `endpoint`; nothing is sent yet.
    ///
    /// # Errors
    /// [`JinaError::Settings`] when the address or the key cannot be sent at all.
    pub fn new(endpoint: &JinaEndpoint, options: JinaOptions) -> Result<Self, JinaError> {
        let url = format!("{}/embeddings", endpoint.base_url.trim_end_matches('/'));
        let url = Url::parse(&url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or(JinaError::Settings {
                variable: "JINA_BASE_URL",
                problem: "is no http or https URL, such as https://api.jina.ai/v1",
            })?;
        if endpoint.dimensions == 0 {
            return Err(JinaError::Settings {
                variable: "EMBEDDING_DIMENSIONS",
                problem: "is 0; set it to the collection's vector size",
            });
        }
        let client = Client::builder()
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout)
            // A redirected POST would lose its body or carry the texts to where nobody meant them to go.
            .redirect(redirect::Policy::none())
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

    /// Vector size asked for.
    #[must_use]
    pub const fn dimensions(&self) -> u32 {
        self.dimensions
    }

    /// Asks for the vectors of `texts` with one request; none for no texts.
    ///
    /// # Errors
    /// See [`JinaError`]; [`JinaError::class`] tells whether to try again.
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
            truncate: false,
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
            // Without its body an error is still that error.
            let body = read(response, ENVELOPE).await.unwrap_or_default();
            return Err(JinaError::refused(status.as_u16(), &body, after));
        }
        let dimensions = usize::try_from(self.dimensions).unwrap_or(usize::MAX);
        let most = dimensions.saturating_mul(NUMBER).saturating_add(ITEM).saturating_mul(texts.len());
        let body = read(response, most.saturating_add(ENVELOPE)).await?;
        answer::check(&body, &self.model, texts.len(), dimensions, self.options.takes_short_answers)
    }
}

fn bearer(key: &SecretString) -> Result<HeaderValue, JinaError> {
    let mut value =
        HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).map_err(|_| JinaError::Settings {
            variable: "JINA_API_KEY",
            problem: "holds characters that no HTTP header can carry; check for a line break",
        })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The body of `response`, unless it is longer than `most` bytes.
async fn read(mut response: Response, most: usize) -> Result<Vec<u8>, JinaError> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(JinaError::network)? {
        if body.len() + part.len() > most {
            return Err(JinaError::Malformed(format!("longer than {most} bytes")));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}
