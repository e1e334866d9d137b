//! The worker's spans, as children of the span that added the job.

use std::fmt;
use std::time::Duration;

use bullmq::{Job, QueueKeys};
use tokio::sync::OnceCell;

use crate::outcome::{Role, Span, Trace};
use crate::services::queue::QueueClient;
use crate::services::redis::Redis;
use crate::settings::{Endpoints, RedisEndpoint};

/// How long a job may wait for its parent span.
const PARENT_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts the spans of jobs.
#[derive(Debug)]
pub(super) struct Traces {
    trace: Trace,
    endpoint: RedisEndpoint,
    keys: QueueKeys,
    /// Opened for the first traced job: the queue library cannot read the option `tm` (1.4).
    redis: OnceCell<Redis>,
}

impl Traces {
    pub(super) fn new(trace: Trace, endpoints: &Endpoints) -> Self {
        let names = &endpoints.names;
        Self {
            trace,
            endpoint: endpoints.redis.clone(),
            keys: QueueKeys::new(&names.queue, Some(&names.prefix)),
            redis: OnceCell::new(),
        }
    }

    /// Starts the span of an attempt at a job.
    pub(super) async fn begin(&self, job: &Job) -> Span {
        if !self.trace.is_on() {
            return Span::default();
        }
        let carried = async {
            let redis = self.redis.get_or_try_init(|| Redis::connect(&self.endpoint)).await?;
            QueueClient::trace_parent(redis, &self.keys, job.id()).await
        };
        // A Redis that does not answer must not prevent the job.
        let parent = tokio::time::timeout(PARENT_TIMEOUT, carried).await.ok().and_then(Result::ok).flatten();
        let span = self.trace.below(parent).begin_as(Role::Consumer, format_args!("job {}", job.name()));
        span.fact("messaging.system", "bullmq");
        span.fact("messaging.operation.type", "process");
        span.fact("messaging.destination.name", self.keys.name());
        span.fact("messaging.message.id", job.id());
        span.fact("shakedown.attempt", job.attempts_made() as usize + 1);
        span
    }
}

/// Runs `work` within `span`, which fails with it.
pub(super) async fn within<T, E: fmt::Display>(span: Span, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let outcome = work.await;
    if let Err(error) = &outcome {
        span.fail(error);
    }
    outcome
}
