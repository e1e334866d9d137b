//! Counts, and how messages write them.

use super::super::documents::Document;
use super::super::evidence::Point;
use super::super::observations::{JobState, StepRecord};

/// A count as the number that bounds are compared with.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(super) const fn count(number: u64) -> f64 {
    number as f64
}

/// The number of `cl100k_base` tokens of `text`.
pub(super) fn tokens(text: &str) -> usize {
    bpe_openai::cl100k_base().count(text)
}

/// The texts of a document's chunks in the order of their indices or offsets. Chunks with the same offset, such as those of
/// one line, are in the order of their places in the document.
pub(super) fn texts<'a>(step: &'a StepRecord, document: &Document) -> Vec<&'a str> {
    let mut points: Vec<&Point> = step.snapshot.points_of(&document.id).iter().collect();
    if points.iter().any(|point| point.offset.is_some()) {
        let place = |point: &Point| point.text.as_deref().and_then(|text| document.text.find(text));
        points.sort_by_cached_key(|point| (point.offset, place(point)));
    }
    points.into_iter().filter_map(|point| point.text.as_deref()).collect()
}

/// `1 job`, `3 jobs`.
pub(super) fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A number for a message, or `missing`.
pub(super) fn or_none<T: std::fmt::Display>(number: Option<T>) -> String {
    number.map_or_else(|| "missing".to_owned(), |number| number.to_string())
}

/// How a job ended, after `its job`.
pub(super) const fn state_phrase(state: JobState) -> &'static str {
    match state {
        JobState::Completed => "completed",
        JobState::Failed => "failed",
        JobState::Unfinished => "never ended",
        JobState::Missing => "disappeared from Redis",
    }
}
