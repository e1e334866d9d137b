//! What can be done to a queue that is in use.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bullmq::QueueKeys;

use super::{QueueState, other_queues};
use crate::services::ServiceError;
use crate::services::queue::{QueueClient, failure};
use crate::services::redis::Redis;
use crate::settings::RedisEndpoint;

/// Jobs that are moved in one round trip.
const MOVES_PER_ROUND_TRIP: u64 = 1000;
/// Failed jobs that one script call of BullMQ takes back.
const RETRIES_PER_CALL: u32 = 1000;

/// The jobs that `clean` removes. Those in work are not among them: their workers would write to what is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Completed ones.
    Completed,
    /// Failed ones.
    Failed,
    /// Those that wait, in a paused queue too.
    Waiting,
    /// Delayed ones.
    Delayed,
    /// Those that wait with a priority.
    Prioritized,
}

impl JobState {
    /// BullMQ's word for it.
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

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Workers begin no job any more; those in work are finished.
    Pause,
    /// Workers begin jobs again.
    Resume,
    /// Removes what waits, and the delayed jobs too if commands to.
    Drain {
        /// Whether delayed jobs go too.
        delayed: bool,
    },
    /// Failed jobs wait again, with all of their attempts.
    RetryFailed,
    /// Removes jobs in one state.
    Clean {
        /// Which state.
        state: JobState,
        /// Only those that have been in it, or in the queue, for longer.
        older_than: Duration,
        /// Not more than so many.
        limit: Option<u32>,
    },
}

impl Operation {
    /// Whether it removes jobs for good.
    #[must_use]
    pub const fn is_destructive(self) -> bool {
        matches!(self, Self::Drain { .. } | Self::Clean { .. })
    }
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// There is no such queue.
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
        /// Queues that there are, as `prefix:name`.
        others: Vec<String>,
    },
    /// Redis did not do its part.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// What was done, or would be.
#[derive(Debug, Clone)]
pub struct OperationResult {
    /// How many jobs it is about.
    pub jobs: u64,
    /// Whether there is anything to do.
    pub needed: bool,
    /// The queue before.
    pub before: QueueState,
    /// The queue after; none for a dry_run.
    pub after: Option<QueueState>,
}

/// Does it; a `dry_run` only says what would be done, and writes nothing.
///
/// # Errors
/// There is no such queue, or Redis does not do its part. BullMQ's scripts work in portions: what was done before an
/// error stays, and doing it again does the rest.
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
        // A list `paused` in a queue that is not is what a resume by somebody else left over.
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

/// How many jobs it would be about.
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
                // Their age is in the jobs themselves: so many at most.
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

/// Gives how many jobs were removed, where that is known.
async fn run(queue: &QueueClient, before: &QueueState, operation: Operation) -> Result<Option<u64>, ServiceError> {
    let handle = queue.queue();
    let failed = |error: bullmq::Error| failure(&error);
    match operation {
        Operation::Pause => {
            handle.pause().await.map_err(failed)?;
            move_waiting_to_paused(queue, before).await?;
        }
        Operation::Resume => {
            // One call brings back at most 7,000 jobs, where others have come to wait meanwhile.
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

/// Puts what waits in a paused queue where BullMQ 5 expects it: its own resume keeps_paused_list `paused` to `wait`, and what the
/// newer scripts have left in `wait` would be lost.
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
            // The oldest first: it stays the one that is taken first.
            moves.cmd("RPOPLPUSH").arg(&wait).arg(&paused).ignore();
        }
        queue.redis().pipeline::<()>(&moves).await?;
    }
}
