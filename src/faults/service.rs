//! Faults of a service itself: what is done to it, and undone.

use std::time::Duration;

use serde_json::{Value, json};

use crate::services::ServiceError;
use crate::services::http::Http;
use crate::services::postgres::{Connections, Postgres};
use crate::services::redis::{Redis, field};
use crate::settings::Endpoints;
use crate::spec::{ServiceFault, Target};
use crate::stack::{Service, Stack, StackError};

/// How long Redis may take to notice that it cannot save.
const NOTICED: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// Why a service could not be disturbed, or not be mended.
#[derive(Debug, thiserror::Error)]
pub enum ServiceFaultError {
    /// The service refused, or could not be reached.
    #[error("{what}: {source}")]
    Service {
        /// What was done.
        what: String,
        /// Why it did not work.
        source: ServiceError,
    },
    /// The provider could not do it.
    #[error("{what}: {source}")]
    Stack {
        /// What was done.
        what: String,
        /// Why it did not work.
        source: StackError,
    },
    /// The service did not do what it was told.
    #[error("{what}: {detail}")]
    Ineffective {
        /// What was done.
        what: String,
        /// What was seen instead.
        detail: String,
    },
}

/// What undoes a fault.
#[derive(Debug)]
enum Undo {
    Nothing,
    StartAgain,
    Resume,
    /// Redis settings as they were: name and value.
    RedisSettings(Vec<(&'static str, String)>),
    Promote,
    Writable(Postgres),
    Release(Connections),
    NoRateLimit,
}

/// A fault of a service that is in force.
#[derive(Debug)]
#[must_use = "a fault that is never lifted stays in force"]
pub struct Injected {
    on: Target,
    fault: ServiceFault,
    undo: Undo,
    /// Refusals of this kind that Redis had counted before.
    refused: Option<u64>,
}

/// Strikes `on` with `fault`; `stack` is needed where a process is concerned.
///
/// # Errors
/// The service or the provider refuses; nothing is in force then.
pub async fn strike(
    stack: Option<&Stack>,
    endpoints: &Endpoints,
    on: Target,
    fault: ServiceFault,
) -> Result<Injected, ServiceFaultError> {
    let deed = InjectContext { stack, endpoints, on, fault };
    let refused = deed.refusals().await;
    let undo = deed.strike().await?;
    Ok(Injected { on, fault, undo, refused })
}

impl Injected {
    /// How many writes the service has refused so far, where it counts them.
    pub async fn refused(&self, endpoints: &Endpoints) -> Option<u64> {
        let now = InjectContext { stack: None, endpoints, on: self.on, fault: self.fault }.refusals().await?;
        Some(now.saturating_sub(self.refused?))
    }

    /// Puts the service back as it was.
    ///
    /// # Errors
    /// The service or the provider refuses.
    pub async fn lift(self, stack: Option<&Stack>, endpoints: &Endpoints) -> Result<(), ServiceFaultError> {
        InjectContext { stack, endpoints, on: self.on, fault: self.fault }.undo(self.undo).await
    }
}

struct InjectContext<'a> {
    stack: Option<&'a Stack>,
    endpoints: &'a Endpoints,
    on: Target,
    fault: ServiceFault,
}

impl InjectContext<'_> {
    fn what(&self) -> String {
        format!("{} of {}", self.fault.word(), self.on.word())
    }

    fn service<T>(&self, result: Result<T, ServiceError>) -> Result<T, ServiceFaultError> {
        result.map_err(|source| ServiceFaultError::Service { what: self.what(), source })
    }

    fn stack(&self) -> Result<(&Stack, Service), ServiceFaultError> {
        let service = match self.on {
            Target::Redis => Service::Redis,
            Target::Postgres => Service::Postgres,
            Target::Qdrant => Service::Qdrant,
            Target::Jina => Service::Jina,
        };
        let stack = self.stack.ok_or_else(|| ServiceFaultError::Ineffective {
            what: self.what(),
            detail: "there is no stack of the scenario's own".to_owned(),
        })?;
        Ok((stack, service))
    }

