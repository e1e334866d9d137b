//! Faults of a service itself. One file per kind.
//!
//! A kind implements [`ServiceKind`]: it injects the fault and returns what reverts it, and it says what proves that
//! the fault took effect ([`Counted`]).

mod context;
mod counted;
mod drop_connections;
mod error;
mod kill;
mod misconf;
mod out_of_memory;
mod pause;
mod rate_limit;
mod read_only;
mod restart;
mod too_many_connections;

use futures::future::BoxFuture;

use crate::settings::Endpoints;
use crate::spec::{ServiceFault, Target};
use crate::stack::Stack;
use context::{InjectContext, redis_refusals};

pub use counted::Counted;
pub use error::ServiceFaultError;

/// One kind of fault of a service.
trait ServiceKind: Send + Sync {
    /// Injects it. Nothing is changed if this fails.
    fn inject<'a>(&'a self, context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<Undo, ServiceFaultError>>;

    /// What proves that it took effect on `on`.
    fn counted(&self, _on: Target) -> Counted {
        Counted::Traffic
    }
}

/// Reverts a fault. It holds what that needs, such as former settings or open connections.
trait Revert: std::fmt::Debug + Send + Sync {
    fn revert<'a>(self: Box<Self>, context: &'a InjectContext<'a>) -> BoxFuture<'a, Result<(), ServiceFaultError>>;
}

/// What reverts a fault; `None` for one that is over at once.
type Undo = Option<Box<dyn Revert>>;

/// The kind of a fault: the one place that knows every kind.
fn kind(fault: ServiceFault) -> Box<dyn ServiceKind> {
    match fault {
        ServiceFault::Restart => Box::new(restart::Restart),
        ServiceFault::Kill => Box::new(kill::Kill),
        ServiceFault::Pause => Box::new(pause::Pause),
        ServiceFault::DropConnections => Box::new(drop_connections::DropConnections),
        ServiceFault::ReadOnly => Box::new(read_only::ReadOnly),
        ServiceFault::OutOfMemory => Box::new(out_of_memory::OutOfMemory),
        ServiceFault::Misconf => Box::new(misconf::Misconf),
        ServiceFault::TooManyConnections => Box::new(too_many_connections::TooManyConnections),
        ServiceFault::RateLimit { per_minute } => Box::new(rate_limit::RateLimit { per_minute }),
    }
}

impl Counted {
    /// What proves that `fault` took effect on `on`.
    #[must_use]
    pub fn by(fault: ServiceFault, on: Target) -> Self {
        kind(fault).counted(on)
    }
}

/// A fault of a service that is in force.
#[derive(Debug)]
#[must_use = "a fault that is never reverted stays in force"]
pub struct Injected {
    on: Target,
    fault: ServiceFault,
    undo: Undo,
    /// Refusals of this kind that Redis had counted before.
    refused_before: Option<u64>,
}

/// Injects `fault` into `on`; `stack` is needed for a fault of its process.
///
/// # Errors
/// The service or the provider refuses; then nothing is in force.
pub async fn inject(
    stack: Option<&Stack>,
    endpoints: &Endpoints,
    on: Target,
    fault: ServiceFault,
) -> Result<Injected, ServiceFaultError> {
    let context = InjectContext { stack, endpoints, on, fault };
    let kind = kind(fault);
    let refused_before = redis_refusals(&context, kind.counted(on)).await;
    let undo = kind.inject(&context).await?;
    Ok(Injected { on, fault, undo, refused_before })
}

impl Injected {
    /// How many writes Redis has refused because of this fault so far; `None` where it does not count them.
    pub async fn refused(&self, endpoints: &Endpoints) -> Option<u64> {
        let context = InjectContext { stack: None, endpoints, on: self.on, fault: self.fault };
        let now = redis_refusals(&context, Counted::by(self.fault, self.on)).await?;
        Some(now.saturating_sub(self.refused_before?))
    }

    /// Restores the service.
    ///
    /// # Errors
    /// The service or the provider refuses.
    pub async fn revert(self, stack: Option<&Stack>, endpoints: &Endpoints) -> Result<(), ServiceFaultError> {
        let context = InjectContext { stack, endpoints, on: self.on, fault: self.fault };
        match self.undo {
            Some(undo) => undo.revert(&context).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_names_its_proof() {
        for (fault, on, counted) in [
            (ServiceFault::Restart, Target::Qdrant, Counted::EndedConnections),
            (ServiceFault::DropConnections, Target::Redis, Counted::EndedConnections),
            (ServiceFault::Kill, Target::Redis, Counted::Traffic),
            (ServiceFault::Pause, Target::Postgres, Counted::Traffic),
            (ServiceFault::ReadOnly, Target::Redis, Counted::RedisErrors("errorstat_READONLY")),
            (ServiceFault::ReadOnly, Target::Postgres, Counted::SqlErrors("25006")),
            (ServiceFault::OutOfMemory, Target::Redis, Counted::RedisErrors("errorstat_OOM")),
            (ServiceFault::Misconf, Target::Redis, Counted::RedisErrors("errorstat_MISCONF")),
            (ServiceFault::TooManyConnections, Target::Postgres, Counted::SqlErrors("53300")),
            (ServiceFault::RateLimit { per_minute: 1 }, Target::Qdrant, Counted::Traffic),
        ] {
            assert_eq!(Counted::by(fault, on), counted, "{} of {}", fault.word(), on.word());
        }
    }
}
