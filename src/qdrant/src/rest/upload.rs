//! Uploaded snapshots: a form that is written to a file while it arrives.

use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::header;
use futures::{Stream, StreamExt};
use tempfile::NamedTempFile;
use uuid::Uuid;

use super::{App, BODY_LIMIT};
use crate::disk::check_room;
use crate::error::Error;
use crate::snapshots::check_file_name;

/// Writes the part `snapshot` of a form to a file; returns it with the client's file name.
///
/// # Errors
/// The form has no such part or cannot be read, its other parts and headers are larger than [`BODY_LIMIT`], the file
/// name is impossible, or the disk is full.
pub(super) async fn receive(app: &App, request: Request) -> Result<(NamedTempFile, String), Error> {
    let (parts, body) = request.into_parts();
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(kind).map_err(unreadable)?;
    let left = Arc::new(AtomicU64::new(BODY_LIMIT as u64));
    let body = Paced { source: body.into_data_stream(), paused: false, left: Arc::clone(&left) };
    let mut form = multer::Multipart::new(body, boundary);
    while let Some(mut field) = form.next_field().await.map_err(unreadable)? {
        if field.name() != Some("snapshot") {
            continue;
        }
        // The disk limits it.
        left.store(u64::MAX, Ordering::Relaxed);
        // Only the last component: a client must not choose the directory.
        let sent = field.file_name().and_then(|sent| Path::new(sent).file_name()?.to_str().map(str::to_owned));
        sent.as_deref().map_or(Ok(()), check_file_name)?;
        let mut file = app.storage.unfinished()?;
        while let Some(chunk) = field.chunk().await.map_err(unreadable)? {
            check_room(file.path(), chunk.len() as u64)?;
            // Small writes to the page cache; a blocking task for each would cost more.
            file.write_all(&chunk).map_err(|error| Error::Internal(format!("writing a snapshot: {error}")))?;
        }
        return Ok((file, sent.unwrap_or_else(|| Uuid::new_v4().to_string())));
    }
    Err(Error::Format("Field with name 'snapshot' is required".to_owned()))
}

fn unreadable(error: multer::Error) -> Error {
    match error {
        // Its own text does not name the limit.
        multer::Error::StreamReadFailed(cause) => Error::Format(format!("Multipart error: {cause}")),
        error => Error::Format(format!("Multipart error: {error}")),
    }
}

/// A body that is read one chunk at a time, and only as long as there are bytes `left`. The reader of forms collects in
/// memory whatever is ready, and a fast client has all of its upload ready.
struct Paced {
    source: BodyDataStream,
    /// Whether the chunk before is still to be taken from the reader's memory.
    paused: bool,
    left: Arc<AtomicU64>,
}

impl Stream for Paced {
    type Item = Result<Bytes, multer::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.paused) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let chunk = ready!(self.source.poll_next_unpin(context));
        self.paused = true;
        Poll::Ready(chunk.map(|chunk| {
            let chunk = chunk.map_err(|error| multer::Error::StreamReadFailed(error.into()))?;
            let left = self.left.load(Ordering::Relaxed).checked_sub(chunk.len() as u64);
            let left = left.ok_or(multer::Error::StreamSizeExceeded { limit: BODY_LIMIT as u64 })?;
            self.left.store(left, Ordering::Relaxed);
            Ok(chunk)
        }))
    }
}
