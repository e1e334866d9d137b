//! `flap`: connections are refused and served in turn, beginning with refused.
//!
//! Evidence: every connection that it reset.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{NetworkKind, StartContext, Started, millis, value};
use crate::faults::NetworkFault;

#[derive(Debug)]
struct Flap {
    refuses: AtomicBool,
}

impl NetworkKind for Flap {
    fn resets(&self) -> bool {
        self.refuses.load(Ordering::Relaxed)
    }
}

/// Starts to refuse, and changes every `ms` milliseconds.
pub(super) fn start(ms: u64, context: &StartContext<'_>) -> Started {
    let period = Duration::from_millis(ms.max(1));
    let flap = Arc::new(Flap { refuses: AtomicBool::new(true) });
    let (flapping, active_faults) = (Arc::clone(&flap), context.active_faults.clone());
    let task = tokio::spawn(async move {
        let mut turn = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        loop {
            turn.tick().await;
            // Connections look at the faults again when the channel says that these have changed.
            active_faults.send_modify(|_| {
                flapping.refuses.fetch_xor(true, Ordering::Relaxed);
            });
        }
    });
    (flap, Some(task.abort_handle()))
}

pub(super) fn parse(text: Option<&str>) -> Result<NetworkFault, String> {
    let ms = millis(value("flap", text, "500ms")?)?;
    if ms == 0 {
        return Err("a turn lasts at least 1ms".to_owned());
    }
    Ok(NetworkFault::Flap { ms })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    #[tokio::test]
    async fn flap_refuses_and_serves_in_turn() {
        let proxy = proxy().await;
        let flap = proxy.apply(NetworkFault::Flap { ms: 100 }, Direction::Both);
        let (mut served, mut refused) = (0, 0);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while (served == 0 || refused < 2) && tokio::time::Instant::now() < deadline {
            match round_trip(&mut connect(&proxy).await, b"now?").await {
                Ok(_) => served += 1,
                Err(_) => refused += 1,
            }
            tokio::time::sleep(ms(20)).await;
        }
        assert!(served > 0 && refused > 1, "served {served}, refused {refused}");
        assert!(proxy.revert(flap).took_effect());
        assert_eq!(round_trip(&mut connect(&proxy).await, b"after").await.unwrap(), b"after");
    }
}
