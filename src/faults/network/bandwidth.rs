//! `bandwidth`: a limit of bytes per second, for each connection and direction.
//!
//! Evidence: a connection each time when it begins to hold one back, and the bytes that it held back.

use std::time::{Duration, Instant};

use super::{ActiveFaults, NetworkKind, bytes, value};
use crate::faults::{Direction, NetworkFault};

/// A connection gets its bytes in portions of this length of time.
const PORTION: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Bandwidth {
    pub(super) rate: u64,
}

impl NetworkKind for Bandwidth {
    fn rate(&self) -> Option<u64> {
        Some(self.rate)
    }
}

/// The throttle of one direction of a connection.
#[derive(Debug)]
pub(in crate::faults) struct Throttle {
    /// The fault that held back last.
    by: Option<u64>,
    /// When the next byte may go.
    free: Instant,
}

impl Throttle {
    pub(super) fn new() -> Self {
        Self { by: None, free: Instant::now() }
    }

    /// Bytes per second at which `count` bytes that go `way` pass; `None` without a limit.
    pub(super) fn rate(&mut self, faults: &ActiveFaults, way: Direction, count: usize, now: Instant) -> Option<u64> {
        let (active, rate) = faults.first(way, NetworkKind::rate)?;
        if self.by.replace(active.id) != Some(active.id) || self.free <= now {
            active.effect.count_connection();
        }
        active.effect.count_bytes(count);
        Some(rate)
    }

    /// Divides `bytes`, which may go at `due`, into portions of at most `most` bytes, each with the time at which it
    /// may go.
    pub(in crate::faults) fn portions<'a>(
        &'a mut self,
        bytes: &'a [u8],
        due: Instant,
        rate: u64,
        most: usize,
    ) -> impl Iterator<Item = (Instant, &'a [u8])> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "bytes of a portion"
        )]
        let portion = ((rate as f64 * PORTION.as_secs_f64()) as usize).clamp(1, most);
        bytes.chunks(portion).map(move |part| {
            #[expect(clippy::cast_precision_loss, reason = "a share of a second")]
            let takes = Duration::from_secs_f64(part.len() as f64 / rate as f64);
            self.free = self.free.max(due) + takes;
            (self.free, part)
        })
    }
}

pub(super) fn parse(text: Option<&str>) -> Result<NetworkFault, String> {
    bytes(value("bandwidth", text, "64KiB")?).map(|rate| NetworkFault::Bandwidth { rate: rate.max(1) })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    #[tokio::test]
    async fn bandwidth_keeps_to_its_rate() {
        let proxy = proxy().await;
        let bandwidth = proxy.apply(NetworkFault::Bandwidth { rate: 100_000 }, Direction::Up);
        let mut stream = connect(&proxy).await;
        let begun = tokio::time::Instant::now();
        round_trip(&mut stream, &vec![7; 30_000]).await.unwrap();
        // 0.3 s for 30,000 bytes; more on a busy machine, never less.
        assert!(begun.elapsed() >= ms(290), "{:?}", begun.elapsed());
        assert_eq!(proxy.revert(bandwidth).bytes(), 30_000);
    }
}
