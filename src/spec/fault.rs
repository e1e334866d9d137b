//! Faults as data: what is broken, when, and for how long.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::jina::{Answer, Behaviour};

/// Reads `500ms`, `10s`, `2m` or `1h`; `None` for anything else.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(unit);
    let seconds = match unit.trim() {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
    /// Both ways.
    Both,
}

impl Direction {
    /// Whether what happens to `self` happens to bytes that go `way`.
    #[must_use]
    pub const fn covers(self, way: Self) -> bool {
        matches!((self, way), (Self::Both, _) | (Self::Up, Self::Up) | (Self::Down, Self::Down))
    }
}

/// One thing that happens to the connections of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkFault {
    /// Connections are reset, new ones as soon as they are accepted: attempts are seen, and get nowhere.
    Refuse,
    /// Connections that are open are reset, once; with a duration, new ones too until it is over.
    Cut,
    /// Bytes are taken and go nowhere, new connections are accepted and nothing answers. Nobody is told. A connection
    /// that lost bytes is reset when this ends: a stream with a hole in it would be worse than none.
    Blackhole,
    /// Bytes arrive later.
    Latency {
        /// Milliseconds.
        ms: u64,
        /// Give or take so many milliseconds, evenly spread; the order of bytes is kept.
        #[serde(default)]
        jitter_ms: u64,
    },
    /// No more than so many bytes a second, for each connection and direction.
    Bandwidth {
        /// Bytes a second.
        rate: u64,
    },
    /// When one side closes, the other is told later.
    SlowClose {
        /// Milliseconds.
        ms: u64,
    },
    /// A connection is reset after so many bytes, also in the middle of a message.
    LimitData {
        /// Bytes, counted in each direction from when this begins.
        bytes: u64,
    },
    /// One direction goes on, the other loses its bytes: requests arrive and answers do not, or the reverse.
    HalfOpen,
    /// Refused and served in turn, beginning with refused.
    Flap {
        /// Milliseconds of each turn.
        ms: u64,
    },
    /// Every request over HTTP is answered with an error, as a gateway before an overloaded service does; over HTTP/1
    /// and HTTP/2, so that gRPC clients meet it too. Connections that are open are reset first.
    Answer {
        /// The HTTP status, such as 503. With 200 the answer is a page.
        status: u16,
        /// Seconds of a `Retry-After` header.
        #[serde(default)]
        retry_after_s: Option<u64>,
        /// Which requests are meant; all, when nothing is said. The others get through to the service.
        #[serde(default)]
        only: Option<Requests>,
    },
}

/// Requests of Qdrant's, over REST and gRPC alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Requests {
    /// Those by which points are removed, and batches of changes that may hold such.
    Removals,
}

impl Requests {
    /// Whether a request to this path is one of them.
    #[must_use]
    pub fn has(self, path: &str) -> bool {
        // REST: `/collections/a/points/delete`; gRPC: `/qdrant.Points/Delete`.
        let path = path.trim_end_matches('/').to_ascii_lowercase();
        match self {
            Self::Removals => {
                ["points/delete", "points/batch", "points/updatebatch"].iter().any(|end| path.ends_with(end))
            }
        }
    }
}

impl NetworkFault {
    /// Its word in suites, reports and on the command line.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Cut => "cut",
            Self::Blackhole => "blackhole",
            Self::Latency { .. } => "latency",
            Self::Bandwidth { .. } => "bandwidth",
            Self::SlowClose { .. } => "slow_close",
            Self::LimitData { .. } => "limit_data",
            Self::HalfOpen => "half_open",
            Self::Flap { .. } => "flap",
            Self::Answer { .. } => "answer",
        }
    }

    /// The direction that is meant when none is given: with half a connection, answers are lost.
    #[must_use]
    pub const fn usual_direction(&self) -> Direction {
        match self {
            Self::HalfOpen => Direction::Down,
            _ => Direction::Both,
        }
    }
}

impl fmt::Display for NetworkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What happens to a process of the worker: to the one that has run longest, where there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerFault {
    /// SIGKILL; started again when the fault is over.
    Kill,
    /// SIGTERM; started again when it has ended and the fault is over.
    Terminate,
    /// SIGTERM, and again 100 ms later; started again when it has ended and the fault is over.
    TerminateTwice,
    /// SIGSTOP; SIGCONT when the fault is over.
    Pause,
    /// One more worker joins; it is told to leave (SIGTERM) when the fault is over.
    Join,
}

impl WorkerFault {
    /// Its word in suites and reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Terminate => "terminate",
            Self::TerminateTwice => "terminate_twice",
            Self::Pause => "pause",
            Self::Join => "join",
        }
    }
}

/// A service between which and the worker a proxy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Redis.
    Redis,
    /// Postgres.
    Postgres,
    /// Qdrant, both of its ports.
    Qdrant,
    /// The embeddings API.
    Jina,
}

impl Target {
    /// Its word in suites and reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::Qdrant => "qdrant",
            Self::Jina => "jina",
        }
    }
}

