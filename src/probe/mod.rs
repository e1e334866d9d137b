//! Probes: one observation each, one file per kind. A probe reads, unless its case says `writes`.
//!
//! A probe reads from endpoints and returns evidence. Probes share only cached responses; prerequisites are declared in
//! the suite, not by the order of calls.

mod bullmq_commands;
mod clients;
mod command;
mod consistency;
mod dns;
mod env;
mod http;
mod ingestion;
mod interop;
mod jina;
mod migrations;
mod queue;
mod queue_commands;
mod queue_state;
mod redis;
mod search;
mod setup;
mod sql;
mod tcp;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::ExposeSecret;
use serde_json::Value;

use crate::outcome::{Evidence, Level, Verdict};
use crate::redaction::{self, Redactor, public_address};
use crate::services::ServiceError;
use crate::settings::{Endpoints, Given, public_url};
use crate::spec::{Matcher, Probe, Template, TemplateError};
use crate::stack::{Ledger, kill_with_harness};
pub use clients::{BilledCache, SharedClients};

/// What a probe may use.
#[derive(Debug, Clone)]
pub struct Context {
    /// The stack, with the names that `shakedown setup` prepared for the run.
    pub endpoints: Endpoints,
    /// The same stack with names of this case; the runner removes them.
    pub own: Endpoints,
    /// The Shakedown binary, for probes that run one of its verbs.
    pub shakedown: PathBuf,
    /// The user's settings, if the stack is the user's.
    pub given: Option<Arc<Given>>,
    /// Clients of `endpoints`, shared by all cases.
    pub clients: SharedClients,
    /// Whether the case writes: cached responses may then be outdated.
    pub writes: bool,
    /// Where a probe records what must be removed, if its process is killed.
    pub ledger: Option<Ledger>,
}

impl Context {
    /// The placeholders that suites may use.
    #[must_use]
    pub fn template(&self) -> Template {
        let names = &self.endpoints.names;
        let own = &self.own.names;
        let schema = |table: &str| table.split_once('.').map_or("public", |(schema, _)| schema).to_owned();
        let table = |table: &str| table.split_once('.').map_or(table, |(_, table)| table).to_owned();
        let mut places = vec![
            ("queue.name", names.queue.clone()),
            ("queue.prefix", names.prefix.clone()),
            ("queue.keys", format!("{}:{}:", names.prefix, names.queue)),
            ("collection", names.collection.clone()),
            ("table", names.table.clone()),
            ("table.schema", schema(&names.table)),
            ("table.name", table(&names.table)),
            ("own.queue.name", own.queue.clone()),
            ("own.queue.prefix", own.prefix.clone()),
            ("own.collection", own.collection.clone()),
            ("own.table", own.table.clone()),
            ("own.schema", schema(&own.table)),
            ("model", self.endpoints.jina.model.clone()),
            ("dimensions", self.endpoints.jina.dimensions.to_string()),
            ("redis", public_url(&self.endpoints.redis.url)),
            ("qdrant", public_address(&self.endpoints.qdrant.url)),
            ("shakedown", self.shakedown.display().to_string()),
            ("now", jiff::Timestamp::now().as_second().to_string()),
        ];
        places.extend(
            self.given.as_ref().and_then(|given| consistency::project_ref(given)).map(|it| ("supabase.ref", it)),
        );
        let mut places: Vec<(String, String)> =
            places.into_iter().map(|(place, value)| (place.to_owned(), value)).collect();
        for place in ADDRESSES {
            places.extend(self.endpoints.place(place).map(|value| ((*place).to_owned(), value)));
        }
        for (name, value) in self.given.iter().flat_map(|given| &given.environment) {
            places.push((format!("env.{name}"), value.expose_secret().to_owned()));
        }
        Template::new(places)
    }

    /// The redactor of the process, and the secrets among the user's settings, which a library user may have read
    /// from elsewhere.
    fn redactor(&self) -> Redactor {
        let Some(given) = &self.given else { return redaction::redactor() };
        let environment = given.environment.iter().map(|(name, value)| (name.as_str(), value));
        let secrets = given.secrets().map(|(name, value): (&str, _)| (name, value));
        redaction::redactor().with(secrets).with_environment(environment)
    }

    /// The error for a placeholder without a value: a variable that is not set is not an error of the suite.
    fn unfilled(&self, error: &TemplateError) -> ProbeError {
        if let Some(name) = error.name.strip_prefix("env.") {
            return ProbeError::Undecided(format!("{name} is not set"));
        }
        let Some(name) = variable_of(&error.name) else { return ProbeError::Undecided(error.to_string()) };
        let problem = self.given.as_ref().and_then(|given| given.variables.get(name)?.problem.clone());
        ProbeError::Missing(problem.unwrap_or_else(|| format!("{name} is not set")))
    }
}

