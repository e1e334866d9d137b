//! The ledger of documents: each followed through job, row and points to one state, with what speaks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::documents::Document;
use super::evidence::{Point, Row};
use super::expectations::{VECTOR_TOLERANCE, cosine_distance};
use super::run::{JobState, Observations, StepRecord};

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DocumentOutcome {
    /// Stored whole, once, at the first attempt.
    Stable,
    /// Stored whole, once, after its job was begun more than once.
    Recovered,
    /// Rejected by the embeddings API for good, and told so; nothing of it is stored.
    Refused,
    /// Without text, and told so.
    Skipped,
    /// Not stored, or not whole.
    Lost,
    /// Stored whole, and parts of it more than once.
    Duplicated,
    /// Stored, and nobody asked for it.
    Orphaned,
    /// Stored with a text, a vector or a row that is not its own.
    Corrupted,
    /// Stored or called done, although it could not be.
    Unexpected,
    /// There is nothing to compare it with.
    Indeterminate,
}

impl DocumentOutcome {
    /// Whether the document is where it belongs: `None` when that cannot be known.
    #[must_use]
    pub const fn is_well(self) -> Option<bool> {
        match self {
            Self::Stable | Self::Recovered | Self::Refused | Self::Skipped => Some(true),
            Self::Lost | Self::Duplicated | Self::Orphaned | Self::Corrupted | Self::Unexpected => Some(false),
            Self::Indeterminate => None,
        }
    }

    /// Its word in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Recovered => "recovered",
            Self::Refused => "refused",
            Self::Skipped => "skipped",
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Orphaned => "orphaned",
            Self::Corrupted => "corrupted",
            Self::Unexpected => "unexpected",
            Self::Indeterminate => "indeterminate",
        }
    }
}

impl fmt::Display for DocumentOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentAssessment {
    /// The document.
    pub document: String,
    /// What became of it.
    pub outcome: DocumentOutcome,
    /// What speaks for that; empty when all is well.
    pub why: String,
}

/// How many documents have each outcome, in words: `18 stable, 2 recovered`.
#[must_use]
pub fn summary(assessments: &[DocumentAssessment]) -> String {
    let mut counts: BTreeMap<DocumentOutcome, usize> = BTreeMap::new();
    for document in assessments {
        *counts.entry(document.outcome).or_default() += 1;
    }
    counts.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect::<Vec<_>>().join(", ")
}

/// Follows every document of the last step, and every point to a document.
pub(super) fn assess(observations: &Observations) -> Vec<DocumentAssessment> {
    let Some(step) = observations.last() else { return Vec::new() };
    let assessed = |document: &str, (outcome, why): (DocumentOutcome, String)| DocumentAssessment {
        document: document.to_owned(),
        outcome,
        why,
    };
    let mut assessments: Vec<DocumentAssessment> =
        step.documents.iter().map(|document| assessed(&document.id, follow(observations, step, document))).collect();
    let known: BTreeSet<&str> =
        observations.steps.iter().flat_map(|step| step.documents.iter().map(|document| document.id.as_str())).collect();
    for (document, points) in &step.snapshot.points {
        if !known.contains(document.as_str()) {
            let why = format!("{} points of a document that was never ingested", points.len());
            assessments.push(assessed(document, (DocumentOutcome::Orphaned, why)));
        }
    }
    assessments
}

