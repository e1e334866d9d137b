//! `shakedown.toml`: read as written, every unknown key refused, then resolved to typed values.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use serde::Deserialize;
use toml::{Spanned, Value};

use super::contract::{self, Contract, QueueContract, WrittenContract, WrittenEvidence, WrittenQueue, WrittenWorker};
use super::desired::{Desired, WrittenDesired};
use super::error::{Place, Problem};
use super::table::{self, Entry, Secrecy};
use super::value;
use super::waiver::Waiver;

/// The names of the profiles.
pub const PROFILES: &[&str] = &["development", "staging", "production"];

/// What `shakedown.toml` says.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The file, if there is one.
    pub path: Option<PathBuf>,
    /// `[queue]`, if it is there.
    pub queue: Option<QueueContract>,
    /// `[worker]`, `[queue]` and `[evidence]`; without `[worker]` the reference worker is judged.
    pub contract: Option<Contract>,
    /// `[[waive]]`, in the order of the file.
    pub waivers: Vec<Waiver>,
    /// `[desired]` with what a profile says over it, by profile; empty when nothing is said.
    pub desired: BTreeMap<&'static str, Desired>,
    pub(super) profiles: BTreeMap<&'static str, Vec<Given>>,
}

/// A variable that a profile gives.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) entry: &'static Entry,
    pub(super) by: GivenBy,
    pub(super) place: Place,
}

