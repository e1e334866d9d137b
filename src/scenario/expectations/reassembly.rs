//! Lays chunks over their document.

use std::ops::Range;

use super::measure::tokens;
use crate::settings::is_blank;

/// The place of each chunk in the document, up to the first chunk that has none.
///
/// A chunk begins after its predecessor's start and no later than its end. Repeated text may fit in several places: all
/// are followed, and of those that lead to the end of the document the ones whose overlap is nearest to [`USUAL_OVERLAP`]
/// tokens are taken.
///
/// If `trims`, blanks at the edges of chunks may be missing, so that a chunk may begin after blanks behind its
/// predecessor.
pub(super) fn places(document: &str, chunks: &[&str], trims: bool) -> Vec<Range<usize>> {
    let Some(first) = chunks.first() else { return Vec::new() };
    let mut reached: Vec<Vec<usize>> = vec![document.find(first).into_iter().collect()];
    for pair in chunks.windows(2) {
        let before = reached.last().map_or(&[][..], Vec::as_slice);
        let next = starts(document, (before, pair[0].len()), pair[1], trims);
        if next.is_empty() {
            break;
        }
        reached.push(next);
    }
    let mut places: Vec<Range<usize>> = Vec::new();
    for (starts, chunk) in reached.iter().zip(chunks).rev() {
        let start = match places.last() {
            // The last chunk that has a place: the farther the better.
            None => starts.last().copied(),
            Some(next) => {
                let leads_to = |start: &&usize| reaches(document, **start, chunk.len(), next.start, trims);
                nearest_to_usual(document, starts.iter().filter(leads_to).copied().collect(), chunk.len(), next.start)
            }
        };
        let Some(start) = start else { return Vec::new() };
        places.push(start..start + chunk.len());
    }
    places.reverse();
    places
}

/// The most likely overlap of two chunks in tokens: the default of the suite.
const USUAL_OVERLAP: usize = 50;

/// The starts that `chunk` may have after one of `length` bytes that begins at one of `before`; both in ascending order.
fn starts(document: &str, (before, length): (&[usize], usize), chunk: &str, trims: bool) -> Vec<usize> {
    let (Some(first), Some(last)) = (before.first(), before.last()) else { return Vec::new() };
    let end = after_blanks(document, last + length, trims);
    let mut found = Vec::new();
    let mut at = next_char(document, *first);
    while at <= end {
        let Some(offset) = document.get(at..).and_then(|rest| rest.find(chunk)) else { break };
        let place = at + offset;
        if place > end {
            break;
        }
        // The nearest beginning before it reaches farthest.
        let nearest = before[..before.partition_point(|start| *start < place)].last();
        if nearest.is_some_and(|start| reaches(document, *start, length, place, trims)) {
            found.push(place);
        }
        at = next_char(document, place);
    }
    found
}

/// Whether a chunk of `length` bytes at `start` leaves no gap before one that begins at `next`.
fn reaches(document: &str, start: usize, length: usize, next: usize, trims: bool) -> bool {
    start < next && next <= after_blanks(document, start + length, trims)
}

/// Of several starts of a chunk of `length` bytes, the one whose overlap with the next chunk is the most likely.
fn nearest_to_usual(document: &str, starts: Vec<usize>, length: usize, next: usize) -> Option<usize> {
    if starts.len() < 2 {
        return starts.first().copied();
    }
    let text = document.get(starts[0]..starts[0] + length)?;
    let encoding = bpe_openai::cl100k_base();
    let ids = encoding.encode(text);
    let tail = &ids[ids.len().saturating_sub(USUAL_OVERLAP)..];
    let overlap: usize = tail.iter().map(|id| encoding.bpe.token_bytes(*id).len()).sum();
    starts.into_iter().min_by_key(|start| (start + length).saturating_sub(overlap).abs_diff(next))
}

/// Whether the grapheme at `at` leaves no room for an overlap: a letter with hundreds of combining marks fills a chunk
/// alone, or is cut into pieces because it fits into no chunk.
pub(super) fn leaves_no_room(text: &str, at: usize) -> bool {
    use unicode_segmentation::GraphemeCursor;
    let boundary = GraphemeCursor::new(at, text.len(), true).is_boundary(text, 0).unwrap_or(true);
    let end = GraphemeCursor::new(at, text.len(), true).next_boundary(text, 0).ok().flatten().unwrap_or(text.len());
    !boundary || tokens(&text[at..end]) > MOST_OF_A_CHUNK
}

/// A grapheme with more tokens than this does not fit into one chunk together with the overlap.
const MOST_OF_A_CHUNK: usize = 400;

fn next_char(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(text.len() + 1, |character| at + character.len_utf8())
}

