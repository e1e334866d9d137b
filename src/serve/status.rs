//! The status of a service or a case.

use serde::Serialize;

/// The status of a service or a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything passes.
    Pass,
    /// Usable, with warnings.
    Warn,
    /// Not usable, or a MUST fails.
    Fail,
}

impl Status {
    /// The lower-case word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Pass | Self::Warn => 200,
            Self::Fail => 503,
        }
    }
}
