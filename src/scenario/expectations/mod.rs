//! The evaluation of expectations over a scenario run: one function each, by family. A finding lists what is wrong, and
//! with which document. `spec::expect` documents how to add an expectation.

mod chunks;
mod connections;
mod delivery;
mod jobs;
mod log;
mod process;
mod requests;
mod retries;
mod rows;
mod versions;

use std::time::Duration;

pub(super) use chunks::{VECTOR_TOLERANCE, cosine_distance};

use super::assessment;
use super::documents::Document;
use super::evidence::Point;
use super::observations::{JobState, Observations, StepRecord};
use crate::outcome::{Evidence, Level, Verdict};
use crate::redaction::redacted;
use crate::settings::EvidenceContract;
use crate::spec::Expectation;
use globset::GlobSet;

/// How many wrong items the evidence of a finding lists; the rest are counted.
const LISTED: usize = 6;

/// The result of evaluating one expectation.
#[derive(Debug, Default)]
struct Finding {
    /// How many items were examined. If there were none, the verdict is `unknown`.
    examined: usize,
    /// What the items are, in the plural.
    items: &'static str,
    /// What is wrong: where, and what.
    wrong: Vec<(String, String)>,
    /// Figures for the evidence.
    facts: Vec<Evidence>,
    /// Why the expectation could not be evaluated.
    undecided: Option<String>,
}

impl Finding {
    fn over(items: &'static str) -> Self {
        Self { items, ..Self::default() }
    }

    fn examine(&mut self) {
        self.examined += 1;
    }

    fn wrong(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.wrong.push((at.into(), what.into()));
    }

    fn fact(&mut self, what: &str, seen: impl Into<serde_json::Value>) {
        self.facts.push(Evidence::seen(what, seen));
    }

    /// The verdict of this finding; its facts are added to `evidence`.
    fn into_verdict(self, level: Level, evidence: &mut Vec<Evidence>) -> Verdict {
        evidence.push(Evidence::seen(self.items, self.examined));
        evidence.extend(self.facts);
        for (at, what) in self.wrong.iter().take(LISTED) {
            evidence.push(Evidence::seen(at.clone(), what.clone()));
        }
        if self.wrong.len() > LISTED {
            evidence.push(Evidence::seen("more of these", self.wrong.len() - LISTED));
        }
        if let Some((at, what)) = self.wrong.first() {
            let more = match self.wrong.len() {
                1 => String::new(),
                all => format!(" (and {} more)", all - 1),
            };
            Verdict::unmet(level, format!("{at}: {what}{more}"))
        } else if let Some(reason) = self.undecided {
            Verdict::unknown(reason)
        } else if self.examined == 0 {
            // Nothing to examine proves nothing.
            Verdict::unknown(format!("there were no {} to evaluate", self.items))
        } else {
            Verdict::Pass
        }
    }
}

