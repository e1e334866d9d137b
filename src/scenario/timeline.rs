//! The timeline of a scenario run: its events on one clock. Reports have it for each run of which a case did not pass.

use std::collections::{BTreeMap, BTreeSet};

use super::assessment::Assessment;
use super::jobs::document_of;
use super::observations::Observations;
use super::scheduler::{FaultRecord, Output, WorkerEvent};
use crate::faults::ClosedBy;
use crate::outcome::{AffectedDocument, LeftOut, Progress, Timeline, TimelineEvent, Track};
use crate::redaction::{redact, without_escapes};

/// Maximum number of events on one track.
const MAX_EVENTS: usize = 60;
/// Number of affected documents whose job events are all shown.
const MAX_FOLLOWED: usize = 5;
/// Maximum number of affected documents.
const MAX_DOCUMENTS: usize = 20;
/// The window around the faults, before the first and after the last, in milliseconds.
const BEFORE_MS: i64 = 500;
const AFTER_MS: i64 = 3000;
/// Maximum length of an event's text, in characters.
const MAX_TEXT: usize = 300;

/// The timeline of the run of `scenario`, for `cases` that did not pass.
#[must_use]
pub fn timeline(scenario: &str, cases: Vec<String>, assessment: &Assessment) -> Timeline {
    let observations = &assessment.observations;
    let affected: Vec<AffectedDocument> = assessment
        .documents()
        .iter()
        .filter(|document| document.outcome.is_ok() == Some(false))
        .map(|document| AffectedDocument {
            document: document.document.clone(),
            outcome: document.outcome.word().to_owned(),
            why: redact(&document.why).into_owned(),
        })
        .collect();
    let window = window(observations, &affected);
    let mut events = Vec::new();
    let mut left_out = Vec::new();
    for track in Track::ALL {
        let (kept, count) = match track {
            Track::Fault => select(faults(observations), window),
            Track::Process => select(processes(observations), window),
            Track::Connection => select(connections(observations), window),
            Track::Request => select(requests(observations), window),
            Track::Job => select(jobs(observations, &affected), window),
            Track::Output => select(observations.workers.outputs.iter().flat_map(lines), window),
        };
        if kept.len() < count {
            left_out.push(LeftOut { track, count: count - kept.len() });
        }
        events.extend(kept.into_iter().map(|event| TimelineEvent { what: shorten(&redact(&event.what)), ..event }));
    }
    events.sort_by_key(|event| (event.at_ms, event.track));
    Timeline {
        scenario: scenario.to_owned(),
        title: observations.title.clone(),
        cases,
        length_ms: u64::try_from(observations.length.as_millis()).unwrap_or(u64::MAX),
        documents: affected.into_iter().take(MAX_DOCUMENTS).collect(),
        events,
        left_out,
        progress: progress(observations),
    }
}

/// The progress curve. It counts all jobs and requests, including those whose events are left out.
fn progress(observations: &Observations) -> Option<Progress> {
    let completed = observations.queue.events.iter().filter(|(_, event)| event.what == "completed").map(|(at, _)| *at);
    let offset = ms(observations.embeddings.mock_offset);
    let refused = observations.embeddings.requests.iter().filter(|request| !(200..300).contains(&request.status));
    let refused = refused.map(|request| i64::try_from(request.at_ms).unwrap_or(i64::MAX) - offset);
    Progress::from_times(&completed.collect::<Vec<_>>(), &refused.collect::<Vec<_>>())
}

/// The time window of interest, in milliseconds: around the faults, else around the last job event of the first affected
/// document, else around the end of the run.
fn window(observations: &Observations, affected: &[AffectedDocument]) -> (i64, i64) {
    let began = observations.faults.iter().filter_map(|fault| fault.began).min().map(ms);
    let ended = observations.faults.iter().filter_map(|fault| fault.ended).max().map(ms);
    if let Some(began) = began {
        return (began - BEFORE_MS, ended.unwrap_or(began) + AFTER_MS);
    }
    let all = documents(observations);
    let last_event = affected.first().and_then(|affected| {
        let is_its_job = |job: &str| document_of(job, all.iter().copied()) == Some(affected.document.as_str());
        let mut events =
            observations.queue.events.iter().filter(|(_, event)| event.job.as_deref().is_some_and(is_its_job));
        events.next_back().map(|(at, _)| *at)
    });
    let at = last_event.unwrap_or_else(|| ms(observations.length));
    (at - AFTER_MS, at + BEFORE_MS)
}

/// At most [`MAX_EVENTS`]: the first ones in the window, then the latest of the others. Also the number of all. Only as many
/// are kept meanwhile, because a worker may print millions of lines.
fn select(all: impl IntoIterator<Item = TimelineEvent>, (from, until): (i64, i64)) -> (Vec<TimelineEvent>, usize) {
    let (mut inside, mut outside) = (BTreeMap::new(), BTreeMap::new());
    let mut count = 0;
    for event in all {
        let key = (event.at_ms, count);
        count += 1;
        if event.at_ms <= until && event.until_ms.unwrap_or(event.at_ms) >= from {
            inside.insert(key, event);
            if inside.len() > MAX_EVENTS {
                inside.pop_last();
            }
        } else {
            outside.insert(key, event);
            if outside.len() > MAX_EVENTS {
                outside.pop_first();
            }
        }
    }
    let room = MAX_EVENTS - inside.len();
    let skip = outside.len().saturating_sub(room);
    (inside.into_values().chain(outside.into_values().skip(skip)).collect(), count)
}

