//! The exit code, computed once from the report.

use super::record::Report;
use super::verdict::RunVerdict;

/// Exit codes of all verbs; the README lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: conformant, or the verb succeeded.
    Ok,
    /// 1: at least one MUST case failed.
    NotConformant,
    /// 2: invalid usage or configuration; no case ran.
    Usage,
    /// 3: inconclusive, or the harness failed.
    Inconclusive,
    /// 4: the stack differs from its description, and `setup` would change it.
    Pending,
    /// 130: interrupted by SIGINT or SIGTERM, after clean-up.
    Interrupted,
}

impl Exit {
    /// The exit code as a number.
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

    /// The exit code of a complete run: from its verdict, or, if it was compared with an earlier report, from whether a
    /// case got worse.
    #[must_use]
    pub fn from_report(report: &Report) -> Self {
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
