//! `shakedown.toml`: read as written, every unknown key refused, then resolved to typed values.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Date;
use regex::Regex;
use serde::Deserialize;
use toml::{Spanned, Value};

use super::contract::{Backoff, Data, EvidenceContract, JobContract, QueueContract, Ready, WorkerContract};
use super::error::{Place, Problem};
use super::table::{self, Entry, Secrecy};
use super::template::{DOCUMENT_PLACES, ENDPOINT_PLACES, Template};
use super::value;
use super::waiver::Waiver;
use crate::spec::duration;

/// The names of the profiles.
pub const PROFILES: &[&str] = &["development", "staging", "production"];

/// How long a worker may take to end after SIGTERM, when `[worker]` does not say.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// What `shakedown.toml` says.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The file, if there is one.
    pub path: Option<PathBuf>,
    /// `[worker]`, if it is there; without it the reference worker is judged.
    pub worker: Option<WorkerContract>,
    /// `[queue]`, if it is there.
    pub queue: Option<QueueContract>,
    /// `[evidence]`, if it is there.
    pub evidence: Option<EvidenceContract>,
    /// `[[waive]]`, in the order of the file.
    pub waivers: Vec<Waiver>,
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
    worker: Option<WrittenWorker>,
    queue: Option<WrittenQueue>,
    evidence: Option<EvidenceContract>,
    #[serde(default)]
    waive: Vec<Spanned<WrittenWaiver>>,
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenWorker {
    command: Spanned<Vec<String>>,
    cwd: Option<PathBuf>,
    #[serde(default)]
    env: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    ready: WrittenReady,
    shutdown_grace: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenReady {
    #[default]
    Queue,
    Log(Spanned<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenQueue {
    name: Option<String>,
    prefix: Option<String>,
    job: Option<WrittenJob>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenJob {
    name: String,
    data: BTreeMap<String, Spanned<Value>>,
    #[serde(default = "one")]
    attempts: u32,
    backoff: Option<Spanned<Backoff>>,
}

const fn one() -> u32 {
    1
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

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn place(&self, span: Range<usize>) -> Place {
        Place::of(self.path, self.text, span)
    }

    fn wrong(&mut self, span: Range<usize>, problem: impl Into<String>, remedy: impl Into<String>) {
        let place = self.place(span);
        self.problems.push(Problem::At { place, problem: problem.into(), remedy: Some(remedy.into()) });
    }

    fn directory(&self) -> PathBuf {
        self.path.parent().map(Path::to_owned).unwrap_or_default()
    }

    fn resolve(&mut self, written: Written) -> Config {
        let WrittenProfiles { development, staging, production } = written.profile;
        let profiles = PROFILES
            .iter()
            .zip([development, staging, production])
            .filter_map(|(name, profile)| Some((*name, self.profile(profile?))))
            .collect();
        Config {
            path: Some(self.path.to_owned()),
            worker: written.worker.map(|worker| self.worker(worker)),
            queue: written.queue.map(|queue| self.queue(queue)),
            evidence: written.evidence,
            waivers: written.waive.into_iter().filter_map(|waiver| self.waiver(waiver)).collect(),
            profiles,
        }
    }

    fn profile(&mut self, profile: WrittenProfile) -> Vec<Given> {
        let mut given: Vec<Given> = Vec::new();
        for (name, value) in profile.env {
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
    fn is_literal_secret(&self, entry: &Entry, text: &str) -> bool {
        match entry.secrecy {
            Secrecy::Yes => true,
            Secrecy::Password => value::carries_password(text),
            Secrecy::No => {
                matches!(entry.kind, table::Kind::Url(_)) && text.contains('@') && value::carries_password(text)
            }
        }
    }

    fn literal_secret(&mut self, span: Range<usize>, key: &str, what: &str, instead: &str) {
        self.wrong(
            span,
            format!("{key} {what}, and secrets are not written into this file"),
            format!("write {instead}; then change the secret if this file was ever shared"),
        );
    }

    fn worker(&mut self, worker: WrittenWorker) -> WorkerContract {
        let command = worker.command.get_ref();
        if command.first().is_none_or(|program| program.trim().is_empty()) {
            self.wrong(
                worker.command.span(),
                "the worker's command is empty",
                "write command = [\"node\", \"dist/worker.js\"]",
            );
        }
        let shutdown_grace = worker.shutdown_grace.map_or(DEFAULT_GRACE, |text| {
            duration(text.get_ref()).unwrap_or_else(|| {
                let problem = format!("`{}` is not a duration", text.get_ref());
                self.wrong(text.span(), problem, "write a number and ms, s, m or h, such as \"10s\"");
                DEFAULT_GRACE
            })
        });
        let ready = match worker.ready {
            WrittenReady::Queue => Ready::Queue,
            WrittenReady::Log(pattern) => match Regex::new(pattern.get_ref()) {
                Ok(regex) => Ready::Log(regex),
                Err(error) => {
                    let problem = format!("`log` is not a regular expression: {}", last_line(&error.to_string()));
                    self.wrong(pattern.span(), problem, "escape what is meant literally with a backslash");
                    Ready::Queue
                }
            },
        };
        let mut env = BTreeMap::new();
        for (name, text) in worker.env {
            if let Some(template) = self.template(text.get_ref(), text.span(), ENDPOINT_PLACES, true) {
                if template.is_literal()
                    && table::entry(&name).is_some_and(|entry| self.is_literal_secret(entry, text.get_ref()))
                {
                    self.literal_secret(
                        text.span(),
                        &name,
                        "is a secret",
                        &format!("{name} = \"{{{{env.{name}}}}}\", or a place such as {{{{jina.key}}}}"),
                    );
                }
                env.insert(name, template);
            }
        }
        WorkerContract {
            command: worker.command.into_inner(),
            cwd: self.directory().join(worker.cwd.unwrap_or_default()),
            env,
            ready,
            shutdown_grace,
        }
    }

    fn queue(&mut self, queue: WrittenQueue) -> QueueContract {
        let job = queue.job.map(|job| {
            let backoff = job.backoff.map(|backoff| {
                if !(0.0..=1.0).contains(&backoff.get_ref().jitter) {
                    self.wrong(
                        backoff.span(),
                        "`jitter` is not between 0 and 1",
                        "write a share, such as jitter = 0.5",
                    );
                }
                backoff.into_inner()
            });
            let data = job
                .data
                .into_iter()
                .filter_map(|(name, value)| Some((name, self.data(value.get_ref(), &value.span())?)))
                .collect();
            JobContract { name: job.name, data, attempts: job.attempts, backoff }
        });
        QueueContract { name: queue.name, prefix: queue.prefix, job }
    }

    fn data(&mut self, value: &Value, span: &Range<usize>) -> Option<Data> {
        Some(match value {
            Value::String(text) => Data::Text(self.template(text, span.clone(), DOCUMENT_PLACES, false)?),
            Value::Integer(number) => Data::Literal((*number).into()),
            Value::Float(number) => Data::Literal((*number).into()),
            Value::Boolean(on) => Data::Literal((*on).into()),
            Value::Datetime(at) => Data::Literal(at.to_string().into()),
            Value::Array(items) => Data::List(items.iter().filter_map(|item| self.data(item, span)).collect()),
            Value::Table(fields) => Data::Map(
                fields.iter().filter_map(|(name, field)| Some((name.clone(), self.data(field, span)?))).collect(),
            ),
        })
    }

    fn template(&mut self, text: &str, span: Range<usize>, places: &[&str], env: bool) -> Option<Template> {
        Template::parse(text, places, env)
            .map_err(|error| {
                let also = if env { ", env.NAME" } else { "" };
                self.wrong(span, error.to_string(), format!("places are: {}{also}", places.join(", ")));
            })
            .ok()
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

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ")
}
