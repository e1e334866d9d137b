//! Levels (RFC 2119), verdicts and evidence.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The requirement level of RFC 2119.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// If it is not met, data is lost silently, there is an outage or a security hole: the run is *not conformant*.
    Must,
    /// If it is not met, service degrades or confidence is false: a warning.
    Should,
    /// Hygiene: a warning.
    May,
}

impl Level {
    /// The lower-case word used in suites and reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::May => "may",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// The verdict of a case, with its reason.
///
/// No other flag tells whether a case passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The requirement is met.
    Pass,
    /// A MUST requirement is not met.
    Fail {
        /// The observation, in one sentence.
        reason: String,
    },
    /// A SHOULD or MAY requirement is not met.
    Warn {
        /// The observation, in one sentence.
        reason: String,
    },
    /// The case does not apply because a capability or a prerequisite is missing.
    Skip {
        /// The missing capability or prerequisite.
        reason: String,
    },
    /// The case could not be decided, for example because a permission is missing or a fault had no effect.
    Unknown {
        /// Why the case could not be decided.
        reason: String,
    },
    /// The case failed, and a waiver accepts the failure until a date.
    Waived {
        /// Why it is accepted, from `[[waive]]`, followed by the observation.
        reason: String,
        /// The last day on which the waiver is valid, as `YYYY-MM-DD`.
        expires: String,
    },
}

/// The word of a verdict, without its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// See [`Verdict::Pass`].
    Pass,
    /// See [`Verdict::Fail`].
    Fail,
    /// See [`Verdict::Warn`].
    Warn,
    /// See [`Verdict::Skip`].
    Skip,
    /// See [`Verdict::Unknown`].
    Unknown,
    /// See [`Verdict::Waived`].
    Waived,
}

impl Word {
    /// Every word, in the order in which reports count them.
    pub const ALL: [Self; 6] = [Self::Pass, Self::Fail, Self::Warn, Self::Skip, Self::Unknown, Self::Waived];

    /// The lower-case word used in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Warn => "warn",
            Self::Skip => "skip",
            Self::Unknown => "unknown",
            Self::Waived => "waived",
        }
    }

    /// Severity; a higher number is more severe. `skip` is above `warn`, because a case that is no longer evaluated may
    /// hide a failure.
    #[must_use]
    pub const fn gravity(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Waived => 1,
            Self::Warn => 2,
            Self::Skip => 3,
            Self::Unknown => 4,
            Self::Fail => 5,
        }
    }

    /// The symbol in front of it, for terminals without colours.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Pass => "✓",
            Self::Fail => "✗",
            Self::Warn => "!",
            Self::Skip => "–",
            Self::Unknown => "?",
            Self::Waived => "~",
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Verdict {
    /// The verdict of an unmet requirement: `fail` for a MUST, `warn` otherwise.
    #[must_use]
    pub fn unmet(level: Level, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        match level {
            Level::Must => Self::Fail { reason },
            Level::Should | Level::May => Self::Warn { reason },
        }
    }

    /// A `skip` with its reason.
    #[must_use]
    pub fn skip(reason: impl Into<String>) -> Self {
        Self::Skip { reason: reason.into() }
    }

    /// An `unknown` with its reason.
    #[must_use]
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown { reason: reason.into() }
    }

    /// The word of this verdict.
    #[must_use]
    pub const fn word(&self) -> Word {
        match self {
            Self::Pass => Word::Pass,
            Self::Fail { .. } => Word::Fail,
            Self::Warn { .. } => Word::Warn,
            Self::Skip { .. } => Word::Skip,
            Self::Unknown { .. } => Word::Unknown,
            Self::Waived { .. } => Word::Waived,
        }
    }

    /// The reason, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Pass => None,
            Self::Fail { reason }
            | Self::Warn { reason }
            | Self::Skip { reason }
            | Self::Unknown { reason }
            | Self::Waived { reason, .. } => Some(reason),
        }
    }
}

/// An observation that a verdict is based on. Never contains a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// What was observed: a command, a query, a request, or documents: the ids of the first three, and a count.
    pub what: String,
    /// The observed value.
    pub seen: Value,
    /// The expected value, if there is a single one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
}

impl Evidence {
    /// An observation without an expected value.
    #[must_use]
    pub fn seen(what: impl Into<String>, seen: impl Into<Value>) -> Self {
        Self { what: what.into(), seen: seen.into(), wanted: None }
    }

    /// An observation with the expected value.
    #[must_use]
    pub fn against(what: impl Into<String>, seen: impl Into<Value>, wanted: impl Into<String>) -> Self {
        Self { what: what.into(), seen: seen.into(), wanted: Some(wanted.into()) }
    }
}

/// The verdict of a whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunVerdict {
    /// Every evaluated MUST is met.
    #[serde(rename = "conformant")]
    Conformant,
    /// At least one MUST is not met.
    #[serde(rename = "not conformant")]
    NotConformant,
    /// No MUST failed, but at least one could not be decided, or none was evaluated.
    #[serde(rename = "inconclusive")]
    Inconclusive,
}

impl fmt::Display for RunVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Conformant => "conformant",
            Self::NotConformant => "not conformant",
            Self::Inconclusive => "inconclusive",
        })
    }
}
