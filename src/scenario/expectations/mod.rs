//! Expectations over a scenario run, one function each. They say what is wrong with which document, or nothing.

mod chunks;
mod delivery;
mod process;
mod requests;
mod retries;

pub(super) use chunks::{VECTOR_TOLERANCE, cosine_distance};

use super::assessment;
use super::documents::Document;
use super::evidence::Point;
use super::run::{Observations, StepRecord};
use crate::outcome::{Evidence, Level, Verdict};
use crate::settings::EvidenceContract;
use crate::spec::Expectation;
use globset::GlobSet;

/// How many faults a verdict names one by one.
const NAMED: usize = 6;

/// What an expectation found: how much it looked at, what was wrong, and facts worth showing.
#[derive(Debug, Default)]
struct Finding {
    looked_at: usize,
    of: &'static str,
    wrong: Vec<(String, String)>,
    facts: Vec<Evidence>,
    undecided: Option<String>,
}

impl Finding {
    fn over(of: &'static str) -> Self {
        Self { of, ..Self::default() }
    }

    fn look(&mut self) {
        self.looked_at += 1;
    }

    fn wrong(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.wrong.push((at.into(), what.into()));
    }

    fn fact(&mut self, what: &str, seen: impl Into<serde_json::Value>) {
        self.facts.push(Evidence::seen(what, seen));
    }
}

/// Judges `expectations` over `scenario run`, looking only at documents that `documents_matching` matches.
#[must_use]
pub fn judge(
    expectations: &[Expectation],
    observations: &Observations,
    documents_matching: Option<&GlobSet>,
    level: Level,
) -> (Verdict, Vec<Evidence>) {
    let mut evidence = Vec::new();
    let mut verdict = Verdict::Pass;
    for expectation in expectations {
        let scope = Scope { observations, documents_matching };
        if let Some(lacking) = lacks(*expectation, &observations.evidence) {
            evidence.push(Evidence::seen("not judged", lacking.clone()));
            if verdict == Verdict::Pass {
                verdict = Verdict::skip(lacking);
            }
            continue;
        }
        let finding = scope.find(*expectation);
        evidence.push(Evidence::seen(finding.of, finding.looked_at));
        evidence.extend(finding.facts);
        for (at, what) in finding.wrong.iter().take(NAMED) {
            evidence.push(Evidence::seen(at.clone(), what.clone()));
        }
        if finding.wrong.len() > NAMED {
            evidence.push(Evidence::seen("further ones like these", finding.wrong.len() - NAMED));
        }
        let found = if let Some((at, what)) = finding.wrong.first() {
            let more = if finding.wrong.len() > 1 {
                format!(" (and {} more)", finding.wrong.len() - 1)
            } else {
                String::new()
            };
            Verdict::unmet(level, format!("{at}: {what}{more}"))
        } else if let Some(reason) = finding.undecided {
            Verdict::unknown(reason)
        } else if finding.looked_at == 0 {
            // Nothing to look at proves nothing.
            Verdict::unknown(format!("there were no {} to judge", finding.of))
        } else {
            Verdict::Pass
        };
        let graver = |verdict: &Verdict| match verdict {
            Verdict::Pass => 0,
            Verdict::Skip { .. } => 1,
            Verdict::Unknown { .. } => 2,
            _ => 3,
        };
        if graver(&found) > graver(&verdict) {
            verdict = found;
        }
    }
    evidence.push(Evidence::seen("documents", assessment::summary(&assessment::assess(observations))));
    for fault in &observations.faults {
        let time =
            |at: Option<std::time::Duration>| at.map_or("never".to_owned(), |at| format!("{} ms", at.as_millis()));
        let seen = format!("began {}, ended {}, met {}", time(fault.began), time(fault.ended), fault.met);
        evidence.push(Evidence::seen(fault.what.clone(), seen));
    }
    // What held without the fault says nothing about the fault.
    if let (Verdict::Pass, Some(idle)) = (&verdict, observations.faults.iter().find(|fault| !fault.took_effect)) {
        verdict = Verdict::unknown(format!("the {} never took effect: it met {}", idle.what, idle.met));
    }
    if let (Verdict::Pass, Some((what, false))) = (&verdict, observations.api_fault) {
        verdict = Verdict::unknown(format!("the {what} never took effect: no request met it"));
    }
    if !matches!(verdict, Verdict::Pass) {
        if let Some(why) = observations.last().and_then(|step| step.snapshot.no_rows.as_ref()) {
            evidence.push(Evidence::seen("the rows that the contract names", why.clone()));
        }
        if let Some(died) = &observations.died {
            evidence.push(Evidence::seen("the worker", died.clone()));
        }
        let lines: Vec<&str> = observations.log.lines().collect();
        evidence.push(Evidence::seen(
            "the worker's last output",
            observations.redact(&lines[lines.len().saturating_sub(3)..].join("\n")),
        ));
    }
    (verdict, evidence)
}

/// What `[evidence]` would have to name for a demand to be judged; none when it names enough.
#[must_use]
pub fn lacks(expectation: Expectation, evidence: &EvidenceContract) -> Option<String> {
    let qdrant = |key: &str, what: &str| {
        format!("the contract does not say where a point has its {what}: add `{key} = \"FIELD\"` to [evidence] qdrant")
    };
    let text = evidence.qdrant.text.is_none().then(|| qdrant("text", "text"));
    let chunk = evidence.qdrant.chunk.is_none().then(|| qdrant("chunk", "number"));
    let rows = match &evidence.postgres {
        None => Some(
            "the contract names no rows: add `postgres = { table = \"TABLE\", id = \"COLUMN\", status = \"COLUMN\", \
             done = \"WORD\", chunks = \"COLUMN\" }` to [evidence]"
                .to_owned(),
        ),
        Some(rows) if rows.chunks.is_none() => Some(
            "the contract does not say where a row has its number of chunks: add `chunks = \"COLUMN\"` to [evidence] \
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
                "the contract does not say which status a document has whose job failed: add `failed = \"WORD\"` to \
             [evidence] postgres"
                    .to_owned(),
            )
        }
        _ => None,
    }
}

