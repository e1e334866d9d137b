//! Faults as data: what is broken, when, and for how long.

mod network;
mod refused;
mod service;
mod when;
mod worker;

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

pub use network::{Direction, NetworkFault};
pub use refused::{Commands, RedisError, Requests, SqlState, Statements};
pub use service::{ServiceFault, Target};
pub use when::{Lasts, Milestone, When, parse_duration};
pub use worker::WorkerFault;

use super::jina::{Answer, Behaviour};

/// What a fault breaks.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultKind {
    /// A fault of the connections between the worker and some services.
    Network {
        /// Which services, all at the same time.
        on: Vec<Target>,
        /// The fault.
        fault: NetworkFault,
        /// Which direction; both when absent, and down for `half_open`.
        direction: Option<Direction>,
    },
    /// A fault of a service itself.
    Service {
        /// Which service.
        on: Target,
        /// The fault.
        fault: ServiceFault,
    },
    /// Answers of the embeddings API, in addition to those of the scenario; requests are counted anew.
    Jina(Vec<Behaviour>),
    /// A fault of the worker's process.
    Worker(WorkerFault),
}

/// One fault of a scenario: when it begins, how long it lasts, and exactly one of `network`, `service`, `jina` and
/// `worker`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FaultWritten {
    /// When it begins.
    at: When,
    /// In which step, counted from 1; the first when absent.
    #[serde(default)]
    step: Option<usize>,
    /// How long it lasts; a cut without a duration happens once. A fault that has affected nothing by then is extended until
    /// it does, for at most ten seconds and while there is work left, and then lasts this long.
    #[serde(default, rename = "for")]
    lasts: Option<Lasts>,
    /// The step, counted from 1, with whose last job it ends; `for` is then the longest time that it lasts.
    #[serde(default)]
    until_step: Option<usize>,
    /// A fault of the connections between the worker and some services.
    #[serde(default)]
    network: Option<NetworkWritten>,
    /// A fault of a service itself.
    #[serde(default)]
    service: Option<ServiceWritten>,
    /// Answers of the embeddings API, in addition to those of the scenario; requests are counted anew.
    #[serde(default)]
    jina: Option<Vec<Behaviour>>,
    /// A fault of the worker's process.
    #[serde(default)]
    worker: Option<WorkerFault>,
}

/// A fault of the connections between the worker and some services.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NetworkWritten {
    /// Which services, all at the same time.
    on: Vec<Target>,
    /// The fault.
    fault: NetworkFault,
    /// Which direction; both when absent, and down for `half_open`.
    #[serde(default)]
    direction: Option<Direction>,
}

/// A fault of a service itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServiceWritten {
    /// Which service.
    on: Target,
    /// The fault.
    fault: ServiceFault,
}

/// One fault that a scenario injects and reverts.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "FaultWritten")]
#[schemars(with = "FaultWritten")]
pub struct Fault {
    /// When it begins.
    pub at: When,
    /// In which step, counted from 1; the first when absent.
    pub step: Option<usize>,
    /// How long it lasts; `None` for a cut that happens once.
    pub lasts: Option<Lasts>,
    /// The step with whose last job it ends, counted from 1; `lasts` is then the longest time.
    pub until_step: Option<usize>,
    /// What is broken.
    pub kind: FaultKind,
}

impl TryFrom<FaultWritten> for Fault {
    type Error = &'static str;

    fn try_from(written: FaultWritten) -> Result<Self, Self::Error> {
        let FaultWritten { at, step, lasts, until_step, network, service, jina, worker } = written;
        let kind = match (network, service, jina, worker) {
            (Some(NetworkWritten { on, fault, direction }), None, None, None) => {
                FaultKind::Network { on, fault, direction }
            }
            (None, Some(ServiceWritten { on, fault }), None, None) => FaultKind::Service { on, fault },
            (None, None, Some(behaviours), None) => FaultKind::Jina(behaviours),
            (None, None, None, Some(fault)) => FaultKind::Worker(fault),
            _ => return Err("a fault needs exactly one of `network`, `service`, `jina` and `worker`"),
        };
        Ok(Self { at, step, lasts, until_step, kind })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FaultKind::Network { on, fault, .. } => {
                let on: Vec<&str> = on.iter().map(|target| target.word()).collect();
                write!(f, "{fault} of {}", on.join(", "))
            }
            FaultKind::Service { on, fault } => write!(f, "{} of {}", fault.word(), on.word()),
            FaultKind::Jina(behaviours) => match behaviours.first().map(|behaviour| &behaviour.answer) {
                Some(Answer::Status { code, .. }) => write!(f, "answers {code} of jina"),
                _ => f.write_str("malformed answers of jina"),
            },
            FaultKind::Worker(fault) => write!(f, "{} of the worker", fault.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn fault(text: &str) -> Result<Fault, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_fault_is_read_and_displayed() {
        let read = fault(
            r#"at = "25%"
            for = "2s"
            network = { on = ["redis"], fault = "refuse" }"#,
        )
        .unwrap();
        assert_eq!((read.at, read.lasts), (When::Share(0.25), Some(Lasts::Time(Duration::from_secs(2)))));
        assert_eq!(read.to_string(), "refuse of redis");
        let late = fault(
            r#"at = "500ms"
            network = { on = ["qdrant", "jina"], fault = { latency = { ms = 200, jitter_ms = 50 } }, direction = "down" }"#,
        );
        assert_eq!(late.unwrap().to_string(), "latency of qdrant, jina");
        let points = fault("at = \"12 points\"\nstep = 2\nservice = { on = \"redis\", fault = \"restart\" }").unwrap();
        assert_eq!(
            (points.at, points.to_string()),
            (When::Count(12, Milestone::Points, Duration::ZERO), "restart of redis".to_owned())
        );
        let refused = fault(
            "at = \"0ms\"\nfor = \"5s\"\nnetwork = { on = [\"postgres\"], fault = { sql_error = { sqlstate = \"40001\", times = 1 } } }",
        );
        assert_eq!(refused.unwrap().to_string(), "sql_error 40001 of postgres");
        assert_eq!(fault("at = \"50%\"\nworker = \"kill\"").unwrap().to_string(), "kill of the worker");
    }

    #[test]
    fn an_invalid_fault_is_refused_with_the_reason() {
        for (text, says) in [
            ("at = \"later\"\nworker = \"kill\"", "invalid time of a fault"),
            ("at = \"3 sheep\"\nworker = \"kill\"", "invalid time of a fault"),
            ("at = \"120%\"\nworker = \"kill\"", "invalid time of a fault"),
            ("at = \"1s\"\nfor = \"long\"\nworker = \"kill\"", "invalid duration"),
            ("at = \"1s\"\nworker = \"tickle\"", "unknown variant"),
            ("at = \"1s\"\nnetwork = { on = [\"kafka\"], fault = \"cut\" }", "unknown variant"),
            (
                "at = \"1s\"\nnetwork = { on = [\"postgres\"], fault = { sql_error = { sqlstate = \"4\" } } }",
                "invalid SQLSTATE `4`",
            ),
            (
                "at = \"1s\"\nnetwork = { on = [\"redis\"], fault = { latency = { s = 1 } } }",
                "unexpected keys in table: s",
            ),
        ] {
            let error = fault(text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
