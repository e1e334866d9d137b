//! What a cause can explain: groups of expectations.

use serde::Deserialize;

use crate::spec::Expectation;

/// A group of expectations that one kind of cause breaks together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Effect {
    /// The worker does not become ready, or not visibly.
    Start,
    /// Documents are not delivered, and their jobs do not complete.
    Delivery,
    /// What is stored of a document is missing or wrong, but for vectors.
    Content,
    /// Stored vectors are wrong.
    Vectors,
    /// Chunks are stored more than once.
    Duplicates,
    /// Jobs take more attempts or executions than allowed.
    Attempts,
    /// Jobs stall.
    Stalls,
    /// Jobs end too late after a fault.
    Recovery,
    /// Rows do not say what became of a document.
    Rows,
    /// An earlier version, or another document, changes.
    Versions,
    /// Requests to the embeddings API are not as they should be.
    Requests,
    /// Requests follow each other too fast.
    Pace,
    /// Tokens are embedded more than once.
    Waste,
    /// The worker does not end as it should.
    Exit,
    /// Connections are too many, or held too long.
    Connections,
    /// Memory.
    Memory,
    /// The log, reasons and return values.
    Log,
}

impl Effect {
    /// The group of an expectation.
    pub(super) const fn of(expectation: &Expectation) -> Self {
        match expectation {
            Expectation::WorkerRegistered => Self::Start,
            Expectation::DocumentsIntact(_)
            | Expectation::Delivered(_)
            | Expectation::JobsCompleted(_)
            | Expectation::QueueDrained
            | Expectation::OnlyRejectedFail
            | Expectation::NothingCompleted
            | Expectation::Deleted => Self::Delivery,
            Expectation::Reassembled
            | Expectation::ChunksNumbered
            | Expectation::UnicodeIntact
            | Expectation::ChunkTokens(_)
            | Expectation::ChunksFitModel
            | Expectation::OverlapTokens(_)
            | Expectation::PayloadComplete
            | Expectation::EmptySkipped
            | Expectation::WritesAwaited
            | Expectation::RowsAgree
            | Expectation::Unchanged
            | Expectation::NoStaleChunks => Self::Content,
            Expectation::VectorsMatchTexts => Self::Vectors,
            Expectation::MaxDuplicates(_) => Self::Duplicates,
            Expectation::MaxAttempts(_) | Expectation::MaxExecutions(_) => Self::Attempts,
            Expectation::Stalls(_) => Self::Stalls,
            Expectation::MaxRecoveryS(_) => Self::Recovery,
            Expectation::FailedRowsMarked | Expectation::RowStatusMatchesJob | Expectation::RowAfterPoints => {
                Self::Rows
            }
            Expectation::PointsNeverDrop
            | Expectation::PreviousVersionKept
            | Expectation::NewestStored
            | Expectation::FailedVersionAbsent
            | Expectation::OtherDocumentsUnchanged
            | Expectation::PointIdsKept
            | Expectation::AllOrNothing => Self::Versions,
            Expectation::RequestsWellFormed
            | Expectation::RequestsUntruncated
            | Expectation::RequestsAccepted
            | Expectation::LateChunkingApart
            | Expectation::MaxTextsPerRequest(_)
            | Expectation::BatchesFilled(_)
            | Expectation::MaxRequestsInFlight(_) => Self::Requests,
            Expectation::BackoffGrows
            | Expectation::BackoffJitters
            | Expectation::RetryAfterHonoured
            | Expectation::MaxCallsPerS(_)
            | Expectation::MaxProbesPerS(_) => Self::Pace,
            Expectation::MaxTokensWasted(_) => Self::Waste,
            Expectation::ExitsCleanly
            | Expectation::ExitsInTime
            | Expectation::NoJobAfterSigterm
            | Expectation::NoneLeftActive => Self::Exit,
            Expectation::MaxConnections(_)
            | Expectation::MaxConnectionsMade(_)
            | Expectation::MaxIdleTransactionMs(_)
            | Expectation::ConnectionsClosed => Self::Connections,
            Expectation::MaxMemoryMib(_) => Self::Memory,
            Expectation::LogHoldsNoSecret
            | Expectation::LogIsJson
            | Expectation::LogHoldsNoText
            | Expectation::ReasonsHoldNoSecret
            | Expectation::MaxReturnBytes(_)
            | Expectation::MaxNotesBytes(_) => Self::Log,
        }
    }
}
