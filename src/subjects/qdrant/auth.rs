//! The API key, checked the same way for REST and gRPC.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// What a request without a key is told.
pub(super) const NO_KEY: &str = "Must provide an API key or an Authorization bearer token";
/// What a request with another key is told.
pub(super) const WRONG_KEY: &str = "Invalid API key or JWT";

/// The key that requests must carry, if any. Only its digest is kept.
#[derive(Clone, Default)]
pub(super) struct Auth(Option<Arc<[u8; 32]>>);

impl Auth {
    /// Requires `key`; an empty key counts as no key, as in Qdrant.
    #[must_use]
    pub(super) fn new(key: Option<&SecretString>) -> Self {
        Self(key.map(ExposeSecret::expose_secret).filter(|key| !key.is_empty()).map(|key| Arc::new(digest(key))))
    }

    /// Whether requests must carry a key.
    #[must_use]
    pub(super) fn is_required(&self) -> bool {
        self.0.is_some()
    }

    /// Checks the headers `api-key` and `authorization: Bearer …` of one request.
    ///
    /// # Errors
    /// The text for the 401 answer.
    pub(super) fn check<'a>(&self, header: impl Fn(&str) -> Option<&'a str>) -> Result<(), &'static str> {
        let Some(expected) = &self.0 else { return Ok(()) };
        let given = header("api-key")
            .or_else(|| header("authorization").and_then(|value| value.strip_prefix("Bearer ")))
            .ok_or(NO_KEY)?;
        // Digests are compared, so the time taken says nothing about how much of the key was right.
        if digest(given) == **expected { Ok(()) } else { Err(WRONG_KEY) }
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &'static str) -> impl Fn(&str) -> Option<&'static str> {
        move |asked| (asked == name).then_some(value)
    }

    #[test]
    fn an_empty_key_means_no_key() {
        let auth = Auth::new(Some(&SecretString::from("")));
        assert!(!auth.is_required());
        assert_eq!(auth.check(|_| None), Ok(()));
    }

    #[test]
    fn both_headers_are_accepted_and_anything_else_is_not() {
        let auth = Auth::new(Some(&SecretString::from("k")));
        assert_eq!(auth.check(with("api-key", "k")), Ok(()));
        assert_eq!(auth.check(with("authorization", "Bearer k")), Ok(()));
        assert_eq!(auth.check(with("authorization", "k")), Err(NO_KEY));
        assert_eq!(auth.check(with("api-key", "K")), Err(WRONG_KEY));
        assert_eq!(auth.check(|_| None), Err(NO_KEY));
    }
}
