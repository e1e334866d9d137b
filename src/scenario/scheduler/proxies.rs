//! The proxies between the workers and the services.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use url::Url;

use super::super::harness::ScenarioError;
use crate::faults::{Answered, Applied, ClosedBy, Proxy, Writes};
use crate::settings::Endpoints;
use crate::spec::{FaultKind, Scenario, Target};

/// One connection of a worker, or one attempt at a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxiedConnection {
    /// When it was accepted, since the scenario run began.
    pub opened: Duration,
    /// When it ended; `None` while it was open at the end.
    pub closed: Option<Duration>,
    /// Who ended it.
    pub closed_by: Option<ClosedBy>,
    /// Bytes to the service.
    pub up: u64,
    /// Bytes from the service.
    pub down: u64,
    /// The longest time for which a transaction was open and the worker sent nothing, where that is known.
    pub idle_in_transaction: Option<Duration>,
}

/// Proxies by service; Qdrant has two.
#[derive(Debug, Default)]
pub struct Proxies(BTreeMap<Target, Vec<Proxy>>);

impl Proxies {
    /// Starts a proxy in front of every service that a fault of the scenario breaks or that it watches. Returns the
    /// endpoints for the workers too.
    pub(in crate::scenario) async fn for_scenario(
        scenario: &Scenario,
        endpoints: &Endpoints,
    ) -> Result<(Self, Endpoints), ScenarioError> {
        let mut targets: BTreeSet<Target> = scenario.watch.iter().copied().collect();
        for fault in &scenario.faults {
            match &fault.kind {
                FaultKind::Network { on, .. } => targets.extend(on),
                FaultKind::Service { on, .. } => {
                    targets.insert(*on);
                }
                FaultKind::Jina(_) | FaultKind::Worker(_) => {}
            }
        }
        Self::start(targets, endpoints).await
    }

    /// Starts a proxy in front of each of these services. Returns the endpoints by way of the proxies too.
    ///
    /// # Errors
    /// The URL of a service is invalid, or no port is free.
    pub async fn start(
        targets: impl IntoIterator<Item = Target>,
        endpoints: &Endpoints,
    ) -> Result<(Self, Endpoints), ScenarioError> {
        let mut through = endpoints.clone();
        let mut proxies = Self::default();
        for target in targets {
            let mut started = Vec::new();
            match target {
                Target::Redis => {
                    through.redis.url =
                        proxied(through.redis.url.expose_secret(), 6379, target, &mut started).await?.into();
                }
                Target::Postgres => {
                    through.postgres.url =
                        proxied(through.postgres.url.expose_secret(), 5432, target, &mut started).await?.into();
                }
                Target::Qdrant => {
                    through.qdrant.url = proxied(&through.qdrant.url, 6333, target, &mut started).await?;
                    through.qdrant.grpc_url = proxied(&through.qdrant.grpc_url, 6334, target, &mut started).await?;
                }
                Target::Jina => {
                    through.jina.base_url = proxied(&through.jina.base_url, 80, target, &mut started).await?;
                }
            }
            proxies.0.insert(target, started);
        }
        Ok((proxies, through))
    }

    /// The proxies in front of `target`.
    #[must_use]
    pub fn to(&self, target: Target) -> &[Proxy] {
        self.0.get(&target).map_or(&[], Vec::as_slice)
    }

    /// Reverts a fault at the one of the proxies in front of `target` that it was applied to.
    pub(super) fn revert(&self, target: Target, applied: Applied) {
        if let Some(proxy) = self.to(target).iter().find(|proxy| proxy.has(&applied)) {
            proxy.revert(applied);
        }
    }

    /// Bytes that were sent to `target`, and connections and attempts that were made.
    pub(super) fn traffic(&self, target: Target) -> (u64, usize) {
        let connections = self.to(target).iter().flat_map(Proxy::connections);
        connections.fold((0, 0), |(bytes, count), connection| (bytes + connection.up, count + 1))
    }

