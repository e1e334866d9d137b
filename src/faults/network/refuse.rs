//! `refuse`: connections are reset, new ones as soon as they are accepted.
//!
//! Evidence: every connection that it reset.

use super::{NetworkKind, no_value};
use crate::faults::NetworkFault;

#[derive(Debug)]
pub(super) struct Refuse;

impl NetworkKind for Refuse {
    fn resets(&self) -> bool {
        true
    }
}

pub(super) fn parse(value: Option<&str>) -> Result<NetworkFault, String> {
    no_value("refuse", value).map(|()| NetworkFault::Refuse)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    #[tokio::test]
    async fn refuse_resets_old_and_new_connections_until_it_is_reverted() {
        let proxy = proxy().await;
        let mut old = connect(&proxy).await;
        round_trip(&mut old, b"before").await.unwrap();
        let refuse = proxy.apply(NetworkFault::Refuse, Direction::Both);
        assert_eq!(read_to_end(&mut old).await, (0, true));
        // The client sees a reset, at once or with its first byte.
        let mut new = connect(&proxy).await;
        assert!(round_trip(&mut new, b"during").await.is_err());
        let effect = proxy.revert(refuse);
        assert_eq!(effect.connections(), 2);
        assert_eq!(closed(&proxy, 1).await.closed_by, Some(ClosedBy::Fault("refuse")));
        assert_eq!(round_trip(&mut connect(&proxy).await, b"after").await.unwrap(), b"after");
    }

    #[tokio::test]
    async fn a_fault_without_a_connection_takes_no_effect() {
        let proxy = proxy().await;
        let refuse = proxy.apply(NetworkFault::Refuse, Direction::Both);
        assert!(!proxy.revert(refuse).took_effect());
        assert!(!proxy.cut().took_effect());
    }
}
