//! `misconf`: Redis cannot save to disk, so writes are answered with `MISCONF`.
//!
//! Evidence: the writes that Redis refused.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::context::RedisSettings;
use super::{Counted, InjectContext, Revert, ServiceFaultError, ServiceKind, Undo};
use crate::services::redis::field;
use crate::spec::Target;

/// How long Redis may take to notice that it cannot save.
const SAVE_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

pub(super) struct Misconf;

impl ServiceKind for Misconf {
    fn inject<'a>(&'a self, context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<Undo, ServiceFaultError>> {
        async { break_saving(context).await.map(|former| Some(Box::new(former) as Box<dyn Revert>)) }.boxed()
    }

    fn counted(&self, _on: Target) -> Counted {
        Counted::RedisErrors("errorstat_MISCONF")
    }
}

/// Has Redis save to a directory that nothing can be written to.
async fn break_saving(context: &InjectContext<'_>) -> Result<RedisSettings, ServiceFaultError> {
    let redis = context.redis().await?;
    let wanted = [("save", "3600 1"), ("stop-writes-on-bgsave-error", "yes")];
    let mut former = RedisSettings::change(context, &redis, &wanted).await?;
    former.0.extend(RedisSettings::change(context, &redis, &[("dir", "/proc")]).await?.0);
    // The data directory is restored before saving is turned off: the last setting is the first to be reverted.
    former.0.reverse();
    context.service(redis.command(&["BGSAVE"]).await)?;
    let deadline = tokio::time::Instant::now() + SAVE_TIMEOUT;
    loop {
        let info = context.service(redis.command(&["INFO", "persistence"]).await)?;
        if field(&info, "rdb_last_bgsave_status") == "err" {
            return Ok(former);
        }
        if tokio::time::Instant::now() >= deadline {
            former.restore(context).await?;
            return Err(context.ineffective(format!("BGSAVE did not fail within {} s", SAVE_TIMEOUT.as_secs())));
        }
        tokio::time::sleep(POLL).await;
    }
}
