//! `slow_close`: when one side closes, the other learns of it later.
//!
//! Evidence: every close that it delayed.

use std::time::Duration;

use super::{ActiveFaults, NetworkKind, millis, value};
use crate::faults::{Direction, NetworkFault};

#[derive(Debug)]
pub(super) struct SlowClose {
    delay: Duration,
}

impl SlowClose {
    pub(super) const fn new(ms: u64) -> Self {
        Self { delay: Duration::from_millis(ms) }
    }
}

impl NetworkKind for SlowClose {
    fn close_delay(&self) -> Option<Duration> {
        Some(self.delay)
    }
}

/// By how much later the receiver of `way` learns that the sender has closed.
pub(super) fn delay(faults: &ActiveFaults, way: Direction) -> Duration {
    let Some((active, delay)) = faults.first(way, NetworkKind::close_delay) else { return Duration::ZERO };
    active.effect.count_connection();
    delay
}

pub(super) fn parse(text: Option<&str>) -> Result<NetworkFault, String> {
    Ok(NetworkFault::SlowClose { ms: millis(value("slow_close", text, "2s")?)? })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    #[tokio::test]
    async fn slow_close_keeps_the_other_side_waiting() {
        let proxy = proxy().await;
        let slow_close = proxy.apply(NetworkFault::SlowClose { ms: 200 }, Direction::Up);
        let mut stream = connect(&proxy).await;
        round_trip(&mut stream, b"x").await.unwrap();
        let begun = tokio::time::Instant::now();
        stream.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut stream).await, (0, false));
        assert!(begun.elapsed() >= ms(190), "{:?}", begun.elapsed());
        assert!(proxy.revert(slow_close).took_effect());
    }
}
