//! Errors of embedding requests, and whether to retry them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

/// The longest wait that is taken from `Retry-After`.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether an error is worth a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Retry, no sooner than `after`.
    Retry {
        /// The wait that the service requests in `Retry-After`.
        after: Option<Duration>,
    },
    /// These texts are rejected and will be rejected again; other texts may be accepted.
    Rejected,
    /// Every request fails until a person fixes the cause.
    Fatal,
}

/// Why a request for embeddings failed. No message contains the key, the texts, or free text of the service, which may
/// quote both.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JinaError {
    /// The endpoint's settings are invalid.
    #[error("{variable} {problem}")]
    Settings {
        /// The invalid variable.
        variable: &'static str,
        /// What is wrong with its value, and the remedy.
        problem: &'static str,
    },
    /// No response, or an incomplete one.
    #[error("no answer from the embeddings service: {0}; check JINA_BASE_URL and the network")]
    Network(String),
    /// A response with a status other than 2xx.
    #[error("the embeddings service answered {status}{}; {}", code_suffix(code.as_ref(), request.as_ref()), remedy(*status))]
    Refused {
        /// HTTP status.
        status: u16,
        /// The service's own code, such as `RATE_TOKEN_LIMIT_EXCEEDED`.
        code: Option<String>,
        /// The service's request id, for its support.
        request: Option<String>,
        /// The minimum wait, from `Retry-After`.
        after: Option<Duration>,
    },
    /// A success whose body does not match the request.
    #[error("the embeddings service answered 200 with a body that cannot be used: {0}")]
    Malformed(String),
}

impl JinaError {
    /// Whether to retry.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Settings { .. } => Class::Fatal,
            Self::Network(_) | Self::Malformed(_) => Class::Retry { after: None },
            // An unknown model is rejected with the status of an invalid input, but no other input will be accepted
            // either.
            Self::Refused { code: Some(code), .. } if code == "INPUT_MODEL_NOT_FOUND" => Class::Fatal,
            Self::Refused { status, after, .. } => match status {
                400 | 413 | 422 => Class::Rejected,
                408 | 409 | 425 | 429 | 500.. => Class::Retry { after: *after },
                _ => Class::Fatal,
            },
        }
    }

    pub(super) fn network(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        Self::Network(text)
    }

    /// Reads an error's body: `detail` is text, with the code beside it, or an object that holds the code.
    pub(super) fn refused(status: u16, body: &[u8], after: Option<Duration>) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let find = |name: &str| {
            [&body["detail"], &body]
                .into_iter()
                .find_map(|place| place[name].as_str())
                .filter(|word| is_word(word))
                .map(str::to_owned)
        };
        Self::Refused { status, code: find("code"), request: find("request_id"), after }
    }
}

/// Whether `word` is a code or an id, not free text.
fn is_word(word: &str) -> bool {
    (1..=64).contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn code_suffix(code: Option<&String>, request: Option<&String>) -> String {
    let code = code.map(|code| format!(" {code}"));
    let request = request.map(|request| format!(" (request {request})"));
    code.into_iter().chain(request).collect()
}

const fn remedy(status: u16) -> &'static str {
    match status {
        300..=399 => "it redirects: set JINA_BASE_URL to the new address",
        401 => "check JINA_API_KEY",
        402 | 403 => "check the account's balance and the permissions of the key in JINA_API_KEY",
        404 | 405 => "check JINA_BASE_URL and JINA_MODEL",
        413 => "the request is too large: send fewer texts per request",
        400 | 422 => "the texts, the model, the task or the dimensions are rejected",
        408 | 409 | 425 | 500.. => "the error may be temporary: try again later",
        429 => "the rate limit is reached: send fewer requests, or raise the limit",
        _ => "check JINA_BASE_URL",
    }
}

/// `Retry-After` as seconds or a date. A date in the past means no wait.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        value.parse().map_or(LONGEST_WAIT, Duration::from_secs)
    } else {
        let date = DateTimeParser::new().parse_timestamp(value).ok()?;
        Duration::try_from(date.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(LONGEST_WAIT))
}
