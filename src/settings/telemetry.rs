//! Where traces go, by the variables that OpenTelemetry gives to everybody, and what of them a worker is handed.

use std::collections::BTreeMap;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::contract::Contract;
use super::error::SettingsError;
use super::table::{Entry, Kind, Need, Secrecy};
use super::template::{ENV, Template};
use super::value;
use super::values::Settings;

pub(super) const GROUP: &str = "Traces (OpenTelemetry)";
const READERS: &[Need] = &[Need::Check, Need::Run, Need::Worker];
const HTTP: Kind = Kind::Url(&["http", "https"]);
const PROTOCOL: Kind = Kind::Choice(&["http/protobuf", "http/json"]);
const COMPRESSION: Kind = Kind::Choice(&["none", "gzip"]);
const TIMEOUT: Kind = Kind::Milliseconds { min: 1, max: 600_000 };
const GENERAL: &str = "as the variable without `TRACES_` says";
/// What the specification says where nobody does.
const USUAL_TIMEOUT: Duration = Duration::from_secs(10);

const fn of(name: &'static str, kind: Kind, meaning: &'static str) -> Entry {
    Entry::new(name, kind, READERS, meaning).group(GROUP)
}

pub(super) const ENDPOINT: Entry =
    of("OTEL_EXPORTER_OTLP_ENDPOINT", HTTP, "collector of traces, by OTLP over HTTP; `/v1/traces` is added")
        .secret(Secrecy::Password)
        .otherwise("nothing is traced")
        .example("http://127.0.0.1:4318");
pub(super) const TRACES_ENDPOINT: Entry =
    of("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", HTTP, "the same with its whole path; nothing is added")
        .secret(Secrecy::Password)
        .otherwise(GENERAL)
        .example("http://127.0.0.1:4318/v1/traces");
pub(super) const PROTOCOL_ENTRY: Entry =
    of("OTEL_EXPORTER_OTLP_PROTOCOL", PROTOCOL, "how spans are written").default("http/protobuf");
pub(super) const TRACES_PROTOCOL: Entry =
    of("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", PROTOCOL, "how spans are written")
        .otherwise(GENERAL)
        .example("http/protobuf");
pub(super) const HEADERS: Entry =
    of("OTEL_EXPORTER_OTLP_HEADERS", Kind::Headers, "headers that the collector wants, such as a key")
        .secret(Secrecy::Yes)
        .otherwise("none")
        .example("authorization=Bearer%20change-me");
pub(super) const TRACES_HEADERS: Entry =
    of("OTEL_EXPORTER_OTLP_TRACES_HEADERS", Kind::Headers, "headers that the collector wants, such as a key")
        .secret(Secrecy::Yes)
        .otherwise(GENERAL)
        .example("authorization=Bearer%20change-me");
pub(super) const TIMEOUT_ENTRY: Entry =
    of("OTEL_EXPORTER_OTLP_TIMEOUT", TIMEOUT, "how long the collector may take for one request").default("10000");
pub(super) const TRACES_TIMEOUT: Entry =
    of("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", TIMEOUT, "how long the collector may take for one request")
        .otherwise(GENERAL)
        .example("10000");
pub(super) const COMPRESSION_ENTRY: Entry =
    of("OTEL_EXPORTER_OTLP_COMPRESSION", COMPRESSION, "whether requests are compressed").default("none");
pub(super) const TRACES_COMPRESSION: Entry =
    of("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", COMPRESSION, "whether requests are compressed")
        .otherwise(GENERAL)
        .example("gzip");
pub(super) const EXPORTER: Entry =
    of("OTEL_TRACES_EXPORTER", Kind::Choice(&["otlp", "none"]), "`none`: nothing is traced, even with an endpoint")
        .default("otlp");
pub(super) const DISABLED: Entry =
    of("OTEL_SDK_DISABLED", Kind::Switch, "`true`: nothing is traced, even with an endpoint").default("false");
pub(super) const SERVICE: Entry =
    of("OTEL_SERVICE_NAME", Kind::Text, "name under which the spans are shown; a worker under test is not handed it")
        .otherwise("`shakedown`, and `shakedown-worker` for the reference worker")
        .example("shakedown");
pub(super) const RESOURCE: Entry =
    of("OTEL_RESOURCE_ATTRIBUTES", Kind::Pairs, "what is said of the origin of every span, as `key=value,…`")
        .otherwise("name and version alone")
        .example("deployment.environment.name=ci");
pub(super) const PARENT: Entry =
    of("TRACEPARENT", Kind::Text, "the span to be below, by W3C Trace Context, as CI systems set it")
        .otherwise("a trace of its own")
        .example("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");

/// How spans are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TelemetryProtocol {
    /// `http/protobuf`.
    Protobuf,
    /// `http/json`.
    Json,
}

