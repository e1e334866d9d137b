//! Guards calls to an external service: retries with backoff, and a circuit breaker.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use recloser::{AsyncRecloser, Recloser};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::defect::{Defect, planted};

/// What an error means for a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Retry, no sooner than `after`.
    Retry {
        /// The service's `Retry-After`.
        after: Option<Duration>,
    },
    /// The input is rejected, now and at each retry.
    Rejected,
    /// Fails until a person acts.
    Fatal,
}

/// An error that knows whether a retry may help.
pub(super) trait Classified: std::fmt::Display {
    /// The class of the error.
    fn class(&self) -> Class;
}

/// Limits of retries and of the circuit breaker.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// First delay; it doubles with each retry.
    pub base: Duration,
    /// Longest delay.
    pub longest: Duration,
    /// Maximum number of tries.
    pub attempts: usize,
    /// Number of recent calls that the breaker considers.
    pub window: usize,
    /// How long an open breaker rejects calls before it lets a probe through.
    pub open: Duration,
}

/// The state of a circuit breaker at its last call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// The call passed and was answered.
    Closed,
    /// The call passed as a probe, to see whether the service is back.
    HalfOpen,
    /// The call was rejected.
    Open,
}

/// The state of every breaker of a worker, by service. Clones share the state.
#[derive(Debug, Clone, Default)]
pub struct Breakers(Arc<Mutex<BTreeMap<&'static str, BreakerState>>>);

impl Breakers {
    /// Every service with the state of its breaker.
    #[must_use]
    pub fn all(&self) -> BTreeMap<&'static str, BreakerState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, service: &'static str, state: BreakerState) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(service, state);
    }
}

/// An error of a guarded call.
#[derive(Debug, thiserror::Error)]
pub(super) enum Guarded<E: std::fmt::Display> {
    /// The call itself failed.
    #[error("{0}")]
    Failed(E),
    /// The breaker is open: the service failed too often recently.
    #[error("circuit breaker for {service} is open")]
    Open {
        /// The service.
        service: &'static str,
    },
}

impl<E: Classified> Guarded<E> {
    /// The class of the error for the job.
    pub(super) fn class(&self) -> Class {
        match self {
            Self::Failed(error) => error.class(),
            Self::Open { .. } => Class::Retry { after: None },
        }
    }
}

/// How often the open breaker may reject one call before the job gives up.
const MAX_REJECTIONS: u32 = 600;

/// Upper bound of a `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// The guard of a service, shared by all jobs.
#[derive(Debug)]
pub(super) struct Guard {
    service: &'static str,
    breaker: AsyncRecloser,
    policy: Policy,
    /// Whether the breaker was open at the last call: only changes are logged.
    seen_open: AtomicBool,
    breakers: Breakers,
    /// Maximum of concurrent calls; unlimited without it.
    slots: Option<Semaphore>,
    /// Until when no call may be made, from the `Retry-After` of an earlier call.
    paused_until: Mutex<Option<Instant>>,
}

impl Guard {
    /// A guard for `service` that reports to `breakers` and allows `slots` concurrent calls.
    #[must_use]
    pub(super) fn new(service: &'static str, policy: Policy, breakers: &Breakers, slots: Option<usize>) -> Self {
        let breaker = Recloser::custom()
            .error_rate(0.6)
            .closed_len(policy.window)
            .half_open_len(1)
            .open_wait(policy.open)
            .build();
        breakers.set(service, BreakerState::Closed);
        Self {
            service,
            breaker: AsyncRecloser::from(breaker),
            policy,
            seen_open: AtomicBool::new(false),
            breakers: breakers.clone(),
            slots: slots.map(Semaphore::new),
            paused_until: Mutex::new(None),
        }
    }

