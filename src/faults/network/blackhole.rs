//! `blackhole`: bytes are taken and go nowhere; new connections are accepted and get no answer.
//!
//! A connection that lost bytes is reset when this ends, because a stream with a gap is worse than none. Evidence: every
//! connection that lost bytes or was opened meanwhile, and the bytes.

use super::{NetworkKind, no_value};
use crate::faults::NetworkFault;

/// Connections that `half_open` spoilt are closed under this word too.
pub(in crate::faults) const WORD: &str = "blackhole";

#[derive(Debug)]
pub(super) struct Blackhole;

impl NetworkKind for Blackhole {
    fn swallows(&self) -> bool {
        true
    }
}

pub(super) fn parse(value: Option<&str>) -> Result<NetworkFault, String> {
    no_value(WORD, value).map(|()| NetworkFault::Blackhole)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    #[tokio::test]
    async fn blackhole_swallows_from_the_first_byte_and_resets_connections_that_lost_bytes() {
        let proxy = proxy().await;
        let mut old = connect(&proxy).await;
        round_trip(&mut old, b"before").await.unwrap();
        let blackhole = proxy.apply(NetworkFault::Blackhole, Direction::Both);
        let mut new = connect(&proxy).await;
        old.write_all(b"lost").await.unwrap();
        new.write_all(b"lost too").await.unwrap();
        assert!(is_silent(&mut old).await && is_silent(&mut new).await);
        let effect = proxy.revert(blackhole);
        assert!(read_to_end(&mut old).await.1 && read_to_end(&mut new).await.1);
        assert_eq!((effect.connections(), effect.bytes()), (2, 12));
    }

    #[tokio::test]
    async fn a_connection_without_traffic_survives_a_blackhole() {
        let proxy = proxy().await;
        let mut idle = connect(&proxy).await;
        round_trip(&mut idle, b"before").await.unwrap();
        let blackhole = proxy.apply(NetworkFault::Blackhole, Direction::Both);
        tokio::time::sleep(ms(30)).await;
        proxy.revert(blackhole);
        assert_eq!(round_trip(&mut idle, b"after").await.unwrap(), b"after");
    }
}