fn follow(observations: &Observations, step: &StepRecord, document: &Document) -> (DocumentOutcome, String) {
    let (state, job) = &step.jobs[&document.id];
    let points = step.snapshot.points_of(&document.id);
    let row = step.snapshot.rows.get(&document.id);
    if !document.has_text() {
        return textless(*state, row, observations.evidence.postgres.is_some(), points.len());
    }
    if document.rejected {
        let done = row.filter(|row| row.done);
        return match (state, points.len()) {
            (JobState::Failed, 0) if done.is_none() => (DocumentOutcome::Refused, String::new()),
            (JobState::Failed, 0) => (
                DocumentOutcome::Unexpected,
                format!("its text is rejected, and its row says `{}`", done.map_or("", |row| row.status.as_str())),
            ),
            (state, points) => (
                DocumentOutcome::Unexpected,
                format!("its text is rejected; job {state:?}, {points} points are stored"),
            ),
        };
    }
    let lost = |why: String| (DocumentOutcome::Lost, why);
    let mut miscounted = None;
    match state {
        JobState::Unfinished => return lost(format!("its job never ended, attempts {}", job.attempts)),
        JobState::Missing => return lost("its job vanished from Redis".to_owned()),
        JobState::Failed => {
            let reason = job.failed_reason.as_deref().unwrap_or("no reason given");
            return lost(format!("its job failed: {reason}"));
        }
        JobState::Completed if points.is_empty() => {
            return lost("its job completed and it has no point".to_owned());
        }
        JobState::Completed => {}
    }
    if let Some(rows) = &observations.evidence.postgres {
        let Some(row) = row else { return lost("its job completed and it has no row".to_owned()) };
        if !row.done {
            return lost(format!("its job completed and its row says `{}`", row.status));
        }
        if rows.chunks.is_some() && row.chunks != Some(points.len() as u64) {
            let told = row.chunks.map_or_else(|| "no number of".to_owned(), |chunks| chunks.to_string());
            miscounted =
                Some((DocumentOutcome::Corrupted, format!("{} points, and the row says {told} chunks", points.len())));
        }
    }
    if let Some(baseline) = &observations.baseline {
        let wanted = baseline.last().map_or(&[][..], |step| step.snapshot.points_of(&document.id));
        if wanted.is_empty() {
            let why = "nothing of it was stored when nothing went wrong either: there is nothing to compare it with";
            return (DocumentOutcome::Indeterminate, why.to_owned());
        }
        if let Some(why) = missing(wanted, points) {
            return lost(why);
        }
    }
    if let Some(miscounted) = miscounted {
        return miscounted;
    }
    for point in points {
        let Some(text) = &point.text else { continue };
        let distance = cosine_distance(&observations.mock().vector_for(Some("retrieval.passage"), text), &point.vector);
        if distance.is_nan() || distance > VECTOR_TOLERANCE {
            let why = format!("the vector of chunk {:?} is not the one given for its text", point.chunk);
            return (DocumentOutcome::Corrupted, why);
        }
    }
    let baseline = observations
        .baseline
        .as_ref()
        .and_then(|baseline| baseline.last())
        .map_or(&[][..], |step| step.snapshot.points_of(&document.id));
    if let Some((double, _)) = doubles(points, baseline).first() {
        return (DocumentOutcome::Duplicated, format!("{double} is stored more than once"));
    }
    if job.attempts > 1 || job.starts > 1 || job.stalls > 0 {
        let why = format!("attempts {}, begun {} times, stalled {} times", job.attempts, job.starts, job.stalls);
        return (DocumentOutcome::Recovered, why);
    }
    (DocumentOutcome::Stable, String::new())
}

/// What became of a document without text: a skip is one only if the row, or where there are none the job, says so.
fn textless(state: JobState, row: Option<&Row>, has_rows: bool, points: usize) -> (DocumentOutcome, String) {
    let unexpected = |why: String| (DocumentOutcome::Unexpected, why);
    match (state, row) {
        _ if points > 0 => unexpected(format!("has {points} points, and no text")),
        (JobState::Unfinished, _) => (DocumentOutcome::Lost, "its job never ended".to_owned()),
        (JobState::Missing, _) => (DocumentOutcome::Lost, "its job vanished from Redis".to_owned()),
        (_, Some(row)) if row.done => unexpected(format!("has no text, and its row says `{}`", row.status)),
        (_, None) if has_rows => unexpected("has no text, and no row says that it was skipped".to_owned()),
        (JobState::Failed, None) => unexpected("has no text, and its job failed".to_owned()),
        (_, Some(_)) | (JobState::Completed, None) => (DocumentOutcome::Skipped, String::new()),
    }
}

/// What makes a chunk the same chunk: its number and its text; the vector where there is no text to go by.
type Key<'a> = (Option<u64>, Option<&'a str>, Vec<i32>);

fn key(point: &Point) -> Key<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "a component of a normalised vector is at most 1")]
    let rounded = |number: &f32| (number * 1e4).round() as i32;
    let vector = if point.text.is_some() { Vec::new() } else { point.vector.iter().map(rounded).collect() };
    (point.chunk, point.text.as_deref(), vector)
}

