//! Root causes: the rows of the vocabulary `suites/causes/` that the observations of a scenario run show, and what they
//! explain.
//!
//! [`find`] detects them once for a run, [`explain`] compares them with what is wrong in a case. A cause that is seen and
//! explains nothing is not reported: a wrong cause is worse than none.

mod effect;
mod jobs;
mod lines;
mod order;
mod process;
mod requests;
mod rows;
mod run_cause;
mod table;
mod vectors;

use std::collections::BTreeSet;

use super::assessment::{Assessment, DocumentOutcome};
use super::expectations::Violation;
use effect::Effect;
use lines::Lines;
pub use run_cause::RunCause;
use run_cause::{MAX_LINE, MAX_SUBJECT, Sighting, shortened};
use table::{Row, Sign, VOCABULARY};

/// The causes that a run shows, the most specific first.
#[must_use]
pub fn find(assessment: &Assessment) -> Vec<RunCause> {
    let lines = Lines::of_run(assessment);
    let seen = |sign: Sign| look(sign, assessment);
    let broken =
        |targets: &[crate::spec::Target]| targets.iter().any(|target| requests::is_broken(*target, assessment));
    let mut causes = Vec::new();
    for (place, row) in VOCABULARY.rows.iter().enumerate() {
        let has_faults = (row.fault_on.is_empty() || broken(&row.fault_on)) && !broken(&row.no_fault_on);
        if !has_faults || row.unless_sign.is_some_and(|sign| seen(sign).is_some()) {
            continue;
        }
        let sighting = match row.sign.map(seen) {
            Some(None) => continue,
            Some(Some(sighting)) => Some(sighting),
            None => None,
        };
        let found = lines.of_row(place);
        match (row.output.is_some(), sighting) {
            (true, _) if found.is_empty() => {}
            (true, sighting) => causes.extend(found.into_iter().map(|found| {
                let mut cause = found.clone();
                if let Some(sighting) = &sighting {
                    cause.evidence.insert(0, shortened(&sighting.seen, MAX_LINE));
                }
                cause
            })),
            (false, Some(sighting)) => causes.push(RunCause {
                row: place,
                subject: sighting.subject.map(|subject| shortened(&subject, MAX_SUBJECT)),
                evidence: vec![shortened(&sighting.seen, MAX_LINE)],
                documents: sighting.documents,
            }),
            (false, None) => {}
        }
    }
    causes
}

/// The causes that the output of a worker shows that never became ready.
#[must_use]
pub fn find_in_output(output: &str) -> Vec<RunCause> {
    let lines = Lines::of_output(output);
    let is_start = |row: &Row| row.explains.contains(&Effect::Start) && row.sign.is_none();
    let rows = VOCABULARY.rows.iter().enumerate().filter(|(_, row)| is_start(row));
    rows.flat_map(|(place, _)| lines.of_row(place).into_iter().cloned()).take(1).collect()
}

