//! One attempt at one job, and how its outcome reaches the queue.

use std::time::{Duration, Instant};

use bullmq::Job;
use bullmq::worker::CancellationToken;
use serde_json::Value;

use super::defect::{Defect, planted};
use super::job::{IngestJob, Shared, removed_document};
use super::queue::{DELETE, REDIS_RETRY_DELAY, millis};
use super::spans::within;
use crate::outcome::{Span, Trace};

/// Waits until Redis answers, so that the queue can receive the job's outcome; false if the lock is lost.
///
/// The library reports the outcome once. If the connection were cut at that moment, the job would stay in `active`
/// until its lock expires, and would run, and cost, a second time.
pub(super) async fn keep_lock(job: &Job, lock: Duration, cancelled: &CancellationToken) -> bool {
    let Some(token) = job.token() else { return true };
    loop {
        match job.extend_lock(token, millis(lock)).await {
            Ok(()) => return true,
            Err(bullmq::Error::JobLocked(_)) => return false,
            Err(_) if planted(Defect::FirstErrorIsFinal) => std::process::exit(1),
            Err(bullmq::Error::Redis(error)) if is_transient(&error) => {
                tracing::warn!(job = job.id(), %error, "redis does not answer; the outcome of the job is kept until it does");
            }
            // Redis answers but refuses; it will refuse the outcome too, and the library reports that.
            Err(_) => return true,
        }
        tokio::select! {
            () = tokio::time::sleep(REDIS_RETRY_DELAY) => {}
            () = cancelled.cancelled() => return true,
        }
    }
}

/// Whether Redis may recover: it is gone, loading, busy, full, or was just made a replica.
fn is_transient(error: &redis::RedisError) -> bool {
    use redis::{ErrorKind, ServerErrorKind};
    let transient = [ServerErrorKind::BusyLoading, ServerErrorKind::MasterDown, ServerErrorKind::ReadOnly];
    error.is_io_error()
        || error.is_connection_dropped()
        || matches!(error.code(), Some("BUSY" | "MISCONF" | "NOREPLICAS" | "OOM"))
        || matches!(error.kind(), ErrorKind::Server(kind) if transient.contains(&kind))
}

/// A planted defect: whether the job's time and the worker's clock differ by more than two minutes.
fn is_two_minutes_off(job: &Job) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    millis(now).abs_diff(job.timestamp()) > 120_000
}

/// One attempt at one job.
pub(super) async fn process(
    shared: &Shared,
    job: &Job,
    cancelled: &CancellationToken,
    span: &Span,
) -> Result<Value, bullmq::Error> {
    let begun = Instant::now();
    if planted(Defect::DropsOldJobs) && is_two_minutes_off(job) {
        return Ok(Value::Null);
    }
    if job.name() == DELETE {
        return remove(shared, job, span.trace()).await;
    }
    let request = match IngestJob::read(job.data()) {
        Ok(request) => request,
        Err(error) => {
            tracing::error!(job = job.id(), %error, "job failed permanently");
            return Err(bullmq::Error::Unrecoverable(error.to_string()));
        }
    };
    let identity = request.identity.clone();
    span.fact("shakedown.document", identity.document.as_str());
    let attempt = job.attempts_made();
    let outcome = tokio::select! {
        outcome = async {
            if planted(Defect::NeverEnds) {
                std::future::pending::<()>().await;
            }
            shared.ingest(request, attempt, span.trace()).await
        } => outcome,
        () = shared.ending.cancelled(), if planted(Defect::AcksOnSigterm) => return Ok(Value::Null),
        () = cancelled.cancelled() => {
            // The grace is over: the job returns to the queue, and another worker takes it at once.
            match job.move_to_wait(None).await {
                Ok(_) => tracing::warn!(job = job.id(), document = identity.document, "job returned to the queue"),
                // Its lock expires, and the search for stalled jobs finds it. No attempt is counted.
                Err(error) => tracing::warn!(job = job.id(), document = identity.document, %error, "job left to the search for stalled jobs"),
            }
            return Err(bullmq::Error::Delayed);
        }
    };
    let took_ms = millis(begun.elapsed());
    match outcome {
        Ok(value) => {
            tracing::info!(
                job = job.id(),
                document = identity.document,
                took_ms,
                chunks = value["chunks"].as_u64(),
                "job completed"
            );
            Ok(value)
        }
        Err(error) if error.may_be_retried() => {
            let last = job.opts().attempts.is_none_or(|attempts| attempt + 1 >= attempts);
            tracing::warn!(job = job.id(), document = identity.document, took_ms, last, %error, "job failed");
            if last {
                shared.give_up(&identity, &error.to_string(), span.trace()).await;
            }
            if planted(Defect::FirstErrorIsFinal) || planted(Defect::ShortCallTimeout) {
                return Err(bullmq::Error::Unrecoverable(error.to_string()));
            }
            Err(bullmq::Error::ProcessingError(error.to_string()))
        }
        Err(error) => {
            tracing::error!(job = job.id(), document = identity.document, took_ms, %error, "job failed permanently");
            shared.give_up(&identity, &error.to_string(), span.trace()).await;
            if planted(Defect::RejectedKeyMarkedReady) {
                return Ok(Value::Null);
            }
            if planted(Defect::RetriesRejectedInput) || planted(Defect::RetriesRejectedKey) {
                return Err(bullmq::Error::ProcessingError(error.to_string()));
            }
            Err(bullmq::Error::Unrecoverable(error.to_string()))
        }
    }
}

/// Removes a document. A missing document is not an error: the job may have run before.
async fn remove(shared: &Shared, job: &Job, trace: &Trace) -> Result<Value, bullmq::Error> {
    let identity = removed_document(job.data()).map_err(|error| bullmq::Error::Unrecoverable(error.to_string()))?;
    let document = identity.document.as_str();
    if planted(Defect::DeleteDoesNothing) {
        return Ok(Value::Null);
    }
    match within(trace.begin("remove"), shared.store.delete_document(&identity)).await {
        Ok(deleted) => {
            tracing::info!(job = job.id(), document, deleted, "document removed, unless a newer job has begun");
            Ok(serde_json::json!({ "documentId": document, "deleted": deleted }))
        }
        Err(error) => {
            tracing::warn!(job = job.id(), document, %error, "document not removed");
            Err(bullmq::Error::ProcessingError(error.to_string()))
        }
    }
}
