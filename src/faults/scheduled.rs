//! Faults on the command line: `KIND[=VALUE][:DIRECTION][@START][+DURATION]`.

use std::str::FromStr;
use std::time::Duration;

use super::network::{parse, parse_duration};
use super::{Direction, NetworkFault};

/// A fault with its time, as `shakedown proxy --fault` takes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScheduledFault {
    /// What happens.
    pub fault: NetworkFault,
    /// To which direction.
    pub direction: Direction,
    /// How long after the start of the proxy.
    pub start: Duration,
    /// For how long; until the proxy ends when absent. A cut without a duration happens once.
    pub lasts: Option<Duration>,
}

/// Why a text is not a valid fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid fault `{text}`: {reason}; expected KIND[=VALUE][:up|:down][@START][+DURATION], e.g. latency=200ms~50ms:down@5s+10s"
)]
pub struct FaultError {
    text: String,
    reason: String,
}

impl FromStr for ScheduledFault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let fail = |reason: String| FaultError { text: text.to_owned(), reason };
        let (rest, lasts) = match text.rsplit_once('+') {
            Some((rest, word)) => (rest, Some(parse_duration(word).map_err(fail)?)),
            None => (text, None),
        };
        let (rest, start) = match rest.rsplit_once('@') {
            Some((rest, word)) => (rest, parse_duration(word).map_err(fail)?),
            None => (rest, Duration::ZERO),
        };
        let (rest, direction) = match rest.rsplit_once(':') {
            Some((rest, "up")) => (rest, Some(Direction::Up)),
            Some((rest, "down")) => (rest, Some(Direction::Down)),
            Some((rest, "both")) => (rest, Some(Direction::Both)),
            Some((_, other)) => {
                return Err(fail(format!("invalid direction `{other}`: expected up, down or both")));
            }
            None => (rest, None),
        };
        let fault = parse(rest).map_err(fail)?;
        if fault == NetworkFault::HalfOpen && direction == Some(Direction::Both) {
            return Err(fail("half_open needs one direction, up or down; for both use blackhole".to_owned()));
        }
        Ok(Self { fault, direction: direction.unwrap_or(fault.usual_direction()), start, lasts })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[rstest]
    #[case("cut", NetworkFault::Cut, Direction::Both, 0, None)]
    #[case("refuse@2s+5s", NetworkFault::Refuse, Direction::Both, 2000, Some(5000))]
    #[case("latency=200ms~50ms:down@5s+10s", NetworkFault::Latency { ms: 200, jitter_ms: 50 }, Direction::Down, 5000, Some(10_000))]
    #[case("latency=1s", NetworkFault::Latency { ms: 1000, jitter_ms: 0 }, Direction::Both, 0, None)]
    #[case("bandwidth=64KiB:up", NetworkFault::Bandwidth { rate: 65_536 }, Direction::Up, 0, None)]
    #[case("limit_data=100", NetworkFault::LimitData { bytes: 100 }, Direction::Both, 0, None)]
    #[case("half_open", NetworkFault::HalfOpen, Direction::Down, 0, None)]
    #[case("answer=503+3s", NetworkFault::Answer { status: 503, retry_after_s: None, only: None }, Direction::Both, 0, Some(3000))]
    #[case("flap=250ms+3s", NetworkFault::Flap { ms: 250 }, Direction::Both, 0, Some(3000))]
    fn a_text_is_read_as_a_fault(
        #[case] text: &str,
        #[case] fault: NetworkFault,
        #[case] direction: Direction,
        #[case] start: u64,
        #[case] lasts: Option<u64>,
    ) {
        let expected = ScheduledFault { fault, direction, start: ms(start), lasts: lasts.map(ms) };
        assert_eq!(text.parse::<ScheduledFault>().unwrap(), expected);
    }

    #[rstest]
    #[case("blackhol", "did you mean blackhole?")]
    #[case("latency", "latency needs a value")]
    #[case("latency=soon", "invalid duration `soon`")]
    #[case("cut=5", "cut takes no value")]
    #[case("cut:sideways", "invalid direction `sideways`")]
    #[case("half_open:both", "for both use blackhole")]
    #[case("limit_data=4kb", "invalid number of bytes `4kb`")]
    #[case("refuse@x", "invalid duration `x`")]
    #[case("flap=0s", "at least 1ms")]
    #[case("answer=200", "from 400 to 599")]
    fn an_invalid_fault_is_refused_with_its_reason(#[case] text: &str, #[case] expected: &str) {
        let error = text.parse::<ScheduledFault>().unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(text), "{error}");
    }
}
