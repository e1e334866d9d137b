//! What stands between the worker and an outside service: retries with backoff, and a circuit breaker.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use recloser::{AsyncRecloser, Recloser};

use super::defect::{Defect, planted};

/// What an error means for a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Try again, no sooner than `after`.
    Retry {
        /// The service's own wish, from `Retry-After`.
        after: Option<Duration>,
    },
    /// This input is rejected, and will be at each retry.
    Poison,
    /// Nothing will work until a person acts.
    Fatal,
}

/// An error that knows what it means for a retry.
pub trait Classified: std::fmt::Display {
    /// What it means.
    fn class(&self) -> Class;
}

/// How often and how slowly to retry.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// First delay; doubles each time.
    pub base: Duration,
    /// Longest delay.
    pub longest: Duration,
    /// Tries in all.
    pub attempts: usize,
    /// How many calls the breaker looks back on.
    pub window: usize,
    /// How long an open breaker rejects calls before it lets a probe through.
    pub open: Duration,
}

/// An error of a guarded call.
#[derive(Debug, thiserror::Error)]
pub enum Guarded<E: std::fmt::Display> {
    /// The call itself failed.
    #[error("{0}")]
    Failed(E),
    /// The breaker is open: the service failed too often just now.
    #[error("{service} is given a rest: its circuit breaker is open")]
    Open {
        /// The service.
        service: &'static str,
    },
}

impl<E: Classified> Guarded<E> {
    /// What it means for the job.
    pub fn class(&self) -> Class {
        match self {
            Self::Failed(error) => error.class(),
            Self::Open { .. } => Class::Retry { after: None },
        }
    }
}

/// The guard of one service, shared by all jobs.
#[derive(Debug)]
pub struct Guard {
    service: &'static str,
    breaker: AsyncRecloser,
    policy: Policy,
}

impl Guard {
    /// A guard for `service`.
    #[must_use]
    pub fn new(service: &'static str, policy: Policy) -> Self {
        let breaker = Recloser::custom()
            .error_rate(0.6)
            .closed_len(policy.window)
            .half_open_len(1)
            .open_wait(policy.open)
            .build();
        Self { service, breaker: AsyncRecloser::from(breaker), policy }
    }

    /// Makes the call; what may be retried is, with full jitter, and never before the service's own wish.
    pub async fn call<T, E, F, Fut>(&self, mut call: F) -> Result<T, Guarded<E>>
    where
        E: Classified + std::fmt::Debug,
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let attempts = if planted(Defect::NoRetry) { 1 } else { self.policy.attempts.max(1) };
        let backoff = ExponentialBuilder::default()
            .with_min_delay(self.policy.base)
            .with_max_delay(self.policy.longest)
            .with_max_times(attempts - 1);
        let open = self.policy.open;
        (|| {
            let call = call();
            async {
                // Only what speaks against the service counts for the breaker: a rejected text does not.
                let counts = |error: &E| matches!(error.class(), Class::Retry { .. });
                match self.breaker.call_with(counts, call).await {
                    Ok(value) => Ok(value),
                    Err(recloser::Error::Inner(error)) => Err(Guarded::Failed(error)),
                    Err(recloser::Error::Rejected) => Err(Guarded::Open { service: self.service }),
                }
            }
        })
        .retry(backoff)
        .when(|error| {
            matches!(error.class(), Class::Retry { .. })
                || (planted(Defect::RetriesPoison) && error.class() == Class::Poison)
        })
        .adjust(move |error, delay| {
            let full_jitter = delay.map(|delay| delay.mul_f64(rand::random::<f64>()));
            let least = match error {
                Guarded::Open { .. } => Some(open),
                Guarded::Failed(error) => match error.class() {
                    Class::Retry { after } => after,
                    Class::Poison | Class::Fatal => None,
                },
            };
            full_jitter.map(|delay| least.map_or(delay, |least| delay.max(least)))
        })
        .notify(|error, delay| {
            let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(service = self.service, delay_ms, error = %error, "call failed, trying again");
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Instant;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("planned")]
    struct Planned(Class);

    impl Classified for Planned {
        fn class(&self) -> Class {
            self.0
        }
    }

    fn policy() -> Policy {
        Policy {
            base: Duration::from_millis(1),
            longest: Duration::from_millis(4),
            attempts: 4,
            window: 50,
            open: Duration::from_millis(20),
        }
    }

    async fn calls_until_given_up(class: Class, policy: Policy) -> u32 {
        let calls = AtomicU32::new(0);
        let guard = Guard::new("test", policy);
        let result: Result<(), _> = guard
            .call(|| async {
                calls.fetch_add(1, Ordering::SeqCst);
                Err(Planned(class))
            })
            .await;
        assert!(result.is_err());
        calls.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn what_may_be_retried_is_retried_a_bounded_number_of_times() {
        assert_eq!(calls_until_given_up(Class::Retry { after: None }, policy()).await, 4);
    }

    #[tokio::test]
    async fn rejected_input_and_fatal_errors_are_not_retried() {
        assert_eq!(calls_until_given_up(Class::Poison, policy()).await, 1);
        assert_eq!(calls_until_given_up(Class::Fatal, policy()).await, 1);
    }

    #[tokio::test]
    async fn the_services_own_wish_is_the_least_delay() {
        let after = Duration::from_millis(60);
        let begun = Instant::now();
        calls_until_given_up(Class::Retry { after: Some(after) }, Policy { attempts: 2, ..policy() }).await;
        assert!(begun.elapsed() >= after);
    }

    #[tokio::test]
    async fn an_open_breaker_keeps_calls_from_a_service_that_is_down() {
        let guard = Guard::new("test", Policy { window: 2, attempts: 1, open: Duration::from_secs(60), ..policy() });
        let calls = AtomicU32::new(0);
        for _ in 0..20 {
            let _: Result<(), _> = guard
                .call(|| async {
                    calls.fetch_add(1, Ordering::SeqCst);
                    Err(Planned(Class::Retry { after: None }))
                })
                .await;
        }
        assert!(calls.load(Ordering::SeqCst) <= 3, "{calls:?} of 20 calls went through");
    }
}