    /// Waits for a slot, then for the end of a `Retry-After`. In this order, a call that waits for a slot also respects
    /// a `Retry-After` that another call receives meanwhile.
    async fn acquire_slot(&self) -> Option<SemaphorePermit<'_>> {
        let slot = match &self.slots {
            Some(slots) => slots.acquire().await.ok(),
            None => None,
        };
        loop {
            let until = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(left) = until.and_then(|until| until.checked_duration_since(Instant::now())) else { return slot };
            // Jitter, so that calls do not resume at the same moment.
            tokio::time::sleep(left + self.policy.base.mul_f64(rand::random::<f64>())).await;
        }
    }

    /// Allows no call until `after` has passed.
    fn pause_for(&self, after: Duration) {
        if after.is_zero() {
            return;
        }
        let mut until = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(Some(Instant::now() + after));
    }

    /// Makes a call if the breaker allows it.
    async fn try_once<T, E: Classified>(
        &self,
        call: Pin<Box<impl Future<Output = Result<T, E>>>>,
    ) -> Result<T, recloser::Error<E>> {
        // Only errors of the service count for the breaker: a rejected text does not.
        let counts = |error: &E| matches!(error.class(), Class::Retry { .. });
        let watched = async {
            // Rejected before, and now allowed as a probe.
            if self.seen_open.load(Ordering::Relaxed) {
                self.breakers.set(self.service, BreakerState::HalfOpen);
            }
            call.await
        };
        let called = self.breaker.call_with(counts, watched).await;
        match &called {
            Ok(_) => {
                if self.seen_open.swap(false, Ordering::Relaxed) {
                    self.breakers.set(self.service, BreakerState::Closed);
                    tracing::info!(service = self.service, "circuit breaker closed");
                }
            }
            Err(recloser::Error::Rejected) => {
                self.breakers.set(self.service, BreakerState::Open);
                if !self.seen_open.swap(true, Ordering::Relaxed) {
                    tracing::warn!(service = self.service, "circuit breaker open: calls wait");
                }
            }
            Err(recloser::Error::Inner(_)) => {
                if self.seen_open.load(Ordering::Relaxed) {
                    self.breakers.set(self.service, BreakerState::Open);
                }
            }
        }
        called
    }

    /// Makes the call; retries transient errors with full jitter, and never before the service's `Retry-After`.
    ///
    /// A call that the open breaker rejects waits and does not count as a try: otherwise an outage longer than all
    /// tries would fail every active job.
    pub(super) async fn call<T, E, F, Fut>(&self, mut call: F) -> Result<T, Guarded<E>>
    where
        E: Classified + std::fmt::Debug,
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let attempts =
            if [Defect::SwallowsErrors, Defect::FirstErrorIsFinal, Defect::SkipsFailedBatches].into_iter().any(planted)
            {
                1
            } else {
                self.policy.attempts.max(1)
            };
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(self.policy.base)
            .with_max_delay(self.policy.longest)
            .with_max_times(attempts - 1)
            .build();
        let mut rejections = 0;
        loop {
            let slot = self.acquire_slot().await;
            if planted(Defect::ShortCallTimeout) {
                match tokio::time::timeout(Duration::from_millis(400), call()).await {
                    Ok(Ok(value)) => return Ok(value),
                    Ok(Err(error)) => return Err(Guarded::Failed(error)),
                    Err(_) => return Err(Guarded::Open { service: self.service }),
                }
            }
            let unguarded = planted(Defect::NoBreaker) || planted(Defect::NoBackoff);
            let called = if unguarded {
                call().await.map_err(recloser::Error::Inner)
            } else {
                self.try_once(Box::pin(call())).await
            };
            let least = match &called {
                Err(recloser::Error::Inner(error)) => requested_delay(error),
                _ => Duration::ZERO,
            };
            self.pause_for(least);
            drop(slot);
            let error = match called {
                Ok(value) => return Ok(value),
                Err(recloser::Error::Inner(error)) => Guarded::Failed(error),
                Err(recloser::Error::Rejected) => Guarded::Open { service: self.service },
            };
            let class = error.class();
            let again = matches!(class, Class::Retry { .. })
                || (planted(Defect::RetriesRejectedInput) && class == Class::Rejected);
            if !again {
                return Err(error);
            }
            if matches!(error, Guarded::Open { .. }) {
                rejections += 1;
                if rejections > MAX_REJECTIONS {
                    return Err(error);
                }
                // Between one and two open periods, so that the callers do not return at the same moment.
                tokio::time::sleep(self.policy.open.mul_f64(1.0 + rand::random::<f64>())).await;
                continue;
            }
            if planted(Defect::HangsAfterFailedRequest) {
                std::future::pending::<()>().await;
            }
            let Some(delay) = delays.next() else { return Err(error) };
            if planted(Defect::NoBackoff) {
                continue;
            }
            if planted(Defect::FixedBackoff) {
                tokio::time::sleep(self.policy.base).await;
                continue;
            }
            // Added to the `Retry-After`: as a mere lower bound, all callers would return at the same moment.
            let delay = least + delay.mul_f64(rand::random::<f64>());
            let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(service = self.service, delay_ms, error = %error, "call failed, retrying");
            tokio::time::sleep(delay).await;
        }
    }
}

