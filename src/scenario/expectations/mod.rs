//! The evaluation of expectations over a scenario run: one function each, by family. A finding lists what is wrong, and
//! with which document. `spec::expect` documents how to add an expectation.

mod chunks;
mod connections;
mod delivery;
mod finding;
mod grouped;
mod jobs;
mod log;
mod measure;
mod newest;
mod process;
mod reassembly;
mod requests;
mod retries;
mod rows;
mod scope;
mod starved;
#[cfg(test)]
mod testing;
mod versions;

use std::time::Duration;

use globset::GlobSet;

use self::finding::Finding;
use self::scope::Scope;
use super::assessment::{self, Assessment};
use super::observations::Observations;
use super::output::last_error;
use super::premises;
use super::scheduler::FaultRecord;
use crate::outcome::{Evidence, Level, Verdict};
use crate::redaction::redacted;
use crate::settings::{ChunkFigure, ChunksContract, Contract, EvidenceContract, PointIds};
use crate::spec::{Expectation, Premise};

/// How many bytes of the worker's last output the evidence shows.
const LAST_OUTPUT: usize = 4096;

/// The name of the evidence with the last error of the worker's output.
const LAST_ERROR: &str = "the worker's last error";

/// Evaluates `expectations` over a scenario run, in their order. The first of the gravest findings gives the verdict.
/// Only documents that `documents_matching` matches are considered. A pass becomes `unknown` if one of the `premises` is
/// not met.
#[must_use]
pub fn evaluate(
    premises: &[Premise],
    expectations: &[Expectation],
    assessment: &Assessment,
    documents_matching: Option<&GlobSet>,
    level: Level,
) -> (Verdict, Vec<Evidence>) {
    let mut evidence = Vec::new();
    let mut verdict = Verdict::Pass;
    let observations = &assessment.observations;
    let scope = Scope { assessment, observations, documents_matching };
    for expectation in expectations {
        let contract = &observations.contract;
        if let Some(missing) = missing_evidence(expectation, &contract.evidence, &contract.chunks) {
            evidence.push(Evidence::seen("not evaluated", missing.clone()));
            if verdict == Verdict::Pass {
                verdict = Verdict::skip(missing);
            }
            continue;
        }
        for finding in scope.findings(expectation) {
            let found = scope.without_late(expectation, finding).into_verdict(level, &mut evidence);
            if gravity(&found) > gravity(&verdict) {
                verdict = found;
            }
        }
    }
    evidence.push(Evidence::seen("documents", assessment::summary(assessment.documents())));
    verdict = require_effective_faults(verdict, observations, &mut evidence);
    verdict = premises::require(premises, verdict, assessment, &mut evidence);
    if !matches!(verdict, Verdict::Pass) {
        describe_worker(observations, &mut evidence);
    }
    (verdict, evidence)
}

/// Something that is wrong in a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation<'a> {
    /// The expectation that is not met.
    pub expectation: &'a Expectation,
    /// Where: a document, or a part of the scenario run.
    pub at: String,
    /// What is wrong there.
    pub what: String,
}

/// Everything that is wrong in a case with `expectations`, as [`evaluate`] finds it.
#[must_use]
pub fn violations<'a>(
    expectations: &'a [Expectation],
    assessment: &Assessment,
    documents_matching: Option<&GlobSet>,
) -> Vec<Violation<'a>> {
    let observations = &assessment.observations;
    let scope = Scope { assessment, observations, documents_matching };
    let mut violations = Vec::new();
    for expectation in expectations {
        let contract = &observations.contract;
        if missing_evidence(expectation, &contract.evidence, &contract.chunks).is_none() {
            let findings = scope.findings(expectation).into_iter();
            let wrong = findings.flat_map(|finding| scope.without_late(expectation, finding).wrong);
            violations.extend(wrong.map(|(at, what)| Violation { expectation, at, what }));
        }
    }
    violations
}

