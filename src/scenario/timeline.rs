//! The timeline of a scenario run: its events on one clock. Reports have it for each run of which a case did not pass.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnosis;
use super::jobs::document_of;
use super::observations::Observations;
use super::scheduler::Output;
use crate::faults::ClosedBy;
use crate::outcome::{AffectedDocument, LeftOut, Progress, Timeline, TimelineEvent, Track};
use crate::redaction::redact;

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
pub fn timeline(scenario: &str, cases: Vec<String>, observations: &Observations) -> Timeline {
    let affected: Vec<AffectedDocument> = observations
        .assessment()
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
        let all = match track {
            Track::Fault => faults(observations),
            Track::Process => processes(observations),
            Track::Connection => connections(observations),
            Track::Request => requests(observations),
            Track::Job => jobs(observations, &affected),
            Track::Output => observations.outputs.iter().flat_map(lines).collect(),
        };
        let count = all.len();
        let kept = select(all, window);
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
        diagnoses: diagnosis::diagnose(observations, &affected),
        documents: affected.into_iter().take(MAX_DOCUMENTS).collect(),
        events,
        left_out,
        progress: progress(observations),
    }
}

/// The progress curve. It counts all jobs and requests, including those whose events are left out.
fn progress(observations: &Observations) -> Option<Progress> {
    let completed = observations.job_events.iter().filter(|(_, event)| event.what == "completed").map(|(at, _)| *at);
    let offset = ms(observations.mock_offset);
    let refused = observations.requests.iter().filter(|request| !(200..300).contains(&request.status));
    let refused = refused.map(|request| i64::try_from(request.at_ms).unwrap_or(i64::MAX) - offset);
    Progress::of(&completed.collect::<Vec<_>>(), &refused.collect::<Vec<_>>())
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
            observations.job_events.iter().filter(|(_, event)| event.job.as_deref().is_some_and(is_its_job));
        events.next_back().map(|(at, _)| *at)
    });
    let at = last_event.unwrap_or_else(|| ms(observations.length));
    (at - AFTER_MS, at + BEFORE_MS)
}

/// At most [`MAX_EVENTS`]: those in the window first, then the latest of the others.
fn select(mut all: Vec<TimelineEvent>, (from, until): (i64, i64)) -> Vec<TimelineEvent> {
    if all.len() <= MAX_EVENTS {
        return all;
    }
    all.sort_by_key(|event| event.at_ms);
    let (mut inside, outside): (Vec<TimelineEvent>, Vec<TimelineEvent>) =
        all.into_iter().partition(|event| event.at_ms <= until && event.until_ms.unwrap_or(event.at_ms) >= from);
    inside.truncate(MAX_EVENTS);
    let room = MAX_EVENTS - inside.len();
    let skip = outside.len().saturating_sub(room);
    inside.extend(outside.into_iter().skip(skip));
    inside
}

fn faults(observations: &Observations) -> Vec<TimelineEvent> {
    let event = |fault: &super::FaultRecord| {
        Some(TimelineEvent {
            at_ms: ms(fault.began?),
            until_ms: fault.ended.map(ms),
            track: Track::Fault,
            subject: match fault.targets.as_slice() {
                [] => "worker".to_owned(),
                targets => targets.iter().map(|target| target.word()).collect::<Vec<_>>().join(", "),
            },
            what: format!("{}, affected {}", fault.what, fault.met),
        })
    };
    observations.faults.iter().filter_map(event).collect()
}

fn processes(observations: &Observations) -> Vec<TimelineEvent> {
    let event = |(at_ms, number, what): &(i64, usize, String)| TimelineEvent {
        at_ms: *at_ms,
        until_ms: None,
        track: Track::Process,
        subject: format!("worker {number}"),
        what: what.clone(),
    };
    observations.worker_events.iter().map(event).collect()
}

fn connections(observations: &Observations) -> Vec<TimelineEvent> {
    let mut events = Vec::new();
    for (target, proxied_connections) in &observations.proxied_connections {
        for connection in proxied_connections {
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
    let offset = ms(observations.mock_offset);
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
    observations.requests.iter().map(event).collect()
}

/// All job events of the first affected documents, and the unusual events of the others.
fn jobs(observations: &Observations, affected: &[AffectedDocument]) -> Vec<TimelineEvent> {
    let all = documents(observations);
    let followed: BTreeSet<&str> =
        affected.iter().take(MAX_FOLLOWED).map(|affected| affected.document.as_str()).collect();
    let mut known: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    let mut added: BTreeSet<&str> = BTreeSet::new();
    let mut events = Vec::new();
    for (at_ms, event) in &observations.job_events {
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
        let seen = output.marks.iter().find(|(_, written)| *written >= bytes).or(output.marks.last());
        (!line.trim().is_empty()).then(|| TimelineEvent {
            at_ms: seen.map_or(0, |(at, _)| *at),
            until_ms: None,
            track: Track::Output,
            subject: format!("worker {}", output.worker),
            what: line.to_owned(),
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
