//! The rate limits of a key, as a sliding window.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::spec::jina::Limits;

/// Why a request is refused with 429.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exceeded {
    pub(super) code: &'static str,
    pub(super) detail: String,
}

/// The requests that were admitted within the window.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<(Instant, u64)>);

impl Window {
    /// Admits a request of `tokens`, or returns the limit that it exceeds. A refused request does not count.
    pub(super) fn admit(&mut self, limits: &Limits, now: Instant, tokens: u64, in_flight: u32) -> Result<(), Exceeded> {
        let length = Duration::from_millis(limits.window_ms);
        while self.0.front().is_some_and(|(at, _)| now.duration_since(*at) >= length) {
            self.0.pop_front();
        }
        if let Some(max) = limits.concurrency.filter(|max| in_flight > *max) {
            let detail = format!("Concurrency limit exceeded: {max}/{max} requests are being answered.");
            return Err(Exceeded { code: "RATE_CONCURRENCY_LIMIT_EXCEEDED", detail });
        }
        if let Some(max) = limits.rpm.filter(|max| self.0.len() >= *max as usize) {
            let detail = format!("Request rate limit exceeded: {}/{max} requests per minute.", self.0.len() + 1);
            return Err(Exceeded { code: "RATE_REQUEST_LIMIT_EXCEEDED", detail });
        }
        let used: u64 = self.0.iter().map(|(_, tokens)| tokens).sum();
        if let Some(max) = limits.tpm.filter(|max| used + tokens > *max) {
            let detail = format!("Token rate limit exceeded: {}/{max} tokens per minute.", used + tokens);
            return Err(Exceeded { code: "RATE_TOKEN_LIMIT_EXCEEDED", detail });
        }
        if limits.rpm.is_some() || limits.tpm.is_some() {
            self.0.push_back((now, tokens));
        }
        Ok(())
    }

    /// The two documented headers, for the limits that are set.
    pub(super) fn headers(&self, limits: &Limits) -> Vec<(&'static str, String)> {
        let used: u64 = self.0.iter().map(|(_, tokens)| tokens).sum();
        let requests = limits.rpm.map(|max| u64::from(max).saturating_sub(self.0.len() as u64));
        let tokens = limits.tpm.map(|max| max.saturating_sub(used));
        [("X-RateLimit-Remaining-Requests", requests), ("X-RateLimit-Remaining-Tokens", tokens)]
            .into_iter()
            .filter_map(|(name, left)| Some((name, left?.to_string())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(answer: Result<(), Exceeded>) -> Option<&'static str> {
        answer.err().map(|exceeded| exceeded.code)
    }

    #[test]
    fn each_limit_has_its_code_and_a_new_window_admits_requests_again() {
        let limits = Limits { rpm: Some(2), tpm: Some(100), concurrency: Some(2), window_ms: 1000 };
        let mut window = Window::default();
        let now = Instant::now();
        assert_eq!(code(window.admit(&limits, now, 10, 3)), Some("RATE_CONCURRENCY_LIMIT_EXCEEDED"));
        assert_eq!(code(window.admit(&limits, now, 101, 1)), Some("RATE_TOKEN_LIMIT_EXCEEDED"));
        assert_eq!(code(window.admit(&limits, now, 50, 1)), None);
        assert_eq!(code(window.admit(&limits, now, 50, 1)), None);
        assert_eq!(code(window.admit(&limits, now, 0, 1)), Some("RATE_REQUEST_LIMIT_EXCEEDED"));
        assert_eq!(code(window.admit(&limits, now + Duration::from_secs(1), 100, 1)), None);
    }
}
