//! What identifies the chunks of a document: which are missing, and which are stored too often.

use std::collections::{BTreeMap, BTreeSet};

use super::documents::Document;
use super::evidence::Point;

/// A chunk's name in reasons.
pub(super) fn chunk_name(chunk: Option<u64>) -> String {
    chunk.map_or_else(|| "a chunk without a number".to_owned(), |chunk| format!("chunk {chunk}"))
}

/// The identity of a chunk: its number or its offset, and its text, or its vector if it has no text.
type Key<'a> = (Option<u64>, Option<&'a str>, Vec<i32>);

fn key(point: &Point) -> Key<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "a component of a normalised vector is at most 1")]
    let rounded = |number: &f32| (number * 1e4).round() as i32;
    let vector = if point.text.is_some() { Vec::new() } else { point.vector.iter().map(rounded).collect() };
    (point.chunk.or(point.offset), point.text.as_deref(), vector)
}

/// The chunks of the baseline that are not stored now, as a reason.
pub(super) fn missing_chunks(baseline: &[Point], points: &[Point]) -> Option<String> {
    let stored: BTreeSet<_> = points.iter().map(key).collect();
    let missing: Vec<_> = baseline.iter().filter(|point| !stored.contains(&key(point))).collect();
    let first = chunk_name(missing.first()?.chunk);
    let wanted: BTreeSet<_> = baseline.iter().map(key).collect();
    let others = points.iter().filter(|point| !wanted.contains(&key(point))).count();
    Some(format!(
        "{} of {} baseline chunks are missing (the first is {first}); {others} points are not in the baseline",
        missing.len(),
        baseline.len()
    ))
}

/// The chunks that are stored too often, with the number of extra points. Chunks with a number are compared by number,
/// others by offset and text, or by vector. A document may have the same text several times, so these may occur as often
/// as in the baseline, or without one as often as in the document.
pub(super) fn doubles(
    points: &[Point],
    baseline: Option<&[Point]>,
    document: Option<&Document>,
) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<Key<'_>, usize> = BTreeMap::new();
    let is_numbered = |point: &Point| point.chunk.is_some();
    for point in points {
        let key = if is_numbered(point) { (point.chunk, None, Vec::new()) } else { key(point) };
        *counts.entry(key).or_default() += 1;
    }
    let allowed = |wanted: &Key<'_>| match (baseline, document, wanted.1) {
        (Some(baseline), _, _) => {
            baseline.iter().filter(|point| !is_numbered(point) && key(point) == *wanted).count().max(1)
        }
        (None, Some(document), Some(text)) if !text.is_empty() => occurrences(&document.text, text).max(1),
        (None, _, _) => 1,
    };
    counts
        .iter()
        .filter_map(|(key, count)| {
            let extra = count.saturating_sub(allowed(key));
            let name = if points.iter().any(is_numbered) { chunk_name(key.0) } else { chunk_name(None) };
            (extra > 0).then_some((name, extra))
        })
        .collect()
}

/// How often `part`, which is not empty, occurs in `text`; occurrences may overlap, as chunks do.
fn occurrences(text: &str, part: &str) -> usize {
    let next = |from: usize| text.get(from..)?.find(part).map(|at| from + at);
    let after = |at: &usize| next(text.ceil_char_boundary(at + 1));
    std::iter::successors(next(0), after).count()
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
            offset: None,
            text: Some(text.to_owned()),
            vector: Vec::new(),
        }
    }

    #[test]
    fn chunks_of_the_baseline_must_be_stored() {
        let baseline = [point(0, "one"), point(1, "two")];
        assert_eq!(missing_chunks(&baseline, &[point(1, "two"), point(0, "one")]), None);
        assert!(missing_chunks(&baseline, &[point(0, "one")]).unwrap().starts_with("1 of 2 baseline chunks"));
        let altered = missing_chunks(&baseline, &[point(0, "one"), point(1, "tw")]).unwrap();
        assert!(altered.contains("chunk 1") && altered.contains("1 points are not in the baseline"), "{altered}");
    }

    #[test]
    fn a_text_may_be_stored_as_often_as_it_occurs_at_overlapping_places() {
        let document = |text: &str| Document { id: "a".to_owned(), text: text.to_owned(), rejected: false };
        // A library that looks for a chunk in the text finds the same offset for all of them.
        let found = |number: usize| Point { chunk: None, offset: Some(0), ..point(number as u64, "ditto ditto") };
        let points: Vec<Point> = (0..3).map(found).collect();
        let extra = |text: &str| doubles(&points, None, Some(&document(text))).first().map(|(_, extra)| *extra);
        assert_eq!(extra("ditto ditto ditto ditto"), None, "it occurs three times");
        assert_eq!(extra("ditto ditto ditto"), Some(1));
        assert_eq!(extra("another text"), Some(2));
        assert_eq!(occurrences("äää", "ää"), 2);
        assert_eq!(doubles(&points[..2], Some(&points[..1]), None).len(), 1, "the baseline stores it once");
    }
}
