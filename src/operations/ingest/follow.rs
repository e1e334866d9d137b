//! Follows jobs until each has ended.

use std::time::Duration;

use tokio::time::Instant;

use super::IngestError;
use super::enqueue::Enqueued;
use crate::services::queue::QueueClient;

/// Time between two polls. One poll asks about every open job.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Jobs per pipeline of a poll.
const JOBS_PER_POLL: usize = 1000;

/// How a document ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The job completed.
    Completed,
    /// The job failed permanently.
    Failed {
        /// The worker's reason.
        reason: String,
    },
    /// The job ended and its record was removed at once, so its outcome is unknown.
    Removed,
    /// The job had not ended at the deadline.
    Open,
}

impl End {
    /// Its name.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed { .. } => "failed",
            Self::Removed => "removed",
            Self::Open => "open",
        }
    }
}

/// How the documents ended.
#[derive(Debug)]
pub struct Followed {
    /// One end per document, in the given order.
    pub ends: Vec<End>,
    /// Workers on the queue at the last poll; 0 explains why nothing moves.
    pub workers: usize,
}

/// Polls the jobs until each has ended or `deadline` has passed; calls `on_end` once per ended job.
pub async fn follow(
    queue: &QueueClient,
    documents: &[Enqueued],
    deadline: Duration,
    mut on_end: impl FnMut(&Enqueued, &End),
) -> Result<Followed, IngestError> {
    let until = Instant::now() + deadline;
    let mut ends = vec![End::Open; documents.len()];
    let mut open: Vec<usize> = (0..documents.len()).collect();
    loop {
        let mut still = Vec::with_capacity(open.len());
        for part in open.chunks(JOBS_PER_POLL) {
            let seen = poll(queue, part, documents).await?;
            for (at, end) in part.iter().zip(seen) {
                if end == End::Open {
                    still.push(*at);
                } else {
                    on_end(&documents[*at], &end);
                    ends[*at] = end;
                }
            }
        }
        open = still;
        if open.is_empty() || Instant::now() >= until {
            // Report missing workers. A server that does not list them is not an error.
            let workers = if open.is_empty() {
                0
            } else {
                queue.workers().await.map_or(0, crate::services::queue::Attached::all)
            };
            return Ok(Followed { ends, workers });
        }
        tokio::time::sleep_until(until.min(Instant::now() + POLL_INTERVAL)).await;
    }
}

async fn poll(queue: &QueueClient, part: &[usize], documents: &[Enqueued]) -> Result<Vec<End>, IngestError> {
    let keys = queue.keys();
    let mut questions = redis::pipe();
    for at in part {
        let id = &documents[*at].job;
        // Read the hash first: a job that ends and is removed in between then does not count as lost.
        questions.cmd("HGET").arg(keys.job_key(id)).arg("failedReason");
        questions.cmd("EXISTS").arg(keys.job_key(id));
        questions.cmd("ZSCORE").arg(keys.completed()).arg(id);
        questions.cmd("ZSCORE").arg(keys.failed()).arg(id);
    }
    let answers: Vec<Option<String>> = queue.redis().pipeline(&questions).await?;
    let ends = answers.chunks_exact(4).map(|answer| match answer {
        [_, _, Some(_), _] => End::Completed,
        [reason, _, _, Some(_)] => {
            End::Failed { reason: reason.clone().unwrap_or_else(|| "the worker gave no reason".to_owned()) }
        }
        [_, Some(exists), ..] if exists == "0" => End::Removed,
        _ => End::Open,
    });
    Ok(ends.collect())
}
