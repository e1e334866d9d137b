//! Invariants over a voyage, one function each. They say what is wrong with which document, or nothing.

mod chunks;
mod delivery;
mod process;
mod requests;
mod retries;

pub(super) use chunks::{VECTOR_TOLERANCE, cosine_distance};

use super::documents::Document;
use super::evidence::Point;
use super::ledger;
use super::voyage::{StepRecord, Voyage};
use crate::outcome::{Evidence, Level, Verdict};
use crate::settings::EvidenceContract;
use crate::spec::Invariant;
use globset::GlobSet;

/// How many faults a verdict names one by one.
const NAMED: usize = 6;

/// What an invariant found: how much it looked at, what was wrong, and facts worth showing.
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

/// Judges `invariants` over `voyage`, looking only at documents that `among` matches.
#[must_use]
pub fn judge(
    invariants: &[Invariant],
    voyage: &Voyage,
    among: Option<&GlobSet>,
    level: Level,
) -> (Verdict, Vec<Evidence>) {
    let mut evidence = Vec::new();
    let mut verdict = Verdict::Pass;
    for invariant in invariants {
        let scope = Scope { voyage, among };
        if let Some(lacking) = lacks(*invariant, &voyage.evidence) {
            evidence.push(Evidence::seen("not judged", lacking.clone()));
            if verdict == Verdict::Pass {
                verdict = Verdict::skip(lacking);
            }
            continue;
        }
        let finding = scope.find(*invariant);
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
    evidence.push(Evidence::seen("documents", ledger::summary(&ledger::of(voyage))));
    for fault in &voyage.faults {
        let time =
            |at: Option<std::time::Duration>| at.map_or("never".to_owned(), |at| format!("{} ms", at.as_millis()));
        let seen = format!("began {}, ended {}, met {}", time(fault.began), time(fault.ended), fault.met);
        evidence.push(Evidence::seen(fault.what.clone(), seen));
    }
    // What held without the fault says nothing about the fault.
    if let (Verdict::Pass, Some(idle)) = (&verdict, voyage.faults.iter().find(|fault| !fault.took_effect)) {
        verdict = Verdict::unknown(format!("the {} never took effect: it met {}", idle.what, idle.met));
    }
    if let (Verdict::Pass, Some((what, false))) = (&verdict, voyage.squall) {
        verdict = Verdict::unknown(format!("the {what} never took effect: no request met it"));
    }
    if !matches!(verdict, Verdict::Pass) {
        if let Some(why) = voyage.last().and_then(|step| step.snapshot.no_rows.as_ref()) {
            evidence.push(Evidence::seen("the rows that the contract names", why.clone()));
        }
        if let Some(died) = &voyage.died {
            evidence.push(Evidence::seen("the worker", died.clone()));
        }
        let lines: Vec<&str> = voyage.log.lines().collect();
        evidence.push(Evidence::seen(
            "the worker's last output",
            voyage.redact(&lines[lines.len().saturating_sub(3)..].join("\n")),
        ));
    }
    (verdict, evidence)
}

/// What `[evidence]` would have to name for a demand to be judged; none when it names enough.
#[must_use]
pub fn lacks(invariant: Invariant, evidence: &EvidenceContract) -> Option<String> {
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
    match invariant {
        Invariant::VectorsMatchTexts
        | Invariant::ChunkTokens(_)
        | Invariant::UnicodeIntact
        | Invariant::BatchesFilled(_) => text,
        Invariant::OverlapTokens(_) | Invariant::Reassembled => text.or(chunk),
        Invariant::NoStaleTail => text.filter(|_| evidence.qdrant.version.is_none()),
        Invariant::ChunksNumbered => chunk,
        Invariant::RowsAgree => rows,
        Invariant::RowsLast if evidence.postgres.is_none() => rows,
        Invariant::FailuresTold | Invariant::OutcomesTold
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

/// The part of a voyage that a case judges.
struct Scope<'a> {
    voyage: &'a Voyage,
    among: Option<&'a GlobSet>,
}

impl<'a> Scope<'a> {
    fn find(&self, invariant: Invariant) -> Finding {
        match invariant {
            Invariant::Delivered => self.delivered(),
            Invariant::JobsCompleted => self.jobs_completed(),
            Invariant::RecoveredWithinS(most) => self.recovered(most),
            Invariant::QueueDrained => self.queue_drained(),
            Invariant::AttemptsAtMost(most) => self.attempts(most),
            Invariant::DuplicatesAtMost(most) => self.duplicates(most),
            Invariant::VectorsMatchTexts => self.vectors(),
            Invariant::ChunkTokens(range) => self.chunk_tokens(range),
            Invariant::OverlapTokens(range) => self.overlap_tokens(range),
            Invariant::Reassembled => self.reassembled(),
            Invariant::ChunksNumbered => self.numbered(),
            Invariant::TextsPerRequest(most) => self.texts_per_request(most),
            Invariant::BatchesFilled(size) => self.batches_filled(size),
            Invariant::RequestsInFlight(most) => self.in_flight(most),
            Invariant::RequestsWellFormed => self.well_formed(),
            Invariant::RequestsUntruncated => self.untruncated(),
            Invariant::LateChunkingApart => self.late_chunking_apart(),
            Invariant::RequestsAccepted => self.accepted(),
            Invariant::TokensWasted(most) => self.wasted(most),
            Invariant::EmptySkipped => self.empty_skipped(),
            Invariant::WritesAwaited => self.writes_awaited(),
            Invariant::RowsAgree => self.rows_agree(),
            Invariant::PayloadComplete => self.payload(),
            Invariant::Unchanged => self.unchanged(),
            Invariant::NoStaleTail => self.stale_tail(),
            Invariant::UnicodeIntact => self.unicode(),
            Invariant::ExitsCleanly => self.exits(),
            Invariant::LogHoldsNoSecret => self.log_secrets(),
            Invariant::LogIsJson => self.log_json(),
            Invariant::WorkerRegistered => self.registered(),
            Invariant::MemoryMib(most) => self.memory(most),
            Invariant::PoisonIsolated => self.poison(),
            Invariant::LedgerClean => self.ledger_clean(),
            Invariant::FailuresTold => self.outcomes_told(true),
            Invariant::OutcomesTold => self.outcomes_told(false),
            Invariant::ReturnBytesAtMost(most) => self.return_bytes(most),
            Invariant::NotesBytesAtMost(most) => self.notes_bytes(most),
            Invariant::LogHoldsNoText => self.log_texts(),
            Invariant::ReasonsHoldNoSecret => self.reason_secrets(),
            Invariant::RowsLast => self.rows_last(),
            Invariant::ExecutionsAtMost(most) => self.executions(most),
            Invariant::Stalls(range) => self.stalls(range),
            Invariant::NeverEmptied => self.never_emptied(),
            Invariant::AllOrNothing => self.all_or_nothing(),
            Invariant::NothingDone => self.nothing_done(),
            Invariant::BackoffGrows => self.backoff_grows(),
            Invariant::BackoffJitters => self.backoff_jitters(),
            Invariant::RetryAfterHonoured => self.retry_after(),
            Invariant::CallsPerS(most) => self.calls_per_s(most),
            Invariant::ProbesPerS(most) => self.probes_per_s(most),
            Invariant::ConnectionsAtOnce(target, most) => self.connections(target, most),
            Invariant::ConnectionsMade(target, most) => self.connections_made(target, most),
            Invariant::ConnectionsClosed => self.connections_closed(),
            Invariant::NoJobAfterSigterm => self.taken_after_sigterm(),
            Invariant::NoneLeftActive => self.left_active(),
            Invariant::Deleted => self.deleted(),
            Invariant::OthersUntouched => self.others_untouched(),
            Invariant::FormerKept => self.former_kept(),
            Invariant::IdleTransactionMs(most) => self.idle_transaction(most),
        }
    }

    fn chosen(&self, document: &Document) -> bool {
        self.among.is_none_or(|globs| globs.is_match(&document.id))
    }

    /// Documents of the last step that must be delivered, with that step.
    fn good(&self) -> impl Iterator<Item = (&'a StepRecord, &'a Document)> {
        self.last().filter(|(_, document)| document.has_text() && !document.poison)
    }

    fn last(&self) -> impl Iterator<Item = (&'a StepRecord, &'a Document)> {
        let voyage = self.voyage;
        voyage
            .last()
            .into_iter()
            .flat_map(|step| step.documents.iter().map(move |document| (step, document)))
            .filter(|(_, document)| self.chosen(document))
    }

    /// Points of chosen documents after the last step.
    fn points(&self) -> impl Iterator<Item = (&'a str, &'a Point)> {
        let voyage = self.voyage;
        voyage
            .last()
            .into_iter()
            .flat_map(|step| step.snapshot.points.iter())
            .filter(|(document, _)| self.among.is_none_or(|globs| globs.is_match(document.as_str())))
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
