//! Removes secrets from what reports show.

use secrecy::{ExposeSecret, SecretString};

use crate::settings::Endpoints;

/// Shorter values are not treated as secrets: they would match unrelated text.
const MIN_SECRET: usize = 8;

/// `text` with every occurrence of a secret replaced by `********`.
#[must_use]
pub fn redact(text: &str, secrets: &[SecretString]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().map(ExposeSecret::expose_secret).filter(|secret| secret.len() >= MIN_SECRET) {
        if text.contains(secret) {
            text = text.replace(secret, "********");
        }
    }
    text
}

/// Secrets that a worker must not print, with the name of their variable: whole URLs, and the passwords in them.
pub(super) fn worker_secrets(endpoints: &Endpoints) -> Vec<(String, SecretString)> {
    let variables = endpoints.environment().into_iter().filter(|variable| variable.secret);
    let values = variables.map(|variable| (variable.name.to_owned(), variable.value));
    let passwords =
        [("the password in REDIS_URL", "redis.password"), ("the password in DATABASE_URL", "postgres.password")]
            .into_iter()
            .filter_map(|(name, place)| Some((name.to_owned(), endpoints.place(place)?)))
            .filter(|(_, password)| password.len() >= MIN_SECRET)
            .map(|(name, password)| (name, password.into()));
    values.chain(passwords).collect()
}
