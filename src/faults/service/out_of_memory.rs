//! `out_of_memory`: Redis has reached its `maxmemory` and evicts nothing, so writes are answered with `OOM`.
//!
//! Evidence: the writes that Redis refused.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::context::RedisSettings;
use super::{Counted, InjectContext, Revert, ServiceFaultError, ServiceKind, Undo};
use crate::spec::Target;

pub(super) struct OutOfMemory;

impl ServiceKind for OutOfMemory {
    fn inject<'a>(&'a self, context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<Undo, ServiceFaultError>> {
        async {
            let redis = context.redis().await?;
            let former = RedisSettings::change(context, &redis, &[("maxmemory", "1mb")]).await?;
            Ok(Some(Box::new(former) as Box<dyn Revert>))
        }
        .boxed()
    }

    fn counted(&self, _on: Target) -> Counted {
        Counted::RedisErrors("errorstat_OOM")
    }
}

impl Revert for RedisSettings {
    fn revert<'a>(self: Box<Self>, context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<(), ServiceFaultError>> {
        async move { self.restore(context).await }.boxed()
    }
}