    async fn of_stack(&self, result: impl Future<Output = Result<(), StackError>>) -> Result<(), ServiceFaultError> {
        Box::pin(result).await.map_err(|source| ServiceFaultError::Stack { what: self.what(), source })
    }

    async fn redis(&self) -> Result<Redis, ServiceFaultError> {
        self.service(Redis::connect(&self.endpoints.redis).await)
    }

    async fn postgres(&self) -> Result<Postgres, ServiceFaultError> {
        self.service(Postgres::connect_alone(&self.endpoints.postgres).await)
    }

    /// Writes that Redis has refused for this reason since it was started.
    async fn refusals(&self) -> Option<u64> {
        let error = match (self.on, self.fault) {
            (Target::Redis, ServiceFault::ReadOnly) => "errorstat_READONLY",
            (Target::Redis, ServiceFault::OutOfMemory) => "errorstat_OOM",
            (Target::Redis, ServiceFault::Misconf) => "errorstat_MISCONF",
            _ => return None,
        };
        let redis = self.redis().await.ok()?;
        let counted = field(&redis.command(&["INFO", "errorstats"]).await.ok()?, error);
        Some(counted.as_str().and_then(|text| text.strip_prefix("count=")?.parse().ok()).unwrap_or(0))
    }

    async fn strike(&self) -> Result<Undo, ServiceFaultError> {
        Ok(match (self.on, self.fault) {
            (_, ServiceFault::Restart) => {
                let (stack, service) = self.stack()?;
                self.of_stack(stack.restart(service)).await?;
                Undo::Nothing
            }
            (_, ServiceFault::Kill) => {
                let (stack, service) = self.stack()?;
                self.of_stack(stack.kill(service)).await?;
                Undo::StartAgain
            }
            (_, ServiceFault::Pause) => {
                let (stack, service) = self.stack()?;
                self.of_stack(stack.pause(service)).await?;
                Undo::Resume
            }
            (Target::Postgres, ServiceFault::DropConnections) => {
                let postgres = self.postgres().await?;
                self.service(postgres.end_others().await)?;
                postgres.close().await;
                Undo::Nothing
            }
            (_, ServiceFault::DropConnections) => {
                let redis = self.redis().await?;
                self.service(redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await)?;
                Undo::Nothing
            }
            (Target::Postgres, ServiceFault::ReadOnly) => {
                // Kept: by the end a worker may have taken every connection there is.
                let postgres = self.postgres().await?;
                self.read_only(&postgres, true).await?;
                Undo::Writable(postgres)
            }
            (_, ServiceFault::ReadOnly) => {
                // Of a master that does not exist: what is stored stays, and may be read.
                let redis = self.redis().await?;
                self.service(redis.command(&["REPLICAOF", "127.0.0.1", "1"]).await)?;
                Undo::Promote
            }
            (_, ServiceFault::OutOfMemory) => {
                let redis = self.redis().await?;
                let before = self.set(&redis, &[("maxmemory", "1mb")]).await?;
                Undo::RedisSettings(before)
            }
            (_, ServiceFault::Misconf) => self.misconf().await?,
            (_, ServiceFault::TooManyConnections) => {
                let postgres = self.postgres().await?;
                let mut taken = self.service(Connections::take_all(&self.endpoints.postgres).await)?;
                // Those of the worker are ended, and their places taken as well.
                self.service(postgres.end_others_but(&taken).await)?;
                postgres.close().await;
                self.service(taken.take_more(&self.endpoints.postgres).await)?;
                Undo::Release(taken)
            }
            (_, ServiceFault::RateLimit { per_minute }) => {
                let limits = json!({ "enabled": true, "write_rate_limit": per_minute });
                self.strict_mode(limits).await?;
                Undo::NoRateLimit
            }
        })
    }