/// Where traces go.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// The whole address, which may hold a password.
    pub endpoint: SecretString,
    /// The variable that names it.
    pub variable: &'static str,
    /// How spans are written.
    pub protocol: TelemetryProtocol,
    /// Headers by name, as they are sent.
    pub headers: Vec<(String, SecretString)>,
    /// How long one request may take.
    pub timeout: Duration,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// The name under which spans are shown, where somebody chose one.
    pub service: Option<String>,
    /// What is said of the origin of every span.
    pub attributes: Vec<(String, String)>,
    /// The span to be below, as it was given.
    pub parent: Option<String>,
}

impl Settings {
    /// Where traces go; nowhere, if no collector is named, or if somebody switched them off.
    ///
    /// # Errors
    /// A collector is named, and one of the variables is not what it has to be.
    pub fn telemetry(&self) -> Result<Option<Telemetry>, SettingsError> {
        let (general, own) = (self.secret(ENDPOINT.name), self.secret(TRACES_ENDPOINT.name));
        let (variable, endpoint) = match (own, general) {
            (Some(own), _) => (TRACES_ENDPOINT.name, own),
            (None, Some(general)) => (ENDPOINT.name, general),
            (None, None) => return Ok(None),
        };
        if self.switch(DISABLED.name)? || self.judged(EXPORTER.name)? == Some("none") {
            return Ok(None);
        }
        self.judged(variable)?;
        let endpoint = if variable == ENDPOINT.name { with_path(endpoint) } else { endpoint };
        let headers = self.either(&TRACES_HEADERS, &HEADERS)?.map_or_else(Vec::new, pairs);
        let timeout = self.either(&TRACES_TIMEOUT, &TIMEOUT_ENTRY)?.and_then(|text| text.parse().ok());
        let protocol = self.either(&TRACES_PROTOCOL, &PROTOCOL_ENTRY)?;
        Ok(Some(Telemetry {
            endpoint,
            variable,
            protocol: if protocol == Some("http/json") { TelemetryProtocol::Json } else { TelemetryProtocol::Protobuf },
            headers: headers.into_iter().map(|(name, value)| (name, value.into())).collect(),
            timeout: timeout.map_or(USUAL_TIMEOUT, Duration::from_millis),
            gzip: self.either(&TRACES_COMPRESSION, &COMPRESSION_ENTRY)? == Some("gzip"),
            service: self.judged(SERVICE.name)?.map(str::to_owned),
            attributes: self.judged(RESOURCE.name)?.map_or_else(Vec::new, pairs),
            parent: self.get(PARENT.name).map(str::to_owned),
        }))
    }

    /// The value of the variable for traces alone, else that of the general one.
    fn either(&self, own: &Entry, general: &Entry) -> Result<Option<&str>, SettingsError> {
        match self.judged(own.name)? {
            Some(own) => Ok(Some(own)),
            None => self.judged(general.name),
        }
    }

    /// Hands the worker of `contract` what somebody set for OpenTelemetry, but for what `[worker] env` sets itself: the
    /// name of the service is that of the worker's own, and what its spans are below is said by each job.
    ///
    /// The secrets among them go to `variables`, where nobody shows them.
    pub fn hand_down_telemetry(
        &self,
        contract: &mut Contract,
        variables: &mut BTreeMap<String, SecretString>,
    ) {
        for (name, value) in self.set_by_somebody("OTEL_") {
            if name == SERVICE.name {
                continue;
            }
            let password = name.ends_with("_ENDPOINT") && value::carries_password(value.expose_secret());
            let template = if password || name.ends_with("_HEADERS") {
                let template = Template::place(&format!("{ENV}{name}"));
                variables.entry(name.clone()).or_insert(value);
                template
            } else {
                Template::literal(value.expose_secret())
            };
            contract.worker.env.entry(name).or_insert(template);
        }
    }
}

/// `/v1/traces` below the address of a collector.
fn with_path(endpoint: SecretString) -> SecretString {
    let Ok(mut url) = Url::parse(endpoint.expose_secret()) else { return endpoint };
    url.set_path(&format!("{}/v1/traces", url.path().trim_end_matches('/')));
    SecretString::from(String::from(url))
}

/// `key=value,…` with percent signs before what could not be written otherwise.
fn pairs(text: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8_lossy().into_owned();
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

/// What is wrong with `key=value,…`, without repeating it.
pub(super) fn pairs_problem(text: &str) -> Option<String> {
    let lacks = |pair: &str| !pair.trim().is_empty() && pair.split_once('=').is_none_or(|(name, _)| name.trim().is_empty());
    text.split(',').any(lacks).then(|| "one of its parts is no `key=value`".to_owned())
}

/// What is wrong with headers written as `key=value,…`, without repeating them.
pub(super) fn headers_problem(text: &str) -> Option<String> {
    use reqwest::header::{HeaderName, HeaderValue};
    pairs_problem(text).or_else(|| {
        let unfit = |(name, value): &(String, String)| {
            HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err()
        };
        pairs(text).iter().any(unfit).then(|| "one of its parts is no header that HTTP can carry".to_owned())
    })
}
