//! How a worker retries: how soon and how often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::super::jobs::job_id;
use super::super::words::single_spaced;
use super::finding::Finding;
use super::measure::count;
use super::scope::Scope;
use crate::spec::Target;
use crate::stack::jina::JinaRequest;

/// The factor by which the median wait must grow from one retry to the next. Doubling is usual, and with full jitter the
/// median still doubles; the first waits of a busy worker are longer than intended.
const GROWTH: f64 = 1.3;
/// The standard deviation over the mean of the weakest jitter in wide use: the SDKs of OpenAI multiply each wait by a random
/// factor from 0.75 to 1.
const WEAK_JITTER: f64 = 0.25 / (3.464_101_6 * 0.875);
/// The standard error of a deviation measured in n waits, times the square root of n; for uniformly distributed waits.
const STANDARD_ERROR: f64 = 0.447;
/// How many standard errors a measured deviation may be too small by chance.
const STANDARD_ERRORS: f64 = 3.0;
/// Fewer waits than this prove nothing about their spread or growth.
const ENOUGH: usize = 4;
/// How much earlier than its `Retry-After` a request may come: clocks and networks round.
const EARLY_MS: u64 = 50;
/// A machine that is too busy bunches calls, but makes no more of them: this many times the limit is no matter of time.
const BUNCHED: f64 = 2.0;
/// Calls within this time after an outage still belong to it: clients that waited for its end.
const AFTERMATH: Duration = Duration::from_secs(2);

