//! Operations on a live queue.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bullmq::QueueKeys;

use super::{QueueState, other_queues};
use crate::services::ServiceError;
use crate::services::queue::{QueueClient, failure};
use crate::services::redis::Redis;
use crate::settings::RedisEndpoint;

/// Jobs moved per round trip.
const MOVES_PER_ROUND_TRIP: u64 = 1000;
/// Failed jobs retried per script call of BullMQ.
const RETRIES_PER_CALL: u32 = 1000;

/// The jobs that `clean` removes. Active jobs are excluded: their workers would write to removed keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Completed jobs.
    Completed,
    /// Failed jobs.
    Failed,
    /// Waiting jobs, also those of a paused queue.
    Waiting,
    /// Delayed jobs.
    Delayed,
    /// Prioritised jobs.
    Prioritized,
}

impl JobState {
    /// BullMQ's name of the state.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Waiting => "waiting",
            Self::Delayed => "delayed",
            Self::Prioritized => "prioritized",
        }
    }
}

/// An operation on a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Workers start no more jobs; active jobs finish.
    Pause,
    /// Workers start jobs again.
    Resume,
    /// Removes waiting jobs, and delayed jobs on request.
    Drain {
        /// Whether delayed jobs are removed too.
        delayed: bool,
    },
    /// Moves failed jobs back to waiting, with all of their attempts.
    RetryFailed,
    /// Removes jobs in one state.
    Clean {
        /// The state.
        state: JobState,
        /// Only jobs that have been in the state, or in the queue, for longer.
        older_than: Duration,
        /// Maximum number of jobs.
        limit: Option<u32>,
    },
}

impl Operation {
    /// Whether it removes jobs permanently.
    #[must_use]
    pub const fn is_destructive(self) -> bool {
        matches!(self, Self::Drain { .. } | Self::Clean { .. })
    }
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// The queue does not exist.
    #[error(
        "Redis has no queue {name} with the prefix {prefix}{}; check QUEUE_NAME, QUEUE_PREFIX and the database number in \
         REDIS_URL",
        if others.is_empty() { String::new() } else { format!(" (it has {})", others.join(", ")) }
    )]
    NoQueue {
        /// Its name.
        name: String,
        /// Its prefix.
        prefix: String,
        /// Existing queues, as `prefix:name`.
        others: Vec<String>,
    },
    /// Redis failed.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// The result of an operation, or of its dry run.
#[derive(Debug, Clone)]
pub struct OperationResult {
    /// Number of affected jobs.
    pub jobs: u64,
    /// Whether there is anything to do.
    pub needed: bool,
    /// The queue before.
    pub before: QueueState,
    /// The queue after; `None` for a dry run.
    pub after: Option<QueueState>,
}

/// Runs the operation; with `dry_run` it only reports what it would do and writes nothing.
///
/// # Errors
/// The queue does not exist, or Redis fails. BullMQ's scripts work in batches: what was done before an error remains,
/// and a repetition does the rest.
pub async fn operate(
    endpoint: &RedisEndpoint,
    name: &str,
    prefix: &str,
    operation: Operation,
    dry_run: bool,
) -> Result<OperationResult, OperationError> {
    let redis = Redis::connect(endpoint).await?;
    let keys = QueueKeys::new(name, Some(prefix));
    let before = QueueState::read(&redis, &keys).await?;
    if !before.exists {
        let (name, prefix) = (name.to_owned(), prefix.to_owned());
        return Err(OperationError::NoQueue { name, prefix, others: other_queues(&redis).await });
    }
    let jobs = count_affected(&redis, &keys, &before, operation).await?;
    let needed = match operation {
        // A list `paused` in a running queue is a leftover of another program's resume.
        Operation::Pause => !before.paused,
        Operation::Resume => before.paused || before.counts.paused > 0,
        Operation::Drain { .. } | Operation::RetryFailed | Operation::Clean { .. } => jobs > 0,
    };
    if dry_run || !needed {
        let after = (!dry_run).then(|| before.clone());
        return Ok(OperationResult { jobs, needed, before, after });
    }
    let queue = QueueClient::open(endpoint, name, prefix).await?;
    let done = run(&queue, &before, operation).await;
    queue.close().await;
    let removed = done?;
    let after = QueueState::read(&redis, &keys).await?;
    Ok(OperationResult { jobs: removed.unwrap_or(jobs), needed, before, after: Some(after) })
}