/// `at`, or if `trims` the first place from there on that holds no blank.
fn after_blanks(document: &str, at: usize, trims: bool) -> usize {
    let rest = document.get(at..).filter(|_| trims);
    rest.map_or(at, |rest| document.len() - rest.trim_start_matches(is_blank).len())
}

/// Whether there are only blanks between two places.
fn are_blank(document: &str, from: usize, to: usize) -> bool {
    document.get(from..to).is_none_or(|between| between.chars().all(is_blank))
}

/// Whether the document ends at `at`, or if `trims` has only blanks behind it.
fn is_end(document: &str, at: usize, trims: bool) -> bool {
    at >= document.len() || (trims && are_blank(document, at, document.len()))
}

/// Checks that the chunks, laid over each other, give the document back without a gap; or says what is wrong.
pub(super) fn reassemble(document: &str, chunks: &[&str], trims: bool) -> Result<(), String> {
    if chunks.is_empty() {
        return Err("has no chunk".to_owned());
    }
    let places = places(document, chunks, trims);
    let mut covered = 0;
    for (number, place) in places.iter().enumerate() {
        let is_gap = !(trims && are_blank(document, covered, place.start));
        if place.start > covered && is_gap {
            return Err(format!("{} bytes are missing before chunk {number}", place.start - covered));
        }
        covered = covered.max(place.end);
    }
    if let Some(chunk) = chunks.get(places.len()) {
        let start: String = chunk.chars().take(40).collect();
        let number = places.len();
        return Err(format!("chunk {number} of {} does not continue the document: {start:?}", chunks.len()));
    }
    if !is_end(document, covered, trims) {
        return Err(format!("its last {} of {} bytes are in no chunk", document.len() - covered, document.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exactly(document: &str, chunks: &[&str]) -> Result<(), String> {
        reassemble(document, chunks, false)
    }

    #[test]
    fn chunks_that_overlap_give_the_document_back() {
        assert_eq!(exactly("abcdefghij", &["abcde", "defgh", "ghij"]), Ok(()));
        assert_eq!(exactly("aaaaaaaaaa", &["aaaaa", "aaaaa", "aaa"]), Ok(()), "repeated text is no gap");
    }

    #[test]
    fn a_gap_a_missing_end_and_altered_text_are_distinguished() {
        assert!(exactly("abcdefghij", &["abc", "efghij"]).unwrap_err().contains("does not continue the document"));
        assert!(exactly("abcdefghij", &["abcde", "defgh"]).unwrap_err().contains("last 2 of 10 bytes"));
        assert!(exactly("abcdefghij", &["bcde", "efghij"]).unwrap_err().contains("1 bytes are missing before chunk 0"));
        assert!(exactly("abcdefghij", &["abcde", "dXfghij"]).unwrap_err().contains("chunk 1"));
        assert!(exactly("abc", &[]).unwrap_err().contains("no chunk"));
    }

    #[test]
    fn text_that_repeats_itself_is_laid_so_that_it_reaches_the_end() {
        // Each chunk but the last fits at many places, and only few of them leave room for what follows.
        let document = "ditto ".repeat(2000);
        let cut = |size: usize, step: usize| -> Vec<&str> {
            (0..document.len()).step_by(step).map(|at| &document[at..(at + size).min(document.len())]).collect()
        };
        for (size, step) in [(600, 600), (600, 450), (1000, 1000), (996, 846)] {
            let chunks = cut(size, step);
            assert_eq!(exactly(&document, &chunks), Ok(()), "{size} {step}");
            let trimmed: Vec<&str> = chunks.iter().map(|chunk| chunk.trim()).collect();
            assert_eq!(reassemble(&document, &trimmed, true), Ok(()), "{size} {step}");
            assert!(exactly(&document, &chunks[..chunks.len() / 2]).is_err(), "a lost half is noticed");
        }
    }

    #[test]
    fn what_javascript_and_python_trim_is_blank() {
        assert_eq!(reassemble("\u{feff}One.\u{1c}\u{85}Two.\u{3000}", &["One.", "Two."], true), Ok(()));
        assert!(reassemble("One.\u{200b}Two.", &["One.", "Two."], true).is_err());
    }

    #[test]
    fn blanks_at_the_edges_of_chunks_may_be_missing_where_that_is_permitted() {
        let (document, trimmed) = ("  One two.\n\nThree four.\n", ["One two.", "two.\n\nThree", "four."]);
        assert_eq!(reassemble(document, &trimmed, true), Ok(()));
        assert!(exactly(document, &trimmed).is_err());
        // What is not blank may not be missing.
        for lossy in [["One", "two.", "four."], ["ne two.", "Three", "four."], ["One two.", "Three", "four"]] {
            assert!(reassemble(document, &lossy, true).is_err(), "{lossy:?}");
        }
        // Inside a chunk blanks are exact.
        assert!(reassemble(document, &["One two. Three four."], true).is_err());
    }
}
