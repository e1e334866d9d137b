//! What the worker does, as spans below whatever added the job.

use std::fmt;
use std::time::Duration;

use bullmq::{Job, QueueKeys};
use tokio::sync::OnceCell;

use crate::outcome::{Role, Span, Trace};
use crate::services::queue::QueueClient;
use crate::services::redis::Redis;
use crate::settings::{Endpoints, RedisEndpoint};

/// How long a job may be kept waiting to learn what it is below.
const PARENT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the spans of jobs begin.
#[derive(Debug)]
pub(super) struct Traces {
    trace: Trace,
    endpoint: RedisEndpoint,
    keys: QueueKeys,
    /// Made for the first job that is traced: the queue library knows the option `tm` no more than to pass it over (1.4).
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

    /// Begins the span of an attempt at a job.
    pub(super) async fn begin(&self, job: &Job) -> Span {
        if !self.trace.is_on() {
            return Span::default();
        }
        let carried = async {
            let redis = self.redis.get_or_try_init(|| Redis::connect(&self.endpoint)).await?;
            QueueClient::carried(redis, &self.keys, job.id()).await
        };
        // A Redis that does not answer is no reason not to do the job.
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

/// Does `work` within `span`, which fails with it.
pub(super) async fn within<T, E: fmt::Display>(span: Span, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let outcome = work.await;
    if let Err(error) = &outcome {
        span.fail(error);
    }
    outcome
}
