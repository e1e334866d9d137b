//! `half_open`: one direction goes on, the other loses its bytes.
//!
//! It is a [`blackhole`](super::blackhole) of one direction, and connections that lost bytes are reset when it ends.
//! Evidence: every connection that lost bytes, and the bytes.

use super::{NetworkKind, no_value};
use crate::faults::NetworkFault;

#[derive(Debug)]
pub(super) struct HalfOpen;

impl NetworkKind for HalfOpen {
    fn swallows(&self) -> bool {
        true
    }
}

pub(super) fn parse(value: Option<&str>) -> Result<NetworkFault, String> {
    no_value("half_open", value).map(|()| NetworkFault::HalfOpen)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    #[tokio::test]
    async fn half_open_loses_one_direction_alone() {
        let proxy = proxy().await;
        let mut stream = connect(&proxy).await;
        round_trip(&mut stream, b"before").await.unwrap();
        let half_open = proxy.apply(NetworkFault::HalfOpen, Direction::Down);
        stream.write_all(b"asked").await.unwrap();
        assert!(is_silent(&mut stream).await);
        // The request arrived, the answer did not.
        let connection = proxy.connections()[0].clone();
        assert_eq!((connection.up, connection.down), (11, 6));
        assert_eq!(proxy.revert(half_open).bytes(), 5);
        assert!(read_to_end(&mut stream).await.1);
    }
}