/// How a verdict ranks against others of the same case.
const fn gravity(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Skip { .. } => 1,
        Verdict::Unknown { .. } => 2,
        _ => 3,
    }
}

/// Adds each fault to the evidence. A pass becomes `unknown` if a fault never took effect: what holds without the fault
/// proves nothing about the fault. It becomes `skip` if the fault is meant for requests that the worker does not send.
fn require_effective_faults(verdict: Verdict, observations: &Observations, evidence: &mut Vec<Evidence>) -> Verdict {
    let time = |at: Option<Duration>| at.map_or("never".to_owned(), |at| format!("{} ms", at.as_millis()));
    for fault in &observations.faults {
        let seen = format!("began {}, ended {}, affected {}", time(fault.began), time(fault.ended), fault.affected);
        evidence.push(Evidence::seen(fault.what.clone(), seen));
    }
    if verdict != Verdict::Pass {
        return verdict;
    }
    let idle = |fault: &&FaultRecord| !fault.took_effect;
    if let Some(unmet) = observations.faults.iter().filter(idle).find(|fault| fault.others > 0) {
        return Verdict::skip(format!("the worker sends no request for which the {} is meant", unmet.what));
    }
    if let Some(idle) = observations.faults.iter().find(idle) {
        return Verdict::unknown(format!("the {} never took effect: it affected {}", idle.what, idle.affected));
    }
    match observations.embeddings.api_fault {
        Some(fault) if !fault.took_effect => {
            Verdict::unknown(format!("the {} never took effect: it affected no request", fault.what))
        }
        _ => verdict,
    }
}

/// Adds what helps to find out why a case did not pass.
fn describe_worker(observations: &Observations, evidence: &mut Vec<Evidence>) {
    if let Some(why) = observations.last().and_then(|step| step.snapshot.no_rows.as_ref()) {
        evidence.push(Evidence::seen("the rows that the contract names", why.clone()));
    }
    if let Some(died) = &observations.workers.died {
        evidence.push(Evidence::seen("the worker", died.clone()));
    }
    let log = &observations.workers.log;
    let error = last_error(log);
    let what = if error.is_some() { LAST_ERROR } else { "the worker's last output" };
    let text = redacted(error.unwrap_or_else(|| {
        let mut lines: Vec<&str> = log.lines().rev().take(3).collect();
        lines.reverse();
        lines.join("\n")
    }));
    // A line may be as long as the whole output. Shortened after its secrets are masked: half of one would be shown.
    let from = text.ceil_char_boundary(text.len().saturating_sub(LAST_OUTPUT));
    evidence.push(Evidence::seen(what, &text[from..]));
}

/// The level of a case for a worker with this contract. What the contract declares is a MUST; where it declares no size or
/// overlap of chunks, no task of requests, or no order of jobs, those of the suite are a recommendation.
#[must_use]
pub fn level_for(expectations: &[Expectation], level: Level, contract: &Contract) -> Level {
    if undeclared(expectations, contract).is_some() { level.max(Level::Should) } else { level }
}

/// What the contract does not declare, so that a case is a recommendation; `None` if it declares what the case rests on.
#[must_use]
pub fn undeclared(expectations: &[Expectation], contract: &Contract) -> Option<&'static str> {
    expectations.iter().find_map(|expectation| match expectation {
        Expectation::ChunkTokens(_) if contract.chunks.size == ChunkFigure::Undeclared => {
            Some("the contract declares no size of chunks in [chunks]")
        }
        Expectation::OverlapTokens(_) if contract.chunks.overlap == ChunkFigure::Undeclared => {
            Some("the contract declares no `overlap` in [chunks]")
        }
        Expectation::RequestsWellFormed if !contract.embeddings.declared => {
            Some("the contract declares no `task` in [embeddings]")
        }
        Expectation::NewestStored if contract.queue.document.order.is_none() => Some(
            "the contract does not say how the worker knows which of two jobs of a document is newer: add `order` to \
             [queue.document]",
        ),
        _ => None,
    })
}

