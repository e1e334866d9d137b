//! `limit_data`: a connection is reset after a number of bytes, also in the middle of a message.
//!
//! Bytes count in each direction from the beginning of the fault. What the limit lets through arrives before the reset.
//! Evidence: every connection that it reset, and the bytes that it held back.

use super::{ActiveFaults, NetworkKind, bytes, value};
use crate::faults::{Direction, NetworkFault};

#[derive(Debug)]
pub(super) struct LimitData {
    pub(super) bytes: u64,
}

impl NetworkKind for LimitData {
    fn byte_limit(&self) -> Option<u64> {
        Some(self.bytes)
    }
}

/// The bytes that one direction of a connection has passed under a limit.
#[derive(Debug, Default)]
pub(super) struct Counter {
    /// The fault, and the bytes since it began.
    seen: Option<(u64, u64)>,
}

impl Counter {
    /// How many of `count` bytes that go `way` pass; and the word of the fault that resets the connection after them.
    pub(super) fn limit(
        &mut self,
        faults: &ActiveFaults,
        way: Direction,
        count: usize,
    ) -> (usize, Option<&'static str>) {
        let Some((active, limit)) = faults.first(way, NetworkKind::byte_limit) else { return (count, None) };
        let seen = match self.seen {
            Some((id, seen)) if id == active.id => seen,
            _ => 0,
        };
        self.seen = Some((active.id, seen + count as u64));
        let room = usize::try_from(limit.saturating_sub(seen)).unwrap_or(usize::MAX);
        if count <= room {
            return (count, None);
        }
        active.effect.count_connection();
        active.effect.count_bytes(count - room);
        (room, Some(active.fault.word()))
    }
}

pub(super) fn parse(text: Option<&str>) -> Result<NetworkFault, String> {
    bytes(value("limit_data", text, "4KiB")?).map(|bytes| NetworkFault::LimitData { bytes })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    #[tokio::test]
    async fn limit_data_cuts_in_the_middle_of_a_message() {
        let proxy = proxy().await;
        let limit = proxy.apply(NetworkFault::LimitData { bytes: 1000 }, Direction::Down);
        let mut stream = connect(&proxy).await;
        stream.write_all(&[1; 4000]).await.unwrap();
        let (received, reset) = read_to_end(&mut stream).await;
        // A reset may overtake bytes that were not read yet; more than the limit never arrives.
        assert!(reset && received <= 1000, "{received} {reset}");
        assert_eq!(closed(&proxy, 0).await.down, 1000);
        assert_eq!(proxy.revert(limit).connections(), 1);
    }
}
