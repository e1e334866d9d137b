//! `latency`: bytes arrive later, give or take a jitter; their order is kept.
//!
//! Evidence: a connection each time when it begins to delay one, and the bytes that it delayed.

use std::time::Duration;

use rand::RngExt as _;

use super::{ActiveFaults, NetworkKind, millis, value};
use crate::faults::{Direction, NetworkFault};

#[derive(Debug)]
pub(super) struct Latency {
    delay: Duration,
    jitter: Duration,
}

impl Latency {
    pub(super) const fn new(ms: u64, jitter_ms: u64) -> Self {
        Self { delay: Duration::from_millis(ms), jitter: Duration::from_millis(jitter_ms) }
    }
}

impl NetworkKind for Latency {
    fn delay(&self) -> Option<Duration> {
        if self.jitter.is_zero() {
            return Some(self.delay);
        }
        let share: f64 = rand::rng().random_range(-1.0..=1.0);
        let seconds = self.delay.as_secs_f64() + share * self.jitter.as_secs_f64();
        Some(Duration::from_secs_f64(seconds.max(0.0)))
    }
}

/// The delays of one direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Delayed {
    /// The fault that delayed last.
    by: Option<u64>,
}

impl Delayed {
    /// By how much later `count` bytes that go `way` arrive. `is_idle`: no earlier bytes wait.
    pub(super) fn delay(&mut self, faults: &ActiveFaults, way: Direction, count: usize, is_idle: bool) -> Duration {
        let Some((active, delay)) = faults.first(way, NetworkKind::delay) else { return Duration::ZERO };
        if self.by.replace(active.id) != Some(active.id) || is_idle {
            active.effect.count_connection();
        }
        active.effect.count_bytes(count);
        delay
    }
}

pub(super) fn parse(text: Option<&str>) -> Result<NetworkFault, String> {
    let text = value("latency", text, "200ms~50ms")?;
    let (delay, jitter) = text.split_once('~').unwrap_or((text, "0s"));
    Ok(NetworkFault::Latency { ms: millis(delay)?, jitter_ms: millis(jitter)? })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    #[tokio::test]
    async fn latency_delays_and_keeps_the_order() {
        let proxy = proxy().await;
        let latency = proxy.apply(NetworkFault::Latency { ms: 80, jitter_ms: 40 }, Direction::Down);
        let mut stream = connect(&proxy).await;
        let begun = tokio::time::Instant::now();
        let sent: Vec<u8> = (0..200_u8).collect();
        for byte in &sent {
            stream.write_all(&[*byte]).await.unwrap();
        }
        let mut received = vec![0; sent.len()];
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!(received, sent);
        assert!(begun.elapsed() >= ms(40), "{:?}", begun.elapsed());
        assert_eq!(proxy.revert(latency).bytes(), 200);
    }
}