/// What is stored when nothing goes wrong, and is not stored now.
fn missing(wanted: &[Point], points: &[Point]) -> Option<String> {
    let there: BTreeSet<_> = points.iter().map(key).collect();
    let missing: Vec<_> = wanted.iter().filter(|point| !there.contains(&key(point))).collect();
    let first = missing.first()?;
    let chunk = first.chunk.map_or_else(|| "without an index".to_owned(), |chunk| chunk.to_string());
    let known: BTreeSet<_> = wanted.iter().map(key).collect();
    let others = points.iter().filter(|point| !known.contains(&key(point))).count();
    Some(format!(
        "{} of {} chunks that are stored when nothing goes wrong are missing (the first is chunk {chunk}); {others} \
         points are others",
        missing.len(),
        wanted.len()
    ))
}

/// What is stored more than once, and how often too many. Chunks with a number are told apart by it; others by their
/// text or vector, of which a document may have the same one several times: as often as when nothing goes wrong.
pub(super) fn doubles(points: &[Point], baseline: &[Point]) -> Vec<(String, usize)> {
    let mut seen: BTreeMap<Key<'_>, usize> = BTreeMap::new();
    let numbered = |point: &Point| point.chunk.is_some();
    for point in points {
        let same = if numbered(point) { (point.chunk, None, Vec::new()) } else { key(point) };
        *seen.entry(same).or_default() += 1;
    }
    let usual = |same: &Key<'_>| baseline.iter().filter(|point| !numbered(point) && key(point) == *same).count().max(1);
    seen.iter()
        .filter_map(|(same, times)| {
            let extra = times.saturating_sub(usual(same));
            let name = same.0.map_or_else(|| "a chunk without a number".to_owned(), |number| format!("chunk {number}"));
            (extra > 0).then_some((name, extra))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(chunk: u64, text: &str) -> Point {
        Point {
            id: chunk.to_string(),
            document: Some("a".to_owned()),
            version: None,
            chunk: Some(chunk),
            text: Some(text.to_owned()),
            vector: Vec::new(),
        }
    }

    #[test]
    fn what_is_stored_when_nothing_goes_wrong_must_be_stored_whatever_goes_wrong() {
        let baseline = [point(0, "one"), point(1, "two")];
        assert_eq!(missing(&baseline, &[point(1, "two"), point(0, "one")]), None);
        assert!(missing(&baseline, &[point(0, "one")]).unwrap().starts_with("1 of 2 chunks"));
        let altered = missing(&baseline, &[point(0, "one"), point(1, "tw")]).unwrap();
        assert!(altered.contains("chunk 1") && altered.contains("1 points are others"), "{altered}");
    }

    #[test]
    fn a_document_without_text_is_skipped_only_where_somebody_says_so() {
        let row = |done: bool| Row { status: "a word".to_owned(), done, version: None, chunks: None, error: None };
        let outcome = |state, row: Option<Row>, has_rows, points| textless(state, row.as_ref(), has_rows, points).0;
        for (state, seen, has_rows, points, wanted) in [
            (JobState::Completed, Some(row(false)), true, 0, DocumentOutcome::Skipped),
            (JobState::Completed, None, false, 0, DocumentOutcome::Skipped),
            (JobState::Completed, None, true, 0, DocumentOutcome::Unexpected),
            (JobState::Completed, Some(row(true)), true, 0, DocumentOutcome::Unexpected),
            (JobState::Completed, Some(row(false)), true, 2, DocumentOutcome::Unexpected),
            (JobState::Failed, None, false, 0, DocumentOutcome::Unexpected),
            (JobState::Unfinished, None, true, 0, DocumentOutcome::Lost),
            (JobState::Missing, Some(row(false)), true, 0, DocumentOutcome::Lost),
        ] {
            assert_eq!(
                outcome(state, seen.clone(), has_rows, points),
                wanted,
                "{state:?} {seen:?} {has_rows} {points}"
            );
        }
    }

    #[test]
    fn a_summary_counts_each_fate() {
        let assessed = |outcome| DocumentAssessment { document: String::new(), outcome, why: String::new() };
        let assessments = [DocumentOutcome::Recovered, DocumentOutcome::Stable, DocumentOutcome::Stable].map(assessed);
        assert_eq!(summary(&assessments), "2 stable, 1 recovered");
    }
}
