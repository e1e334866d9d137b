//! Network faults: what may happen to the connections of one service. One file per kind.
//!
//! A kind implements [`NetworkKind`]: the proxy asks every fault in force what it does to a connection, and knows no
//! kind by name. A kind that changes bytes on their way (`limit_data`, `latency`, `bandwidth`) keeps its state for one
//! direction of a connection in its own file, and [`Shaper`] applies these states in a fixed order.

mod active;
mod answer;
mod bandwidth;
mod blackhole;
mod cut;
mod flap;
mod half_open;
mod hold;
mod kind;
mod latency;
mod limit_data;
mod refusal;
mod refuse;
mod shaper;
mod slow_close;
mod statement;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::NetworkFault;
use super::proxy::Log;
pub use active::Effect;
pub(super) use active::{Active, ActiveFaults};
pub(super) use blackhole::WORD as BLACKHOLE;
pub(super) use cut::WORD as CUT;
pub(super) use kind::NetworkKind;
pub(super) use shaper::Shaper;
pub(super) use statement::Statement;

/// What a kind may use when it starts.
pub(super) struct StartContext<'a> {
    /// The service behind the proxy, a `host:port`.
    pub(super) upstream: &'a str,
    pub(super) effect: &'a Arc<Effect>,
    pub(super) log: &'a Arc<Log>,
    /// Wakes every connection, so that it looks at the faults again.
    pub(super) active_faults: &'a watch::Sender<Arc<ActiveFaults>>,
}

/// A kind that has started, with the task that it runs until it is reverted.
pub(super) type Started = (Arc<dyn NetworkKind>, Option<AbortHandle>);

/// Starts a fault: the one place that knows every kind.
pub(super) fn start(fault: NetworkFault, context: &StartContext<'_>) -> Started {
    match fault {
        NetworkFault::Refuse => (Arc::new(refuse::Refuse), None),
        NetworkFault::Cut => (Arc::new(cut::Cut), None),
        NetworkFault::Blackhole => (Arc::new(blackhole::Blackhole), None),
        NetworkFault::HalfOpen => (Arc::new(half_open::HalfOpen), None),
        NetworkFault::Latency { ms, jitter_ms } => (Arc::new(latency::Latency::new(ms, jitter_ms)), None),
        NetworkFault::Bandwidth { rate } => (Arc::new(bandwidth::Bandwidth { rate }), None),
        NetworkFault::SlowClose { ms } => (Arc::new(slow_close::SlowClose::new(ms)), None),
        NetworkFault::LimitData { bytes } => (Arc::new(limit_data::LimitData { bytes }), None),
        NetworkFault::Flap { ms } => flap::start(ms, context),
        NetworkFault::Answer { status, retry_after_s, only } => {
            answer::start(&answer::Reply { status, retry_after_s, held: None, only }, context)
        }
        NetworkFault::SqlError { sqlstate, statements, from, times } => {
            let count = refusal::RequestCount::new(from, times);
            (Arc::new(refusal::SqlRefusals { sqlstate, statements, count }), None)
        }
        NetworkFault::RedisError { error, commands, from, times } => {
            let count = refusal::RequestCount::new(from, times);
            (Arc::new(refusal::RedisRefusals { error, commands, count }), None)
        }
        NetworkFault::Hold { ms, only } => hold::start(ms, only, context),
    }
}

/// Reads the value of `KIND=VALUE`; the error says what is wrong with it.
type Parse = fn(Option<&str>) -> Result<NetworkFault, String>;

/// Every kind by its word on the command line. Kinds that read requests of Postgres and Redis are missing: a proxy of the
/// command line does not know the protocol of its service.
const KINDS: [(&str, Parse); 11] = [
    ("refuse", refuse::parse),
    (cut::WORD, cut::parse),
    (blackhole::WORD, blackhole::parse),
    ("latency", latency::parse),
    ("bandwidth", bandwidth::parse),
    ("slow_close", slow_close::parse),
    ("limit_data", limit_data::parse),
    ("half_open", half_open::parse),
    ("flap", flap::parse),
    ("answer", answer::parse),
    ("hold", hold::parse),
];

/// Reads `KIND` or `KIND=VALUE`; the error says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<NetworkFault, String> {
    let (word, value) = text.split_once('=').map_or((text, None), |(word, value)| (word, Some(value)));
    if let Some((_, parse)) = KINDS.iter().find(|(kind, _)| *kind == word) {
        return parse(value);
    }
    let words = KINDS.map(|(kind, _)| kind);
    let suggestion = crate::settings::similar(word, words.map(str::to_owned))
        .map_or_else(String::new, |word| format!("; did you mean {word}?"));
    Err(format!("the kinds are {}{suggestion}", words.join(", ")))
}

/// Refuses a value: for a kind that takes none.
fn no_value(word: &str, value: Option<&str>) -> Result<(), String> {
    if value.is_some() { Err(format!("{word} takes no value")) } else { Ok(()) }
}

/// The value of a kind that needs one.
fn value<'a>(word: &str, value: Option<&'a str>, example: &str) -> Result<&'a str, String> {
    value.ok_or_else(|| format!("{word} needs a value, e.g. {word}={example}"))
}

/// A duration.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    crate::spec::parse_duration(text).ok_or_else(|| format!("invalid duration `{text}`: expected e.g. 500ms or 2s"))
}

/// A duration in milliseconds.
fn millis(text: &str) -> Result<u64, String> {
    parse_duration(text).map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// A number of bytes: `4096`, `64KiB`, `2MiB`.
fn bytes(text: &str) -> Result<u64, String> {
    let unit = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let factor = match unit.trim() {
        "" | "B" => Some(1),
        "KiB" => Some(1024),
        "MiB" => Some(1024 * 1024),
        _ => None,
    };
    let number = number.parse::<u64>().ok();
    factor
        .zip(number)
        .and_then(|(factor, number)| number.checked_mul(factor))
        .ok_or_else(|| format!("invalid number of bytes `{text}`: expected e.g. 4096, 64KiB or 2MiB"))
}

#[cfg(test)]
pub(super) mod testing;
