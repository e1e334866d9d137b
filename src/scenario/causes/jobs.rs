//! What the states of the jobs show.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;

use super::super::assessment::{Assessment, DocumentOutcome};
use super::super::jobs::document_of;
use super::super::observations::{JobState, Observations, StepRecord};
use super::run_cause::Sighting;
use crate::services::queue::JobHash;

/// A job that fails this long after a fault ended may still fail because of it.
const AFTER_FAULT: Duration = Duration::from_secs(2);
/// A worker that does nothing for less is not blocked, in milliseconds.
const LEAST_SILENCE_MS: i64 = 1000;

/// Jobs wait, none is active, and the worker is running.
pub(super) fn idle(assessment: &Assessment) -> Option<Sighting> {
    let observations = &assessment.observations;
    let counts = observations.queue.counts;
    let waiting = counts.waiting + counts.prioritized;
    let is_idle = waiting > 0 && counts.active == 0 && observations.workers.died.is_none();
    let seen = format!("{waiting} jobs in `wait`, none in `active`, and the worker is running");
    is_idle.then(|| unfinished(assessment, seen))
}

/// Jobs are active at the end, and the worker is running.
pub(super) fn stuck(assessment: &Assessment) -> Option<Sighting> {
    let active = assessment.observations.queue.counts.active;
    (active > 0).then(|| unfinished(assessment, format!("{active} jobs still in `active`")))
}

/// Something about the documents whose job never ended.
fn unfinished(assessment: &Assessment, seen: String) -> Sighting {
    let jobs = assessment.observations.last().into_iter().flat_map(|step| &step.jobs);
    let documents = jobs.filter(|(_, (state, _))| *state == JobState::Unfinished);
    Sighting { documents: documents.map(|(document, _)| document.clone()).collect(), ..Sighting::of_run(seen) }
}

/// The jobs of documents with an outcome, with their documents.
fn with_outcome(assessment: &Assessment, outcome: DocumentOutcome) -> impl Iterator<Item = (&str, JobState, &JobHash)> {
    let documents = assessment.documents().iter().filter(move |document| document.outcome == outcome);
    let step = assessment.observations.last();
    documents.filter_map(move |document| {
        let (state, job) = step?.jobs.get(&document.document)?;
        Some((document.document.as_str(), *state, job))
    })
}

/// A job completed, but its document has no points.
pub(super) fn done_without_points(assessment: &Assessment) -> Option<Sighting> {
    let step = assessment.observations.last()?;
    let lost = with_outcome(assessment, DocumentOutcome::Lost);
    let documents = lost
        .filter(|(document, state, _)| *state == JobState::Completed && step.snapshot.points_of(document).is_empty())
        .map(|(document, ..)| document);
    Sighting::of_documents(documents, "with a completed job but no points")
}

/// Jobs of lost documents that failed for good while a service was broken: after several attempts, or at the first.
pub(super) fn failed_while_broken(assessment: &Assessment, retried: bool) -> Option<Sighting> {
    let observations = &assessment.observations;
    let failures = last_failures(observations);
    let mut services: Vec<&str> = Vec::new();
    let mut documents = Vec::new();
    for (document, state, job) in with_outcome(assessment, DocumentOutcome::Lost) {
        if state != JobState::Failed || (job.attempts > 1) != retried {
            continue;
        }
        let Some(at) = failures.get(document) else { continue };
        let broken = broken_at(observations, *at);
        if !broken.is_empty() {
            documents.push(document);
            services.extend(broken);
        }
    }
    services.sort_unstable();
    services.dedup();
    let what = if retried {
        "lost after all attempts of the job failed"
    } else {
        "lost because the job failed and was not retried"
    };
    Some(Sighting::of_documents(documents, what)?.about(services.join(" and ")))
}

/// When the job of each document failed for the last time, in milliseconds.
fn last_failures(observations: &Observations) -> BTreeMap<&str, i64> {
    let documents = || observations.steps.iter().flat_map(|step| &step.documents).map(|document| document.id.as_str());
    let failed = observations.queue.events.iter().filter(|(_, event)| event.what == "failed");
    failed.filter_map(|(at, event)| Some((document_of(event.job.as_deref()?, documents())?, *at))).collect()
}

/// The services that were broken at a time, or had been a moment before.
fn broken_at(observations: &Observations, at_ms: i64) -> Vec<&'static str> {
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let is_open = |began: Option<Duration>, ended: Option<Duration>| {
        began.is_some_and(|began| ms(began) <= at_ms) && ended.is_none_or(|ended| at_ms <= ms(ended + AFTER_FAULT))
    };
    let faults = observations.faults.iter().filter(|fault| fault.took_effect && is_open(fault.began, fault.ended));
    let mut services: Vec<&str> = faults.flat_map(|fault| fault.targets.iter().map(|target| target.word())).collect();
    // Configured behaviours last as long as the requests that they affect.
    let offset = ms(observations.embeddings.mock_offset);
    let refused = observations.embeddings.requests.iter().filter(|request| request.disturbed && request.status != 200);
    let ended =
        refused.map(|request| i64::try_from(request.at_ms + request.took_ms).unwrap_or(i64::MAX) - offset).max();
    if observations.embeddings.api_fault.is_some() && ended.is_some_and(|ended| at_ms <= ended + ms(AFTER_FAULT)) {
        services.push("jina");
    }
    services
}

