//! The proxies between the workers and the services.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use url::Url;

use super::super::run::ScenarioError;
use crate::faults::{Answered, Applied, ClosedBy, Proxy, Writes};
use crate::settings::Endpoints;
use crate::spec::{FaultKind, Scenario, Target};

/// One connection of a worker, or one attempt at one.
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
    /// The longest time for which a transaction was open and the worker asked nothing, where that was heard.
    pub idle_in_transaction: Option<Duration>,
}

/// Proxies by service; Qdrant has two.
#[derive(Debug, Default)]
pub struct Proxies(BTreeMap<Target, Vec<Proxy>>);

impl Proxies {
    /// Puts a proxy before every service that a fault is to strike or that is to be watched; gives the endpoints for
    /// the workers.
    pub(in crate::scenario) async fn before(
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
        Self::stand(targets, endpoints).await
    }

    /// Puts a proxy before each of these services.
    ///
    /// # Errors
    /// The URL of a service cannot be read, or no port can be had.
    pub async fn stand(
        targets: impl IntoIterator<Item = Target>,
        endpoints: &Endpoints,
    ) -> Result<(Self, Endpoints), ScenarioError> {
        let mut through = endpoints.clone();
        let mut proxies = Self::default();
        for target in targets {
            let mut before = Vec::new();
            match target {
                Target::Redis => {
                    through.redis.url =
                        detour(through.redis.url.expose_secret(), 6379, target, &mut before).await?.into();
                }
                Target::Postgres => {
                    through.postgres.url =
                        detour(through.postgres.url.expose_secret(), 5432, target, &mut before).await?.into();
                }
                Target::Qdrant => {
                    through.qdrant.url = detour(&through.qdrant.url, 6333, target, &mut before).await?;
                    through.qdrant.grpc_url = detour(&through.qdrant.grpc_url, 6334, target, &mut before).await?;
                }
                Target::Jina => through.jina.base_url = detour(&through.jina.base_url, 80, target, &mut before).await?,
            }
            proxies.0.insert(target, before);
        }
        Ok((proxies, through))
    }

    /// Those before `target`.
    #[must_use]
    pub fn of(&self, target: Target) -> &[Proxy] {
        self.0.get(&target).map_or(&[], Vec::as_slice)
    }

    /// Lifts a fault from the proxy of `target` that has it: the handle knows its fault, whichever of the two.
    pub(super) fn lift(&self, target: Target, applied: Applied) {
        if let Some(proxy) = self.of(target).iter().find(|proxy| proxy.has(&applied)) {
            proxy.lift(applied);
        }
    }

    /// Bytes that went to `target`, and connections and attempts that were made.
    pub(super) fn traffic(&self, target: Target) -> (u64, usize) {
        let connections = self.of(target).iter().flat_map(Proxy::connections);
        connections.fold((0, 0), |(bytes, count), connection| (bytes + connection.up, count + 1))
    }

    /// The changes of points that passed on their way to Qdrant; none where no proxy stood.
    pub(super) fn writes(&self) -> Option<Writes> {
        self.of(Target::Qdrant).iter().filter_map(Proxy::writes).reduce(Writes::and)
    }

    /// Errors with this `SQLSTATE` that passed on their way from Postgres; none where that cannot be known.
    pub(super) fn sql_errors(&self, state: &str) -> Option<u64> {
        self.of(Target::Postgres).iter().map(|proxy| proxy.sql_errors(state)).sum()
    }

    /// Every request that a proxy answered in the place of its service, in the order of time since `clock`.
    pub(super) fn answered(&self, clock: Instant) -> BTreeMap<Target, Vec<Answered>> {
        let of = |proxies: &Vec<Proxy>| {
            let each = proxies.iter().flat_map(|proxy| {
                let at = move |time: Duration| (proxy.begun() + time).saturating_duration_since(clock);
                proxy.answered().into_iter().map(move |answered| Answered { at: at(answered.at), ..answered })
            });
            let mut all: Vec<Answered> = each.collect();
            all.sort_by_key(|answered| answered.at);
            all
        };
        self.0.iter().map(|(target, proxies)| (*target, of(proxies))).collect()
    }

    /// Every connection that was made, by service, in the order of time since `clock`.
    pub(super) fn proxied_connections(&self, clock: Instant) -> BTreeMap<Target, Vec<ProxiedConnection>> {
        let of = |proxies: &Vec<Proxy>| {
            let mut proxied_connections: Vec<ProxiedConnection> = proxies
                .iter()
                .flat_map(|proxy| {
                    let at = move |time: Duration| (proxy.begun() + time).saturating_duration_since(clock);
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
        self.0.iter().map(|(target, proxies)| (*target, of(proxies))).collect()
    }
}

/// `url`, by way of a new proxy.
async fn detour(url: &str, port: u16, target: Target, before: &mut Vec<Proxy>) -> Result<String, ScenarioError> {
    // The URL may hold a password: it is in no message.
    let refuse = |what: &str| ScenarioError::Spec(format!("no proxy can stand before a service: {what}"));
    let mut there = Url::parse(url).map_err(|_| refuse("its URL cannot be read"))?;
    let host = there.host_str().ok_or_else(|| refuse("its URL names no host"))?;
    let upstream = format!("{host}:{}", there.port().unwrap_or(port));
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let proxy = match target {
        Target::Qdrant => Proxy::before_qdrant(local, upstream).await,
        Target::Postgres => Proxy::before_postgres(local, upstream).await,
        Target::Redis | Target::Jina => Proxy::start(local, upstream, None).await,
    };
    let proxy = proxy.map_err(|error| refuse(&error.to_string()))?;
    let moved = there.set_host(Some("127.0.0.1")).is_ok() && there.set_port(Some(proxy.address().port())).is_ok();
    if !moved {
        return Err(refuse("its URL takes no other address"));
    }
    before.push(proxy);
    let text = there.to_string();
    // A base without a path is written without the slash that parsing adds.
    Ok(if url.ends_with('/') { text } else { text.trim_end_matches('/').to_owned() })
}
