//! What became of a document, in one word.

use std::fmt;

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DocumentOutcome {
    /// Stored completely, once, at the first attempt.
    Stable,
    /// Stored completely, once, after its job started more than once.
    Recovered,
    /// The embeddings API rejects its text, its job failed and nothing of it is stored.
    Rejected,
    /// It has no text, and its row or job says so.
    Skipped,
    /// The last step removed it, and nothing of it is stored.
    Removed,
    /// Not stored, or not completely.
    Lost,
    /// Stored completely, and parts of it more than once.
    Duplicated,
    /// Stored, but never ingested.
    Orphaned,
    /// Stored with a wrong vector or a wrong number of chunks.
    Corrupted,
    /// Stored or marked as done although it was removed, or its text is empty or rejected.
    Unexpected,
    /// The baseline stored nothing of it, so there is nothing to compare with.
    Indeterminate,
}

impl DocumentOutcome {
    /// Whether the outcome is as required; `None` if that is unknown.
    #[must_use]
    pub const fn is_ok(self) -> Option<bool> {
        match self {
            Self::Stable | Self::Recovered | Self::Rejected | Self::Skipped | Self::Removed => Some(true),
            Self::Lost | Self::Duplicated | Self::Orphaned | Self::Corrupted | Self::Unexpected => Some(false),
            Self::Indeterminate => None,
        }
    }

    /// Its word in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Recovered => "recovered",
            Self::Rejected => "rejected",
            Self::Skipped => "skipped",
            Self::Removed => "removed",
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Orphaned => "orphaned",
            Self::Corrupted => "corrupted",
            Self::Unexpected => "unexpected",
            Self::Indeterminate => "indeterminate",
        }
    }
}

impl fmt::Display for DocumentOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
