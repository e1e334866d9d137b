//! The exit code, computed once.

use super::{Report, RunVerdict};

/// Exit codes of every verb; the README's table is this enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: conformant, or the verb did what it was asked.
    Ok,
    /// 1: at least one MUST does not hold.
    NotConformant,
    /// 2: bad usage or configuration; nothing was judged.
    Usage,
    /// 3: inconclusive, or the harness could not judge.
    Inconclusive,
    /// 4: what is there is not what is described, and `setup` would mend it.
    Pending,
    /// 130: interrupted by SIGINT or SIGTERM; everything made was removed.
    Interrupted,
}

impl Exit {
    /// The number given to the operating system.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::NotConformant => 1,
            Self::Usage => 2,
            Self::Inconclusive => 3,
            Self::Pending => 4,
            Self::Interrupted => 130,
        }
    }

    /// The exit code of a run that was judged to its end: of its verdict, or, beside a baseline, of whether
    /// anything got worse.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        if let Some(comparison) = &report.gate.comparison {
            return if comparison.holds() { Self::Ok } else { Self::NotConformant };
        }
        match report.verdict {
            RunVerdict::Conformant => Self::Ok,
            RunVerdict::NotConformant => Self::NotConformant,
            RunVerdict::Inconclusive => Self::Inconclusive,
        }
    }
}
