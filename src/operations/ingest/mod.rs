//! `shakedown ingest`: enqueues files as jobs, and follows the jobs to their end.
//!
//! A document's id is its path below the given root; its version is the first 16 hex digits of the SHA-256 of its text.
//! Document and version make the job's id, so that the same content is never in the queue twice. An ended job of that
//! id is removed and added again: to ask again means to ingest again. An open job is left alone and followed.

mod enqueue;
mod follow;
mod gather;

pub use enqueue::{Enqueued, JobShape, LARGE, Queued, enqueue};
pub use follow::{End, Followed, follow};
pub use gather::{File, Gathered, Unreadable, gather};

use crate::services::ServiceError;

/// Why documents could not be enqueued or followed.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// Redis or the queue failed.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A placeholder of `[queue] job` has no value.
    #[error("placeholder `{{{{{placeholder}}}}}` in [queue] job has no value in `shakedown ingest`")]
    Placeholder {
        /// The placeholder.
        placeholder: String,
    },
}