/// What is missing in the contract to evaluate an expectation, or why it does not judge it; `None` if it names enough.
#[must_use]
pub fn missing_evidence(
    expectation: &Expectation,
    evidence: &EvidenceContract,
    chunks: &ChunksContract,
) -> Option<String> {
    let qdrant = |key: &str, what: &str| {
        format!(
            "the contract does not name the payload field of a point's {what}: add `{key} = \"FIELD\"` to [evidence] qdrant"
        )
    };
    let text = evidence.qdrant.text.is_none().then(|| qdrant("text", "text"));
    let chunk = (evidence.qdrant.chunk.is_none() && evidence.qdrant.offset.is_none())
        .then(|| format!("{}, or `offset` if chunks have a place instead of an index", qdrant("chunk", "chunk index")));
    let not_judged = |figure, what: &str| {
        (figure == ChunkFigure::NotJudged).then(|| format!("the contract says in [chunks] that {what} is not judged"))
    };
    let rows = match &evidence.postgres {
        None => Some(
            "the contract names no rows: add `postgres = { table = \"TABLE\", id = \"COLUMN\", status = \"COLUMN\", \
             done = \"WORD\", chunks = \"COLUMN\" }` to [evidence]"
                .to_owned(),
        ),
        Some(rows) if rows.chunks.is_none() => Some(
            "the contract does not name the column with a row's number of chunks: add `chunks = \"COLUMN\"` to [evidence] \
             postgres"
                .to_owned(),
        ),
        Some(_) => None,
    };
    match expectation {
        Expectation::ChunkTokens(_) => text.or_else(|| not_judged(chunks.size, "the size of chunks")),
        Expectation::PointIdsKept if chunks.ids == Some(PointIds::Replaced) => {
            Some("the contract says in [chunks] that the ids of points are replaced".to_owned())
        }
        Expectation::VectorsMatchTexts
        | Expectation::ChunksFitModel
        | Expectation::UnicodeIntact
        | Expectation::BatchesFilled(_) => text,
        Expectation::OverlapTokens(_) => text.or(chunk).or_else(|| not_judged(chunks.overlap, "the overlap of chunks")),
        Expectation::Reassembled => text.or(chunk),
        Expectation::NoStaleChunks => text.filter(|_| evidence.qdrant.version.is_none()),
        Expectation::ChunksNumbered => chunk,
        Expectation::RowsAgree => rows,
        Expectation::RowAfterPoints if evidence.postgres.is_none() => rows,
        Expectation::FailedRowsMarked | Expectation::RowStatusMatchesJob
            if evidence.postgres.as_ref().is_none_or(|rows| rows.failed.is_none()) =>
        {
            Some(
                "the contract does not name the status of a document whose job failed: add `failed = \"WORD\"` to \
                 [evidence] postgres"
                    .to_owned(),
            )
        }
        _ => None,
    }
}