/// The delay that the service requests.
fn requested_delay(error: &impl Classified) -> Duration {
    let ignores_retry_after =
        [Defect::IgnoresRetryAfter, Defect::NoBackoff, Defect::FixedBackoff].into_iter().any(planted);
    match error.class() {
        Class::Retry { after: Some(after) } if !ignores_retry_after => after.min(MAX_RETRY_AFTER),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use rstest::rstest;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("test error")]
    struct TestError(Class);

    impl Classified for TestError {
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
        let guard = Guard::new("test", policy, &Breakers::default(), None);
        let result: Result<(), _> = guard
            .call(|| async {
                calls.fetch_add(1, Ordering::SeqCst);
                Err(TestError(class))
            })
            .await;
        assert!(result.is_err());
        calls.load(Ordering::SeqCst)
    }

    #[rstest]
    #[case::transient(Class::Retry { after: None }, 4)]
    #[case::rejected_input(Class::Rejected, 1)]
    #[case::fatal(Class::Fatal, 1)]
    #[tokio::test]
    async fn only_transient_errors_are_retried_a_bounded_number_of_times(#[case] class: Class, #[case] tries: u32) {
        assert_eq!(calls_until_given_up(class, policy()).await, tries);
    }

    #[tokio::test]
    async fn retry_after_is_the_minimum_delay() {
        let after = Duration::from_millis(60);
        let begun = Instant::now();
        calls_until_given_up(Class::Retry { after: Some(after) }, Policy { attempts: 2, ..policy() }).await;
        assert!(begun.elapsed() >= after);
    }

    #[tokio::test]
    async fn a_retry_after_also_delays_calls_that_wait_for_a_slot() {
        let after = Duration::from_millis(60);
        let guard = Guard::new("test", Policy { attempts: 1, ..policy() }, &Breakers::default(), Some(1));
        let called_at = Mutex::new(None);
        let first = guard.call(|| async {
            called_at.lock().unwrap().replace(Instant::now());
            Err::<(), _>(TestError(Class::Retry { after: Some(after) }))
        });
        let second = guard.call(|| async { Ok::<_, TestError>(Instant::now()) });
        let (first, second) = tokio::join!(first, second);
        assert!(first.is_err());
        assert!(second.unwrap() >= called_at.into_inner().unwrap().unwrap() + after);
    }

    #[tokio::test]
    async fn an_open_breaker_protects_a_service_that_is_down() {
        let breakers = Breakers::default();
        let policy = Policy { window: 2, attempts: 1, open: Duration::from_secs(60), ..policy() };
        let guard = Guard::new("test", policy, &breakers, None);
        assert_eq!(breakers.all()["test"], BreakerState::Closed);
        let calls = AtomicU32::new(0);
        for _ in 0..20 {
            let call = guard.call(|| async {
                calls.fetch_add(1, Ordering::SeqCst);
                Err::<(), _>(TestError(Class::Retry { after: None }))
            });
            let _ = tokio::time::timeout(Duration::from_millis(5), call).await;
        }
        assert!(calls.load(Ordering::SeqCst) <= 3, "{calls:?} of 20 calls went through");
        assert_eq!(breakers.all()["test"], BreakerState::Open);
    }

    #[tokio::test]
    async fn waiting_calls_proceed_once_the_service_is_back() {
        let policy = Policy { window: 2, attempts: 2, open: Duration::from_millis(10), ..policy() };
        let breakers = Breakers::default();
        let guard = Guard::new("test", policy, &breakers, None);
        let up = Instant::now() + Duration::from_millis(120);
        let tried = AtomicBool::new(false);
        let call = || async {
            tried.fetch_or(breakers.all()["test"] == BreakerState::HalfOpen, Ordering::Relaxed);
            if Instant::now() < up { Err(TestError(Class::Retry { after: None })) } else { Ok(()) }
        };
        let jobs = (0..8).map(|_| async {
            let mut tries = 0;
            while guard.call(call).await.is_err() {
                tries += 1;
            }
            tries
        });
        let failed: Vec<u32> = futures::future::join_all(jobs).await;
        assert!(failed.iter().all(|failed| *failed < 20), "{failed:?}");
        assert!(tried.load(Ordering::Relaxed), "some call was let through to see whether the service is back");
        assert_eq!(breakers.all()["test"], BreakerState::Closed, "the breaker closes again");
    }

    #[tokio::test]
    async fn rejected_input_does_not_open_the_breaker() {
        let policy = Policy { window: 2, attempts: 1, open: Duration::from_secs(60), ..policy() };
        let guard = Guard::new("test", policy, &Breakers::default(), None);
        for _ in 0..10 {
            let rejected: Result<(), _> = guard.call(|| async { Err(TestError(Class::Rejected)) }).await;
            assert!(matches!(rejected, Err(Guarded::Failed(_))));
        }
    }
}