/// How a profile gives a variable.
#[derive(Debug, Clone)]
pub(super) enum GivenBy {
    /// `NAME = "value"`.
    Value(String),
    /// `NAME_FILE = "path"`, joined to the directory of `shakedown.toml`.
    File(PathBuf),
    /// `NAME = { from = "OTHER" }`.
    Variable(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    profile: WrittenProfiles,
    worker: Option<Spanned<WrittenWorker>>,
    queue: Option<WrittenQueue>,
    evidence: Option<Spanned<WrittenEvidence>>,
    #[serde(default)]
    waive: Vec<Spanned<WrittenWaiver>>,
    desired: Option<WrittenDesired>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenProfiles {
    development: Option<WrittenProfile>,
    staging: Option<WrittenProfile>,
    production: Option<WrittenProfile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenProfile {
    #[serde(default)]
    env: BTreeMap<Spanned<String>, Spanned<Value>>,
    desired: Option<WrittenDesired>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenWaiver {
    case: String,
    reason: Spanned<String>,
    expires: Spanned<Value>,
}

/// Reads the text of `shakedown.toml`, which is at `path`.
pub(super) fn parse(path: &Path, text: &str) -> Result<Config, Vec<Problem>> {
    let written: Written = toml::from_str(text).map_err(|error| vec![syntax(path, text, &error)])?;
    let mut reader = Reader { path, text, problems: Vec::new() };
    let config = reader.resolve(written);
    if reader.problems.is_empty() { Ok(config) } else { Err(reader.problems) }
}

/// A TOML error at its place, with a did-you-mean for unknown keys.
fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Problem {
    let mut message = error.message().lines().collect::<Vec<_>>().join("; ");
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let remedy = match quoted.split_first() {
        Some((unknown, known)) if message.starts_with("unknown ") => {
            let meant = table::similar(unknown, known.iter().map(|key| (*key).to_owned()));
            Some(meant.map_or_else(
                || format!("use one of: {}", known.join(", ")),
                |meant| format!("did you mean `{meant}`?"),
            ))
        }
        _ => None,
    };
    if remedy.is_some() {
        // serde lists every known key behind the unknown one; the remedy has said it already.
        message.truncate(message.find(", expected").unwrap_or(message.len()));
    }
    Problem::At { place: Place::of(path, text, error.span().unwrap_or(0..0)), problem: message, remedy }
}

/// The file while it is read.
pub(super) struct Reader<'a> {
    pub(super) path: &'a Path,
    text: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn place(&self, span: Range<usize>) -> Place {
        Place::of(self.path, self.text, span)
    }

    pub(super) fn wrong(&mut self, span: Range<usize>, problem: impl Into<String>, remedy: impl Into<String>) {
        let (place, problem) = (self.place(span), problem.into());
        // What is said for all profiles is read once for each of them.
        let told = |other: &Problem| matches!(other, Problem::At { place: at, problem: what, .. } if *at == place && *what == problem);
        if !self.problems.iter().any(told) {
            self.problems.push(Problem::At { place, problem, remedy: Some(remedy.into()) });
        }
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.path.parent().map(Path::to_owned).unwrap_or_default()
    }

    fn resolve(&mut self, written: Written) -> Config {
        let WrittenProfiles { development, staging, production } = written.profile;
        let (mut profiles, mut desired) = (BTreeMap::new(), BTreeMap::new());
        for (name, profile) in PROFILES.iter().zip([development, staging, production]) {
            let (given, own) = profile.map_or((None, None), |profile| (Some(profile.env), profile.desired));
            if let Some(given) = given {
                profiles.insert(*name, self.profile(given));
            }
            let whole = match own {
                Some(own) => Some(own.over_all(written.desired.clone())),
                None => written.desired.clone(),
            };
            if let Some(whole) = whole {
                desired.insert(*name, self.desired(whole));
            }
        }
        let (queue, contract) = contract::read(
            self,
            WrittenContract { worker: written.worker, queue: written.queue, evidence: written.evidence },
        );
        Config {
            path: Some(self.path.to_owned()),
            queue,
            contract,
            waivers: written.waive.into_iter().filter_map(|waiver| self.waiver(waiver)).collect(),
            desired,
            profiles,
        }
    }

    fn profile(&mut self, env: BTreeMap<Spanned<String>, Spanned<Value>>) -> Vec<Given> {
        let mut given: Vec<Given> = Vec::new();
        for (name, value) in env {
            let span = name.span();
            let Some(one) = self.given(&name, &value) else { continue };
            if given.iter().any(|other| other.entry.name == one.entry.name) {
                let name = one.entry.name;
                self.wrong(span, format!("{name} is given twice"), format!("keep one of {name} and {name}_FILE"));
            } else {
                given.push(one);
            }
        }
        given
    }

    fn given(&mut self, name: &Spanned<String>, value: &Spanned<Value>) -> Option<Given> {
        let key = name.get_ref().as_str();
        let bare = key.strip_suffix("_FILE").unwrap_or(key);
        let Some(entry) = table::entry(bare) else {
            let remedy = table::nearest(key).map_or_else(
                || "`shakedown env` lists every variable".to_owned(),
                |near| format!("did you mean {near}?"),
            );
            self.wrong(name.span(), format!("{key} is not a variable of shakedown"), remedy);
            return None;
        };
        if matches!(bare, "SHAKEDOWN_PROFILE" | "SHAKEDOWN_CONFIG") {
            self.wrong(
                name.span(),
                format!("{key} chooses the profile or its file, so a profile cannot set it"),
                "set it in the environment, or use the flag",
            );
            return None;
        }
        let by = match value.get_ref() {
            Value::String(path) if bare != key => GivenBy::File(self.directory().join(path)),
            Value::String(text) => GivenBy::Value(text.clone()),
            Value::Integer(number) if bare == key => GivenBy::Value(number.to_string()),
            Value::Boolean(on) if bare == key => GivenBy::Value(on.to_string()),
            Value::Table(fields) if bare == key && fields.len() == 1 && fields.contains_key("from") => {
                match fields.get("from") {
                    Some(Value::String(other)) if !other.is_empty() && other != key => GivenBy::Variable(other.clone()),
                    _ => {
                        let remedy = format!("write {key} = {{ from = \"STAGING_{key}\" }}");
                        self.wrong(value.span(), "`from` must name another environment variable", remedy);
                        return None;
                    }
                }
            }
            _ => {
                let remedy = format!(
                    "write {bare} = \"value\", {bare} = {{ from = \"OTHER_VARIABLE\" }} or {bare}_FILE = \"path\""
                );
                self.wrong(value.span(), format!("{key} cannot be given like this"), remedy);
                return None;
            }
        };
        if let GivenBy::Value(text) = &by {
            if self.is_literal_secret(entry, text) {
                let what = if entry.secrecy == Secrecy::Password { "holds a password" } else { "is a secret" };
                self.literal_secret(
                    value.span(),
                    key,
                    what,
                    &format!("{key}_FILE = \"path\", or {key} = {{ from = \"OTHER_VARIABLE\" }}"),
                );
                return None;
            }
            if let Some((problem, remedy)) = value::problem(entry, text) {
                let problem = format!("{key} is `{}`: {problem}", value::shown(entry, text));
                self.wrong(value.span(), problem, remedy);
                return None;
            }
        }
        Some(Given { entry, by, place: self.place(value.span()) })
    }

    #[expect(clippy::unused_self, reason = "reads as a question to the reader")]
    pub(super) fn is_literal_secret(&self, entry: &Entry, text: &str) -> bool {
        match entry.secrecy {
            Secrecy::Yes => true,
            Secrecy::Password => value::carries_password(text),
            Secrecy::No => {
                matches!(entry.kind, table::Kind::Url(_)) && text.contains('@') && value::carries_password(text)
            }
        }
    }

    pub(super) fn literal_secret(&mut self, span: Range<usize>, key: &str, what: &str, instead: &str) {
        self.wrong(
            span,
            format!("{key} {what}, and secrets are not written into this file"),
            format!("write {instead}; then change the secret if this file was ever shared"),
        );
    }

    fn waiver(&mut self, waiver: Spanned<WrittenWaiver>) -> Option<Waiver> {
        let WrittenWaiver { case, reason, expires } = waiver.into_inner();
        if reason.get_ref().trim().is_empty() {
            self.wrong(
                reason.span(),
                format!("the waiver of `{case}` gives no reason"),
                "say why the failure is accepted",
            );
            return None;
        }
        let text = match expires.get_ref() {
            Value::String(text) => text.clone(),
            // TOML's own dates need no quotes.
            Value::Datetime(date) => date.to_string(),
            other => other.to_string(),
        };
        let Ok(date) = text.parse::<Date>() else {
            let problem = format!("`{text}`, until which `{case}` is waived, is not a date");
            self.wrong(expires.span(), problem, "write a day of the calendar as \"YYYY-MM-DD\"");
            return None;
        };
        Some(Waiver { case, reason: reason.into_inner(), expires: date })
    }
}