/// What happens to a service itself. All but the last disturb everybody who uses it, so the scenario has it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ServiceFault {
    /// Ended politely and started again over the same data.
    Restart,
    /// SIGKILL; started again over the same data when the fault is over.
    Kill,
    /// SIGSTOP; SIGCONT when the fault is over.
    Pause,
    /// The service ends every connection itself, once: `CLIENT KILL`, `pg_terminate_backend`.
    DropConnections,
    /// Writes are refused, reads go on: a Redis that was made a replica (`READONLY`), a Postgres whose transactions are
    /// read-only (25006).
    ReadOnly,
    /// Redis has reached its `maxmemory` and evicts nothing: writes are answered with `OOM`.
    OutOfMemory,
    /// Redis cannot save to disk: writes are answered with `MISCONF`.
    Misconf,
    /// Every connection that Postgres permits is taken by others (53300), and those of the worker are ended.
    TooManyConnections,
    /// Qdrant's strict mode permits so many writes a minute to this collection, and answers 429 with `Retry-After`.
    RateLimit {
        /// Points a minute.
        per_minute: u32,
    },
}

impl ServiceFault {
    /// Its word in suites and reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::DropConnections => "drop_connections",
            Self::ReadOnly => "read_only",
            Self::OutOfMemory => "out_of_memory",
            Self::Misconf => "misconf",
            Self::TooManyConnections => "too_many_connections",
            Self::RateLimit { .. } => "rate_limit",
        }
    }

    /// Whether it can happen to `target`.
    #[must_use]
    pub const fn suits(self, target: Target) -> bool {
        match self {
            Self::Restart | Self::Kill | Self::Pause => !matches!(target, Target::Jina),
            Self::DropConnections | Self::ReadOnly => matches!(target, Target::Redis | Target::Postgres),
            Self::OutOfMemory | Self::Misconf => matches!(target, Target::Redis),
            Self::TooManyConnections => matches!(target, Target::Postgres),
            Self::RateLimit { .. } => matches!(target, Target::Qdrant),
        }
    }

    /// The `SQLSTATE` with which Postgres refuses what the fault forbids (PostgreSQL, appendix A).
    #[must_use]
    pub const fn refusal(self) -> Option<&'static str> {
        match self {
            Self::ReadOnly => Some("25006"),
            Self::TooManyConnections => Some("53300"),
            _ => None,
        }
    }

    /// Whether everybody who uses the service feels it.
    #[must_use]
    pub const fn is_felt_by_all(self) -> bool {
        !matches!(self, Self::RateLimit { .. })
    }
}

/// Something that is counted while a step goes on, seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Milestone {
    /// Requests that the embeddings API got.
    Requests,
    /// Points in the collection.
    Points,
    /// Rows that say the document is done.
    Rows,
    /// Jobs in work at this moment.
    Active,
    /// Jobs that have ended.
    Jobs,
}

impl Milestone {
    /// Its word in suites, in the plural.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Points => "points",
            Self::Rows => "rows",
            Self::Active => "active",
            Self::Jobs => "jobs",
        }
    }

    const ALL: [(&'static str, Self); 5] = [
        ("request", Self::Requests),
        ("point", Self::Points),
        ("row", Self::Rows),
        ("active", Self::Active),
        ("job", Self::Jobs),
    ];
}

/// When a fault begins: `25%` of the step's jobs have ended, `500ms` after the step began, or at a point of the
/// pipeline: `1 active`, `3 requests`, `12 points`, `2 rows`, `5 jobs`, or so long after one: `150ms after 1 row`. Or
/// while another is in force: `300ms into fault 1`, that long after the first of the list has begun, and never when that
/// one is over.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub enum When {
    /// A share of progress, from 0 to 1.
    Share(f64),
    /// A time after the step began.
    After(Duration),
    /// So many of something, counted since the step began, were there that long ago.
    Count(u64, Milestone, Duration),
    /// A time after a fault before it in the list began, counted from 1, while that is in force.
    Into(Duration, usize),
}

impl TryFrom<String> for When {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let share = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        let (later, point) = text.split_once(" after ").unwrap_or(("0ms", &text));
        let count = point.split_once(' ').and_then(|(number, word)| {
            let one = word.strip_suffix('s').unwrap_or(word);
            let milestone = Milestone::ALL.iter().find(|(name, _)| *name == one)?.1;
            Some(Self::Count(number.parse().ok()?, milestone, duration(later)?))
        });
        if let Some((time, fault)) = text.split_once(" into fault ")
            && let (Some(time), Ok(fault)) = (duration(time), fault.trim().parse())
        {
            return Ok(Self::Into(time, fault));
        }
        match (share, count, duration(&text)) {
            (Some(share), _, _) if (0.0..=100.0).contains(&share) => Ok(Self::Share(share / 100.0)),
            (None, Some(count), _) => Ok(count),
            (None, None, Some(time)) => Ok(Self::After(time)),
            _ => Err(format!(
                "`{text}` is no moment; write a share of progress such as \"25%\", a time such as \"500ms\", or a \
                 point of the pipeline such as \"1 active\", \"3 requests\", \"12 points\", \"2 rows\", \"5 jobs\", a \
                 time after one such as \"150ms after 1 row\", or a time in another fault such as \"300ms into fault 1\""
            )),
        }
    }
}

