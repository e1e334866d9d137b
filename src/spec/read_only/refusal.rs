//! Why something is not known to only read.

/// Why something is not known to only read, as a sentence without a full stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotReadOnly(String);

impl NotReadOnly {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}
