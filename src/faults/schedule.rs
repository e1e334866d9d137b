//! Faults as words: `KIND[=VALUE][:DIRECTION][@START][+DURATION]`.

use std::str::FromStr;
use std::time::Duration;

use super::{Direction, NetworkFault};
use crate::settings::similar;
use crate::spec::duration;

/// A fault with its time, as `shakedown proxy --fault` takes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scheduled {
    /// What happens.
    pub fault: NetworkFault,
    /// To which direction.
    pub direction: Direction,
    /// How long after the beginning.
    pub start: Duration,
    /// For how long; to the end when nothing is said. A cut happens once, and with a duration goes on.
    pub lasts: Option<Duration>,
}

/// Why words are no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no fault: {reason}; write KIND[=VALUE][:up|:down][@START][+DURATION], for instance latency=200ms~50ms:down@5s+10s"
)]
pub struct FaultError {
    text: String,
    reason: String,
}

const KINDS: [&str; 10] =
    ["refuse", "cut", "blackhole", "latency", "bandwidth", "slow_close", "limit_data", "half_open", "flap", "answer"];

impl FromStr for Scheduled {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let fail = |reason: String| FaultError { text: text.to_owned(), reason };
        let time = |word: &str| duration(word).ok_or_else(|| fail(format!("`{word}` is no time such as 500ms or 2s")));
        let millis = |word: &str| time(word).map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let (rest, lasts) = match text.rsplit_once('+') {
            Some((rest, word)) => (rest, Some(time(word)?)),
            None => (text, None),
        };
        let (rest, start) = match rest.rsplit_once('@') {
            Some((rest, word)) => (rest, time(word)?),
            None => (rest, Duration::ZERO),
        };
        let (rest, direction) = match rest.rsplit_once(':') {
            Some((rest, "up")) => (rest, Some(Direction::Up)),
            Some((rest, "down")) => (rest, Some(Direction::Down)),
            Some((rest, "both")) => (rest, Some(Direction::Both)),
            Some((_, other)) => return Err(fail(format!("`{other}` is no direction; there are up, down and both"))),
            None => (rest, None),
        };
        let (kind, value) = rest.split_once('=').map_or((rest, None), |(kind, value)| (kind, Some(value)));
        let needed = |what: &str| value.ok_or_else(|| fail(format!("{kind} needs a value, {kind}={what}")));
        let fault = match kind {
            "refuse" => NetworkFault::Refuse,
            "cut" => NetworkFault::Cut,
            "blackhole" => NetworkFault::Blackhole,
            "half_open" => NetworkFault::HalfOpen,
            "latency" => {
                let (delay, jitter) =
                    needed("200ms~50ms")?.split_once('~').unwrap_or((value.unwrap_or_default(), "0s"));
                NetworkFault::Latency { ms: millis(delay)?, jitter_ms: millis(jitter)? }
            }
            "bandwidth" => NetworkFault::Bandwidth { rate: bytes(needed("64KiB")?).map_err(&fail)?.max(1) },
            "limit_data" => NetworkFault::LimitData { bytes: bytes(needed("4KiB")?).map_err(&fail)? },
            "slow_close" => NetworkFault::SlowClose { ms: millis(needed("2s")?)? },
            "flap" => {
                let ms = millis(needed("500ms")?)?;
                if ms == 0 {
                    return Err(fail("a turn of less than 1 ms is no turn".to_owned()));
                }
                NetworkFault::Flap { ms }
            }
            "answer" => {
                let status = needed("503")?.parse().ok().filter(|status| (400..600).contains(status));
                let status = status.ok_or_else(|| fail("an error of HTTP is a number from 400 to 599".to_owned()))?;
                NetworkFault::Answer { status, retry_after_s: None, only: None }
            }
            other => {
                let meant = similar(other, KINDS.map(str::to_owned))
                    .map_or_else(String::new, |word| format!("; did you mean {word}?"));
                return Err(fail(format!("there are {}{meant}", KINDS.join(", "))));
            }
        };
        let takes_none = matches!(
            fault,
            NetworkFault::Refuse | NetworkFault::Cut | NetworkFault::Blackhole | NetworkFault::HalfOpen
        );
        if takes_none && value.is_some() {
            return Err(fail(format!("{kind} takes no value")));
        }
        if fault == NetworkFault::HalfOpen && direction == Some(Direction::Both) {
            return Err(fail("half of a connection is up or down; both is a blackhole".to_owned()));
        }
        Ok(Self { fault, direction: direction.unwrap_or(fault.usual_direction()), start, lasts })
    }
}

/// `4096`, `64KiB`, `2MiB`.
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
        .ok_or_else(|| format!("`{text}` is no number of bytes such as 4096, 64KiB or 2MiB"))
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
    fn words_become_faults(
        #[case] text: &str,
        #[case] fault: NetworkFault,
        #[case] direction: Direction,
        #[case] start: u64,
        #[case] lasts: Option<u64>,
    ) {
        let wanted = Scheduled { fault, direction, start: ms(start), lasts: lasts.map(ms) };
        assert_eq!(text.parse::<Scheduled>().unwrap(), wanted);
    }

    #[rstest]
    #[case("blackhol", "did you mean blackhole?")]
    #[case("latency", "latency needs a value")]
    #[case("latency=soon", "`soon` is no time")]
    #[case("cut=5", "cut takes no value")]
    #[case("cut:sideways", "no direction")]
    #[case("half_open:both", "both is a blackhole")]
    #[case("limit_data=4kb", "no number of bytes")]
    #[case("refuse@x", "`x` is no time")]
    #[case("flap=0s", "no turn")]
    #[case("answer=200", "from 400 to 599")]
    fn what_is_no_fault_is_told_why(#[case] text: &str, #[case] says: &str) {
        let error = text.parse::<Scheduled>().unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(text), "{error}");
    }
}
