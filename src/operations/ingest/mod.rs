//! `shakedown ingest`: files become jobs on the queue, and jobs are followed to their end.
//!
//! A document's id is its path below the root that was given; its version is the first 16 hex digits
//! of the SHA-256 of its text. Document and version make the job's id, so that the same content is
//! never in the queue twice. A job of that id that has ended is taken away and added anew: asking
//! again means ingesting again. One that has not ended yet is left alone, and followed.

mod enqueue;
mod follow;
mod gather;

pub use enqueue::{Enqueued, JobShape, LARGE, Queued, enqueue};
pub use follow::{End, Followed, follow};
pub use gather::{File, Gathered, Unreadable, gather};

use crate::services::ServiceError;

/// Why documents could not be handed over, or not be followed.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// Redis or the queue failed.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The job of `[queue] job` cannot be filled in.
    #[error("placeholder `{{{{{placeholder}}}}}` in [queue] job has no value in `shakedown ingest`")]
    Placeholder {
        /// The placeholder without a value.
        placeholder: String,
    },
}
