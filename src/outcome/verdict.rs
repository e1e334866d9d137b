//! Levels (RFC 2119), verdicts and the evidence they rest on.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How binding a requirement is, in the sense of RFC 2119.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Silent loss, outage or security hole when it is not met: the run is *not conformant*.
    Must,
    /// Degradation or false confidence: a warning.
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

/// The verdict of one case, with its reason where the word alone does not say it.
///
/// There is no second flag beside it: whoever asks whether a case passed asks this enum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The requirement was observed to hold.
    Pass,
    /// A MUST was observed not to hold.
    Fail {
        /// What was observed, in one sentence.
        reason: String,
    },
    /// A SHOULD or MAY was observed not to hold.
    Warn {
        /// What was observed, in one sentence.
        reason: String,
    },
    /// The case does not apply: a capability or a prerequisite is missing, and is named.
    Skip {
        /// The missing capability or prerequisite.
        reason: String,
    },
    /// The case could not be decided: a permission is missing or a fault never took effect.
    Unknown {
        /// What stood in the way.
        reason: String,
    },
    /// A known failure, accepted until a date; it did fail.
    Waived {
        /// Why it is accepted, from the `[waive]` table, followed by what was observed.
        reason: String,
        /// The last day on which the waiver counts, as `YYYY-MM-DD`.
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

    /// How grave it is: the graver, the higher. Not being judged any more hides what may have broken.
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

    /// The sign that stands before it, for whoever sees no colours.
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

/// One observed fact that a verdict rests on. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// What was looked at: a command, a query, a request, a document id.
    pub what: String,
    /// What was seen there.
    pub seen: Value,
    /// What the case wanted to see, where it wanted one thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
}

impl Evidence {
    /// An observation without a single wanted value.
    #[must_use]
    pub fn seen(what: impl Into<String>, seen: impl Into<Value>) -> Self {
        Self { what: what.into(), seen: seen.into(), wanted: None }
    }

    /// An observation beside what the case wanted.
    #[must_use]
    pub fn against(what: impl Into<String>, seen: impl Into<Value>, wanted: impl Into<String>) -> Self {
        Self { what: what.into(), seen: seen.into(), wanted: Some(wanted.into()) }
    }
}

/// The verdict of a whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunVerdict {
    /// Every judged MUST holds.
    #[serde(rename = "conformant")]
    Conformant,
    /// At least one MUST does not hold.
    #[serde(rename = "not conformant")]
    NotConformant,
    /// No MUST failed, but at least one could not be decided, or none was judged at all.
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
