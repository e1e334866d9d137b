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
pub(super) const TRACES_PROTOCOL: Entry = of("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", PROTOCOL, "how spans are written")
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

    /// WorkerPool the worker of `contract` what somebody set for OpenTelemetry, but for what `[worker] env` sets itself: the
    /// name of the service is that of the worker's own, and what its spans are below is said by each job.
    ///
    /// The secrets among them go to `variables`, where nobody shows them.
    pub fn hand_down_telemetry(&self, contract: &mut Contract, variables: &mut BTreeMap<String, SecretString>) {
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
    let lacks =
        |pair: &str| !pair.trim().is_empty() && pair.split_once('=').is_none_or(|(name, _)| name.trim().is_empty());
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rstest::rstest;

    use super::*;
    use crate::settings::{Program, Source, WorkerContract};

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::load(Source { environment, ..Source::default() }).unwrap()
    }

    fn telemetry(pairs: &[(&str, &str)]) -> Option<Telemetry> {
        settings(pairs).telemetry().unwrap()
    }

    #[rstest]
    #[case("http://c:4318", "http://c:4318/v1/traces")]
    #[case("http://c:4318/", "http://c:4318/v1/traces")]
    #[case("https://u:p@c/otlp/", "https://u:p@c/otlp/v1/traces")]
    #[case("https://c/otlp?tenant=a", "https://c/otlp/v1/traces?tenant=a")]
    fn the_path_of_traces_is_added_to_the_general_address(#[case] given: &str, #[case] wanted: &str) {
        let telemetry = telemetry(&[("OTEL_EXPORTER_OTLP_ENDPOINT", given)]).unwrap();
        assert_eq!(telemetry.endpoint.expose_secret(), wanted);
        assert_eq!((telemetry.protocol, telemetry.timeout), (TelemetryProtocol::Protobuf, USUAL_TIMEOUT));
    }

    #[test]
    fn what_is_said_of_traces_alone_counts_more() {
        let telemetry = telemetry(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://own"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ]);
        let telemetry = telemetry.unwrap();
        assert_eq!((telemetry.endpoint.expose_secret(), telemetry.gzip), ("http://own", true));
        assert_eq!(telemetry.timeout, Duration::from_millis(2));
        assert_eq!(telemetry.protocol, TelemetryProtocol::Json);
    }

    #[rstest]
    #[case(&[])]
    #[case(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")])]
    #[case(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_SDK_DISABLED", "true")])]
    #[case(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_TRACES_EXPORTER", "none")])]
    #[case(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_SERVICE_NAME", "a")])]
    fn without_a_collector_nothing_is_traced(#[case] pairs: &[(&str, &str)]) {
        assert!(telemetry(pairs).is_none());
    }

    #[test]
    fn headers_are_decoded_and_never_shown() {
        let given = "authorization=Bearer%20a%3Db, x-tenant = harbour ,";
        let settings = settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_EXPORTER_OTLP_HEADERS", given)]);
        let telemetry = settings.telemetry().unwrap().unwrap();
        let headers = telemetry.headers.iter().map(|(name, value)| (name.as_str(), value.expose_secret()));
        assert_eq!(headers.collect::<Vec<_>>(), [("authorization", "Bearer a=b"), ("x-tenant", "harbour")]);
        assert_eq!(value::shown(&HEADERS, given), value::MASK);
        assert!(!format!("{telemetry:?}").contains("harbour"));
        assert!(headers_problem("no pair").is_some() && headers_problem("a b=c").is_some());
    }

    #[test]
    fn a_worker_is_handed_what_somebody_set_and_secrets_by_their_place() {
        let mut contract = Contract::of(WorkerContract::new(Program::Command(vec!["w".to_owned()]), PathBuf::new()));
        contract.worker.env.insert("OTEL_LOG_LEVEL".to_owned(), Template::literal("its own"));
        let mut variables = BTreeMap::new();
        let settings = settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://u:p@c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret"),
            ("OTEL_TRACES_SAMPLER", "always_on"),
            ("OTEL_LOG_LEVEL", "debug"),
            ("OTEL_SERVICE_NAME", "harness"),
            ("OTEL_EMPTY", ""),
            ("TRACEPARENT", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ]);
        settings.hand_down_telemetry(&mut contract, &mut variables);
        let place = |name: &str| Template::place(&format!("env.{name}"));
        let wanted = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", Template::literal("http://c")),
            ("OTEL_EXPORTER_OTLP_HEADERS", place("OTEL_EXPORTER_OTLP_HEADERS")),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", place("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")),
            ("OTEL_LOG_LEVEL", Template::literal("its own")),
            ("OTEL_TRACES_SAMPLER", Template::literal("always_on")),
        ];
        assert_eq!(contract.worker.env, wanted.map(|(name, template)| (name.to_owned(), template)).into());
        assert_eq!(
            variables.keys().map(String::as_str).collect::<Vec<_>>(),
            ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
        );
    }
}
