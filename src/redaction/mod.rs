//! Secrets are masked wherever a text enters the program, and again where it leaves it.
//!
//! A [`Redactor`] knows values that must not be shown, and shapes of values that are secret in any place, such
//! as JSON Web Tokens. It finds a known value whole and in pieces of eight characters, as it is or escaped for JSON,
//! URLs, HTML, base64 or hexadecimal. [`redact`] uses the redactor of the process, which [`learn`] extends.
//!
//! `printable` makes foreign text harmless for terminals and for GitHub Actions.

mod address;
mod encodings;
mod known;
mod lessons;
mod mask;
mod names;
mod ordinary;
mod printable;
mod shapes;
mod views;

use std::borrow::Cow;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

pub use address::{carries_secret, masked_address, public_address};
pub use mask::MASK;
pub use printable::{harmless_commands, printable, printable_line, without_escapes};

use known::Known;
use mask::Found;
use views::View;

/// How many escapes may be nested, as in JSON within JSON within a URL.
const DEPTH: usize = 3;

/// Masks secrets in texts. Immutable; a clone is cheap.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Arc<Known>,
}

impl Redactor {
    /// A redactor for the values of `variables`, each by name. A value that is a URL, a header or JSON is a secret only
    /// in parts: its passwords, tokens and keys. Values that occur in ordinary text, such as `postgres` or `true`, are
    /// masked only where they stand as the password of a URL.
    #[must_use]
    pub fn new<'a>(variables: impl IntoIterator<Item = (&'a str, &'a SecretString)>) -> Self {
        Self::default().with(variables)
    }

    /// This redactor with further secrets.
    #[must_use]
    pub fn with<'a>(&self, variables: impl IntoIterator<Item = (&'a str, &'a SecretString)>) -> Self {
        let secrets: Vec<lessons::Secret> =
            variables.into_iter().flat_map(|(name, value)| lessons::secrets_of(name, value.expose_secret())).collect();
        if secrets.iter().all(|secret| self.known.contains(secret)) {
            return self.clone();
        }
        Self { known: Arc::new(self.known.with(secrets)) }
    }

    /// This redactor with the variables that are secret by their name or their value, such as `DB_PASS` or a URL with a
    /// password.
    #[must_use]
    pub fn with_environment<'a>(&self, variables: impl IntoIterator<Item = (&'a str, &'a SecretString)>) -> Self {
        self.with(
            variables.into_iter().filter(|(name, value)| lessons::is_secret_variable(name, value.expose_secret())),
        )
    }

    /// `text` with `$NAME` or [`MASK`] in the place of each secret.
    #[must_use]
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut found = Vec::new();
        self.find(text, &Search { depth: DEPTH, shapes: true }, &mut found);
        // Lines may have nothing to do with each other, so no shape is looked for across them.
        if !self.known.is_empty()
            && let Some(view) = views::unbroken(text)
        {
            self.find_in(&view, &Search { depth: DEPTH - 1, shapes: false }, &mut found);
        }
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        Cow::Owned(replaced(text, merged(found)))
    }

    /// `value` with every text masked, also the keys of objects.
    #[must_use]
    pub fn redact_json(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.redact(&text).into_owned()),
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.redact_json(item)).collect()),
            Value::Object(fields) => {
                let field = |(key, value): (String, Value)| {
                    let value = match value {
                        Value::String(text) if shapes::is_secret_field(&key, &text) => Value::from(MASK),
                        other => self.redact_json(other),
                    };
                    (self.redact(&key).into_owned(), value)
                };
                Value::Object(fields.into_iter().map(field).collect())
            }
            other => other,
        }
    }

    /// Adds the secrets of `text` to `found`, also those in what `text` stands for if its escapes are read.
    fn find(&self, text: &str, search: &Search, found: &mut Vec<Found>) {
        self.known.find(text, found);
        if search.shapes {
            shapes::find(text, &self.known, found);
        }
        if let Some(depth) = search.depth.checked_sub(1) {
            for view in views::of(text) {
                self.find_in(&view, &Search { depth, ..*search }, found);
            }
        }
    }

    /// Adds the secrets in `view` at their places in the original.
    fn find_in(&self, view: &View, search: &Search, found: &mut Vec<Found>) {
        let mut within = Vec::new();
        self.find(view.text(), search, &mut within);
        found.extend(within.into_iter().map(|it| Found { place: view.place(&it.place), shown: it.shown }));
    }
}

/// How a text is searched.
struct Search {
    /// How many escapes are read.
    depth: usize,
    /// Whether shapes are looked for, and not known values alone.
    shapes: bool,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

/// The places in order, without overlaps. Of overlapping ones the longest that has a name gives it.
fn merged(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by_key(|it| (it.place.start, std::cmp::Reverse(it.place.end)));
    let mut merged: Vec<Found> = Vec::new();
    let mut named = 0;
    for next in found {
        let length = if next.shown.is_some() { next.place.len() } else { 0 };
        match merged.last_mut() {
            Some(last) if next.place.start < last.place.end => {
                last.place.end = last.place.end.max(next.place.end);
                if length > named {
                    named = length;
                    last.shown = next.shown;
                }
            }
            _ => {
                named = length;
                merged.push(next);
            }
        }
    }
    merged
}

fn replaced(text: &str, found: Vec<Found>) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut at = 0;
    for Found { place, shown } in found {
        masked.push_str(&text[at..place.start]);
        masked.push_str(shown.as_deref().unwrap_or(MASK));
        at = place.end;
    }
    masked.push_str(&text[at..]);
    masked
}

/// The redactor of this process.
static PROCESS: LazyLock<RwLock<Redactor>> = LazyLock::new(RwLock::default);

/// Adds the values of `variables` to the secrets of this process.
pub fn learn<'a>(variables: impl IntoIterator<Item = (&'a str, &'a SecretString)>) {
    let mut process = PROCESS.write().unwrap_or_else(PoisonError::into_inner);
    *process = process.with(variables);
}

/// Adds the variables that are secret by their name or their value: see [`Redactor::with_environment`].
pub fn learn_environment<'a>(variables: impl IntoIterator<Item = (&'a str, &'a SecretString)>) {
    let mut process = PROCESS.write().unwrap_or_else(PoisonError::into_inner);
    *process = process.with_environment(variables);
}

/// The redactor of this process as it is now.
#[must_use]
pub fn redactor() -> Redactor {
    PROCESS.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// `text` without the secrets of this process.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    redactor().redact(text)
}

/// The same for a text that is owned; it is copied only if it contains a secret.
#[must_use]
pub fn redacted(text: String) -> String {
    match redact(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(masked) => masked,
    }
}

/// `value` without the secrets of this process.
#[must_use]
pub fn redact_json(value: Value) -> Value {
    redactor().redact_json(value)
}

#[cfg(test)]
mod tests;
