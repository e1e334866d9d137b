//! Rate limits of a collection's reads and writes per minute.
//!
//! Source of the rule: Qdrant's `read_rate_limit` and `write_rate_limit`: a bucket that holds a minute's
//! operations and is refilled steadily. A read costs 1 and 1 for each condition of its filter, or 1 for each
//! point fetched; a write costs 1 for each point it changes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::Error;

/// One of a collection's two rate limits.
#[derive(Debug)]
pub(super) struct Rate {
    /// `Read` or `Write`, as in the error.
    kind: &'static str,
    bucket: Mutex<Option<Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    per_minute: u64,
    tokens: f64,
    filled: Instant,
}

impl Rate {
    /// A rate limit for operations of that kind; unlimited until it is set.
    pub(super) fn new(kind: &'static str) -> Self {
        Self { kind, bucket: Mutex::new(None) }
    }

    /// Sets the operations per minute; `None` is unlimited. Setting the same again changes nothing.
    pub(super) fn set(&self, per_minute: Option<u64>) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        if bucket.as_ref().map(|bucket| bucket.per_minute) != per_minute {
            *bucket = per_minute.map(|per_minute| {
                #[expect(clippy::cast_precision_loss, reason = "no minute has so many operations")]
                let tokens = per_minute as f64;
                Bucket { per_minute, tokens, filled: Instant::now() }
            });
        }
    }

    /// Pays for an operation; `cost` is called only if there is a limit.
    ///
    /// # Errors
    /// There were too many operations, or this one costs more than a minute's worth and can never be paid.
    pub(super) fn spend(&self, cost: impl FnOnce() -> usize) -> Result<(), Error> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bucket) = bucket.as_mut() else { return Ok(()) };
        let cost = cost();
        bucket.spend(cost, Instant::now()).map_err(|retry_after| {
            let text = match retry_after {
                None => format!(
                    "{} rate limit exceeded, request larger than rate limiter capacity, please try to split your request",
                    self.kind
                ),
                Some(after) => format!(
                    "{} rate limit exceeded: Operation requires {cost} tokens but only {:.1} were available. Retry after {}s",
                    self.kind,
                    bucket.tokens,
                    after.as_secs_f64().ceil()
                ),
            };
            Error::RateLimited(text, retry_after)
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "no minute has so many operations")]
impl Bucket {
    /// The time to wait if there is too little; `None` if no wait would be enough.
    fn spend(&mut self, cost: usize, now: Instant) -> Result<(), Option<Duration>> {
        let (capacity, cost) = (self.per_minute as f64, cost as f64);
        if cost > capacity {
            return Err(None);
        }
        let a_second = capacity / 60.0;
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * a_second;
        self.tokens = (self.tokens + gained).min(capacity);
        self.filled = now;
        if self.tokens < cost {
            return Err(Some(Duration::from_secs_f64((cost - self.tokens) / a_second)));
        }
        self.tokens -= cost;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_is_allowed_and_more_gets_a_retry_time() {
        let start = Instant::now();
        let mut bucket = Bucket { per_minute: 60, tokens: 60.0, filled: start };
        assert_eq!(bucket.spend(60, start), Ok(()));
        assert_eq!(bucket.spend(2, start), Err(Some(Duration::from_secs(2))));
        assert_eq!(bucket.spend(2, start + Duration::from_secs(2)), Ok(()));
        // The bucket never holds more than a minute's worth.
        let later = start + Duration::from_hours(1);
        assert_eq!(bucket.spend(60, later), Ok(()));
        assert!(bucket.spend(1, later).is_err());
    }

    #[test]
    fn an_operation_above_a_minutes_worth_is_rejected_permanently() {
        let rate = Rate::new("Write");
        assert_eq!(rate.spend(|| usize::MAX), Ok(()));
        rate.set(Some(10));
        let Err(Error::RateLimited(text, None)) = rate.spend(|| 11) else { panic!("refused for good") };
        assert!(text.contains("Write rate limit exceeded, request larger than"), "{text}");
    }

    #[test]
    fn setting_the_same_limit_again_does_not_refill_it() {
        let rate = Rate::new("Read");
        rate.set(Some(1));
        assert_eq!(rate.spend(|| 1), Ok(()));
        rate.set(Some(1));
        assert!(rate.spend(|| 1).is_err());
        rate.set(None);
        assert_eq!(rate.spend(|| 1), Ok(()));
    }
}