/// The part of a scenario run that a case judges.
struct Scope<'a> {
    observations: &'a Observations,
    documents_matching: Option<&'a GlobSet>,
}

impl<'a> Scope<'a> {
    fn find(&self, expectation: Expectation) -> Finding {
        match expectation {
            Expectation::Delivered => self.delivered(),
            Expectation::JobsCompleted => self.jobs_completed(),
            Expectation::MaxRecoveryS(most) => self.recovered(most),
            Expectation::QueueDrained => self.queue_drained(),
            Expectation::MaxAttempts(most) => self.attempts(most),
            Expectation::MaxDuplicates(most) => self.duplicates(most),
            Expectation::VectorsMatchTexts => self.vectors(),
            Expectation::ChunkTokens(range) => self.chunk_tokens(range),
            Expectation::OverlapTokens(range) => self.overlap_tokens(range),
            Expectation::Reassembled => self.reassembled(),
            Expectation::ChunksNumbered => self.numbered(),
            Expectation::MaxTextsPerRequest(most) => self.max_texts_per_request(most),
            Expectation::BatchesFilled(size) => self.batches_filled(size),
            Expectation::MaxRequestsInFlight(most) => self.in_flight(most),
            Expectation::RequestsWellFormed => self.well_formed(),
            Expectation::RequestsUntruncated => self.untruncated(),
            Expectation::LateChunkingApart => self.late_chunking_apart(),
            Expectation::RequestsAccepted => self.accepted(),
            Expectation::MaxTokensWasted(most) => self.wasted(most),
            Expectation::EmptySkipped => self.empty_skipped(),
            Expectation::WritesAwaited => self.writes_awaited(),
            Expectation::RowsAgree => self.rows_agree(),
            Expectation::PayloadComplete => self.payload(),
            Expectation::Unchanged => self.unchanged(),
            Expectation::NoStaleChunks => self.stale_tail(),
            Expectation::UnicodeIntact => self.unicode(),
            Expectation::ExitsCleanly => self.exits(),
            Expectation::LogHoldsNoSecret => self.log_secrets(),
            Expectation::LogIsJson => self.log_json(),
            Expectation::WorkerRegistered => self.registered(),
            Expectation::MaxMemoryMib(most) => self.memory(most),
            Expectation::OnlyRejectedFail => self.poison(),
            Expectation::DocumentsIntact => self.documents_intact(),
            Expectation::FailedRowsMarked => self.row_status_matches_job(true),
            Expectation::RowStatusMatchesJob => self.row_status_matches_job(false),
            Expectation::MaxReturnBytes(most) => self.return_bytes(most),
            Expectation::MaxNotesBytes(most) => self.notes_bytes(most),
            Expectation::LogHoldsNoText => self.log_texts(),
            Expectation::ReasonsHoldNoSecret => self.reason_secrets(),
            Expectation::RowAfterPoints => self.row_after_points(),
            Expectation::MaxExecutions(most) => self.executions(most),
            Expectation::Stalls(range) => self.stalls(range),
            Expectation::PointsNeverDrop => self.points_never_drop(),
            Expectation::AllOrNothing => self.all_or_nothing(),
            Expectation::NothingCompleted => self.nothing_completed(),
            Expectation::BackoffGrows => self.backoff_grows(),
            Expectation::BackoffJitters => self.backoff_jitters(),
            Expectation::RetryAfterHonoured => self.retry_after(),
            Expectation::MaxCallsPerS(most) => self.max_calls_per_s(most),
            Expectation::MaxProbesPerS(most) => self.max_probes_per_s(most),
            Expectation::MaxConnections(target, most) => self.connections(target, most),
            Expectation::MaxConnectionsMade(target, most) => self.max_connections_made(target, most),
            Expectation::ConnectionsClosed => self.connections_closed(),
            Expectation::NoJobAfterSigterm => self.taken_after_sigterm(),
            Expectation::NoneLeftActive => self.left_active(),
            Expectation::Deleted => self.deleted(),
            Expectation::OtherDocumentsUnchanged => self.other_documents_unchanged(),
            Expectation::PreviousVersionKept => self.previous_version_kept(),
            Expectation::MaxIdleTransactionMs(most) => self.idle_transaction(most),
        }
    }

    fn chosen(&self, document: &Document) -> bool {
        self.documents_matching.is_none_or(|globs| globs.is_match(&document.id))
    }

    /// Documents of the last step that must be delivered, with that step.
    fn good(&self) -> impl Iterator<Item = (&'a StepRecord, &'a Document)> {
        self.last().filter(|(_, document)| document.has_text() && !document.rejected)
    }

    fn last(&self) -> impl Iterator<Item = (&'a StepRecord, &'a Document)> {
        let observations = self.observations;
        observations
            .last()
            .into_iter()
            .flat_map(|step| step.documents.iter().map(move |document| (step, document)))
            .filter(|(_, document)| self.chosen(document))
    }

    /// Points of chosen documents after the last step.
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

/// Counts stay far below 2^52, where f64 is exact.
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
