//! `too_many_connections`: other clients hold every connection that Postgres permits (`SQLSTATE` 53300), and those of the
//! worker are ended.
//!
//! Evidence: the connections that Postgres refused.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Counted, InjectContext, Revert, ServiceFaultError, ServiceKind, Undo};
use crate::services::postgres::Connections;
use crate::spec::Target;

pub(super) struct TooManyConnections;

impl ServiceKind for TooManyConnections {
    fn inject<'a>(&'a self, context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<Undo, ServiceFaultError>> {
        async {
            let postgres = context.postgres().await?;
            let mut taken = context.service(Connections::take_all(&context.endpoints.postgres).await)?;
            // The worker's connections are ended, and then taken as well.
            context.service(postgres.end_others_but(&taken).await)?;
            postgres.close().await;
            context.service(taken.take_more(&context.endpoints.postgres).await)?;
            Ok(Some(Box::new(Release(taken)) as Box<dyn Revert>))
        }
        .boxed()
    }

    fn counted(&self, _on: Target) -> Counted {
        Counted::SqlErrors("53300")
    }
}

#[derive(Debug)]
struct Release(Connections);

impl Revert for Release {
    fn revert<'a>(self: Box<Self>, _context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<(), ServiceFaultError>> {
        async move {
            self.0.release().await;
            Ok(())
        }
        .boxed()
    }
}