/// What differs between errors with one cause: numbers, ids, quoted names.
static PARTICULARS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"[0-9a-f]{8}-[0-9a-f-]{27}|\b\d[\d.:]*\b|\b[0-9a-f]{16,}\b").ok());

/// Jobs of lost documents fail with the same error, in a run without faults.
pub(super) fn fail_alike(assessment: &Assessment) -> Option<Sighting> {
    let observations = &assessment.observations;
    if !observations.faults.is_empty() || observations.embeddings.api_fault.is_some() {
        return None;
    }
    let mut groups: BTreeMap<String, Vec<(&str, &str)>> = BTreeMap::new();
    for (document, state, job) in with_outcome(assessment, DocumentOutcome::Lost) {
        let Some(reason) = job.failed_reason.as_deref().filter(|_| state == JobState::Failed) else { continue };
        let line = reason.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
        if line.is_empty() || line == "[object Object]" {
            continue;
        }
        let general = PARTICULARS.as_ref().map_or(line.into(), |particular| particular.replace_all(line, "…"));
        let general = general.replace(document, "…");
        groups.entry(general).or_default().push((document, line));
    }
    let largest = groups.into_values().max_by_key(Vec::len).filter(|group| group.len() > 1)?;
    let (_, line) = *largest.first()?;
    let documents = largest.iter().map(|(document, _)| *document);
    Some(Sighting::of_documents(documents, "with a job that failed alike")?.about(format!("`{line}`")))
}

/// Documents that are stored more than once, and whose job was executed more than once.
pub(super) fn stored_twice(assessment: &Assessment) -> Option<Sighting> {
    let steps = assessment.observations.steps.len();
    let doubled = with_outcome(assessment, DocumentOutcome::Duplicated)
        .filter(|(_, _, job)| job.starts > 1 || job.attempts > 1 || job.stalls > 0 || steps > 1)
        .map(|(document, ..)| document);
    Sighting::of_documents(doubled, "stored more than once after their jobs were executed again")
}

/// Jobs stalled while their worker was running and did nothing, although neither it nor Redis was broken.
pub(super) fn stalled_while_running(observations: &Observations) -> Option<Sighting> {
    let touches = |fault: &super::super::FaultRecord| {
        fault.targets.is_empty() || fault.targets.contains(&crate::spec::Target::Redis)
    };
    let workers = &observations.workers;
    // On a busy machine a worker stalls without any fault of its own.
    if observations.timing.pressure.is_starved() {
        return None;
    }
    if workers.died.is_some() || !workers.exits.is_empty() || observations.faults.iter().any(touches) {
        return None;
    }
    let stalls: Vec<i64> =
        observations.queue.events.iter().filter(|(_, event)| event.what == "stalled").map(|(at, _)| *at).collect();
    let stalled: u64 = observations.steps.iter().flat_map(jobs_of).map(|job| job.stalls).sum();
    let silence = stalls.iter().map(|at| silence_around(observations, *at)).max()?;
    if silence < LEAST_SILENCE_MS {
        return None;
    }
    let documents = observations.steps.iter().flat_map(|step| &step.jobs).filter(|(_, (_, job))| job.stalls > 0);
    #[expect(clippy::cast_precision_loss, reason = "seconds with one decimal")]
    let seconds = silence as f64 / 1000.0;
    let count = stalled.max(stalls.len() as u64);
    let seen = format!("jobs stalled {count} times while the worker was running; it did nothing for {seconds:.1} s");
    Some(Sighting { documents: documents.map(|(document, _)| document.clone()).collect(), ..Sighting::of_run(seen) })
}

fn jobs_of(step: &StepRecord) -> impl Iterator<Item = &JobHash> {
    step.jobs.values().map(|(_, job)| job)
}

/// How long the workers did nothing before a time, in milliseconds: no output, no request, no job that ended.
fn silence_around(observations: &Observations, at_ms: i64) -> i64 {
    let offset = i64::try_from(observations.embeddings.mock_offset.as_millis()).unwrap_or(i64::MAX);
    let requests = observations.embeddings.requests.iter();
    let requests = requests.map(|request| i64::try_from(request.at_ms).unwrap_or(i64::MAX) - offset);
    let outputs = observations.workers.outputs.iter().flat_map(|output| output.marks.iter().map(|(at, _)| *at));
    let ends = observations.queue.events.iter();
    let ends = ends.filter(|(_, event)| matches!(event.what.as_str(), "completed" | "failed" | "active" | "progress"));
    let done = requests.chain(outputs).chain(ends.map(|(at, _)| *at)).filter(|at| *at < at_ms);
    at_ms - done.max().unwrap_or(0)
}
