//! What happened in a scenario run, on one clock: told where a case was not passed.

use std::collections::{BTreeMap, BTreeSet};

use super::assessment;
use super::diagnosis;
use super::jobs::document_of;
use super::run::Observations;
use super::scheduler::Output;
use crate::faults::ClosedBy;
use crate::outcome::{AffectedDocument, LeftOut, Progress, Timeline, TimelineEvent, Track};

/// Moments of one track at most, and documents that are followed job by job.
const MOST: usize = 60;
const FOLLOWED: usize = 5;
/// Documents that are named at most.
const NAMED: usize = 20;
/// Around the moment at which things went wrong: before it and after it, in milliseconds.
const BEFORE_MS: i64 = 500;
const AFTER_MS: i64 = 3000;
/// Longest text of a event, in characters.
const LONGEST: usize = 300;

/// What happened in the run of `scenario`, for the sake of `cases`.
#[must_use]
pub fn timeline(scenario: &str, cases: Vec<String>, observations: &Observations) -> Timeline {
    let unwell: Vec<AffectedDocument> = assessment::assess(observations)
        .into_iter()
        .filter(|document| document.outcome.is_well() == Some(false))
        .map(|document| AffectedDocument {
            document: document.document,
            outcome: document.outcome.word().to_owned(),
            why: observations.redact(&document.why),
        })
        .collect();
    let focus = focus(observations, &unwell);
    let mut events = Vec::new();
    let mut left_out = Vec::new();
    for track in Track::ALL {
        let all = match track {
            Track::Fault => faults(observations),
            Track::Process => processes(observations),
            Track::Connection => connections(observations),
            Track::Request => requests(observations),
            Track::Job => jobs(observations, &unwell),
            Track::Output => observations.outputs.iter().flat_map(lines).collect(),
        };
        let count = all.len();
        let kept = nearest(all, focus);
        if kept.len() < count {
            left_out.push(LeftOut { track, count: count - kept.len() });
        }
        events.extend(
            kept.into_iter().map(|event| TimelineEvent { what: shortened(&observations.redact(&event.what)), ..event }),
        );
    }
    events.sort_by_key(|event| (event.at_ms, event.track));
    Timeline {
        scenario: scenario.to_owned(),
        title: observations.title.clone(),
        cases,
        length_ms: u64::try_from(observations.length.as_millis()).unwrap_or(u64::MAX),
        diagnoses: diagnosis::diagnose(observations, &unwell),
        documents: unwell.into_iter().take(NAMED).collect(),
        events,
        left_out,
        progress: progress(observations),
    }
}

/// When jobs were completed and requests refused: all of them, where the events are a choice.
fn progress(observations: &Observations) -> Option<Progress> {
    let completed = observations.job_events.iter().filter(|(_, event)| event.what == "completed").map(|(at, _)| *at);
    let offset = ms(observations.mock_offset);
    let refused = observations.requests.iter().filter(|request| !(200..300).contains(&request.status));
    let refused = refused.map(|request| i64::try_from(request.at_ms).unwrap_or(i64::MAX) - offset);
    Progress::of(&completed.collect::<Vec<_>>(), &refused.collect::<Vec<_>>())
}

/// The time that matters: of the faults, else of what befell the first document that is not well, else the end.
fn focus(observations: &Observations, unwell: &[AffectedDocument]) -> (i64, i64) {
    let began = observations.faults.iter().filter_map(|fault| fault.began).min().map(ms);
    let ended = observations.faults.iter().filter_map(|fault| fault.ended).max().map(ms);
    if let Some(began) = began {
        return (began - BEFORE_MS, ended.unwrap_or(began) + AFTER_MS);
    }
    let all = documents(observations);
    let first = unwell.first().and_then(|concerned| {
        let is_its = |job: &str| document_of(job, all.iter().copied()) == Some(concerned.document.as_str());
        let mut its = observations.job_events.iter().filter(|(_, event)| event.job.as_deref().is_some_and(is_its));
        its.next_back().map(|(at, _)| *at)
    });
    let at = first.unwrap_or_else(|| ms(observations.length));
    (at - AFTER_MS, at + BEFORE_MS)
}

/// Of too many, those in the time that matters, then the last of the others.
fn nearest(mut all: Vec<TimelineEvent>, (from, until): (i64, i64)) -> Vec<TimelineEvent> {
    if all.len() <= MOST {
        return all;
    }
    all.sort_by_key(|event| event.at_ms);
    let (mut near, far): (Vec<TimelineEvent>, Vec<TimelineEvent>) =
        all.into_iter().partition(|event| event.at_ms <= until && event.until_ms.unwrap_or(event.at_ms) >= from);
    near.truncate(MOST);
    let room = MOST - near.len();
    let skip = far.len().saturating_sub(room);
    near.extend(far.into_iter().skip(skip));
    near
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
            what: format!("{}, met {}", fault.what, fault.met),
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
                None => "open at the end".to_owned(),
                Some(ClosedBy::Unreachable) => "could not be made".to_owned(),
                Some(by) => format!("closed by {}", by.word()),
            };
            events.push(TimelineEvent {
                at_ms: ms(connection.opened),
                until_ms: connection.closed.map(ms),
                track: Track::Connection,
                subject: target.word().to_owned(),
                what: format!("connection, {} bytes there, {} back, {ended}", connection.up, connection.down),
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
            0 => "left without an answer".to_owned(),
            status => format!("answered {status}"),
        };
        let wait = request.wait_ms.map_or(String::new(), |wait| format!(", told to wait {wait} ms"));
        TimelineEvent {
            at_ms,
            until_ms: Some(at_ms + i64::try_from(request.took_ms).unwrap_or(0)),
            track: Track::Request,
            subject: "jina".to_owned(),
            what: format!("{} texts, {} at once, {answer}{wait}", request.texts.len(), request.in_flight),
        }
    };
    observations.requests.iter().map(event).collect()
}

/// Every event of the first documents that are not well, and of the others what is out of the ordinary.
fn jobs(observations: &Observations, unwell: &[AffectedDocument]) -> Vec<TimelineEvent> {
    let all = documents(observations);
    let followed: BTreeSet<&str> = unwell.iter().take(FOLLOWED).map(|concerned| concerned.document.as_str()).collect();
    let mut known: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    let mut added: BTreeSet<&str> = BTreeSet::new();
    let mut events = Vec::new();
    for (at_ms, event) in &observations.job_events {
        let Some(job) = event.job.as_deref() else { continue };
        let document = *known.entry(job).or_insert_with(|| document_of(job, all.iter().copied()));
        // What was added waits, and says so.
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

/// The lines of an output, with the time at which they had been put out.
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

fn shortened(text: &str) -> String {
    let clean = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    if text.chars().nth(LONGEST).is_some() { clean.take(LONGEST).chain(['…']).collect() } else { clean.collect() }
}
