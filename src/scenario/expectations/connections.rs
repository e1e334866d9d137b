//! Connections to services: how many, how long, and whether they are closed.

use super::super::scheduler::ProxiedConnection;
use super::finding::Finding;
use super::measure::count;
use super::scope::Scope;
use crate::spec::Target;

impl Scope<'_> {
    /// The connections to a service, as its proxy recorded them. Without a proxy the finding is undecided.
    fn connections_to(&self, target: Target, finding: &mut Finding) -> Option<&[ProxiedConnection]> {
        let connections = self.observations.network.connections.get(&target);
        if connections.is_none() {
            finding.undecided = Some(format!("{} was not reached through a proxy: name it in `watch`", target.word()));
        }
        connections.map(Vec::as_slice)
    }

    pub(super) fn max_connections(&self, target: Target, most: f64) -> Finding {
        let mut finding = Finding::over("connections");
        let Some(connections) = self.connections_to(target, &mut finding) else { return finding };
        let mut peak = 0;
        for connection in connections {
            finding.examine();
            let at_once = connections
                .iter()
                .filter(|other| {
                    other.opened <= connection.opened && other.closed.is_none_or(|closed| closed > connection.opened)
                })
                .count();
            peak = peak.max(at_once);
        }
        finding.fact(&format!("most connections to {} at once", target.word()), peak);
        finding.fact(&format!("connections to {} in total", target.word()), connections.len());
        if count(peak as u64) > most {
            finding.wrong(target.word(), format!("had {peak} connections at once, wanted at most {most}"));
        }
        finding
    }

    pub(super) fn max_connections_made(&self, target: Target, most: f64) -> Finding {
        let mut finding = Finding::over("connections");
        let Some(connections) = self.connections_to(target, &mut finding) else { return finding };
        finding.examined = connections.len();
        if count(connections.len() as u64) > most {
            finding.wrong(
                target.word(),
                format!(
                    "{} connections were made in total, wanted at most {most}: they are not reused",
                    connections.len()
                ),
            );
        }
        finding
    }

    pub(super) fn max_idle_transaction(&self, most: f64) -> Finding {
        let mut finding = Finding::over("unencrypted connections to postgres");
        let Some(connections) = self.connections_to(Target::Postgres, &mut finding) else {
            return finding;
        };
        let mut longest = 0.0_f64;
        for idle in connections.iter().filter_map(|connection| connection.idle_in_transaction) {
            finding.examine();
            longest = longest.max(idle.as_secs_f64() * 1000.0);
        }
        finding.fact("longest time that a transaction was open without a query, ms", longest.round());
        if longest > most {
            finding.wrong(
                "postgres",
                format!("a transaction was open for {longest:.0} ms without a query, wanted at most {most} ms"),
            );
        }
        finding
    }

    pub(super) fn connections_closed(&self) -> Finding {
        let mut finding = Finding::over("connections");
        if self.observations.network.connections.is_empty() {
            finding.undecided = Some("no service was reached through a proxy: name some in `watch`".to_owned());
        }
        for (target, connections) in &self.observations.network.connections {
            let open = connections.iter().filter(|connection| connection.closed.is_none()).count();
            finding.examined += connections.len();
            finding.fact(&format!("connections to {} that were closed", target.word()), connections.len() - open);
            if open > 0 {
                finding.wrong(target.word(), format!("{open} connections are still open after the worker has ended"));
            }
        }
        finding
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::testing::{TestRun, connection};
    use super::super::testing::check;
    use super::*;

    /// A run with these connections to a service.
    fn connected(target: Target, connections: &[ProxiedConnection]) -> TestRun {
        TestRun::two_documents().edit(|seen| drop(seen.network.connections.insert(target, connections.to_vec())))
    }

    #[test]
    fn the_connections_at_the_same_time_are_bounded() {
        let from_to =
            |first, second| connected(Target::Redis, &[connection(0, Some(first)), connection(second, Some(30))]);
        check("max_connections = { redis = 1 }")
            .passes(&from_to(10, 20))
            .fails(&from_to(10, 5), "redis: had 2 connections at once, wanted at most 1")
            .is_unknown(&TestRun::two_documents(), "redis was not reached through a proxy: name it in `watch`");
    }

    #[test]
    fn the_connections_of_the_whole_run_are_bounded() {
        let many = |count: u64| {
            let connections: Vec<_> = (0..count).map(|number| connection(number, Some(number + 1))).collect();
            connected(Target::Qdrant, &connections)
        };
        check("max_connections_made = { qdrant = 2 }")
            .passes(&many(2))
            .fails(&many(3), "qdrant: 3 connections were made in total, wanted at most 2: they are not reused")
            .is_unknown(&many(0), "there were no connections to evaluate")
            .is_unknown(&TestRun::two_documents(), "qdrant was not reached through a proxy: name it in `watch`");
    }

    #[test]
    fn the_idle_time_of_a_transaction_is_bounded() {
        let idle = |ms: Option<u64>| {
            let idle_in_transaction = ms.map(Duration::from_millis);
            connected(Target::Postgres, &[ProxiedConnection { idle_in_transaction, ..connection(0, Some(900)) }])
        };
        check("max_idle_transaction_ms = 100")
            .passes(&idle(Some(50)))
            .fails(
                &idle(Some(250)),
                "postgres: a transaction was open for 250 ms without a query, wanted at most 100 ms",
            )
            .is_unknown(&idle(None), "there were no unencrypted connections to postgres to evaluate")
            .is_unknown(&TestRun::two_documents(), "postgres was not reached through a proxy: name it in `watch`");
    }

    #[test]
    fn no_connection_may_be_open_after_the_workers_have_ended() {
        check("connections_closed = true")
            .passes(&connected(Target::Redis, &[connection(0, Some(10))]))
            .fails(
                &connected(Target::Redis, &[connection(0, Some(10)), connection(5, None)]),
                "redis: 1 connections are still open after the worker has ended",
            )
            .is_unknown(&TestRun::two_documents(), "no service was reached through a proxy: name some in `watch`");
    }
}
