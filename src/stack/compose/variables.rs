//! The variables of a compose file, substituted as the compose tool does it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

use crate::settings::process_variable;

/// A variable that must be set and is not, with the message of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnsetVariable {
    pub(super) name: String,
    pub(super) message: String,
}

/// The variables of `.env` in the directory of the compose file.
pub(super) fn read_env_file(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path.with_file_name(".env")).unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.trim().to_owned(), unquote(value.trim())));
    lines.filter_map(pair).collect()
}

fn unquote(value: &str) -> String {
    let inner = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    inner.unwrap_or(value).to_owned()
}

/// Substitutes variables in every text. Adds required variables without a value to `unset`.
pub(super) fn substitute(value: &mut Value, variables: &BTreeMap<String, String>, unset: &mut Vec<UnsetVariable>) {
    // `$$`, `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?message}`, `${NAME?message}`.
    static VARIABLE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\$(?:(\$)|(\w+)|\{(\w+)(?::?(-|\?)([^}]*))?\})").ok());
    match value {
        Value::String(text) => {
            let Some(pattern) = VARIABLE.as_ref() else { return };
            let substituted = pattern.replace_all(text, |found: &Captures<'_>| {
                if found.get(1).is_some() {
                    return "$".to_owned();
                }
                let name = found.get(2).or_else(|| found.get(3)).map_or("", |name| name.as_str());
                let set = process_variable(name).or_else(|| variables.get(name).cloned()).filter(|set| !set.is_empty());
                set.unwrap_or_else(|| {
                    let other = found.get(5).map_or("", |other| other.as_str()).to_owned();
                    if found.get(4).is_none_or(|kind| kind.as_str() != "?") {
                        return other;
                    }
                    let variable = UnsetVariable { name: name.to_owned(), message: other };
                    if !unset.contains(&variable) {
                        unset.push(variable);
                    }
                    String::new()
                })
            });
            *text = substituted.into_owned();
        }
        Value::Array(items) => items.iter_mut().for_each(|item| substitute(item, variables, unset)),
        Value::Object(fields) => fields.values_mut().for_each(|field| substitute(field, variables, unset)),
        _ => {}
    }
}
