//! `cut`: open connections are reset, once; with a duration new ones too, until it is over.
//!
//! A cut that happens once is [`Proxy::cut`](crate::faults::Proxy::cut): it is never in force, and a connection compares
//! the number of cuts with the number at the time when it was opened. Evidence: every connection that it reset.

use super::{NetworkKind, no_value};
use crate::faults::NetworkFault;

pub(in crate::faults) const WORD: &str = "cut";

/// A cut with a duration.
#[derive(Debug)]
pub(super) struct Cut;

impl NetworkKind for Cut {
    fn resets(&self) -> bool {
        true
    }
}

pub(super) fn parse(value: Option<&str>) -> Result<NetworkFault, String> {
    no_value(WORD, value).map(|()| NetworkFault::Cut)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    #[tokio::test]
    async fn cut_resets_open_connections_and_no_later_one() {
        let proxy = proxy().await;
        let (mut one, mut two) = (connect(&proxy).await, connect(&proxy).await);
        round_trip(&mut one, b"x").await.unwrap();
        round_trip(&mut two, b"x").await.unwrap();
        let effect = proxy.cut();
        assert!(read_to_end(&mut one).await.1 && read_to_end(&mut two).await.1);
        assert_eq!(round_trip(&mut connect(&proxy).await, b"later").await.unwrap(), b"later");
        assert_eq!(effect.connections(), 2);
        assert_eq!(closed(&proxy, 0).await.closed_by, Some(ClosedBy::Fault("cut")));
    }

    #[tokio::test]
    async fn a_cut_ends_a_connection_whose_receiver_does_not_read() {
        let proxy = proxy().await;
        let mut stream = connect(&proxy).await;
        // Fill every buffer on the way: nothing reads what comes back.
        let fill = async { while stream.write_all(&vec![0; 65_536]).await.is_ok() {} };
        assert!(tokio::time::timeout(ms(300), fill).await.is_err());
        proxy.cut();
        assert_eq!(closed(&proxy, 0).await.closed_by, Some(ClosedBy::Fault("cut")));
    }
}
