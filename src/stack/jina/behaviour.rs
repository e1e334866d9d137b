//! What the behaviours of the mock amount to for one request.

use std::time::Duration;

use super::vector::Rng;
use crate::spec::jina::{Answer, Behaviour, RetryAfter};

/// The value of a `Retry-After` header at this moment, and the milliseconds that it asks for, if that can be read.
pub(super) fn retry_after(wish: RetryAfter) -> Option<(String, Option<u64>)> {
    match wish {
        RetryAfter::None => None,
        RetryAfter::Seconds(seconds) => Some((seconds.to_string(), Some(seconds.saturating_mul(1000)))),
        RetryAfter::Unreadable => Some(("later".to_owned(), None)),
        RetryAfter::HttpDate(seconds) => {
            let then = chrono::Utc::now() + Duration::from_secs(seconds);
            // A date has whole seconds: what it asks for may be almost one less.
            let least = seconds.saturating_sub(1).saturating_mul(1000);
            Some((then.format("%a, %d %b %Y %H:%M:%S GMT").to_string(), Some(least)))
        }
    }
}

/// What the behaviours that apply to one request amount to.
#[derive(Debug, Default)]
pub(super) struct Verdict<'a> {
    /// How long the answer takes.
    pub(super) delay: Duration,
    /// The answer that replaces a good one.
    pub(super) instead: Option<&'a Answer>,
    /// What is done to a good answer.
    pub(super) bends: Vec<&'a Answer>,
}

impl<'a> Verdict<'a> {
    /// Adds up the `behaviours` that apply to the request that arrived as number `nth`.
    pub(super) fn of(behaviours: &'a [Behaviour], nth: u64, texts: &[String], dice: &mut Rng) -> Self {
        let mut verdict = Self::default();
        for behaviour in behaviours.iter().filter(|behaviour| behaviour.when.applies(nth, texts)) {
            match &behaviour.answer {
                Answer::Delay { ms, jitter } => {
                    verdict.delay += Duration::from_millis(ms.saturating_add(dice.below(jitter.saturating_add(1))));
                }
                answer @ (Answer::Status { .. } | Answer::Malformed | Answer::Truncated | Answer::Hang) => {
                    verdict.instead.get_or_insert(answer);
                }
                answer => verdict.bends.push(answer),
            }
        }
        verdict
    }

    /// Whether `answer` is among the bends.
    pub(super) fn bends(&self, answer: &Answer) -> bool {
        self.bends.contains(&answer)
    }
}
