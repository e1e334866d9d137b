//! Shutdown of the worker, and the rows of jobs that the queue failed by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bullmq::Worker;
use bullmq::worker::WorkerEvent;
use tokio::task::JoinSet;

use super::config::WorkerConfig;
use super::defect::{Defect, planted};
use super::job::{IngestJob, Shared};
use super::queue::{DELETE, LISTING_DELAY, STALLED_TOO_OFTEN, millis};
use crate::services::ServiceError;
use crate::services::queue::{QueueClient, failure};
use crate::settings::Endpoints;

/// Lets active jobs finish within the grace, returns the rest to the queue, closes every connection.
pub(super) async fn shut_down(worker: &Worker, recorder: &mut StalledJobRecorder<'_>) {
    let grace = recorder.config.grace;
    // A tenth of the grace is reserved for returning jobs; even without grace, jobs are returned.
    let hand_back_at = Instant::now() + grace.mul_f64(0.9);
    let deadline = Instant::now() + grace.max(LISTING_DELAY * 10);
    let (hand_back_at, deadline) = if planted(Defect::ExceedsGracePeriod) {
        (hand_back_at + Duration::from_hours(1), deadline + Duration::from_hours(1))
    } else {
        (hand_back_at, deadline)
    };
    // Not `close` yet: it would wait for the library's blocking read, up to five seconds, with nothing to do.
    worker.pause();
    let mut handed_back = false;
    // Empty twice: a job may just have been fetched and not be listed yet.
    let mut nothing = 0;
    while nothing < 2 && Instant::now() < deadline {
        nothing = if worker.active_count().await == 0 { nothing + 1 } else { 0 };
        if !handed_back && Instant::now() >= hand_back_at {
            worker.cancel_all_jobs().await;
            handed_back = true;
        }
        tokio::time::sleep(LISTING_DELAY.min(deadline.saturating_duration_since(Instant::now()))).await;
    }
    while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, worker.next_event()).await {
        recorder.observe(Some(&event));
    }
    recorder.finish(deadline).await;
    let left = deadline.saturating_duration_since(Instant::now()).min(LISTING_DELAY);
    if let Err(error) = worker.close(millis(left)).await {
        tracing::warn!(%error, "the queue was not closed cleanly");
    }
    recorder.shared.store.close().await;
}

/// Records the failure of jobs that `BullMQ` failed by itself: no processor runs for a job that stalled too often, and
/// its row would stay `processing` forever.
pub(super) struct StalledJobRecorder<'a> {
    pub(super) config: &'a WorkerConfig,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) tasks: JoinSet<()>,
}

impl StalledJobRecorder<'_> {
    pub(super) fn observe(&mut self, event: Option<&WorkerEvent>) {
        while self.tasks.try_join_next().is_some() {}
        if let Some(WorkerEvent::Failed { job_id, error }) = event
            && error == STALLED_TOO_OFTEN
            && !planted(Defect::StalledOutRowUnchanged)
        {
            let (endpoints, id, shared) = (self.config.endpoints.clone(), job_id.clone(), Arc::clone(self.shared));
            self.tasks.spawn(async move {
                if let Err(error) = record_stalled_failure(&endpoints, &id, &shared).await {
                    tracing::error!(job = id, %error, "cannot record the failure");
                }
            });
        }
    }

    async fn finish(&mut self, deadline: Instant) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout_at(deadline.into(), all).await;
    }
}

/// The event has only the job's id, so the queue is asked for its document.
async fn record_stalled_failure(endpoints: &Endpoints, id: &str, shared: &Shared) -> Result<(), ServiceError> {
    let names = &endpoints.names;
    let client = QueueClient::open(&endpoints.redis, &names.queue, &names.prefix).await?;
    let job = client.queue().get_job(id).await;
    client.close().await;
    let Some(job) = job.map_err(|error| failure(&error))?.filter(|job| job.name() != DELETE) else { return Ok(()) };
    // A malformed job has no row.
    let Ok(request) = IngestJob::read(job.data()) else { return Ok(()) };
    let document = &request.identity.document;
    tracing::error!(job = id, document, error = STALLED_TOO_OFTEN, "job failed without an attempt");
    let span = shared.traces.begin(&job).await;
    shared.give_up(&request.identity, STALLED_TOO_OFTEN, span.trace()).await;
    Ok(())
}