/// Evaluates `expectations` over a scenario run, in their order. The first of the gravest findings gives the verdict.
/// Only documents that `documents_matching` matches are considered.
#[must_use]
pub fn evaluate(
    expectations: &[Expectation],
    observations: &Observations,
    documents_matching: Option<&GlobSet>,
    level: Level,
) -> (Verdict, Vec<Evidence>) {
    let mut evidence = Vec::new();
    let mut verdict = Verdict::Pass;
    let scope = Scope { observations, documents_matching };
    for expectation in expectations {
        if let Some(missing) = missing_evidence(expectation, &observations.evidence) {
            evidence.push(Evidence::seen("not evaluated", missing.clone()));
            if verdict == Verdict::Pass {
                verdict = Verdict::skip(missing);
            }
            continue;
        }
        for finding in scope.findings(expectation) {
            let found = finding.into_verdict(level, &mut evidence);
            if gravity(&found) > gravity(&verdict) {
                verdict = found;
            }
        }
    }
    evidence.push(Evidence::seen("documents", assessment::summary(observations.assessment())));
    verdict = require_effective_faults(verdict, observations, &mut evidence);
    if !matches!(verdict, Verdict::Pass) {
        describe_worker(observations, &mut evidence);
    }
    (verdict, evidence)
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
/// proves nothing about the fault.
fn require_effective_faults(verdict: Verdict, observations: &Observations, evidence: &mut Vec<Evidence>) -> Verdict {
    let time = |at: Option<Duration>| at.map_or("never".to_owned(), |at| format!("{} ms", at.as_millis()));
    for fault in &observations.faults {
        let seen = format!("began {}, ended {}, affected {}", time(fault.began), time(fault.ended), fault.met);
        evidence.push(Evidence::seen(fault.what.clone(), seen));
    }
    if verdict != Verdict::Pass {
        return verdict;
    }
    if let Some(idle) = observations.faults.iter().find(|fault| !fault.took_effect) {
        return Verdict::unknown(format!("the {} never took effect: it affected {}", idle.what, idle.met));
    }
    match observations.api_fault {
        Some((what, false)) => Verdict::unknown(format!("the {what} never took effect: it affected no request")),
        _ => verdict,
    }
}

/// Adds what helps to find out why a case did not pass.
fn describe_worker(observations: &Observations, evidence: &mut Vec<Evidence>) {
    if let Some(why) = observations.last().and_then(|step| step.snapshot.no_rows.as_ref()) {
        evidence.push(Evidence::seen("the rows that the contract names", why.clone()));
    }
    if let Some(died) = &observations.died {
        evidence.push(Evidence::seen("the worker", died.clone()));
    }
    let lines: Vec<&str> = observations.log.lines().collect();
    evidence
        .push(Evidence::seen("the worker's last output", redacted(lines[lines.len().saturating_sub(3)..].join("\n"))));
}

/// What is missing in the contract's `[evidence]` to evaluate an expectation; `None` if it names enough.
#[must_use]
pub fn missing_evidence(expectation: &Expectation, evidence: &EvidenceContract) -> Option<String> {
    let qdrant = |key: &str, what: &str| {
        format!(
            "the contract does not name the payload field of a point's {what}: add `{key} = \"FIELD\"` to [evidence] qdrant"
        )
    };
    let text = evidence.qdrant.text.is_none().then(|| qdrant("text", "text"));
    let chunk = evidence.qdrant.chunk.is_none().then(|| qdrant("chunk", "chunk index"));
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
        Expectation::VectorsMatchTexts
        | Expectation::ChunkTokens(_)
        | Expectation::UnicodeIntact
        | Expectation::BatchesFilled(_) => text,
        Expectation::OverlapTokens(_) | Expectation::Reassembled => text.or(chunk),
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

/// The part of a scenario run that a case evaluates.
struct Scope<'a> {
    observations: &'a Observations,
    documents_matching: Option<&'a GlobSet>,
}

impl<'a> Scope<'a> {
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
            Expectation::NoStaleChunks => self.no_stale_chunks(),
            Expectation::PointsNeverDrop => self.points_never_drop(),
            Expectation::Deleted => self.deleted(),
            Expectation::OtherDocumentsUnchanged => self.other_documents_unchanged(),
            Expectation::PreviousVersionKept => self.previous_version_kept(),
            // chunks
            Expectation::VectorsMatchTexts => self.vectors_match_texts(),
            Expectation::ChunkTokens(range) => self.chunk_tokens(*range),
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

    fn is_selected(&self, document: &Document) -> bool {
        self.documents_matching.is_none_or(|globs| globs.is_match(&document.id))
    }

    /// Documents of the last step that must be delivered, with that step.
    fn deliverable(&self) -> impl Iterator<Item = (&'a StepRecord, &'a Document)> {
        self.last().filter(|(_, document)| document.has_text() && !document.rejected)
    }

    /// Selected documents of the last step, with that step.
    fn last(&self) -> impl Iterator<Item = (&'a StepRecord, &'a Document)> {
        let observations = self.observations;
        observations
            .last()
            .into_iter()
            .flat_map(|step| step.documents.iter().map(move |document| (step, document)))
            .filter(|(_, document)| self.is_selected(document))
    }

    /// Points of selected documents after the last step.
    fn points(&self) -> impl Iterator<Item = (&'a str, &'a Point)> {
        let observations = self.observations;
        observations
            .last()
            .into_iter()
            .flat_map(|step| step.snapshot.points.iter())
            .filter(|(document, _)| self.documents_matching.is_none_or(|globs| globs.is_match(document.as_str())))
            .flat_map(|(document, points)| points.iter().map(move |point| (document.as_str(), point)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
const fn count(number: u64) -> f64 {
    number as f64
}

fn tokens(text: &str) -> usize {
    bpe_openai::cl100k_base().count(text)
}

/// The texts of a document's chunks in the order of their indices.
fn texts<'a>(step: &'a StepRecord, document: &Document) -> Vec<&'a str> {
    step.snapshot.points_of(&document.id).iter().filter_map(|point| point.text.as_deref()).collect()
}

/// `1 job`, `3 jobs`.
fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A number for a message, or `missing`.
fn or_none<T: std::fmt::Display>(number: Option<T>) -> String {
    number.map_or_else(|| "missing".to_owned(), |number| number.to_string())
}

/// How a job ended, after `its job`.
const fn state_phrase(state: JobState) -> &'static str {
    match state {
        JobState::Completed => "completed",
        JobState::Failed => "failed",
        JobState::Unfinished => "never ended",
        JobState::Missing => "disappeared from Redis",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(finding: Finding) -> (Verdict, Vec<Evidence>) {
        let mut evidence = Vec::new();
        let verdict = finding.into_verdict(Level::Must, &mut evidence);
        (verdict, evidence)
    }

    #[test]
    fn a_finding_without_items_proves_nothing() {
        assert_eq!(verdict(Finding::over("jobs")).0, Verdict::unknown("there were no jobs to evaluate"));
        let mut finding = Finding::over("jobs");
        finding.examine();
        assert_eq!(verdict(finding).0, Verdict::Pass);
    }

    #[test]
    fn what_is_wrong_outweighs_what_is_undecided() {
        let mut finding = Finding::over("jobs");
        finding.examine();
        finding.undecided = Some("no text".to_owned());
        finding.wrong("a.md", "its job failed");
        finding.wrong("b.md", "its job failed");
        let (found, evidence) = verdict(finding);
        assert_eq!(found, Verdict::unmet(Level::Must, "a.md: its job failed (and 1 more)"));
        assert_eq!(evidence.len(), 3, "the items, and what is wrong with each");
    }

    #[test]
    fn the_evidence_lists_a_few_items_and_counts_the_rest() {
        let mut finding = Finding::over("jobs");
        for number in 0..LISTED + 3 {
            finding.wrong(format!("{number}.md"), "its job failed");
        }
        let (_, evidence) = verdict(finding);
        assert_eq!(evidence.last().unwrap(), &Evidence::seen("more of these", 3));
    }

    #[test]
    fn a_verdict_is_replaced_by_a_graver_one_only() {
        let skip = Verdict::skip("no key");
        let unmet = Verdict::unmet(Level::May, "a.md: its job failed");
        let unknown = Verdict::unknown("no text");
        assert!(gravity(&Verdict::Pass) < gravity(&skip));
        assert!(gravity(&skip) < gravity(&unknown));
        assert!(gravity(&unknown) < gravity(&unmet));
    }
}
