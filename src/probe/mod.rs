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
            ("qdrant", self.endpoints.qdrant.url.clone()),
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

    /// Secrets with their replacements, longest first, because one may contain another.
    fn private(&self) -> Vec<(String, String)> {
        let Some(given) = &self.given else { return Vec::new() };
        let mut private = Vec::new();
        for (name, value) in given.secrets() {
            let address = url::Url::parse(value.expose_secret()).ok().filter(url::Url::has_host);
            hide(value, address.map_or_else(|| format!("${name}"), |_| public_url(value)), &mut private);
        }
        for (name, value) in &given.environment {
            // For an unknown variable with an address, it is unclear which part is secret, so all of it is masked.
            let known = given.variables.get(name.as_str()).is_some_and(|variable| variable.secret);
            if !known && is_secret(name, value.expose_secret()) {
                hide(value, format!("${name}"), &mut private);
            }
        }
        private.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        private
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

/// Adds a secret, and the password in it, to `private` with the text that is `shown` instead.
fn hide(value: &secrecy::SecretString, shown: String, private: &mut Vec<(String, String)>) {
    const PASSWORD: &str = "********";
    let text = value.expose_secret();
    if let Ok(url) = url::Url::parse(text)
        && let Some(password) = url.password()
    {
        let decoded = percent_encoding::percent_decode_str(password).decode_utf8_lossy().into_owned();
        for password in [password.to_owned(), decoded] {
            // A password that equals the user name, as `postgres` often does, appears in every message with the user
            // name.
            if !public_url(value).contains(&password) && url.username() != password {
                private.push((password, PASSWORD.to_owned()));
            }
        }
    }
    if text.trim_end_matches('/') != shown {
        private.push((text.to_owned(), shown));
    }
    // A short value, such as `true`, would match unrelated text.
    private.retain(|(value, _)| value.len() >= 6);
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

/// Whether a variable that is not in the table most likely contains a secret.
fn is_secret(name: &str, value: &str) -> bool {
    const WORDS: [&str; 7] = ["KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "DSN"];
    let name = name.to_ascii_uppercase();
    WORDS.iter().any(|word| name.contains(word))
        || url::Url::parse(value).is_ok_and(|url| url.password().is_some_and(|password| !password.is_empty()))
}

/// A verdict with its evidence, with secrets masked.
fn masked((verdict, evidence): (Verdict, Vec<Evidence>), private: &[(String, String)]) -> (Verdict, Vec<Evidence>) {
    let mask = |text: String| private.iter().fold(text, |text, (value, name)| text.replace(value, name));
    let verdict = match verdict {
        Verdict::Pass => Verdict::Pass,
        Verdict::Fail { reason } => Verdict::Fail { reason: mask(reason) },
        Verdict::Warn { reason } => Verdict::Warn { reason: mask(reason) },
        Verdict::Skip { reason } => Verdict::Skip { reason: mask(reason) },
        Verdict::Unknown { reason } => Verdict::Unknown { reason: mask(reason) },
        Verdict::Waived { reason, expires } => Verdict::Waived { reason: mask(reason), expires },
    };
    let evidence = evidence
        .into_iter()
        .map(|fact| Evidence {
            what: mask(fact.what),
            seen: mask_json(fact.seen, &mask),
            wanted: fact.wanted.map(&mask),
        })
        .collect();
    (verdict, evidence)
}

fn mask_json(value: Value, mask: &impl Fn(String) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(mask(text)),
        Value::Array(items) => Value::Array(items.into_iter().map(|item| mask_json(item, mask)).collect()),
        Value::Object(table) => {
            Value::Object(table.into_iter().map(|(key, value)| (key, mask_json(value, mask))).collect())
        }
        other => other,
    }
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
    masked(evaluate_unmasked(probe, matchers, level, context).await, &context.private())
}

async fn evaluate_unmasked(
    probe: &Probe,
    matchers: &[Matcher],
    level: Level,
    context: &Context,
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
                Verdict::unmet(level, format!("{} is {}, wanted {wanted}", observation.what, brief(&shown)))
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

/// A value short enough for one line.
fn brief(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
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
        let private = vec![("hunter2".to_owned(), "$TOKEN".to_owned())];
        let evidence = vec![Evidence::against("GET /hunter2", json!({ "a": ["x hunter2"] }), "hunter2")];
        let (verdict, evidence) = masked((Verdict::unknown("no hunter2"), evidence), &private);
        let shown = format!("{verdict:?} {evidence:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(evidence[0].seen, json!({ "a": ["x $TOKEN"] }));
    }

    #[rstest::rstest]
    #[case::a_password("redis://:hunter2@h:1/0", "hunter2 of redis://h:1/0", "******** of redis://h:1/0")]
    #[case::no_password("redis://h:1/0", "redis at redis://h:1/0", "redis at redis://h:1/0")]
    #[case::the_whole("redis://:hunter2@h:1/0", "cannot reach redis://:hunter2@h:1/0", "cannot reach redis://h:1/0")]
    #[case::an_encoded_password("redis://:a%40hunter@h:1/0", "a@hunter a%40hunter", "******** ********")]
    #[case::the_password_is_the_user(
        "postgres://postgres:postgres@h:1/x",
        "postgres at postgres://h:1/x",
        "postgres at postgres://h:1/x"
    )]
    #[case::a_key("jina_0123456789", "key jina_0123456789 refused", "key $NAME refused")]
    fn an_address_is_shown_without_its_password(#[case] value: &str, #[case] text: &str, #[case] shown: &str) {
        let value = secrecy::SecretString::from(value);
        let address = url::Url::parse(value.expose_secret()).is_ok();
        let mut private = Vec::new();
        hide(&value, if address { public_url(&value) } else { "$NAME".to_owned() }, &mut private);
        private.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        let (verdict, _) = masked((Verdict::unknown(text), Vec::new()), &private);
        assert_eq!(verdict.reason(), Some(shown));
    }

    #[test]
    fn every_address_placeholder_has_its_variable() {
        for place in ADDRESSES {
            assert!(variable_of(place).is_some(), "{place}");
        }
        assert_eq!(variable_of("qdrant.grpc_port"), Some("QDRANT_GRPC_URL"));
        assert_eq!(variable_of("queue.nme"), None);
    }

    #[test]
    fn variables_are_secret_by_name_or_because_of_a_password() {
        for (name, value) in [("SEARCH_TOKEN", "x"), ("my_api_key", "x"), ("BROKER", "amqp://u:p@h/")] {
            assert!(is_secret(name, value), "{name}");
        }
        for (name, value) in [("SEARCH_URL", "http://h/"), ("PATH", "/bin"), ("BROKER", "amqp://u@h/")] {
            assert!(!is_secret(name, value), "{name}");
        }
    }
}
