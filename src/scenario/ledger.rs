//! The ledger of documents: each followed through job, row and points to one state, with what speaks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::documents::Document;
use super::evidence::{Point, Row};
use super::invariants::{VECTOR_TOLERANCE, cosine_distance};
use super::voyage::{JobState, StepRecord, Voyage};

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
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

impl Fate {
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

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The document.
    pub document: String,
    /// What became of it.
    pub fate: Fate,
    /// What speaks for that; empty when all is well.
    pub why: String,
}

/// How many documents have each fate, in words: `18 stable, 2 recovered`.
#[must_use]
pub fn summary(accounts: &[Account]) -> String {
    let mut counts: BTreeMap<Fate, usize> = BTreeMap::new();
    for account in accounts {
        *counts.entry(account.fate).or_default() += 1;
    }
    counts.iter().map(|(fate, count)| format!("{count} {fate}")).collect::<Vec<_>>().join(", ")
}

/// Follows every document of the last step, and every point to a document.
pub(super) fn of(voyage: &Voyage) -> Vec<Account> {
    let Some(step) = voyage.last() else { return Vec::new() };
    let account = |document: &str, (fate, why): (Fate, String)| Account { document: document.to_owned(), fate, why };
    let mut accounts: Vec<Account> =
        step.documents.iter().map(|document| account(&document.id, follow(voyage, step, document))).collect();
    let known: BTreeSet<&str> =
        voyage.steps.iter().flat_map(|step| step.documents.iter().map(|document| document.id.as_str())).collect();
    for (document, points) in &step.snapshot.points {
        if !known.contains(document.as_str()) {
            let why = format!("{} points of a document that was never ingested", points.len());
            accounts.push(account(document, (Fate::Orphaned, why)));
        }
    }
    accounts
}

