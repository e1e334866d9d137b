//! Faults of a service itself.
//!
//! Evidence: what [`Counted`] names for the kind of fault.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::super::harness::ScenarioError;
use super::driver::{FaultDriver, RunContext};
use super::record::Evidence;
use crate::faults::{ClosedBy, Counted, Injected, inject};
use crate::spec::{ServiceFault, Target};

/// A connection that a service ends counts if it is seen to end at most this long after the fault.
const CLOSE_DELAY: Duration = Duration::from_secs(1);

pub(super) struct ServiceDriver {
    on: Target,
    fault: ServiceFault,
    counted: Counted,
    injected: Option<Injected>,
    /// Bytes and connections to the service before the fault.
    traffic_before: (u64, usize),
    /// Errors of Postgres before the fault, where they can be counted.
    sql_errors_before: Option<u64>,
    /// Bytes and connections since the fault began; `None` until measured.
    traffic: Option<(u64, usize)>,
    /// What the service has refused, where that can be counted.
    refused: Option<u64>,
}

impl ServiceDriver {
    pub(super) fn new(on: Target, fault: ServiceFault) -> Self {
        Self {
            on,
            fault,
            counted: Counted::by(fault, on),
            injected: None,
            traffic_before: (0, 0),
            sql_errors_before: None,
            traffic: None,
            refused: None,
        }
    }

    /// The errors with which Postgres refuses what the fault forbids.
    fn sql_errors(&self, context: &RunContext) -> Option<u64> {
        let Counted::SqlErrors(state) = self.counted else { return None };
        context.proxies.sql_errors(state)
    }

    /// Connections that the service ended while the fault lasted, or just after it.
    fn ended_connections(&self, context: &RunContext, lasted: Option<(Duration, Duration)>) -> usize {
        let Some((began, ended)) = lasted else { return 0 };
        let connections = context.proxies.proxied_connections(context.clock);
        let by_service = |closed_by| matches!(closed_by, Some(ClosedBy::Server | ClosedBy::Unreachable));
        let in_time =
            |closed: Option<Duration>| closed.is_some_and(|closed| closed >= began && closed <= ended + CLOSE_DELAY);
        let of_target = connections.get(&self.on).into_iter().flatten();
        of_target.filter(|connection| by_service(connection.closed_by) && in_time(connection.closed)).count()
    }
}

impl FaultDriver for ServiceDriver {
    fn targets(&self) -> Vec<Target> {
        vec![self.on]
    }

    fn disturbs_service(&self) -> bool {
        true
    }

    fn inject<'a>(&'a mut self, context: &'a mut RunContext) -> BoxFuture<'a, Result<(), ScenarioError>> {
        async {
            // A fault that is over at once meets what was there before; one that lasts meets what comes after.
            let before = context.proxies.traffic(self.on);
            self.sql_errors_before = self.sql_errors(context);
            let clients = &context.clients;
            self.injected = Some(inject(clients.stack(), &clients.endpoints, self.on, self.fault).await?);
            let is_over = self.counted == Counted::EndedConnections;
            self.traffic_before = if is_over { before } else { context.proxies.traffic(self.on) };
            Ok(())
        }
        .boxed()
    }

    fn measure<'a>(&'a mut self, context: &'a RunContext) -> BoxFuture<'a, ()> {
        async {
            let Some(injected) = &self.injected else { return };
            let (bytes, count) = context.proxies.traffic(self.on);
            self.refused = match self.sql_errors(context).zip(self.sql_errors_before) {
                Some((now, before)) => Some(now.saturating_sub(before)),
                None => injected.refused(&context.clients.endpoints).await,
            };
            let (bytes_before, count_before) = self.traffic_before;
            self.traffic = Some((bytes.saturating_sub(bytes_before), count.saturating_sub(count_before)));
        }
        .boxed()
    }

    fn revert<'a>(&'a mut self, context: &'a mut RunContext) -> BoxFuture<'a, Result<(), ScenarioError>> {
        async {
            if let Some(injected) = self.injected.take() {
                injected.revert(context.clients.stack(), &context.clients.endpoints).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn evidence(&self, context: &RunContext, lasted: Option<(Duration, Duration)>) -> Evidence {
        match (self.refused, self.traffic) {
            (Some(refused), _) => Evidence::new(format!("{refused} refusals"), refused > 0),
            (None, Some(_)) if self.counted == Counted::EndedConnections => {
                let ended = self.ended_connections(context, lasted);
                Evidence::new(format!("{ended} connections, ended by the service"), ended > 0)
            }
            (None, Some((bytes, count))) => {
                Evidence::new(format!("{count} new connections, {bytes} bytes"), bytes > 0 || count > 0)
            }
            (None, None) => Evidence::nothing(),
        }
    }
}
