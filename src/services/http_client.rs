//! The HTTP client of all requests to services: it follows no redirect and reads bodies up to a limit.

use std::time::Duration;

use reqwest::{Client, ClientBuilder, Response, redirect};

/// Largest body that is read, in bytes: more than any answer that a check needs.
pub const MAX_BODY: usize = 32 << 20;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection failed.
    #[error(transparent)]
    Network(#[from] reqwest::Error),
    /// The body is longer than the limit.
    #[error("the body is longer than the limit of {0} bytes")]
    TooLong(usize),
}

/// A client builder. A redirect is an answer like any other: following one would send the key to another host.
#[expect(clippy::disallowed_methods, reason = "this is the one constructor")]
pub fn builder() -> ClientBuilder {
    Client::builder().redirect(redirect::Policy::none())
}

/// A client whose requests take at most `timeout`.
///
/// # Errors
/// The TLS library cannot be set up.
pub fn client(timeout: Duration) -> Result<Client, reqwest::Error> {
    builder().timeout(timeout).build()
}

/// The body of `response`, up to `most` bytes.
///
/// # Errors
/// The connection fails, or the body is longer.
pub async fn read_body(mut response: Response, most: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        if body.len() + part.len() > most {
            return Err(BodyError::TooLong(most));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}
