//! When a fault begins and how long it lasts.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

/// The duration in a text such as `500ms`, `10s`, `2m` or `1h`; `None` for anything else.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
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

/// Something that is counted during a step, without help from the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Milestone {
    /// Requests to the embeddings API.
    Requests,
    /// Points in the collection.
    Points,
    /// Rows whose status is `ready`.
    Rows,
    /// Jobs that are active now.
    Active,
    /// Jobs that have ended.
    Jobs,
    /// Jobs that wait for their next attempt now.
    Delayed,
}

impl Milestone {
    /// Its name in suites, in the plural.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Points => "points",
            Self::Rows => "rows",
            Self::Active => "active",
            Self::Jobs => "jobs",
            Self::Delayed => "delayed",
        }
    }

    const ALL: [(&'static str, Self); 6] = [
        ("request", Self::Requests),
        ("point", Self::Points),
        ("row", Self::Rows),
        ("active", Self::Active),
        ("job", Self::Jobs),
        ("delayed", Self::Delayed),
    ];
}

/// When a fault begins: `25%` when this share of the step's jobs has ended, `500ms` after the beginning of the step; at a
/// count such as `1 active`, `1 delayed`, `3 requests`, `12 points`, `2 rows`, `5 jobs`, or some time after one: `150ms after 1 row`; or
/// during another fault: `300ms into fault 1` is that long after the first fault of the list has begun, and never after it
/// has ended.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub enum When {
    /// The share of the step's jobs that have ended, from 0 to 1.
    Share(f64),
    /// A time after the beginning of the step.
    After(Duration),
    /// A time after a count since the beginning of the step was reached.
    Count(u64, Milestone, Duration),
    /// A time after the beginning of an earlier fault of the list (counted from 1), while that fault is active.
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
            Some(Self::Count(number.parse().ok()?, milestone, parse_duration(later)?))
        });
        if let Some((time, fault)) = text.split_once(" into fault ")
            && let (Some(time), Ok(fault)) = (parse_duration(time), fault.trim().parse())
        {
            return Ok(Self::Into(time, fault));
        }
        match (share, count, parse_duration(&text)) {
            (Some(share), _, _) if (0.0..=100.0).contains(&share) => Ok(Self::Share(share / 100.0)),
            (None, Some(count), _) => Ok(count),
            (None, None, Some(time)) => Ok(Self::After(time)),
            _ => Err(format!(
                "invalid time of a fault `{text}`: expected a share of ended jobs such as \"25%\", a time such as \
                 \"500ms\", a count such as \"1 active\", \"1 delayed\", \"3 requests\", \"12 points\", \"2 rows\" or \"5 jobs\", a time \
                 after a count such as \"150ms after 1 row\", or a time in another fault such as \"300ms into fault 1\""
            )),
        }
    }
}

/// How long a fault lasts: a time such as `500ms` or `2s`; `attempt`, until every job of its step has ended an attempt; or
/// `step`, until every job of its step has ended for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub enum Lasts {
    /// This long.
    Time(Duration),
    /// Until every job of its step has ended an attempt, in success or failure.
    Attempt,
    /// Until every job of its step has completed or failed for good.
    Step,
}

impl Lasts {
    /// The time, if it is one.
    #[must_use]
    pub const fn time(self) -> Option<Duration> {
        match self {
            Self::Time(time) => Some(time),
            Self::Attempt | Self::Step => None,
        }
    }
}

impl fmt::Display for Lasts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write!(f, "for {} ms", time.as_millis()),
            Self::Attempt => f.write_str("until every job has ended an attempt"),
            Self::Step => f.write_str("until every job has ended"),
        }
    }
}

impl TryFrom<String> for Lasts {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "attempt" => Ok(Self::Attempt),
            "step" => Ok(Self::Step),
            _ => parse_duration(&text).map(Self::Time).ok_or_else(|| {
                format!("invalid duration `{text}`: expected e.g. \"500ms\" or \"2s\", \"attempt\" or \"step\"")
            }),
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
            assert_eq!(parse_duration(text), milliseconds.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn a_fault_begins_at_a_time_a_count_or_during_another_fault() {
        let within = When::Into(Duration::from_millis(300), 1);
        assert_eq!(When::try_from("300ms into fault 1".to_owned()), Ok(within));
        assert!(When::try_from("300ms into fault one".to_owned()).is_err());
        let row = |later| Ok(When::Count(1, Milestone::Rows, Duration::from_millis(later)));
        assert_eq!(When::try_from("1 row".to_owned()), row(0));
        assert_eq!(When::try_from("150ms after 1 row".to_owned()), row(150));
        assert!(When::try_from("soon after 1 row".to_owned()).is_err());
    }
}