/// The variable that a placeholder such as `redis.host` is derived from.
fn variable_of(place: &str) -> Option<&'static str> {
    match place.split_once('.')? {
        ("qdrant", "grpc_port") => Some("QDRANT_GRPC_URL"),
        ("qdrant", _) => Some("QDRANT_URL"),
        ("redis", _) => Some("REDIS_URL"),
        ("postgres", _) => Some("DATABASE_URL"),
        ("supabase", _) => Some("SUPABASE_URL"),
        _ => None,
    }
}

/// A command that runs a verb of this program on the stack, with the case's own names.
fn shakedown(context: &Context, arguments: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(&context.shakedown);
    command.args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true);
    kill_with_harness(&mut command);
    for variable in context.own.environment() {
        command.env(variable.name, variable.value.expose_secret());
    }
    command
}

/// The last lines of a program's output.
fn last_lines(output: &[u8], most: usize) -> String {
    let output = String::from_utf8_lossy(output);
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(most)..].join("\n")
}

/// Placeholders for parts of the endpoints' addresses.
const ADDRESSES: &[&str] = &[
    "redis.scheme",
    "qdrant.scheme",
    "redis.host",
    "redis.port",
    "postgres.host",
    "postgres.port",
    "postgres.user",
    "postgres.database",
    "qdrant.host",
    "qdrant.port",
    "qdrant.grpc_port",
    "qdrant.vector_path",
];

/// A verdict with its evidence, with secrets masked.
fn masked((mut verdict, mut evidence): (Verdict, Vec<Evidence>), redactor: &Redactor) -> (Verdict, Vec<Evidence>) {
    verdict.mask(redactor);
    for fact in &mut evidence {
        fact.mask(redactor);
    }
    (verdict, evidence)
}

/// The result of a probe.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The value that the matchers check.
    pub value: Value,
    /// What was observed, for example a command or a query.
    pub what: String,
    /// The value as the report shows it, if it differs: for a secret, or a long text.
    pub shown: Option<Value>,
    /// Further evidence.
    pub also: Vec<Evidence>,
    /// Why the verdict is unknown if the matchers hold: a response without the expected field does not prove that the
    /// requirement is met.
    pub missing: Option<String>,
}

impl Observation {
    fn new(what: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { value: value.into(), what: what.into(), shown: None, also: Vec::new(), missing: None }
    }
}

/// Why a probe has no result.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A service failed.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The suite uses a placeholder without a value.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A prerequisite is missing: the case is skipped.
    #[error("{0}")]
    Missing(String),
    /// The observation failed for a reason that says nothing about the stack: the case is unknown.
    #[error("{0}")]
    Undecided(String),
}

/// Runs the probe.
pub async fn observe(probe: &Probe, context: &Context) -> Result<Observation, ProbeError> {
    match probe {
        Probe::Redis(probe) => redis::observe(probe, context).await,
        Probe::Sql(probe) => Box::pin(sql::observe(probe, context)).await,
        Probe::Http(probe) => http::observe(probe, context).await,
        Probe::Env(probe) => env::observe(probe, context),
        Probe::Consistency(probe) => consistency::observe(probe, context).await,
        Probe::Queue(probe) => queue::observe(probe, context).await,
        Probe::QueueState(probe) => queue_state::observe(probe, context).await,
        Probe::Search(probe) => search::observe(probe, context).await,
        Probe::Migrations(probe) => migrations::observe(probe, context).await,
        Probe::Jina(probe) => jina::observe(probe, context).await,
        Probe::Setup(probe) => setup::observe(probe, context).await,
        Probe::Ingestion(probe) => ingestion::observe(probe, context).await,
        Probe::Tcp(probe) => tcp::observe(probe, context).await,
        Probe::Dns(probe) => dns::observe(probe, context).await,
        Probe::Tls(probe) => tls::observe(probe, context).await,
        Probe::Command(probe) => command::observe(probe, context).await,
        Probe::Interop(probe) => Box::pin(interop::observe(probe, context)).await,
    }
}

/// Runs the probe and evaluates the matchers; secrets are replaced by their names.
pub async fn evaluate(
    probe: &Probe,
    matchers: &[Matcher],
    level: Level,
    context: &Context,
) -> (Verdict, Vec<Evidence>) {
    let redactor = context.redactor();
    masked(evaluate_unmasked(probe, matchers, level, context, &redactor).await, &redactor)
}

