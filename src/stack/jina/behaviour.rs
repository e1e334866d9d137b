//! The combined effect of the behaviours of the mock on one request.

use std::time::Duration;

use super::vector::Rng;
use crate::spec::jina::{Answer, Behaviour, RetryAfter};

/// The value of a `Retry-After` header now, and the wait in milliseconds that it asks for, if it is valid.
pub(super) fn retry_after(header: RetryAfter) -> Option<(String, Option<u64>)> {
    match header {
        RetryAfter::None => None,
        RetryAfter::Seconds(seconds) => Some((seconds.to_string(), Some(seconds.saturating_mul(1000)))),
        RetryAfter::Unreadable => Some(("later".to_owned(), None)),
        RetryAfter::HttpDate(seconds) => {
            let then = chrono::Utc::now() + Duration::from_secs(seconds);
            // A date has whole seconds: the wait may be almost one second shorter.
            let least = seconds.saturating_sub(1).saturating_mul(1000);
            Some((then.format("%a, %d %b %Y %H:%M:%S GMT").to_string(), Some(least)))
        }
    }
}

/// The combined effect of the behaviours that apply to one request.
#[derive(Debug, Default)]
pub(super) struct Effect<'a> {
    /// The delay of the answer.
    pub(super) delay: Duration,
    /// The answer that replaces a success.
    pub(super) replacement: Option<&'a Answer>,
    /// The alterations of a success.
    pub(super) alterations: Vec<&'a Answer>,
}

impl<'a> Effect<'a> {
    /// Combines the `behaviours` that apply to request number `nth`.
    pub(super) fn combine(behaviours: &'a [Behaviour], nth: u64, texts: &[String], rng: &mut Rng) -> Self {
        let mut effect = Self::default();
        for behaviour in behaviours.iter().filter(|behaviour| behaviour.when.applies(nth, texts)) {
            match &behaviour.answer {
                // A scenario run knows the grace period, and has made a delay of it.
                Answer::BeyondGrace { ms } => effect.delay += Duration::from_millis(*ms),
                Answer::Delay { ms, jitter } => {
                    effect.delay += Duration::from_millis(ms.saturating_add(rng.below(jitter.saturating_add(1))));
                }
                answer @ (Answer::Status { .. } | Answer::Malformed | Answer::Truncated | Answer::Hang) => {
                    effect.replacement.get_or_insert(answer);
                }
                answer => effect.alterations.push(answer),
            }
        }
        effect
    }

    /// Whether `answer` is among the alterations.
    pub(super) fn alters(&self, answer: &Answer) -> bool {
        self.alterations.contains(&answer)
    }
}