/// The places in `causes` that together explain everything that is wrong in a case; empty if something is left. Each
/// violation is explained by the first cause that can.
#[must_use]
pub fn explain(violations: &[Violation<'_>], causes: &[RunCause], assessment: &Assessment) -> Vec<usize> {
    let mut places = BTreeSet::new();
    for violation in violations {
        let Some(place) = causes.iter().position(|cause| is_explained(violation, cause, assessment)) else {
            return Vec::new();
        };
        places.insert(place);
    }
    places.into_iter().collect()
}

/// The places in `causes` that explain why a case had nothing to evaluate: no document with text was delivered, and each
/// because of one of them.
#[must_use]
pub fn explain_nothing_stored(causes: &[RunCause], assessment: &Assessment) -> Vec<usize> {
    let Some(step) = assessment.observations.last() else { return Vec::new() };
    let mut places = BTreeSet::new();
    for document in step.documents.iter().filter(|document| document.has_text() && !document.rejected) {
        let is_lost = outcome_of(&document.id, assessment) == Some(DocumentOutcome::Lost);
        let explains = |cause: &RunCause| {
            let Some(row) = cause.vocabulary() else { return false };
            is_lost && row.explains.contains(&Effect::Delivery) && concerns(cause, row, &document.id, assessment)
        };
        let Some(place) = causes.iter().position(explains) else { return Vec::new() };
        places.insert(place);
    }
    places.into_iter().collect()
}

/// Whether `cause` alone explains `violation`.
fn is_explained(violation: &Violation<'_>, cause: &RunCause, assessment: &Assessment) -> bool {
    let Some(row) = cause.vocabulary() else { return false };
    let effect = Effect::of(violation.expectation);
    if !row.explains.contains(&effect) {
        return false;
    }
    let mut documents = assessment.documents().iter().map(|document| document.document.as_str());
    if !documents.any(|document| document == violation.at) {
        // The queue, the worker, the embeddings API: not about one document.
        return row.whole_run || !cause.documents.is_empty() || VOCABULARY.is_output_of(cause.row, &violation.what);
    }
    if effect == Effect::Delivery {
        return concerns(cause, row, &violation.at, assessment);
    }
    row.whole_run || cause.documents.contains(&violation.at)
}

/// Whether a cause is about a document that is not as it should be.
fn concerns(cause: &RunCause, row: &Row, document: &str, assessment: &Assessment) -> bool {
    let Some(outcome) = outcome_of(document, assessment) else { return false };
    let has_outcome = row.outcomes.is_empty() || row.outcomes.iter().any(|word| word == outcome.word());
    // What is stored wrongly is not a consequence of a process that ended or a service that refused.
    let is_possible = !row.whole_run || outcome == DocumentOutcome::Lost;
    has_outcome && (cause.documents.contains(document) || (row.whole_run && is_possible))
}

fn outcome_of(document: &str, assessment: &Assessment) -> Option<DocumentOutcome> {
    assessment.documents().iter().find(|other| other.document == document).map(|other| other.outcome)
}

/// What was computed for `sign`; `None` if the observations do not show it.
fn look(sign: Sign, assessment: &Assessment) -> Option<Sighting> {
    let observations = &assessment.observations;
    match sign {
        Sign::Died => process::died(observations),
        Sign::Exited => process::exited(observations),
        Sign::Killed => process::killed(observations),
        Sign::StoppedDuringStart => process::stopped_during_start(observations),
        Sign::HangsOnClose => process::hangs_on_close(observations),
        Sign::HangsWithoutService => process::hangs_without_service(observations),
        Sign::Idle => jobs::idle(assessment),
        Sign::Stuck => jobs::stuck(assessment),
        Sign::OlderJobWon => order::older_job_won(assessment),
        Sign::DoneWithoutPoints => jobs::done_without_points(assessment),
        Sign::AttemptsUsedUp => jobs::failed_while_broken(assessment, true),
        Sign::FailedAtFirstAttempt => jobs::failed_while_broken(assessment, false),
        Sign::JobsFailAlike => jobs::fail_alike(assessment),
        Sign::StoredTwice => jobs::stored_twice(assessment),
        Sign::StalledWhileRunning => jobs::stalled_while_running(observations),
        Sign::RowsUnreadable => rows::unreadable(observations),
        Sign::RowLeftBehind => rows::left_behind(observations),
        Sign::KeyRefused => requests::key_refused(observations),
        Sign::CharacterSplit => requests::character_split(assessment),
        Sign::RetryAfterIgnored => requests::retry_after_ignored(observations),
        Sign::VectorsDecodedWrongly => vectors::decoded_wrongly(assessment),
        Sign::VectorsPairedByPosition => vectors::paired_by_position(assessment),
        Sign::ResponseUnchecked => vectors::response_unchecked(assessment),
        Sign::VectorsOfOtherRequests => vectors::of_other_requests(assessment),
        Sign::NewlinesReplaced => vectors::newlines_replaced(assessment),
        Sign::TextExtended => vectors::text_extended(assessment),
        Sign::TaskMissing => vectors::task(assessment, true),
        Sign::TaskWrong => vectors::task(assessment, false),
    }
}

#[cfg(test)]
mod tests;