impl Scope<'_> {
    /// The document that alone has the texts of this request. Only then is the same request a repetition: a text that
    /// several documents have, or that a library sends to learn the length of vectors, has several senders.
    fn sender(&self, request: &JinaRequest) -> Option<&str> {
        let text = request.texts.iter().max_by_key(|text| text.len())?;
        // Metadata that a library puts in front of a text has lines of its own.
        let line = text.lines().map(single_spaced).max_by_key(String::len).filter(|line| !line.is_empty())?;
        let documents: BTreeSet<&str> = (self.observations.steps.iter().flat_map(|step| &step.documents))
            .filter(|document| document.text.contains(&line) || single_spaced(&document.text).contains(&line))
            .map(|document| document.id.as_str())
            .collect();
        documents.first().copied().filter(|_| documents.len() == 1)
    }

    /// Requests for the same texts in the order of their arrival, each group up to its first success, with the document
    /// that sent them. Groups of one request have none.
    fn attempts_by_texts(&self) -> Vec<(&str, Vec<&JinaRequest>)> {
        let mut by_text: BTreeMap<&[String], Vec<Vec<&JinaRequest>>> = BTreeMap::new();
        for request in &self.observations.embeddings.requests {
            let groups = by_text.entry(&request.texts).or_default();
            let is_over =
                |group: &Vec<&JinaRequest>| group.last().is_some_and(|last| last.status == 200 && !last.disturbed);
            match groups.last_mut() {
                Some(group) if !is_over(group) => group.push(request),
                _ => groups.push(vec![request]),
            }
        }
        let groups = by_text.into_values().flatten().filter(|group| group.len() > 1);
        groups.filter_map(|group| Some((self.sender(group[0])?, group))).collect()
    }

    /// When the attempts of a document's jobs began, on the clock of the mock, in milliseconds.
    fn attempts_began(&self, document: &str) -> Vec<u64> {
        let jobs: Vec<String> = (0..self.observations.steps.len()).map(|step| job_id(step, document)).collect();
        let offset = self.observations.embeddings.mock_offset;
        let events = self.observations.queue.events.iter();
        events
            .filter(|(_, event)| event.what == "active" && event.job.as_ref().is_some_and(|job| jobs.contains(job)))
            .filter_map(|(at_ms, _)| Some((Duration::from_millis(u64::try_from(*at_ms).ok()?) + offset).as_millis()))
            .filter_map(|at_ms| u64::try_from(at_ms).ok())
            .collect()
    }

    /// The waits before retries: a worker may try again within an attempt of a job, and BullMQ after it.
    fn waits(&self) -> Waits {
        let mut waits = Waits::default();
        for (document, group) in self.attempts_by_texts() {
            let began = self.attempts_began(document);
            let (mut within, mut between) = (0, 0);
            for pair in group.windows(2) {
                let answered = pair[0].at_ms + pair[0].took_ms;
                let wait = count(pair[1].at_ms.saturating_sub(answered));
                if began.iter().any(|at_ms| (pair[0].at_ms + 1..=pair[1].at_ms).contains(at_ms)) {
                    push(&mut waits.between, between, wait);
                    (within, between) = (0, between + 1);
                } else {
                    push(&mut waits.within, within, wait);
                    within += 1;
                }
            }
        }
        waits
    }

    pub(super) fn backoff_grows(&self) -> Finding {
        let mut finding = Finding::over("retries");
        let Waits { within, between } = self.waits();
        let medians = |waits: &[Vec<f64>]| -> Vec<f64> {
            waits.iter().filter(|waits| waits.len() >= ENOUGH).map(|waits| median(waits)).collect()
        };
        // The wait of BullMQ is longer than the one before it, whether or not either grows.
        let medians = Some(medians(&within)).filter(|medians| medians.len() > 1).unwrap_or_else(|| {
            let between = medians(&between);
            if between.is_empty() { medians(&within) } else { between }
        });
        let (Some(first), Some(last)) = (medians.first(), medians.last()) else { return finding };
        if medians.len() < 2 {
            finding.undecided = Some("no request was repeated often enough to show how waits grow".to_owned());
            return finding;
        }
        finding.examined = medians.len();
        finding.fact(
            "median wait before each retry, ms",
            json!(medians.iter().map(|wait| wait.round()).collect::<Vec<_>>()),
        );
        // Over all retries together: two neighbouring medians may be close by chance.
        let steps = i32::try_from(medians.len() - 1).unwrap_or(i32::MAX);
        let grown = (last / first.max(1.0)).powf(1.0 / f64::from(steps));
        if grown < GROWTH {
            finding.wrong(
                "retries",
                format!(
                    "the wait grows by a factor of {grown:.2} from one retry to the next ({first:.0} ms to {last:.0} ms), wanted at least {GROWTH}"
                ),
            );
        }
        finding
    }

    pub(super) fn backoff_jitters(&self) -> Finding {
        let mut finding = Finding::over("retries");
        let Waits { within, between } = self.waits();
        let ranked = within.into_iter().enumerate().chain(between.into_iter().enumerate());
        for (rank, waits) in ranked.filter(|(_, waits)| waits.len() >= ENOUGH) {
            finding.examine();
            let mean = waits.iter().sum::<f64>() / count(waits.len() as u64);
            let variance = waits.iter().map(|wait| (wait - mean).powi(2)).sum::<f64>() / count(waits.len() as u64);
            let spread = variance.sqrt() / mean.max(1.0);
            let least = least_spread(waits.len());
            finding.fact("standard deviation of the waits over their mean", format!("{spread:.2}"));
            if spread < least {
                finding.wrong(
                    format!("retry {}", rank + 1),
                    format!(
                        "{} waits of {mean:.0} ms on average have a relative deviation of {spread:.2}, wanted at least {least:.2}: no jitter",
                        waits.len()
                    ),
                );
            }
        }
        finding
    }

    pub(super) fn retry_after_honoured(&self) -> Finding {
        let mut finding = Finding::over("requests with a Retry-After");
        for (_, group) in self.attempts_by_texts() {
            for pair in group.windows(2) {
                let Some(wanted) = pair[0].wait_ms else { continue };
                finding.examine();
                let wait = pair[1].at_ms.saturating_sub(pair[0].at_ms + pair[0].took_ms);
                if wait + EARLY_MS < wanted {
                    let what = format!("was repeated after {wait} ms, although its Retry-After was {wanted} ms");
                    too_early(&mut finding, "a request", what, wait * 2 < wanted);
                }
            }
        }
        // The same request to a service behind a gateway fault. A later one reaches the service itself.
        for (target, answered) in &self.observations.network.answered {
            for (at, first) in answered.iter().enumerate() {
                let Some(wanted) = first.wait else { continue };
                finding.examine();
                let Some(again) = answered[at + 1..].iter().find(|other| other.request == first.request) else {
                    continue;
                };
                let wait = again.at.saturating_sub(first.at);
                if wait + Duration::from_millis(EARLY_MS) < wanted {
                    let (waited, asked) = (wait.as_millis(), wanted.as_millis());
                    let what = format!(
                        "the same request was repeated after {waited} ms, although its Retry-After was {asked} ms"
                    );
                    too_early(&mut finding, target.word(), what, wait * 2 < wanted);
                }
            }
        }
        finding
    }

    /// When requests to the embeddings API arrived, on the clock of the scenario run.
    fn arrivals(&self) -> Vec<Duration> {
        let offset = self.observations.embeddings.mock_offset;
        self.observations
            .embeddings
            .requests
            .iter()
            .map(|request| Duration::from_millis(request.at_ms).saturating_sub(offset))
            .collect()
    }

    /// When calls arrived at a service, as its proxy or the mock recorded them; `None` without a proxy.
    fn calls(&self, target: Target) -> Option<Vec<Duration>> {
        match target {
            Target::Jina if !self.observations.network.connections.contains_key(&Target::Jina) => Some(self.arrivals()),
            Target::Jina => {
                // The mock does not see refused attempts, and the proxy does not see requests over kept connections.
                let mut all = self.arrivals();
                all.extend(
                    self.observations.network.connections[&Target::Jina].iter().map(|connection| connection.opened),
                );
                all.sort();
                Some(all)
            }
            target => {
                let connections = self.observations.network.connections.get(&target)?;
                // A kept connection carries many requests: where the proxy recorded requests, they are counted.
                let answered = self.observations.network.answered.get(&target).filter(|answered| !answered.is_empty());
                Some(match answered {
                    Some(answered) => answered.iter().map(|answered| answered.at).collect(),
                    None => connections.iter().map(|connection| connection.opened).collect(),
                })
            }
        }
    }

    /// Begin and end of each fault of a service; `aftermath` is added to the end.
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
            // The abnormal answers of the scenario last from its beginning to its end.
            outages.push((Target::Jina, Duration::ZERO, Duration::MAX));
        }
        for (target, began, ended) in outages {
            let Some(calls) = self.calls(target) else { continue };
            finding.examine();
            let calls: Vec<Duration> = calls.into_iter().filter(|at| *at >= began && *at <= ended).collect();
            let busiest = (0..calls.len())
                .map(|first| {
                    calls[first..].iter().take_while(|at| **at < calls[first] + Duration::from_secs(1)).count()
                })
                .max()
                .unwrap_or(0);
            finding.fact(&format!("most calls of {} within a second", target.word()), busiest);
            if count(busiest as u64) > most {
                let what = format!("got {busiest} calls within a second, wanted at most {most}");
                if count(busiest as u64) > most * BUNCHED {
                    finding.wrong(target.word(), what);
                } else {
                    finding.late(target.word(), what);
                }
            }
        }
        finding
    }

    pub(super) fn max_probes_per_s(&self, most: f64) -> Finding {
        let mut finding = Finding::over("outages");
        for (target, began, ended) in self.outages(Duration::ZERO) {
            let Some(calls) = self.calls(target) else { continue };
            finding.examine();
            // A client needs the first half to notice the outage.
            let middle = began + ended.saturating_sub(began) / 2;
            let late = calls.iter().filter(|at| **at >= middle && **at <= ended).count();
            let rate = count(late as u64) / ended.saturating_sub(middle).as_secs_f64().max(0.001);
            finding.fact(&format!("calls of {} a second, late in the outage", target.word()), format!("{rate:.1}"));
            if rate > most {
                let what =
                    format!("got {rate:.1} calls a second in the second half of its outage, wanted at most {most}");
                if rate > most * BUNCHED {
                    finding.wrong(target.word(), what);
                } else {
                    finding.late(target.word(), what);
                }
            }
        }
        finding
    }
}