    /// The changes of points that passed on their way to Qdrant; `None` without a proxy in front of it.
    pub(in crate::scenario) fn writes(&self) -> Option<Writes> {
        self.to(Target::Qdrant).iter().filter_map(Proxy::writes).reduce(Writes::and)
    }

    /// Errors with this `SQLSTATE` that passed on their way from Postgres; `None` where they cannot be counted.
    pub(super) fn sql_errors(&self, state: &str) -> Option<u64> {
        self.to(Target::Postgres).iter().map(|proxy| proxy.sql_errors(state)).sum()
    }

    /// Every request that a proxy answered in place of its service, in the order of time since `clock`.
    pub(super) fn answered(&self, clock: Instant) -> BTreeMap<Target, Vec<Answered>> {
        let of_service = |proxies: &Vec<Proxy>| {
            let each = proxies.iter().flat_map(|proxy| {
                let at = move |time: Duration| (proxy.started() + time).saturating_duration_since(clock);
                proxy.answered().into_iter().map(move |answered| Answered { at: at(answered.at), ..answered })
            });
            let mut all: Vec<Answered> = each.collect();
            all.sort_by_key(|answered| answered.at);
            all
        };
        self.0.iter().map(|(target, proxies)| (*target, of_service(proxies))).collect()
    }

    /// Every connection that was made, by service, in the order of time since `clock`.
    pub(super) fn proxied_connections(&self, clock: Instant) -> BTreeMap<Target, Vec<ProxiedConnection>> {
        let of_service = |proxies: &Vec<Proxy>| {
            let mut proxied_connections: Vec<ProxiedConnection> = proxies
                .iter()
                .flat_map(|proxy| {
                    let at = move |time: Duration| (proxy.started() + time).saturating_duration_since(clock);
                    proxy.connections().into_iter().map(move |connection| ProxiedConnection {
                        opened: at(connection.opened),
                        closed: connection.closed.map(at),
                        closed_by: connection.closed_by,
                        up: connection.up,
                        down: connection.down,
                        idle_in_transaction: connection.idle_in_transaction,
                    })
                })
                .collect();
            proxied_connections.sort_by_key(|connection| connection.opened);
            proxied_connections
        };
        self.0.iter().map(|(target, proxies)| (*target, of_service(proxies))).collect()
    }
}

/// Starts a proxy in front of the service at `url`. Returns the URL of the service by way of the proxy.
async fn proxied(url: &str, port: u16, target: Target, started: &mut Vec<Proxy>) -> Result<String, ScenarioError> {
    // The URL may hold a password, so no message shows it.
    let refuse =
        |what: &str| ScenarioError::Spec(format!("cannot start a proxy in front of {}: {what}", target.word()));
    let mut proxied = Url::parse(url).map_err(|_| refuse("its URL is invalid"))?;
    let host = proxied.host_str().ok_or_else(|| refuse("its URL has no host"))?;
    let upstream = format!("{host}:{}", proxied.port().unwrap_or(port));
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let proxy = match target {
        Target::Qdrant => Proxy::start_qdrant(local, upstream).await,
        Target::Postgres => Proxy::start_postgres(local, upstream).await,
        Target::Redis => Proxy::start_redis(local, upstream).await,
        Target::Jina => Proxy::start(local, upstream, None).await,
    };
    let proxy = proxy.map_err(|error| refuse(&error.to_string()))?;
    let moved = proxied.set_host(Some("127.0.0.1")).is_ok() && proxied.set_port(Some(proxy.address().port())).is_ok();
    if !moved {
        return Err(refuse("its URL cannot have another address"));
    }
    started.push(proxy);
    let text = proxied.to_string();
    // Parsing adds a slash to a base without a path; the caller wrote none.
    Ok(if url.ends_with('/') { text } else { text.trim_end_matches('/').to_owned() })
}
