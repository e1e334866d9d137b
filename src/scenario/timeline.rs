//! What happened in a voyage, on one clock: told where a case was not passed.

use std::collections::{BTreeMap, BTreeSet};

use super::crew::Output;
use super::diagnosis;
use super::handover::document_of;
use super::ledger;
use super::voyage::Voyage;
use crate::faults::ClosedBy;
use crate::outcome::{Concerned, Lane, LeftOut, Moment, Pace, Timeline};

/// Moments of one lane at most, and documents that are followed job by job.
const MOST: usize = 60;
const FOLLOWED: usize = 5;
/// Documents that are named at most.
const NAMED: usize = 20;
/// Around the moment at which things went wrong: before it and after it, in milliseconds.
const BEFORE_MS: i64 = 500;
const AFTER_MS: i64 = 3000;
/// Longest text of a moment, in characters.
const LONGEST: usize = 300;

/// What happened in the voyage of `scenario`, for the sake of `cases`.
#[must_use]
pub fn timeline(scenario: &str, cases: Vec<String>, voyage: &Voyage) -> Timeline {
    let unwell: Vec<Concerned> = ledger::of(voyage)
        .into_iter()
        .filter(|account| account.fate.is_well() == Some(false))
        .map(|account| Concerned {
            document: account.document,
            fate: account.fate.word().to_owned(),
            why: voyage.redact(&account.why),
        })
        .collect();
    let focus = focus(voyage, &unwell);
    let mut moments = Vec::new();
    let mut left_out = Vec::new();
    for lane in Lane::ALL {
        let all = match lane {
            Lane::Fault => faults(voyage),
            Lane::Process => processes(voyage),
            Lane::Connection => connections(voyage),
            Lane::Request => requests(voyage),
            Lane::Job => jobs(voyage, &unwell),
            Lane::Output => voyage.outputs.iter().flat_map(lines).collect(),
        };
        let count = all.len();
        let kept = nearest(all, focus);
        if kept.len() < count {
            left_out.push(LeftOut { lane, count: count - kept.len() });
        }
        moments
            .extend(kept.into_iter().map(|moment| Moment { what: shortened(&voyage.redact(&moment.what)), ..moment }));
    }
    moments.sort_by_key(|moment| (moment.at_ms, moment.lane));
    Timeline {
        scenario: scenario.to_owned(),
        title: voyage.title.clone(),
        cases,
        length_ms: u64::try_from(voyage.length.as_millis()).unwrap_or(u64::MAX),
        diagnoses: diagnosis::of(voyage, &unwell),
        documents: unwell.into_iter().take(NAMED).collect(),
        moments,
        left_out,
        pace: pace(voyage),
    }
}

/// When jobs were completed and requests refused: all of them, where the moments are a choice.
fn pace(voyage: &Voyage) -> Option<Pace> {
    let completed = voyage.job_events.iter().filter(|(_, event)| event.what == "completed").map(|(at, _)| *at);
    let offset = ms(voyage.mock_offset);
    let refused = voyage.requests.iter().filter(|request| !(200..300).contains(&request.status));
    let refused = refused.map(|request| i64::try_from(request.at_ms).unwrap_or(i64::MAX) - offset);
    Pace::of(&completed.collect::<Vec<_>>(), &refused.collect::<Vec<_>>())
}

/// The time that matters: of the faults, else of what befell the first document that is not well, else the end.
fn focus(voyage: &Voyage, unwell: &[Concerned]) -> (i64, i64) {
    let began = voyage.faults.iter().filter_map(|fault| fault.began).min().map(ms);
    let ended = voyage.faults.iter().filter_map(|fault| fault.ended).max().map(ms);
    if let Some(began) = began {
        return (began - BEFORE_MS, ended.unwrap_or(began) + AFTER_MS);
    }
    let all = documents(voyage);
    let first = unwell.first().and_then(|concerned| {
        let is_its = |job: &str| document_of(job, all.iter().copied()) == Some(concerned.document.as_str());
        let mut its = voyage.job_events.iter().filter(|(_, event)| event.job.as_deref().is_some_and(is_its));
        its.next_back().map(|(at, _)| *at)
    });
    let at = first.unwrap_or_else(|| ms(voyage.length));
    (at - AFTER_MS, at + BEFORE_MS)
}

