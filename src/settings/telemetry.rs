//! Reads the OpenTelemetry variables: where traces are exported to, and which variables a worker under test gets.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::contract::Contract;
use super::error::SettingsError;
use super::pairs;
use super::table::Entry;
use super::table::telemetry::{
    COMPRESSION_ENTRY, DISABLED, ENDPOINT, EXPORTER, HEADERS, PARENT, PROTOCOL_ENTRY, RESOURCE, SERVICE, TIMEOUT_ENTRY,
    TRACES_COMPRESSION, TRACES_ENDPOINT, TRACES_HEADERS, TRACES_PROTOCOL, TRACES_TIMEOUT,
};
use super::template::{ENV, Template};
use super::values::Settings;
use crate::redaction::carries_secret;

/// The default timeout of the OpenTelemetry specification.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Encoding of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TelemetryProtocol {
    /// `http/protobuf`.
    Protobuf,
    /// `http/json`.
    Json,
}

/// Where traces are exported to, and how.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// The full URL of the collector, which may contain a password.
    pub endpoint: SecretString,
    /// The variable that sets the URL.
    pub variable: &'static str,
    /// Encoding of spans.
    pub protocol: TelemetryProtocol,
    /// Headers of each request.
    pub headers: Vec<(String, SecretString)>,
    /// Timeout of one request.
    pub timeout: Duration,
    /// Whether requests are compressed with gzip.
    pub gzip: bool,
    /// The service name, if one is set.
    pub service: Option<String>,
    /// Resource attributes of every span.
    pub attributes: Vec<(String, String)>,
    /// The parent span, as the variable holds it.
    pub parent: Option<String>,
}

impl Settings {
    /// Where traces are exported to; `None` if no collector is set or traces are disabled.
    ///
    /// # Errors
    /// A collector is set and one of the variables is invalid.
    pub fn telemetry(&self) -> Result<Option<Telemetry>, SettingsError> {
        let (general, own) = (self.secret(ENDPOINT.name), self.secret(TRACES_ENDPOINT.name));
        let (variable, endpoint) = match (own, general) {
            (Some(own), _) => (TRACES_ENDPOINT.name, own),
            (None, Some(general)) => (ENDPOINT.name, general),
            (None, None) => return Ok(None),
        };
        if self.switch(DISABLED.name)? || self.checked(EXPORTER.name)? == Some("none") {
            return Ok(None);
        }
        self.checked(variable)?;
        let endpoint = if variable == ENDPOINT.name { with_path(endpoint) } else { endpoint };
        let headers = self.either(&TRACES_HEADERS, &HEADERS)?.map_or_else(Vec::new, pairs::parse);
        let timeout = self.either(&TRACES_TIMEOUT, &TIMEOUT_ENTRY)?.and_then(|text| text.parse().ok());
        let protocol = self.either(&TRACES_PROTOCOL, &PROTOCOL_ENTRY)?;
        Ok(Some(Telemetry {
            endpoint,
            variable,
            protocol: if protocol == Some("http/json") { TelemetryProtocol::Json } else { TelemetryProtocol::Protobuf },
            headers: headers.into_iter().map(|(name, value)| (name, value.into())).collect(),
            timeout: timeout.map_or(DEFAULT_TIMEOUT, Duration::from_millis),
            gzip: self.either(&TRACES_COMPRESSION, &COMPRESSION_ENTRY)? == Some("gzip"),
            service: self.checked(SERVICE.name)?.map(str::to_owned),
            attributes: self.checked(RESOURCE.name)?.map_or_else(Vec::new, pairs::parse),
            parent: self.get(PARENT.name).map(str::to_owned),
        }))
    }

    /// The value of the variable for traces, else that of the general variable.
    fn either(&self, own: &Entry, general: &Entry) -> Result<Option<&str>, SettingsError> {
        match self.checked(own.name)? {
            Some(own) => Ok(Some(own)),
            None => self.checked(general.name),
        }
    }

    /// Passes the user's OpenTelemetry variables to the worker of `contract`, except those that `[worker] env` sets,
    /// the service name, which is the worker's own, and the parent span, which each job carries.
    ///
    /// Secrets are added to `variables`, so that reports do not show them.
    pub fn pass_on_telemetry(&self, contract: &mut Contract, variables: &mut BTreeMap<String, SecretString>) {
        for (name, value) in self.set_by_user("OTEL_") {
            if name == SERVICE.name {
                continue;
            }
            let password = name.ends_with("_ENDPOINT") && carries_secret(value.expose_secret());
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

/// The collector's URL with `/v1/traces` appended to its path.
fn with_path(endpoint: SecretString) -> SecretString {
    let Ok(mut url) = Url::parse(endpoint.expose_secret()) else { return endpoint };
    url.set_path(&format!("{}/v1/traces", url.path().trim_end_matches('/')));
    SecretString::from(String::from(url))
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
        assert_eq!((telemetry.protocol, telemetry.timeout), (TelemetryProtocol::Protobuf, DEFAULT_TIMEOUT));
    }

    #[test]
    fn a_variable_for_traces_overrides_the_general_one() {
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
    fn without_a_collector_nothing_is_exported(#[case] pairs: &[(&str, &str)]) {
        assert!(telemetry(pairs).is_none());
    }

    #[test]
    fn headers_are_decoded_and_never_shown() {
        let given = "authorization=Bearer%20a%3Db, x-tenant = harbour ,";
        let settings = settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_EXPORTER_OTLP_HEADERS", given)]);
        let telemetry = settings.telemetry().unwrap().unwrap();
        let headers = telemetry.headers.iter().map(|(name, value)| (name.as_str(), value.expose_secret()));
        assert_eq!(headers.collect::<Vec<_>>(), [("authorization", "Bearer a=b"), ("x-tenant", "harbour")]);
        assert_eq!(crate::settings::value::shown(&HEADERS, given), crate::redaction::MASK);
        assert!(!format!("{telemetry:?}").contains("harbour"));
    }

    #[test]
    fn a_worker_gets_the_variables_that_are_set_and_secrets_as_placeholders() {
        let mut contract =
            Contract::for_worker(WorkerContract::new(Program::Command(vec!["w".to_owned()]), PathBuf::new()));
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
        settings.pass_on_telemetry(&mut contract, &mut variables);
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
