//! How a worker asks again: how soon, how often, and how many at once.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::super::scheduler::ProxiedConnection;
use super::{Finding, Scope, count};
use crate::spec::Target;
use crate::stack::jina::JinaRequest;

/// From one retry to the next the wait must grow at least by this factor, in the median over all requests. Doubling is
/// usual; with full jitter the median still doubles, and the first waits of a busy worker are longer than it meant.
const GROWTH: f64 = 1.3;
/// Waits before the same retry differ by at least this share of their mean where there is jitter.
const SPREAD: f64 = 0.10;
/// Fewer waits than this say nothing about their spread or growth.
const ENOUGH: usize = 4;
/// A request may be this much earlier than it was told to be: clocks and networks round.
const EARLY_MS: u64 = 50;
/// What comes within this time of the end of an outage still belongs to it: the herd that waited for it.
const AFTERMATH: Duration = Duration::from_secs(2);

impl Scope<'_> {
    /// Requests for the same texts, one after another, up to the first that was answered well.
    fn tries(&self) -> Vec<Vec<&JinaRequest>> {
        let mut by_text: BTreeMap<&[String], Vec<Vec<&JinaRequest>>> = BTreeMap::new();
        for request in &self.observations.requests {
            let groups = by_text.entry(&request.texts).or_default();
            let over =
                |group: &Vec<&JinaRequest>| group.last().is_some_and(|last| last.status == 200 && !last.disturbed);
            match groups.last_mut() {
                Some(group) if !over(group) => group.push(request),
                _ => groups.push(vec![request]),
            }
        }
        by_text.into_values().flatten().collect()
    }

    /// Waits before each retry, in milliseconds: all first ones, all second ones …
    fn waits(&self) -> Vec<Vec<f64>> {
        let mut waits: Vec<Vec<f64>> = Vec::new();
        for group in self.tries() {
            for (rank, pair) in group.windows(2).enumerate() {
                let wait = pair[1].at_ms.saturating_sub(pair[0].at_ms + pair[0].took_ms);
                if waits.len() == rank {
                    waits.push(Vec::new());
                }
                waits[rank].push(count(wait));
            }
        }
        waits
    }

    pub(super) fn backoff_grows(&self) -> Finding {
        let mut finding = Finding::over("retries");
        let medians: Vec<f64> =
            self.waits().into_iter().filter(|waits| waits.len() >= ENOUGH).map(|waits| median(&waits)).collect();
        let (Some(first), Some(last)) = (medians.first(), medians.last()) else { return finding };
        if medians.len() < 2 {
            finding.undecided = Some("no request was tried often enough to show how waits grow".to_owned());
            return finding;
        }
        finding.looked_at = medians.len();
        finding.fact(
            "median wait before each retry, ms",
            json!(medians.iter().map(|wait| wait.round()).collect::<Vec<_>>()),
        );
        // Over all ranks together: neighbours may lie close by chance.
        let steps = i32::try_from(medians.len() - 1).unwrap_or(i32::MAX);
        let grown = (last / first.max(1.0)).powf(1.0 / f64::from(steps));
        if grown < GROWTH {
            finding.wrong(
                "retries",
                format!(
                    "waits grow by {grown:.2} from one to the next ({first:.0} ms, then {last:.0} ms), wanted {GROWTH}"
                ),
            );
        }
        finding
    }

    pub(super) fn backoff_jitters(&self) -> Finding {
        let mut finding = Finding::over("retries");
        for (rank, waits) in self.waits().into_iter().enumerate().filter(|(_, waits)| waits.len() >= ENOUGH) {
            finding.look();
            let mean = waits.iter().sum::<f64>() / count(waits.len() as u64);
            let variance = waits.iter().map(|wait| (wait - mean).powi(2)).sum::<f64>() / count(waits.len() as u64);
            let spread = variance.sqrt() / mean.max(1.0);
            finding.fact("spread of the waits over their mean", format!("{spread:.2}"));
            if spread < SPREAD {
                finding.wrong(
                    format!("retry {}", rank + 1),
                    format!(
                        "{} waits of {mean:.0} ms differ by {spread:.2} of that, wanted {SPREAD}: no jitter",
                        waits.len()
                    ),
                );
            }
        }
        finding
    }

    pub(super) fn retry_after(&self) -> Finding {
        let mut finding = Finding::over("requests that were told to wait");
        for group in self.tries() {
            for pair in group.windows(2) {
                let Some(wanted) = pair[0].wait_ms else { continue };
                finding.look();
                let wait = pair[1].at_ms.saturating_sub(pair[0].at_ms + pair[0].took_ms);
                if wait + EARLY_MS < wanted {
                    finding.wrong(
                        "a request",
                        format!("came again after {wait} ms, and was told to wait {wanted} ms (Retry-After)"),
                    );
                }
            }
        }
        // The same request at a service whose place a gateway took. One that comes later meets the service itself.
        for (target, answered) in &self.observations.answered {
            for (at, first) in answered.iter().enumerate() {
                let Some(wanted) = first.wait else { continue };
                finding.look();
                let Some(again) = answered[at + 1..].iter().find(|other| other.request == first.request) else {
                    continue;
                };
                let wait = again.at.saturating_sub(first.at);
                if wait + Duration::from_millis(EARLY_MS) < wanted {
                    finding.wrong(
                        target.word(),
                        format!(
                            "the same request came again after {} ms, and was told to wait {} ms (Retry-After)",
                            wait.as_millis(),
                            wanted.as_millis()
                        ),
                    );
                }
            }
        }
        finding
    }

    /// When requests to the embeddings API arrived, on the scenario run's clock.
    fn arrivals(&self) -> Vec<Duration> {
        let offset = self.observations.mock_offset;
        self.observations
            .requests
            .iter()
            .map(|request| Duration::from_millis(request.at_ms).saturating_sub(offset))
            .collect()
    }

    /// What arrived at a service, as its proxy or the mock saw it.
    fn calls(&self, target: Target) -> Option<Vec<Duration>> {
        match target {
            Target::Jina if !self.observations.proxied_connections.contains_key(&Target::Jina) => Some(self.arrivals()),
            Target::Jina => {
                // Refused attempts never reach the mock, and kept connections never show at the proxy.
                let mut all = self.arrivals();
                all.extend(
                    self.observations.proxied_connections[&Target::Jina].iter().map(|connection| connection.opened),
                );
                all.sort();
                Some(all)
            }
            target => {
                let proxied_connections = self.observations.proxied_connections.get(&target)?;
                // Over one kept connection any number of requests may come: where each is known, each counts.
                let answered = self.observations.answered.get(&target).filter(|answered| !answered.is_empty());
                Some(match answered {
                    Some(answered) => answered.iter().map(|answered| answered.at).collect(),
                    None => proxied_connections.iter().map(|connection| connection.opened).collect(),
                })
            }
        }
    }

    /// The time of each fault of a service, up to `aftermath` later.
    fn outages(&self, aftermath: Duration) -> Vec<(Target, Duration, Duration)> {
        let faults = self.observations.faults.iter();
        faults
            .flat_map(|fault| fault.targets.iter().map(move |target| (*target, fault)))
            .filter_map(|(target, fault)| Some((target, fault.began?, fault.ended? + aftermath)))
            .collect()
    }

    pub(super) fn max_calls_per_s(&self, most: f64) -> Finding {
        let mut finding = Finding::over("outages");
        let mut outages = self.outages(AFTERMATH);
        if self.observations.faults.is_empty() {
            // The scenario's own active faults lasts from beginning to end.
            outages.push((Target::Jina, Duration::ZERO, Duration::MAX));
        }
        for (target, began, ended) in outages {
            let Some(calls) = self.calls(target) else { continue };
            finding.look();
            let calls: Vec<Duration> = calls.into_iter().filter(|at| *at >= began && *at <= ended).collect();
            let busiest = (0..calls.len())
                .map(|first| {
                    calls[first..].iter().take_while(|at| **at < calls[first] + Duration::from_secs(1)).count()
                })
                .max()
                .unwrap_or(0);
            finding.fact(&format!("most calls of {} within a second", target.word()), busiest);
            if count(busiest as u64) > most {
                finding.wrong(target.word(), format!("got {busiest} calls within a second, wanted at most {most}"));
            }
        }
        finding
    }

    pub(super) fn max_probes_per_s(&self, most: f64) -> Finding {
        let mut finding = Finding::over("outages");
        for (target, began, ended) in self.outages(Duration::ZERO) {
            let Some(calls) = self.calls(target) else { continue };
            finding.look();
            // The first half is what it takes to notice.
            let middle = began + ended.saturating_sub(began) / 2;
            let late = calls.iter().filter(|at| **at >= middle && **at <= ended).count();
            let rate = count(late as u64) / ended.saturating_sub(middle).as_secs_f64().max(0.001);
            finding.fact(&format!("calls of {} a second, late in the outage", target.word()), format!("{rate:.1}"));
            if rate > most {
                finding.wrong(
                    target.word(),
                    format!(
                        "still gets {rate:.1} calls a second in the second half of its outage, wanted at most {most}"
                    ),
                );
            }
        }
        finding
    }

    /// Connections to a service, as its proxy saw them; where none stood, nothing is decided.
    fn proxied_connections(&self, target: Target, finding: &mut Finding) -> Option<&[ProxiedConnection]> {
        let proxied_connections = self.observations.proxied_connections.get(&target);
        if proxied_connections.is_none() {
            finding.undecided = Some(format!("no proxy stood before {}; name it in `watch`", target.word()));
        }
        proxied_connections.map(Vec::as_slice)
    }

    pub(super) fn connections(&self, target: Target, most: f64) -> Finding {
        let mut finding = Finding::over("connections");
        let Some(proxied_connections) = self.proxied_connections(target, &mut finding) else { return finding };
        let mut peak = 0;
        for connection in proxied_connections {
            finding.look();
            let at_once = proxied_connections
                .iter()
                .filter(|other| {
                    other.opened <= connection.opened && other.closed.is_none_or(|closed| closed > connection.opened)
                })
                .count();
            peak = peak.max(at_once);
        }
        finding.fact(&format!("most connections to {} at once", target.word()), peak);
        finding.fact(&format!("connections to {} in all", target.word()), proxied_connections.len());
        if count(peak as u64) > most {
            finding.wrong(target.word(), format!("had {peak} connections at once, wanted at most {most}"));
        }
        finding
    }

    pub(super) fn max_connections_made(&self, target: Target, most: f64) -> Finding {
        let mut finding = Finding::over("connections");
        let Some(proxied_connections) = self.proxied_connections(target, &mut finding) else { return finding };
        finding.looked_at = proxied_connections.len();
        if count(proxied_connections.len() as u64) > most {
            finding.wrong(
                target.word(),
                format!(
                    "{} connections were made in all, wanted at most {most}: they are not kept",
                    proxied_connections.len()
                ),
            );
        }
        finding
    }

    pub(super) fn idle_transaction(&self, most: f64) -> Finding {
        let mut finding = Finding::over("connections to postgres on which nothing is encrypted");
        let Some(proxied_connections) = self.proxied_connections(Target::Postgres, &mut finding) else {
            return finding;
        };
        let mut longest = 0.0_f64;
        for idle in proxied_connections.iter().filter_map(|connection| connection.idle_in_transaction) {
            finding.look();
            longest = longest.max(idle.as_secs_f64() * 1000.0);
        }
        finding.fact("longest time that a transaction was open and nothing was asked, ms", longest.round());
        if longest > most {
            finding.wrong(
                "postgres",
                format!("a transaction was open for {longest:.0} ms while nothing was asked, wanted at most {most} ms"),
            );
        }
        finding
    }

    pub(super) fn connections_closed(&self) -> Finding {
        let mut finding = Finding::over("connections");
        if self.observations.proxied_connections.is_empty() {
            finding.undecided = Some("no proxy stood before a service; name some in `watch`".to_owned());
        }
        for (target, proxied_connections) in &self.observations.proxied_connections {
            let open = proxied_connections.iter().filter(|connection| connection.closed.is_none()).count();
            finding.looked_at += proxied_connections.len();
            finding
                .fact(&format!("connections to {} that were closed", target.word()), proxied_connections.len() - open);
            if open > 0 {
                finding.wrong(target.word(), format!("{open} connections are still open, and the worker has ended"));
            }
        }
        finding
    }
}

fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(&[]).abs() < f64::EPSILON);
    }
}
