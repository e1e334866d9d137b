//! `[profile.NAME.env]`: the variables that a profile sets.

use std::collections::BTreeMap;

use toml::{Spanned, Value};

use super::reader::{Reader, contains_secret};
use crate::settings::config::{ProfileValue, ProfileVariable};
use crate::settings::table::{self, Secrecy};
use crate::settings::value;

impl Reader<'_> {
    pub(super) fn profile(&mut self, env: BTreeMap<Spanned<String>, Spanned<Value>>) -> Vec<ProfileVariable> {
        let mut variables: Vec<ProfileVariable> = Vec::new();
        for (name, value) in env {
            let span = name.span();
            let Some(variable) = self.variable(&name, &value) else { continue };
            if variables.iter().any(|other| other.entry.name == variable.entry.name) {
                let name = variable.entry.name;
                self.report(span, format!("{name} is set twice"), format!("keep one of {name} and {name}_FILE"));
            } else {
                variables.push(variable);
            }
        }
        variables
    }

    fn variable(&mut self, name: &Spanned<String>, value: &Spanned<Value>) -> Option<ProfileVariable> {
        let key = name.get_ref().as_str();
        let bare = key.strip_suffix("_FILE").unwrap_or(key);
        let Some(entry) = table::entry(bare) else {
            let remedy = table::nearest(key).map_or_else(
                || "`shakedown env` lists every variable".to_owned(),
                |near| format!("did you mean {near}?"),
            );
            self.report(name.span(), format!("unknown variable {key}"), remedy);
            return None;
        };
        if matches!(bare, "SHAKEDOWN_PROFILE" | "SHAKEDOWN_CONFIG") {
            self.report(
                name.span(),
                format!("{key} selects the profile or its file, so a profile cannot set it"),
                "set it in the environment, or use the flag",
            );
            return None;
        }
        let given = self.profile_value(key, bare, value)?;
        if let ProfileValue::Literal(text) = &given {
            if contains_secret(entry, text) {
                let what = if entry.secrecy == Secrecy::Password { "contains a password" } else { "is a secret" };
                let instead = format!("{key}_FILE = \"path\", or {key} = {{ from = \"OTHER_VARIABLE\" }}");
                self.report_secret(value.span(), key, what, &instead);
                return None;
            }
            if let Some((problem, remedy)) = value::problem(entry, text) {
                let problem = format!("{key} is `{}`: {problem}", value::shown(entry, text));
                self.report(value.span(), problem, remedy);
                return None;
            }
        }
        Some(ProfileVariable { entry, value: given, place: self.place(value.span()) })
    }

    /// The value of the variable `key`; `bare` is its name without `_FILE`.
    fn profile_value(&mut self, key: &str, bare: &str, value: &Spanned<Value>) -> Option<ProfileValue> {
        let is_file = bare != key;
        match value.get_ref() {
            Value::String(path) if is_file => return Some(ProfileValue::File(self.directory().join(path))),
            Value::String(text) => return Some(ProfileValue::Literal(text.clone())),
            Value::Integer(number) if !is_file => return Some(ProfileValue::Literal(number.to_string())),
            Value::Boolean(on) if !is_file => return Some(ProfileValue::Literal(on.to_string())),
            Value::Table(fields) if !is_file && fields.len() == 1 && fields.contains_key("from") => {
                match fields.get("from") {
                    Some(Value::String(other)) if !other.is_empty() && other != key => {
                        return Some(ProfileValue::Variable(other.clone()));
                    }
                    _ => {
                        let remedy = format!("write {key} = {{ from = \"STAGING_{key}\" }}");
                        self.report(value.span(), "`from` must name another environment variable", remedy);
                    }
                }
            }
            _ => {
                let remedy = format!(
                    "write {bare} = \"value\", {bare} = {{ from = \"OTHER_VARIABLE\" }} or {bare}_FILE = \"path\""
                );
                self.report(value.span(), format!("unsupported kind of value for {key}"), remedy);
            }
        }
        None
    }
}