/// Number of jobs the operation would affect.
async fn count_affected(
    redis: &Redis,
    keys: &QueueKeys,
    state: &QueueState,
    operation: Operation,
) -> Result<u64, ServiceError> {
    let counts = &state.counts;
    let waiting = counts.waiting + counts.paused;
    Ok(match operation {
        Operation::Pause | Operation::Resume => waiting + counts.prioritized,
        Operation::Drain { delayed } => waiting + counts.prioritized + if delayed { counts.delayed } else { 0 },
        Operation::RetryFailed => counts.failed,
        Operation::Clean { state, older_than, limit } => {
            let finished = |key: String| async move {
                let until = now_ms().saturating_sub(u64::try_from(older_than.as_millis()).unwrap_or(u64::MAX));
                redis.get::<u64>(redis::cmd("ZCOUNT").arg(key).arg("-inf").arg(until)).await
            };
            let all = match state {
                JobState::Completed => finished(keys.completed()).await?,
                JobState::Failed => finished(keys.failed()).await?,
                // The jobs themselves hold their age, so this is an upper bound.
                JobState::Waiting => waiting,
                JobState::Delayed => counts.delayed,
                JobState::Prioritized => counts.prioritized,
            };
            all.min(limit.map_or(u64::MAX, u64::from))
        }
    })
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the number of removed jobs, if known.
async fn run(queue: &QueueClient, before: &QueueState, operation: Operation) -> Result<Option<u64>, ServiceError> {
    let handle = queue.queue();
    let failed = |error: bullmq::Error| failure(&error);
    match operation {
        Operation::Pause => {
            handle.pause().await.map_err(failed)?;
            move_waiting_to_paused(queue, before).await?;
        }
        Operation::Resume => {
            // One call moves at most 7,000 jobs if other jobs arrive meanwhile.
            let mut left = u64::MAX;
            loop {
                handle.resume().await.map_err(failed)?;
                let still = queue.counts().await?.paused;
                if still == 0 || still >= left {
                    break;
                }
                left = still;
            }
        }
        Operation::Drain { delayed } => handle.drain(delayed).await.map_err(failed)?,
        Operation::RetryFailed => {
            handle.retry_jobs("failed", RETRIES_PER_CALL, None).await.map_err(failed)?;
            if before.paused {
                move_waiting_to_paused(queue, before).await?;
            }
        }
        Operation::Clean { state, older_than, limit } => {
            let grace = u64::try_from(older_than.as_millis()).unwrap_or(u64::MAX);
            let lists: &[&str] = if state == JobState::Waiting { &["wait", "paused"] } else { &[state.word()] };
            let mut removed = 0;
            for list in lists {
                let left = limit.map(|limit| limit.saturating_sub(u32::try_from(removed).unwrap_or(u32::MAX)));
                if left == Some(0) {
                    break;
                }
                removed += handle.clean(grace, left.unwrap_or(0), list).await.map_err(failed)?.len() as u64;
            }
            return Ok(Some(removed));
        }
    }
    Ok(None)
}

/// Moves the waiting jobs of a paused queue where BullMQ 5 expects them. Its resume renames `paused` to `wait`, and
/// jobs that newer scripts have left in `wait` would be lost.
async fn move_waiting_to_paused(queue: &QueueClient, before: &QueueState) -> Result<(), ServiceError> {
    if !before.keeps_paused_list() {
        return Ok(());
    }
    let (wait, paused) = (queue.keys().wait(), queue.keys().paused());
    loop {
        let left: u64 = queue.redis().get(redis::cmd("LLEN").arg(&wait)).await?;
        if left == 0 {
            return Ok(());
        }
        let mut moves = redis::pipe();
        moves.atomic();
        for _ in 0..left.min(MOVES_PER_ROUND_TRIP) {
            // Oldest first, to keep the order.
            moves.cmd("RPOPLPUSH").arg(&wait).arg(&paused).ignore();
        }
        queue.redis().pipeline::<()>(&moves).await?;
    }
}