fn follow(voyage: &Voyage, step: &StepRecord, document: &Document) -> (Fate, String) {
    let (state, job) = &step.jobs[&document.id];
    let points = step.snapshot.points_of(&document.id);
    let row = step.snapshot.rows.get(&document.id);
    if !document.has_text() {
        return textless(*state, row, voyage.evidence.postgres.is_some(), points.len());
    }
    if document.poison {
        let done = row.filter(|row| row.done);
        return match (state, points.len()) {
            (JobState::Failed, 0) if done.is_none() => (Fate::Refused, String::new()),
            (JobState::Failed, 0) => (
                Fate::Unexpected,
                format!("its text is rejected, and its row says `{}`", done.map_or("", |row| row.status.as_str())),
            ),
            (state, points) => {
                (Fate::Unexpected, format!("its text is rejected; job {state:?}, {points} points are stored"))
            }
        };
    }
    let lost = |why: String| (Fate::Lost, why);
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
    if let Some(rows) = &voyage.evidence.postgres {
        let Some(row) = row else { return lost("its job completed and it has no row".to_owned()) };
        if !row.done {
            return lost(format!("its job completed and its row says `{}`", row.status));
        }
        if rows.chunks.is_some() && row.chunks != Some(points.len() as u64) {
            let told = row.chunks.map_or_else(|| "no number of".to_owned(), |chunks| chunks.to_string());
            miscounted = Some((Fate::Corrupted, format!("{} points, and the row says {told} chunks", points.len())));
        }
    }
    if let Some(calm) = &voyage.calm {
        let wanted = calm.last().map_or(&[][..], |step| step.snapshot.points_of(&document.id));
        if wanted.is_empty() {
            let why = "nothing of it was stored when nothing went wrong either: there is nothing to compare it with";
            return (Fate::Indeterminate, why.to_owned());
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
        let distance = cosine_distance(&voyage.mock().vector_for(Some("retrieval.passage"), text), &point.vector);
        if distance.is_nan() || distance > VECTOR_TOLERANCE {
            let why = format!("the vector of chunk {:?} is not the one given for its text", point.chunk);
            return (Fate::Corrupted, why);
        }
    }
    let calm =
        voyage.calm.as_ref().and_then(|calm| calm.last()).map_or(&[][..], |step| step.snapshot.points_of(&document.id));
    if let Some((double, _)) = doubles(points, calm).first() {
        return (Fate::Duplicated, format!("{double} is stored more than once"));
    }
    if job.attempts > 1 || job.starts > 1 || job.stalls > 0 {
        let why = format!("attempts {}, begun {} times, stalled {} times", job.attempts, job.starts, job.stalls);
        return (Fate::Recovered, why);
    }
    (Fate::Stable, String::new())
}

/// What became of a document without text: a skip is one only if the row, or where there are none the job, says so.
fn textless(state: JobState, row: Option<&Row>, has_rows: bool, points: usize) -> (Fate, String) {
    let unexpected = |why: String| (Fate::Unexpected, why);
    match (state, row) {
        _ if points > 0 => unexpected(format!("has {points} points, and no text")),
        (JobState::Unfinished, _) => (Fate::Lost, "its job never ended".to_owned()),
        (JobState::Missing, _) => (Fate::Lost, "its job vanished from Redis".to_owned()),
        (_, Some(row)) if row.done => unexpected(format!("has no text, and its row says `{}`", row.status)),
        (_, None) if has_rows => unexpected("has no text, and no row says that it was skipped".to_owned()),
        (JobState::Failed, None) => unexpected("has no text, and its job failed".to_owned()),
        (_, Some(_)) | (JobState::Completed, None) => (Fate::Skipped, String::new()),
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
pub(super) fn doubles(points: &[Point], calm: &[Point]) -> Vec<(String, usize)> {
    let mut seen: BTreeMap<Key<'_>, usize> = BTreeMap::new();
    let numbered = |point: &Point| point.chunk.is_some();
    for point in points {
        let same = if numbered(point) { (point.chunk, None, Vec::new()) } else { key(point) };
        *seen.entry(same).or_default() += 1;
    }
    let usual = |same: &Key<'_>| calm.iter().filter(|point| !numbered(point) && key(point) == *same).count().max(1);
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
        let calm = [point(0, "one"), point(1, "two")];
        assert_eq!(missing(&calm, &[point(1, "two"), point(0, "one")]), None);
        assert!(missing(&calm, &[point(0, "one")]).unwrap().starts_with("1 of 2 chunks"));
        let altered = missing(&calm, &[point(0, "one"), point(1, "tw")]).unwrap();
        assert!(altered.contains("chunk 1") && altered.contains("1 points are others"), "{altered}");
    }

    #[test]
    fn a_document_without_text_is_skipped_only_where_somebody_says_so() {
        let row = |done: bool| Row { status: "a word".to_owned(), done, version: None, chunks: None, error: None };
        let fate = |state, row: Option<Row>, has_rows, points| textless(state, row.as_ref(), has_rows, points).0;
        for (state, seen, has_rows, points, wanted) in [
            (JobState::Completed, Some(row(false)), true, 0, Fate::Skipped),
            (JobState::Completed, None, false, 0, Fate::Skipped),
            (JobState::Completed, None, true, 0, Fate::Unexpected),
            (JobState::Completed, Some(row(true)), true, 0, Fate::Unexpected),
            (JobState::Completed, Some(row(false)), true, 2, Fate::Unexpected),
            (JobState::Failed, None, false, 0, Fate::Unexpected),
            (JobState::Unfinished, None, true, 0, Fate::Lost),
            (JobState::Missing, Some(row(false)), true, 0, Fate::Lost),
        ] {
            assert_eq!(fate(state, seen.clone(), has_rows, points), wanted, "{state:?} {seen:?} {has_rows} {points}");
        }
    }

    #[test]
    fn a_summary_counts_each_fate() {
        let account = |fate| Account { document: String::new(), fate, why: String::new() };
        let accounts = [Fate::Recovered, Fate::Stable, Fate::Stable].map(account);
        assert_eq!(summary(&accounts), "2 stable, 1 recovered");
    }
}