impl Scope<'_> {
    /// The findings of an expectation: one, or one for each service that it names.
    fn findings(&self, expectation: &Expectation) -> Vec<Finding> {
        let finding = match expectation {
            Expectation::MaxConnections(limits) => {
                return limits.iter().map(|(target, most)| self.max_connections(*target, *most)).collect();
            }
            Expectation::MaxConnectionsMade(limits) => {
                return limits.iter().map(|(target, most)| self.max_connections_made(*target, *most)).collect();
            }
            // delivery
            Expectation::DocumentsIntact(_) => self.documents_intact(),
            Expectation::Delivered(_) => self.delivered(),
            Expectation::AllOrNothing => self.all_or_nothing(),
            Expectation::MaxDuplicates(most) => self.max_duplicates(*most),
            Expectation::EmptySkipped => self.empty_skipped(),
            Expectation::WritesAwaited => self.writes_awaited(),
            Expectation::PayloadComplete => self.payload_complete(),
            Expectation::OnlyRejectedFail => self.only_rejected_fail(),
            Expectation::NothingCompleted => self.nothing_completed(),
            // jobs
            Expectation::JobsCompleted(_) => self.jobs_completed(),
            Expectation::MaxRecoveryS(most) => self.max_recovery(*most),
            Expectation::QueueDrained => self.queue_drained(),
            Expectation::MaxAttempts(most) => self.max_attempts(*most),
            Expectation::MaxExecutions(most) => self.max_executions(*most),
            Expectation::Stalls(range) => self.stalls(*range),
            Expectation::MaxReturnBytes(most) => self.max_return_bytes(*most),
            Expectation::MaxNotesBytes(most) => self.max_notes_bytes(*most),
            // rows
            Expectation::RowsAgree => self.rows_agree(),
            Expectation::FailedRowsMarked => self.row_status_matches_job(true),
            Expectation::RowStatusMatchesJob => self.row_status_matches_job(false),
            Expectation::RowAfterPoints => self.row_after_points(),
            // versions
            Expectation::Unchanged => self.unchanged(),
            Expectation::PointIdsKept => self.point_ids_kept(),
            Expectation::NoStaleChunks => self.no_stale_chunks(),
            Expectation::PointsNeverDrop => self.points_never_drop(),
            Expectation::Deleted => self.deleted(),
            Expectation::OtherDocumentsUnchanged => self.other_documents_unchanged(),
            Expectation::PreviousVersionKept => self.previous_version_kept(),
            Expectation::NewestStored => self.newest_stored(),
            Expectation::FailedVersionAbsent => self.failed_version_absent(),
            // chunks
            Expectation::VectorsMatchTexts => self.vectors_match_texts(),
            Expectation::ChunkTokens(range) => self.chunk_tokens(*range),
            Expectation::ChunksFitModel => self.chunks_fit_model(),
            Expectation::OverlapTokens(range) => self.overlap_tokens(*range),
            Expectation::Reassembled => self.reassembled(),
            Expectation::ChunksNumbered => self.chunks_numbered(),
            Expectation::UnicodeIntact => self.unicode_intact(),
            // requests
            Expectation::MaxTextsPerRequest(most) => self.max_texts_per_request(*most),
            Expectation::BatchesFilled(size) => self.batches_filled(*size),
            Expectation::MaxRequestsInFlight(most) => self.max_requests_in_flight(*most),
            Expectation::RequestsWellFormed => self.requests_well_formed(),
            Expectation::RequestsUntruncated => self.requests_untruncated(),
            Expectation::LateChunkingApart => self.late_chunking_apart(),
            Expectation::RequestsAccepted => self.requests_accepted(),
            Expectation::MaxTokensWasted(most) => self.max_tokens_wasted(*most),
            // retries
            Expectation::BackoffGrows => self.backoff_grows(),
            Expectation::BackoffJitters => self.backoff_jitters(),
            Expectation::RetryAfterHonoured => self.retry_after_honoured(),
            Expectation::MaxCallsPerS(most) => self.max_calls_per_s(*most),
            Expectation::MaxProbesPerS(most) => self.max_probes_per_s(*most),
            // connections
            Expectation::MaxIdleTransactionMs(most) => self.max_idle_transaction(*most),
            Expectation::ConnectionsClosed => self.connections_closed(),
            // process
            Expectation::ExitsCleanly => self.exits_cleanly(),
            Expectation::ExitsInTime => self.exits_in_time(),
            Expectation::NoJobAfterSigterm => self.no_job_after_sigterm(),
            Expectation::NoneLeftActive => self.none_left_active(),
            Expectation::WorkerRegistered => self.worker_registered(),
            Expectation::MaxMemoryMib(most) => self.max_memory(*most),
            // log
            Expectation::LogHoldsNoSecret => self.log_holds_no_secret(),
            Expectation::LogIsJson => self.log_is_json(),
            Expectation::LogHoldsNoText => self.log_holds_no_text(),
            Expectation::ReasonsHoldNoSecret => self.reasons_hold_no_secret(),
        };
        vec![finding]
    }
}

#[cfg(test)]
mod tests;
