//! How what was embedded differs from what is stored.

use std::collections::BTreeSet;
use std::fmt;

use crate::settings::ChunksContract;

/// The vector of a stored chunk, compared with the texts that were sent.
#[derive(Debug, Clone, PartialEq)]
pub enum VectorMatch {
    /// It is the one for its text, with the task of the contract.
    Own,
    /// It is the one for its text, which was sent with differences.
    Differs(BTreeSet<EmbeddingDifference>),
    /// It is not the one for its text.
    Wrong(VectorMismatch),
    /// The point has no text to compare with.
    NoText,
}

/// How the request for a chunk differs from the stored text and the contract. The vector still belongs to the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum EmbeddingDifference {
    /// Newlines were replaced by spaces.
    NewlinesReplaced,
    /// Blanks were removed, added or merged in another way.
    BlanksChanged,
    /// Text, such as a title or metadata, was sent in front of it.
    Prefixed,
    /// The request named this task, or none, and the contract another.
    OtherTask(Option<String>),
}

/// What a wrong vector is.
#[derive(Debug, Clone, PartialEq)]
pub enum VectorMismatch {
    /// The vector for the text of another chunk.
    PairedWith {
        /// The document of that chunk.
        document: String,
        /// The index of that chunk, if it has one.
        chunk: Option<u64>,
    },
    /// The vector for a text that was sent, and that no stored chunk has.
    OtherText,
    /// It has another length than the configured one.
    WrongLength {
        /// Numbers of the stored vector.
        stored: usize,
        /// Configured dimensions.
        wanted: usize,
    },
    /// All its numbers are zero, or one is not a number.
    NoDirection,
    /// It is the vector for no text that was sent.
    Unrelated,
}

impl EmbeddingDifference {
    /// Whether the contract permits it. The task is judged where requests are judged.
    #[must_use]
    pub fn is_permitted(&self, contract: &ChunksContract) -> bool {
        match self {
            Self::NewlinesReplaced => contract.embedded.newlines_replaced,
            Self::BlanksChanged => contract.trims() || contract.embedded.newlines_replaced,
            Self::Prefixed => contract.embedded.prefix,
            Self::OtherTask(_) => true,
        }
    }
}

impl fmt::Display for EmbeddingDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewlinesReplaced => f.write_str("its newlines were replaced"),
            Self::BlanksChanged => f.write_str("its blanks were changed"),
            Self::Prefixed => f.write_str("other text was sent in front of it"),
            Self::OtherTask(None) => f.write_str("the request names no task"),
            Self::OtherTask(Some(task)) => write!(f, "the request names the task {task}"),
        }
    }
}

impl fmt::Display for VectorMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PairedWith { document, chunk: Some(chunk) } => write!(f, "it is that of chunk {chunk} of {document}"),
            Self::PairedWith { document, chunk: None } => write!(f, "it is that of another chunk of {document}"),
            Self::OtherText => f.write_str("it is that of a text that was sent and is not stored"),
            Self::WrongLength { stored, wanted } => write!(f, "it has {stored} numbers, wanted {wanted}"),
            Self::NoDirection => f.write_str("its numbers are all zero, or not numbers"),
            Self::Unrelated => f.write_str("it is that of no text that was sent"),
        }
    }
}