async fn evaluate_unmasked(
    probe: &Probe,
    matchers: &[Matcher],
    level: Level,
    context: &Context,
    redactor: &Redactor,
) -> (Verdict, Vec<Evidence>) {
    let matchers = match fill_matchers(matchers, &context.template()) {
        Ok(matchers) => matchers,
        Err(error) => return verdict_of_error(context.unfilled(&error), &[], level),
    };
    let observed = observe(probe, context).await;
    match observed
        .map_err(|error| if let ProbeError::Template(error) = &error { context.unfilled(error) } else { error })
    {
        Ok(observation) => {
            let unmet: Vec<&Matcher> = matchers.iter().filter(|matcher| !matcher.holds(&observation.value)).collect();
            let wanted = matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let shown = observation.shown.unwrap_or(observation.value);
            let demands_absence = matchers.iter().any(|matcher| matches!(matcher, Matcher::Exists(false)));
            let verdict = if let Some(missing) = observation.missing.filter(|_| !demands_absence && unmet.is_empty()) {
                Verdict::unknown(missing)
            } else if unmet.is_empty() {
                Verdict::Pass
            } else {
                let wanted = unmet.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                Verdict::unmet(level, format!("{} is {}, wanted {wanted}", observation.what, brief(&shown, redactor)))
            };
            let mut evidence = vec![Evidence::against(observation.what, shown, wanted)];
            evidence.extend(observation.also);
            (verdict, evidence)
        }
        Err(error) => verdict_of_error(error, &matchers, level),
    }
}

/// The verdict for a probe without a result.
fn verdict_of_error(error: ProbeError, matchers: &[Matcher], level: Level) -> (Verdict, Vec<Evidence>) {
    let wants = |what: fn(&Matcher) -> bool| matchers.iter().any(what);
    let must_answer = wants(|matcher| matches!(matcher, Matcher::Answers));
    let must_be_refused = wants(|matcher| matches!(matcher, Matcher::Refused));
    let may_be_denied = wants(|matcher| matches!(matcher, Matcher::OrDenied));
    let message = error.to_string();
    let verdict = match error {
        ProbeError::Service(ServiceError::OwnLimit { .. }) => Verdict::unknown(message.clone()),
        ProbeError::Service(ServiceError::Unauthorised { .. } | ServiceError::Denied { .. }) if must_be_refused => {
            Verdict::Pass
        }
        ProbeError::Service(ServiceError::Denied { .. }) if may_be_denied => Verdict::Pass,
        ProbeError::Service(ServiceError::Refused { .. }) => Verdict::unmet(level, message.clone()),
        ProbeError::Missing(what) => Verdict::skip(what),
        ProbeError::Service(_) if must_answer => Verdict::unmet(level, message.clone()),
        ProbeError::Template(_) | ProbeError::Service(_) | ProbeError::Undecided(_) => {
            Verdict::unknown(message.clone())
        }
    };
    (verdict, vec![Evidence::seen("answer", message)])
}

/// The matchers with the placeholders in their texts replaced.
fn fill_matchers(matchers: &[Matcher], template: &Template) -> Result<Vec<Matcher>, TemplateError> {
    matchers
        .iter()
        .map(|matcher| {
            Ok(match matcher {
                Matcher::Equals(value) => Matcher::Equals(template.fill_json(value)?),
                Matcher::NotEquals(value) => Matcher::NotEquals(template.fill_json(value)?),
                Matcher::Contains(text) => Matcher::Contains(template.fill(text)?),
                other => other.clone(),
            })
        })
        .collect()
}

/// A value short enough for one line. It is masked first, because a cut secret may be too short to be found.
fn brief(value: &Value, redactor: &Redactor) -> String {
    let text = match redactor.redact_json(value.clone()) {
        Value::String(text) => text,
        other => other.to_string(),
    };
    if text.is_empty() {
        return "empty".to_owned();
    }
    if text.chars().count() <= 160 {
        return text;
    }
    format!("{}…", text.chars().take(160).collect::<String>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_replaced_by_their_names() {
        let redactor = Redactor::new([("TOKEN", &"hunter2".into())]);
        let evidence = vec![Evidence::against("GET /hunter2", json!({ "a": ["x hunter2"] }), "hunter2")];
        let (verdict, evidence) = masked((Verdict::unknown("no hunter2"), evidence), &redactor);
        let shown = format!("{verdict:?} {evidence:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(evidence[0].seen, json!({ "a": ["x $TOKEN"] }));
    }

    #[test]
    fn a_long_value_is_masked_before_it_is_cut() {
        let redactor = Redactor::new([("TOKEN", &"geheim-0815".into())]);
        let shown = brief(&json!(format!("{}geheim-0815", "x ".repeat(77))), &redactor);
        assert!(!shown.contains("geh"), "{shown}");
    }

    #[test]
    fn every_address_placeholder_has_its_variable() {
        for place in ADDRESSES {
            assert!(variable_of(place).is_some(), "{place}");
        }
        assert_eq!(variable_of("qdrant.grpc_port"), Some("QDRANT_GRPC_URL"));
        assert_eq!(variable_of("queue.nme"), None);
    }
}
