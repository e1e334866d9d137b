//! `drop_connections`: the service ends every connection itself, once: `CLIENT KILL` of Redis, `pg_terminate_backend` of
//! Postgres. It is over at once.
//!
//! Evidence: connections that the service ended.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Counted, InjectContext, ServiceFaultError, ServiceKind, Undo};
use crate::spec::Target;

pub(super) struct DropConnections;

impl ServiceKind for DropConnections {
    fn inject<'a>(&'a self, context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<Undo, ServiceFaultError>> {
        async {
            if context.on == Target::Postgres {
                let postgres = context.postgres().await?;
                context.service(postgres.end_others().await)?;
                postgres.close().await;
            } else {
                let redis = context.redis().await?;
                context.service(redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await)?;
            }
            Ok(None)
        }
        .boxed()
    }

    fn counted(&self, _on: Target) -> Counted {
        Counted::EndedConnections
    }
}