/// Waits in milliseconds: all before a first retry, all before a second one …
#[derive(Debug, Default)]
struct Waits {
    /// Before retries in the same attempt of a job.
    within: Vec<Vec<f64>>,
    /// Before retries in the next attempt of a job.
    between: Vec<Vec<f64>>,
}

/// Adds a request that came too early. A machine that is too busy shifts the times of two requests, but not by half of the
/// time between them.
fn too_early(finding: &mut Finding, at: &str, what: String, by_half: bool) {
    if by_half {
        finding.wrong(at, what);
    } else {
        finding.late(at, what);
    }
}

/// Adds a wait before the retry number `rank`, from 0.
fn push(waits: &mut Vec<Vec<f64>>, rank: usize, wait: f64) {
    if waits.len() <= rank {
        waits.resize(rank + 1, Vec::new());
    }
    waits[rank].push(wait);
}

/// The least standard deviation over the mean that this many waits with jitter have.
fn least_spread(waits: usize) -> f64 {
    let waits = count(waits as u64);
    // The mean of the waits is not known, but measured too.
    let expected = WEAK_JITTER * ((waits - 1.0) / waits).sqrt();
    expected * (1.0 - STANDARD_ERRORS * STANDARD_ERROR / waits.sqrt())
}

fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{TestRun, connection, fault, request, starved};
    use super::super::evaluate;
    use super::super::testing::check;
    use super::*;
    use crate::faults::Answered;
    use crate::outcome::{Level, Verdict};
    use crate::services::queue::QueueEvent;
    use crate::spec::Expectation;

    #[test]
    fn the_median_is_the_middle_number() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(&[]).abs() < f64::EPSILON);
    }

    /// A run in which each text was sent again after each of its waits, in milliseconds, and then accepted.
    fn retried<const RETRIES: usize>(waits_by_text: &[[u64; RETRIES]]) -> TestRun {
        let mut requests = Vec::new();
        for (number, waits) in waits_by_text.iter().enumerate() {
            let text = format!("text {number}");
            let mut at_ms = 0;
            for wait in waits {
                requests.push(JinaRequest { status: 503, ..request(at_ms, &[&text]) });
                at_ms += wait;
            }
            requests.push(request(at_ms, &[&text]));
        }
        let texts: Vec<String> = (0..waits_by_text.len().max(4)).map(|number| format!("text {number}")).collect();
        sent(&texts.join("\n"), requests)
    }

    /// A run over one document with this text, and with these requests.
    fn sent(text: &str, requests: Vec<JinaRequest>) -> TestRun {
        TestRun::ingested(&[("a.md", &[text])]).edit(|seen| seen.embeddings.requests = requests)
    }

    /// A run in which each of four texts was sent again after each of these waits, in milliseconds, the third of which
    /// is the wait between two attempts of its job.
    fn in_two_attempts(waits: [u64; 5]) -> TestRun {
        retried(&[waits; 4]).edit(|seen| {
            let second = i64::try_from(waits[0] + waits[1] + waits[2]).unwrap();
            let active = |at_ms| {
                let event =
                    QueueEvent { what: "active".to_owned(), job: Some(job_id(0, "a.md")), ..QueueEvent::default() };
                (at_ms, event)
            };
            seen.queue.events = vec![active(0), active(second)];
        })
    }

    /// A run with requests at these times, and an outage of the embeddings API, in milliseconds.
    fn requested(times: &[u64], outage: (u64, u64)) -> TestRun {
        TestRun::ingested(&[]).edit(|seen| {
            seen.faults = vec![fault(Target::Jina, outage.0, outage.1)];
            seen.embeddings.requests = times.iter().map(|at_ms| request(*at_ms, &["a text"])).collect();
        })
    }

    #[test]
    fn the_wait_must_grow_from_one_retry_to_the_next() {
        check("backoff_grows = true")
            .passes(&retried(&[[100, 200], [110, 220], [120, 240], [130, 260]]))
            .fails(
                &retried(&[[100, 100]; 4]),
                "retries: the wait grows by a factor of 1.00 from one retry to the next (100 ms to 100 ms), wanted at least 1.3",
            )
            .is_unknown(&retried(&[[100]; 4]), "no request was repeated often enough to show how waits grow")
            .is_unknown(&retried(&[[100, 200]; 3]), "there were no retries to evaluate")
            .passes(&in_two_attempts([100, 200, 1000, 110, 210]))
            .fails(
                &in_two_attempts([100, 100, 1000, 100, 100]),
                "retries: the wait grows by a factor of 1.00 from one retry to the next (100 ms to 100 ms), wanted at least 1.3",
            );
    }

    #[test]
    fn the_waits_must_differ_from_request_to_request() {
        check("backoff_jitters = true")
            .passes(&retried(&[[80], [100], [120], [140]]))
            .fails(
                &retried(&[[100]; 4]),
                "retry 1: 4 waits of 100 ms on average have a relative deviation of 0.00, wanted at least 0.02: no jitter",
            )
            .fails(
                &retried(&[[400], [401], [403], [410], [399], [402], [404], [411], [400], [405], [402], [401]]),
                "retry 1: 12 waits of 403 ms on average have a relative deviation of 0.01, wanted at least 0.05: no jitter",
            )
            // A factor from 0.75 to 1.
            .passes(&retried(&[[301], [322], [345], [362], [377], [399], [388], [310], [334], [371], [350], [366]]))
            .is_unknown(&retried(&[[100]; 3]), "there were no retries to evaluate");
    }

    #[test]
    fn no_request_may_be_repeated_before_its_retry_after() {
        let retried_after = |wait| retried(&[[wait]]).edit(|seen| seen.embeddings.requests[0].wait_ms = Some(1000));
        let answered_again_after = |ms| {
            TestRun::ingested(&[]).edit(|seen| {
                let first = Answered { at: Duration::ZERO, request: 1, wait: Some(Duration::from_secs(1)) };
                let other = Answered { at: Duration::from_millis(10), request: 2, wait: None };
                let again = Answered { at: Duration::from_millis(ms), ..first };
                seen.network.answered.insert(Target::Qdrant, vec![first, other, again]);
            })
        };
        check("retry_after_honoured = true")
            .passes(&retried_after(1000))
            .fails(&retried_after(200), "a request: was repeated after 200 ms, although its Retry-After was 1000 ms")
            .passes(&answered_again_after(1000))
            .fails(
                &answered_again_after(200),
                "qdrant: the same request was repeated after 200 ms, although its Retry-After was 1000 ms",
            )
            .is_unknown(&retried(&[[200]]), "there were no requests with a Retry-After to evaluate")
            .is_unknown(
                &sent("another text", retried_after(200).assessment().observations.embeddings.requests),
                "there were no requests with a Retry-After to evaluate",
            );
    }

    #[test]
    fn the_calls_of_any_second_of_an_outage_are_bounded() {
        let unwatched = TestRun::ingested(&[]).edit(|seen| seen.faults = vec![fault(Target::Redis, 0, 1000)]);
        let reconnected = unwatched.edit(|seen| {
            let connections = [0, 100, 200].map(|opened| connection(opened, Some(opened + 10)));
            seen.network.connections.insert(Target::Redis, connections.to_vec());
        });
        check("max_calls_per_s = 2")
            .passes(&requested(&[0, 600, 1200], (0, 1000)))
            .fails(&requested(&[0, 100, 200], (0, 1000)), "jina: got 3 calls within a second, wanted at most 2")
            .passes(&requested(&[5000, 5100, 5200], (0, 1000)))
            .fails(&reconnected, "redis: got 3 calls within a second, wanted at most 2")
            .is_unknown(&unwatched, "there were no outages to evaluate");
        // A machine that is too busy bunches calls, and makes no more of them.
        let busy = |times: &[u64]| requested(times, (0, 1000)).edit(|seen| seen.timing.pressure = starved());
        let bunched = "jina: got 3 calls within a second, wanted at most 2";
        let verdict =
            |run: &TestRun| evaluate(&[], &[Expectation::MaxCallsPerS(2.0)], &run.assessment(), None, Level::Must).0;
        assert!(matches!(verdict(&busy(&[0, 100, 200])), Verdict::Unknown { reason } if reason.ends_with(bunched)));
        let many = Verdict::unmet(Level::Must, "jina: got 5 calls within a second, wanted at most 2");
        assert_eq!(verdict(&busy(&[0, 100, 200, 300, 400])), many);
    }

    #[test]
    fn the_rate_of_calls_late_in_an_outage_is_bounded() {
        check("max_probes_per_s = 2")
            .passes(&requested(&[0, 10, 20, 30, 40, 2500, 3500], (0, 4000)))
            .fails(
                &requested(&[2100, 2200, 2300, 2400, 2500, 2600], (0, 4000)),
                "jina: got 3.0 calls a second in the second half of its outage, wanted at most 2",
            )
            .is_unknown(&retried(&[[100]]), "there were no outages to evaluate");
    }
}
