//! The OpenTelemetry variables.

use super::entry::{Entry, Kind, Need, Secrecy, TELEMETRY};

const READERS: &[Need] = &[Need::Check, Need::Run, Need::Worker];
const HTTP: Kind = Kind::Url(&["http", "https"]);
const PROTOCOL: Kind = Kind::Choice(&["http/protobuf", "http/json"]);
const COMPRESSION: Kind = Kind::Choice(&["none", "gzip"]);
const TIMEOUT: Kind = Kind::Milliseconds { min: 1, max: 600_000 };
const GENERAL: &str = "the value of the variable without `TRACES_`";

const fn variable(name: &'static str, kind: Kind, meaning: &'static str) -> Entry {
    Entry::new(name, kind, READERS, meaning).group(TELEMETRY)
}

pub(in crate::settings) const ENDPOINT: Entry =
    variable("OTEL_EXPORTER_OTLP_ENDPOINT", HTTP, "OTLP/HTTP trace collector; `/v1/traces` is appended")
        .secret(Secrecy::Password)
        .otherwise("no traces are exported")
        .example("http://127.0.0.1:4318");
pub(in crate::settings) const TRACES_ENDPOINT: Entry = variable(
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    HTTP,
    "OTLP/HTTP trace collector, with its full path; nothing is appended",
)
.secret(Secrecy::Password)
.otherwise(GENERAL)
.example("http://127.0.0.1:4318/v1/traces");
pub(in crate::settings) const PROTOCOL_ENTRY: Entry =
    variable("OTEL_EXPORTER_OTLP_PROTOCOL", PROTOCOL, "encoding of spans").default("http/protobuf");
pub(in crate::settings) const TRACES_PROTOCOL: Entry =
    variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", PROTOCOL, "encoding of spans")
        .otherwise(GENERAL)
        .example("http/protobuf");
pub(in crate::settings) const HEADERS: Entry =
    variable("OTEL_EXPORTER_OTLP_HEADERS", Kind::Headers, "headers that the collector requires, such as a key")
        .secret(Secrecy::Yes)
        .otherwise("none")
        .example("authorization=Bearer%20change-me");
pub(in crate::settings) const TRACES_HEADERS: Entry =
    variable("OTEL_EXPORTER_OTLP_TRACES_HEADERS", Kind::Headers, "headers that the collector requires, such as a key")
        .secret(Secrecy::Yes)
        .otherwise(GENERAL)
        .example("authorization=Bearer%20change-me");
pub(in crate::settings) const TIMEOUT_ENTRY: Entry =
    variable("OTEL_EXPORTER_OTLP_TIMEOUT", TIMEOUT, "timeout of one request to the collector").default("10000");
pub(in crate::settings) const TRACES_TIMEOUT: Entry =
    variable("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", TIMEOUT, "timeout of one request to the collector")
        .otherwise(GENERAL)
        .example("10000");
pub(in crate::settings) const COMPRESSION_ENTRY: Entry =
    variable("OTEL_EXPORTER_OTLP_COMPRESSION", COMPRESSION, "compression of requests").default("none");
pub(in crate::settings) const TRACES_COMPRESSION: Entry =
    variable("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", COMPRESSION, "compression of requests")
        .otherwise(GENERAL)
        .example("gzip");
pub(in crate::settings) const EXPORTER: Entry =
    variable("OTEL_TRACES_EXPORTER", Kind::Choice(&["otlp", "none"]), "`none` disables traces, even with an endpoint")
        .default("otlp");
pub(in crate::settings) const DISABLED: Entry =
    variable("OTEL_SDK_DISABLED", Kind::Switch, "`true` disables traces, even with an endpoint").default("false");
pub(in crate::settings) const SERVICE: Entry =
    variable("OTEL_SERVICE_NAME", Kind::Text, "service name of the spans; not passed to the worker under test")
        .otherwise("`shakedown`, and `shakedown-worker` for the reference worker")
        .example("shakedown");
pub(in crate::settings) const RESOURCE: Entry =
    variable("OTEL_RESOURCE_ATTRIBUTES", Kind::Pairs, "resource attributes of every span, as `key=value,…`")
        .otherwise("only name and version")
        .example("deployment.environment.name=ci");
pub(in crate::settings) const PARENT: Entry =
    variable("TRACEPARENT", Kind::Text, "parent span in W3C Trace Context format, as CI systems set it")
        .otherwise("a new trace")
        .example("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