/// Of too many, those in the time that matters, then the last of the others.
fn nearest(mut all: Vec<Moment>, (from, until): (i64, i64)) -> Vec<Moment> {
    if all.len() <= MOST {
        return all;
    }
    all.sort_by_key(|moment| moment.at_ms);
    let (mut near, far): (Vec<Moment>, Vec<Moment>) =
        all.into_iter().partition(|moment| moment.at_ms <= until && moment.until_ms.unwrap_or(moment.at_ms) >= from);
    near.truncate(MOST);
    let room = MOST - near.len();
    let skip = far.len().saturating_sub(room);
    near.extend(far.into_iter().skip(skip));
    near
}

fn faults(voyage: &Voyage) -> Vec<Moment> {
    let moment = |fault: &super::FaultRecord| {
        Some(Moment {
            at_ms: ms(fault.began?),
            until_ms: fault.ended.map(ms),
            lane: Lane::Fault,
            subject: match fault.targets.as_slice() {
                [] => "worker".to_owned(),
                targets => targets.iter().map(|target| target.word()).collect::<Vec<_>>().join(", "),
            },
            what: format!("{}, met {}", fault.what, fault.met),
        })
    };
    voyage.faults.iter().filter_map(moment).collect()
}

fn processes(voyage: &Voyage) -> Vec<Moment> {
    let moment = |(at_ms, number, what): &(i64, usize, String)| Moment {
        at_ms: *at_ms,
        until_ms: None,
        lane: Lane::Process,
        subject: format!("worker {number}"),
        what: what.clone(),
    };
    voyage.chronicle.iter().map(moment).collect()
}

fn connections(voyage: &Voyage) -> Vec<Moment> {
    let mut moments = Vec::new();
    for (target, contacts) in &voyage.contacts {
        for contact in contacts {
            let ended = match contact.closed_by {
                None => "open at the end".to_owned(),
                Some(ClosedBy::Unreachable) => "could not be made".to_owned(),
                Some(by) => format!("closed by {}", by.word()),
            };
            moments.push(Moment {
                at_ms: ms(contact.opened),
                until_ms: contact.closed.map(ms),
                lane: Lane::Connection,
                subject: target.word().to_owned(),
                what: format!("connection, {} bytes there, {} back, {ended}", contact.up, contact.down),
            });
        }
    }
    moments
}

fn requests(voyage: &Voyage) -> Vec<Moment> {
    let offset = ms(voyage.mock_offset);
    let moment = |request: &crate::stack::jina::JinaRequest| {
        let at_ms = i64::try_from(request.at_ms).unwrap_or(i64::MAX) - offset;
        let answer = match request.status {
            0 => "left without an answer".to_owned(),
            status => format!("answered {status}"),
        };
        let wait = request.wait_ms.map_or(String::new(), |wait| format!(", told to wait {wait} ms"));
        Moment {
            at_ms,
            until_ms: Some(at_ms + i64::try_from(request.took_ms).unwrap_or(0)),
            lane: Lane::Request,
            subject: "jina".to_owned(),
            what: format!("{} texts, {} at once, {answer}{wait}", request.texts.len(), request.in_flight),
        }
    };
    voyage.requests.iter().map(moment).collect()
}

/// Every event of the first documents that are not well, and of the others what is out of the ordinary.
fn jobs(voyage: &Voyage, unwell: &[Concerned]) -> Vec<Moment> {
    let all = documents(voyage);
    let followed: BTreeSet<&str> = unwell.iter().take(FOLLOWED).map(|concerned| concerned.document.as_str()).collect();
    let mut known: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    let mut added: BTreeSet<&str> = BTreeSet::new();
    let mut moments = Vec::new();
    for (at_ms, event) in &voyage.job_events {
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
        moments.push(Moment {
            at_ms: *at_ms,
            until_ms: None,
            lane: Lane::Job,
            subject: document.unwrap_or(job).to_owned(),
            what: format!("{}{detail}", event.what),
        });
    }
    moments
}

fn documents(voyage: &Voyage) -> BTreeSet<&str> {
    voyage.steps.iter().flat_map(|step| &step.documents).map(|document| document.id.as_str()).collect()
}

/// The lines of an output, with the time at which they had been put out.
pub(super) fn lines(output: &Output) -> impl Iterator<Item = Moment> + '_ {
    let mut bytes = 0_u64;
    output.text.lines().filter_map(move |line| {
        bytes += line.len() as u64 + 1;
        let seen = output.marks.iter().find(|(_, written)| *written >= bytes).or(output.marks.last());
        (!line.trim().is_empty()).then(|| Moment {
            at_ms: seen.map_or(0, |(at, _)| *at),
            until_ms: None,
            lane: Lane::Output,
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