/// How long a fault lasts: `500ms`, `2s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Lasts(pub Duration);

impl TryFrom<String> for Lasts {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        duration(&text).map(Self).ok_or_else(|| format!("`{text}` is no time; write for instance \"500ms\" or \"2s\""))
    }
}

/// What a fault breaks.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultKind {
    /// The connections between the worker and some services.
    Network {
        /// Which services; all of them at once.
        on: Vec<Target>,
        /// What happens to them.
        fault: NetworkFault,
        /// Which way; both when absent, and down for `half_open`.
        direction: Option<Direction>,
    },
    /// A service itself.
    Service {
        /// Which service.
        on: Target,
        /// What happens to it.
        fault: ServiceFault,
    },
    /// The answers of the embeddings API, beside those of the scenario; requests are counted anew.
    Jina(Vec<Behaviour>),
    /// The process of the worker.
    Worker(WorkerFault),
}

/// One fault of a scenario as written: when it begins, how long it lasts, and one of `network`, `service`, `jina` and
/// `worker`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FaultWritten {
    /// When it begins.
    at: When,
    /// In which step, counted from 1; the first when absent.
    #[serde(default)]
    step: Option<usize>,
    /// How long it lasts; a cut without a duration happens once. What has met nothing by then waits for something to
    /// meet, for ten seconds at most and while there is work left, and then has its time.
    #[serde(default, rename = "for")]
    lasts: Option<Lasts>,
    /// A fault of the connections between the worker and some services.
    #[serde(default)]
    network: Option<NetworkWritten>,
    /// A fault of a service itself.
    #[serde(default)]
    service: Option<ServiceWritten>,
    /// Answers of the embeddings API, beside those of the scenario; requests are counted anew.
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
    /// Which services; all of them at once.
    on: Vec<Target>,
    /// What happens to them.
    fault: NetworkFault,
    /// Which way; both when absent, and down for `half_open`.
    #[serde(default)]
    direction: Option<Direction>,
}

/// A fault of a service itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServiceWritten {
    /// Which service.
    on: Target,
    /// What happens to it.
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
    /// What is broken.
    pub kind: FaultKind,
}

impl TryFrom<FaultWritten> for Fault {
    type Error = &'static str;

    fn try_from(written: FaultWritten) -> Result<Self, Self::Error> {
        let FaultWritten { at, step, lasts, network, service, jina, worker } = written;
        let kind = match (network, service, jina, worker) {
            (Some(NetworkWritten { on, fault, direction }), None, None, None) => {
                FaultKind::Network { on, fault, direction }
            }
            (None, Some(ServiceWritten { on, fault }), None, None) => FaultKind::Service { on, fault },
            (None, None, Some(behaviours), None) => FaultKind::Jina(behaviours),
            (None, None, None, Some(fault)) => FaultKind::Worker(fault),
            _ => return Err("a fault needs exactly one of `network`, `service`, `jina` and `worker`"),
        };
        Ok(Self { at, step, lasts, kind })
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
                _ => f.write_str("bent answers of jina"),
            },
            FaultKind::Worker(fault) => write!(f, "{} of the worker", fault.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, milliseconds) in [
            ("500ms", Some(500)),
            ("10s", Some(10_000)),
            ("1.5s", Some(1500)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("1.2.3s", None),
            ("1 day", None),
        ] {
            assert_eq!(duration(text), milliseconds.map(Duration::from_millis), "{text}");
        }
    }

    fn fault(text: &str) -> Result<Fault, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_fault_reads_as_it_is_said() {
        let read = fault(
            r#"at = "25%"
            for = "2s"
            network = { on = ["redis"], fault = "refuse" }"#,
        )
        .unwrap();
        assert_eq!((read.at, read.lasts), (When::Share(0.25), Some(Lasts(Duration::from_secs(2)))));
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
        let within = When::Into(Duration::from_millis(300), 1);
        assert_eq!(When::try_from("300ms into fault 1".to_owned()), Ok(within));
        assert!(When::try_from("300ms into fault one".to_owned()).is_err());
        let row = |later| Ok(When::Count(1, Milestone::Rows, Duration::from_millis(later)));
        assert_eq!(When::try_from("1 row".to_owned()), row(0));
        assert_eq!(When::try_from("150ms after 1 row".to_owned()), row(150));
        assert!(When::try_from("soon after 1 row".to_owned()).is_err());
        assert_eq!(fault("at = \"50%\"\nworker = \"kill\"").unwrap().to_string(), "kill of the worker");
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (text, says) in [
            ("at = \"later\"\nworker = \"kill\"", "no moment"),
            ("at = \"3 sheep\"\nworker = \"kill\"", "no moment"),
            ("at = \"120%\"\nworker = \"kill\"", "no moment"),
            ("at = \"1s\"\nfor = \"long\"\nworker = \"kill\"", "no time"),
            ("at = \"1s\"\nworker = \"tickle\"", "unknown variant"),
            ("at = \"1s\"\nnetwork = { on = [\"kafka\"], fault = \"cut\" }", "unknown variant"),
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
