//! `read_only`: writes are refused, reads go on. Redis becomes a replica (`READONLY`); transactions of Postgres are
//! read-only (`SQLSTATE` 25006).
//!
//! Evidence: the writes that the service refused.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Counted, InjectContext, Revert, ServiceFaultError, ServiceKind, Undo};
use crate::services::postgres::Postgres;
use crate::spec::Target;

/// How long Postgres may take to apply a setting.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

pub(super) struct ReadOnly;

impl ServiceKind for ReadOnly {
    fn inject<'a>(&'a self, context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<Undo, ServiceFaultError>> {
        async {
            if context.on == Target::Postgres {
                // Kept open: at the end the worker may hold every other connection that Postgres permits.
                let postgres = context.postgres().await?;
                set_read_only(context, &postgres, true).await?;
                return Ok(Some(Box::new(Writable(postgres)) as Box<dyn Revert>));
            }
            // A replica of a master that does not exist: the data stay, and can be read.
            let redis = context.redis().await?;
            context.service(redis.command(&["REPLICAOF", "127.0.0.1", "1"]).await)?;
            Ok(Some(Box::new(Promote) as Box<dyn Revert>))
        }
        .boxed()
    }

    fn counted(&self, on: Target) -> Counted {
        if on == Target::Postgres { Counted::SqlErrors("25006") } else { Counted::RedisErrors("errorstat_READONLY") }
    }
}

/// Makes Redis a master again.
#[derive(Debug)]
struct Promote;

impl Revert for Promote {
    fn revert<'a>(self: Box<Self>, context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<(), ServiceFaultError>> {
        async {
            let redis = context.redis().await?;
            context.service(redis.command(&["REPLICAOF", "NO", "ONE"]).await).map(|_| ())
        }
        .boxed()
    }
}

/// Makes Postgres writable again, through this connection.
#[derive(Debug)]
struct Writable(Postgres);

impl Revert for Writable {
    fn revert<'a>(self: Box<Self>, context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<(), ServiceFaultError>> {
        async move {
            let done = set_read_only(context, &self.0, false).await;
            self.0.close().await;
            done
        }
        .boxed()
    }
}

/// Sets whether transactions of every other connection are read-only.
async fn set_read_only(
    context: &InjectContext<'_>,
    postgres: &Postgres,
    read_only: bool,
) -> Result<(), ServiceFaultError> {
    let word = if read_only { "on" } else { "off" };
    // ALTER SYSTEM runs in no transaction of several statements, and what it sets may forbid it.
    for statement in [
        "set session characteristics as transaction read write".to_owned(),
        format!("alter system set default_transaction_read_only = {word}"),
        "select pg_reload_conf()".to_owned(),
    ] {
        context.service(postgres.execute(&statement).await)?;
    }
    // A reload takes a while. `reset_val` of this connection is the value that all others have.
    let default = "select reset_val from pg_settings where name = 'default_transaction_read_only'";
    let deadline = tokio::time::Instant::now() + RELOAD_TIMEOUT;
    loop {
        let rows = context.service(postgres.rows(default).await)?;
        if rows.first().is_some_and(|row| row["reset_val"] == word) {
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            let seconds = RELOAD_TIMEOUT.as_secs();
            return Err(context.ineffective(format!("default_transaction_read_only is not {word} after {seconds} s")));
        }
        tokio::time::sleep(POLL).await;
    }
}