fn faults(observations: &Observations) -> Vec<TimelineEvent> {
    let event = |fault: &FaultRecord| {
        Some(TimelineEvent {
            at_ms: ms(fault.began?),
            until_ms: fault.ended.map(ms),
            track: Track::Fault,
            subject: match fault.targets.as_slice() {
                [] => "worker".to_owned(),
                targets => targets.iter().map(|target| target.word()).collect::<Vec<_>>().join(", "),
            },
            what: format!("{}, affected {}", fault.what, fault.affected),
        })
    };
    observations.faults.iter().filter_map(event).collect()
}

fn processes(observations: &Observations) -> Vec<TimelineEvent> {
    let event = |event: &WorkerEvent| TimelineEvent {
        at_ms: event.at_ms,
        until_ms: None,
        track: Track::Process,
        subject: format!("worker {}", event.worker),
        what: event.what.clone(),
    };
    observations.workers.events.iter().map(event).collect()
}

fn connections(observations: &Observations) -> Vec<TimelineEvent> {
    let mut events = Vec::new();
    for (target, connections) in &observations.network.connections {
        for connection in connections {
            let ended = match connection.closed_by {
                None => "still open at the end".to_owned(),
                Some(ClosedBy::Unreachable) => "could not be made".to_owned(),
                Some(by) => format!("closed by {}", by.word()),
            };
            events.push(TimelineEvent {
                at_ms: ms(connection.opened),
                until_ms: connection.closed.map(ms),
                track: Track::Connection,
                subject: target.word().to_owned(),
                what: format!("connection, {} bytes sent, {} received, {ended}", connection.up, connection.down),
            });
        }
    }
    events
}

fn requests(observations: &Observations) -> Vec<TimelineEvent> {
    let offset = ms(observations.embeddings.mock_offset);
    let event = |request: &crate::stack::jina::JinaRequest| {
        let at_ms = i64::try_from(request.at_ms).unwrap_or(i64::MAX) - offset;
        let answer = match request.status {
            0 => "not answered".to_owned(),
            status => format!("answered {status}"),
        };
        let wait = request.wait_ms.map_or(String::new(), |wait| format!(", retry after {wait} ms"));
        TimelineEvent {
            at_ms,
            until_ms: Some(at_ms + i64::try_from(request.took_ms).unwrap_or(0)),
            track: Track::Request,
            subject: "jina".to_owned(),
            what: format!("{} texts, {} in flight, {answer}{wait}", request.texts.len(), request.in_flight),
        }
    };
    observations.embeddings.requests.iter().map(event).collect()
}

/// All job events of the first affected documents, and the unusual events of the others.
fn jobs(observations: &Observations, affected: &[AffectedDocument]) -> Vec<TimelineEvent> {
    let all = documents(observations);
    let followed: BTreeSet<&str> =
        affected.iter().take(MAX_FOLLOWED).map(|affected| affected.document.as_str()).collect();
    let mut known: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    let mut added: BTreeSet<&str> = BTreeSet::new();
    let mut events = Vec::new();
    for (at_ms, event) in &observations.queue.events {
        let Some(job) = event.job.as_deref() else { continue };
        let document = *known.entry(job).or_insert_with(|| document_of(job, all.iter().copied()));
        // BullMQ adds a `waiting` event to every `added` one.
        if event.what == "waiting" && added.contains(job) {
            continue;
        }
        if event.what == "added" {
            added.insert(job);
        } else {
            added.remove(job);
        }
        let unusual = matches!(event.what.as_str(), "failed" | "stalled" | "delayed" | "retries-exhausted");
        if !unusual && !document.is_some_and(|document| followed.contains(document)) {
            continue;
        }
        let detail = match (event.what.as_str(), &event.detail) {
            ("failed", Some(reason)) => format!(": {reason}"),
            _ => String::new(),
        };
        events.push(TimelineEvent {
            at_ms: *at_ms,
            until_ms: None,
            track: Track::Job,
            subject: document.unwrap_or(job).to_owned(),
            what: format!("{}{detail}", event.what),
        });
    }
    events
}

fn documents(observations: &Observations) -> BTreeSet<&str> {
    observations.steps.iter().flat_map(|step| &step.documents).map(|document| document.id.as_str()).collect()
}

