//! What every kind uses to reach a service: its endpoints, the stack that runs it, and errors that name the fault.

use super::{Counted, ServiceFaultError};
use crate::services::ServiceError;
use crate::services::postgres::Postgres;
use crate::services::redis::{Redis, field};
use crate::settings::Endpoints;
use crate::spec::{ServiceFault, Target};
use crate::stack::{Service, Stack, StackError};

pub(super) struct InjectContext<'a> {
    /// The stack that runs the service, if the scenario has one of its own.
    pub(super) stack: Option<&'a Stack>,
    pub(super) endpoints: &'a Endpoints,
    pub(super) on: Target,
    pub(super) fault: ServiceFault,
}

impl InjectContext<'_> {
    fn what(&self) -> String {
        format!("{} of {}", self.fault.word(), self.on.word())
    }

    /// An error of a service, with the name of the fault.
    pub(super) fn service<T>(&self, result: Result<T, ServiceError>) -> Result<T, ServiceFaultError> {
        result.map_err(|source| ServiceFaultError::Service { what: self.what(), source })
    }

    /// An error of a service that does not follow a command.
    pub(super) fn ineffective(&self, detail: impl Into<String>) -> ServiceFaultError {
        ServiceFaultError::Ineffective { what: self.what(), detail: detail.into() }
    }

    /// The stack and the service in it.
    pub(super) fn stack(&self) -> Result<(&Stack, Service), ServiceFaultError> {
        let service = match self.on {
            Target::Redis => Service::Redis,
            Target::Postgres => Service::Postgres,
            Target::Qdrant => Service::Qdrant,
            Target::Jina => Service::Jina,
        };
        let stack = self.stack.ok_or_else(|| self.ineffective("the scenario has no stack of its own"))?;
        Ok((stack, service))
    }

    /// Waits for the stack.
    pub(super) async fn of_stack(
        &self,
        result: impl Future<Output = Result<(), StackError>>,
    ) -> Result<(), ServiceFaultError> {
        Box::pin(result).await.map_err(|source| ServiceFaultError::Stack { what: self.what(), source })
    }

    pub(super) async fn redis(&self) -> Result<Redis, ServiceFaultError> {
        self.service(Redis::connect(&self.endpoints.redis).await)
    }

    pub(super) async fn postgres(&self) -> Result<Postgres, ServiceFaultError> {
        self.service(Postgres::connect_alone(&self.endpoints.postgres).await)
    }
}

/// Writes that Redis has refused for the reason that `counted` names, since it was started.
pub(super) async fn redis_refusals(context: &InjectContext<'_>, counted: Counted) -> Option<u64> {
    let Counted::RedisErrors(error) = counted else { return None };
    let redis = context.redis().await.ok()?;
    let count = field(&redis.command(&["INFO", "errorstats"]).await.ok()?, error);
    Some(count.as_str().and_then(|text| text.strip_prefix("count=")?.parse().ok()).unwrap_or(0))
}

/// Settings of Redis as they were: name and value.
#[derive(Debug)]
pub(super) struct RedisSettings(pub(super) Vec<(&'static str, String)>);

impl RedisSettings {
    /// Sets `wanted`. Returns the former values.
    pub(super) async fn change(
        context: &InjectContext<'_>,
        redis: &Redis,
        wanted: &[(&'static str, &str)],
    ) -> Result<Self, ServiceFaultError> {
        let mut former = Vec::new();
        for (name, value) in wanted {
            let before = field(&context.service(redis.command(&["CONFIG", "GET", name]).await)?, name);
            former.push((*name, before.as_str().unwrap_or_default().to_owned()));
            context.service(redis.command(&["CONFIG", "SET", name, value]).await)?;
        }
        Ok(Self(former))
    }

    /// Sets the former values again, in their order.
    pub(super) async fn restore(&self, context: &InjectContext<'_>) -> Result<(), ServiceFaultError> {
        let redis = context.redis().await?;
        for (name, value) in &self.0 {
            context.service(redis.command(&["CONFIG", "SET", name, value]).await)?;
        }
        Ok(())
    }
}