    async fn undo(&self, undo: Undo) -> Result<(), ServiceFaultError> {
        match undo {
            Undo::Nothing => Ok(()),
            Undo::StartAgain => {
                let (stack, service) = self.stack()?;
                self.of_stack(stack.start_again(service)).await
            }
            Undo::Resume => {
                let (stack, service) = self.stack()?;
                self.of_stack(stack.resume(service)).await
            }
            Undo::RedisSettings(before) => {
                let redis = self.redis().await?;
                for (name, value) in before {
                    self.service(redis.command(&["CONFIG", "SET", name, &value]).await)?;
                }
                Ok(())
            }
            Undo::Promote => {
                let redis = self.redis().await?;
                self.service(redis.command(&["REPLICAOF", "NO", "ONE"]).await).map(|_| ())
            }
            Undo::Writable(postgres) => {
                let done = self.read_only(&postgres, false).await;
                postgres.close().await;
                done
            }
            Undo::Release(connections) => {
                connections.release().await;
                Ok(())
            }
            Undo::NoRateLimit => self.strict_mode(json!({ "enabled": false })).await,
        }
    }

    /// Sets `wanted` and gives what was set before.
    async fn set(
        &self,
        redis: &Redis,
        wanted: &[(&'static str, &str)],
    ) -> Result<Vec<(&'static str, String)>, ServiceFaultError> {
        let mut before = Vec::new();
        for (name, value) in wanted {
            let was = field(&self.service(redis.command(&["CONFIG", "GET", name]).await)?, name);
            before.push((*name, was.as_str().unwrap_or_default().to_owned()));
            self.service(redis.command(&["CONFIG", "SET", name, value]).await)?;
        }
        Ok(before)
    }

    /// Lets Redis try to save where nothing can be saved.
    async fn misconf(&self) -> Result<Undo, ServiceFaultError> {
        let redis = self.redis().await?;
        let mut before = self.set(&redis, &[("save", "3600 1"), ("stop-writes-on-bgsave-error", "yes")]).await?;
        before.extend(self.set(&redis, &[("dir", "/proc")]).await?);
        // The data directory is put back before saving is turned off: the last thing that was set is the first undone.
        before.reverse();
        self.service(redis.command(&["BGSAVE"]).await)?;
        let deadline = tokio::time::Instant::now() + NOTICED;
        loop {
            let info = self.service(redis.command(&["INFO", "persistence"]).await)?;
            if field(&info, "rdb_last_bgsave_status") == "err" {
                return Ok(Undo::RedisSettings(before));
            }
            if tokio::time::Instant::now() >= deadline {
                self.undo(Undo::RedisSettings(before)).await?;
                let detail = format!("BGSAVE did not fail within {} s", NOTICED.as_secs());
                return Err(ServiceFaultError::Ineffective { what: self.what(), detail });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether transactions of everybody but this connection may write.
    async fn read_only(&self, postgres: &Postgres, read_only: bool) -> Result<(), ServiceFaultError> {
        let word = if read_only { "on" } else { "off" };
        // ALTER SYSTEM runs in no transaction of several statements, and may itself be forbidden by what it sets.
        for statement in [
            "set session characteristics as transaction read write".to_owned(),
            format!("alter system set default_transaction_read_only = {word}"),
            "select pg_reload_conf()".to_owned(),
        ] {
            self.service(postgres.execute(&statement).await)?;
        }
        // A reload takes effect in its own time. What this connection would go back to is what all others have.
        let default = "select reset_val from pg_settings where name = 'default_transaction_read_only'";
        let deadline = tokio::time::Instant::now() + NOTICED;
        loop {
            let rows = self.service(postgres.rows(default).await)?;
            if rows.first().is_some_and(|row| row["reset_val"] == word) {
                return Ok(());
            }
            if tokio::time::Instant::now() >= deadline {
                let detail = format!("default_transaction_read_only is not {word} after {} s", NOTICED.as_secs());
                return Err(ServiceFaultError::Ineffective { what: self.what(), detail });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn strict_mode(&self, config: Value) -> Result<(), ServiceFaultError> {
        let http = self.service(Http::qdrant(&self.endpoints.qdrant))?;
        let path = format!("/collections/{}", self.endpoints.names.collection);
        let body = json!({ "strict_mode_config": config });
        self.service(http.call("PATCH", &path, Some(&body)).await).map(|_| ())
    }
}