/// The lines of a worker's output, each with the time at which it was seen complete.
pub(super) fn lines(output: &Output) -> impl Iterator<Item = TimelineEvent> + '_ {
    let mut bytes = 0_u64;
    output.text.lines().filter_map(move |line| {
        bytes += line.len() as u64 + 1;
        let index = output.marks.partition_point(|(_, written)| *written < bytes);
        let seen = output.marks.get(index).or(output.marks.last());
        (!line.trim().is_empty()).then(|| TimelineEvent {
            at_ms: seen.map_or(0, |(at, _)| *at),
            until_ms: None,
            track: Track::Output,
            subject: format!("worker {}", output.worker),
            what: without_escapes(line).into_owned(),
        })
    })
}

fn ms(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn shorten(text: &str) -> String {
    let clean = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    if text.chars().nth(MAX_TEXT).is_some() { clean.take(MAX_TEXT).chain(['…']).collect() } else { clean.collect() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::jobs::job_id;
    use super::super::testing::{SECRET, TestRun, connection, fault};
    use super::*;
    use crate::services::queue::QueueEvent;
    use crate::spec::Target;

    fn timeline_of(run: &TestRun) -> Timeline {
        timeline("scenario", vec!["a.case".to_owned()], &run.assessment())
    }

    /// The events of a track: when, about what, and what happened.
    fn events(timeline: &Timeline, track: Track) -> Vec<(i64, &str, &str)> {
        let events = timeline.events.iter().filter(|event| event.track == track);
        events.map(|event| (event.at_ms, event.subject.as_str(), event.what.as_str())).collect()
    }

    fn job_event(document: &str, what: &str, detail: Option<&str>) -> QueueEvent {
        QueueEvent {
            id: "0-0".to_owned(),
            what: what.to_owned(),
            job: Some(job_id(0, document)),
            detail: detail.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn the_events_of_all_tracks_are_on_one_clock() {
        let timeline = timeline_of(&TestRun::two_documents().edit(|seen| {
            seen.faults = vec![fault(Target::Redis, 1000, 2000)];
            seen.workers.events = vec![WorkerEvent { at_ms: -20, worker: 1, what: "started".to_owned() }];
            seen.network.connections.insert(Target::Redis, vec![connection(5, Some(1000)), connection(1100, None)]);
            seen.embeddings.mock_offset = Duration::from_millis(100);
            seen.embeddings.requests.truncate(1);
            seen.embeddings.requests[0].at_ms = 150;
        }));
        assert_eq!(events(&timeline, Track::Fault), [(1000, "redis", "cut of redis, affected 1 connections, 1 bytes")]);
        assert_eq!(events(&timeline, Track::Process), [(-20, "worker 1", "started")]);
        assert_eq!(
            events(&timeline, Track::Connection),
            [
                (5, "redis", "connection, 1 bytes sent, 1 received, closed by client"),
                (1100, "redis", "connection, 1 bytes sent, 1 received, still open at the end"),
            ]
        );
        assert_eq!(events(&timeline, Track::Request), [(50, "jina", "2 texts, 1 in flight, answered 200")]);
        assert!(timeline.events.is_sorted_by_key(|event| event.at_ms));
    }

    #[test]
    fn all_events_of_affected_documents_and_unusual_events_of_others_are_shown() {
        let timeline =
            timeline_of(&TestRun::two_documents().edit_step(|step| step.fail("a.md", "no answer")).edit(|seen| {
                let failed = |document| job_event(document, "failed", Some(&format!("no answer from {SECRET}")));
                seen.queue.events = vec![
                    (0, job_event("a.md", "added", None)),
                    (1, job_event("a.md", "waiting", None)),
                    (2, job_event("b.md", "added", None)),
                    (3, job_event("a.md", "active", None)),
                    (4, failed("a.md")),
                    (5, job_event("b.md", "stalled", None)),
                    (6, job_event("b.md", "completed", None)),
                ];
            }));
        assert_eq!(
            events(&timeline, Track::Job),
            [
                (0, "a.md", "added"),
                (3, "a.md", "active"),
                (4, "a.md", "failed: no answer from redis://:********@127.0.0.1:6379"),
                (5, "b.md", "stalled"),
            ]
        );
        assert_eq!(timeline.documents.len(), 1);
        assert_eq!(timeline.documents[0].outcome, "lost");
        let progress = timeline.progress.unwrap();
        assert_eq!(progress.completed.iter().sum::<u32>(), 1, "all jobs count, also those without shown events");
    }

    #[test]
    fn of_too_many_events_those_around_the_faults_are_kept() {
        let timeline = timeline_of(&TestRun::two_documents().edit(|seen| {
            seen.faults = vec![fault(Target::Redis, 50_000, 51_000)];
            let opened = (0..200_u64).map(|number| connection(number * 1000, Some(number * 1000 + 1)));
            seen.network.connections.insert(Target::Redis, opened.collect());
        }));
        assert_eq!(timeline.left_out, [LeftOut { track: Track::Connection, count: 200 - MAX_EVENTS }]);
        let times: Vec<i64> = events(&timeline, Track::Connection).into_iter().map(|(at_ms, ..)| at_ms).collect();
        for at_ms in [50_000, 51_000, 54_000, 199_000] {
            assert!(times.contains(&at_ms), "{at_ms} is not in {times:?}");
        }
        assert!(!times.contains(&10_000));
    }
}
