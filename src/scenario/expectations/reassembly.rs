//! Lays chunks over their document.

use std::ops::Range;

use super::measure::tokens;

/// The place of each chunk in the document, up to the first chunk that has none.
///
/// A chunk begins after its predecessor's start and no later than its end. Repeated text may fit in several places: the
/// one whose overlap is nearest to [`USUAL_OVERLAP`] tokens is tried first, and others if a later chunk then has no place.
///
/// If `trims`, blanks at the edges of chunks may be missing, so that a chunk may begin after blanks behind its
/// predecessor.
pub(super) fn places(document: &str, chunks: &[&str], trims: bool) -> Vec<Range<usize>> {
    let mut budget = SEARCH_BUDGET;
    let mut path: Vec<Range<usize>> = Vec::new();
    let mut best: Vec<Range<usize>> = Vec::new();
    let mut open: Vec<Vec<usize>> =
        chunks.first().map(|first| candidates(document, first, None, trims)).into_iter().collect();
    while let Some(options) = open.last_mut() {
        let Some(start) = options.pop().filter(|_| budget > 0) else {
            open.pop();
            path.pop();
            continue;
        };
        budget -= 1;
        path.push(start..start + chunks[path.len()].len());
        let reach = |path: &[Range<usize>]| (path.len(), path.last().map_or(0, |place| place.end));
        if reach(&path) > reach(&best) {
            best.clone_from(&path);
        }
        match chunks.get(path.len()) {
            Some(next) => open.push(candidates(document, next, path.last(), trims)),
            None if path.last().is_some_and(|place| is_end(document, place.end, trims)) => break,
            // Every chunk has a place, but the end of the document is missing: other places may be better.
            None => drop(path.pop()),
        }
    }
    best
}

/// The most likely overlap of two chunks in tokens: the contract's default.
const USUAL_OVERLAP: usize = 50;

/// How many placements the search tries at most.
const SEARCH_BUDGET: usize = 20_000;

/// The starts that `chunk` may have after `previous`, the most likely last.
fn candidates(document: &str, chunk: &str, previous: Option<&Range<usize>>, trims: bool) -> Vec<usize> {
    let Some(previous) = previous else {
        return document.find(chunk).into_iter().collect();
    };
    let mut found = Vec::new();
    let mut at = next_char(document, previous.start);
    let last = if trims { skip_blanks(document, previous.end) } else { previous.end };
    while at <= last {
        let Some(offset) = document.get(at..).and_then(|rest| rest.find(chunk)) else { break };
        let place = at + offset;
        if place > last {
            break;
        }
        found.push(place);
        at = next_char(document, place);
    }
    if found.len() > 1 {
        let before = &document[previous.clone()];
        let encoding = bpe_openai::cl100k_base();
        let ids = encoding.encode(before);
        let tail = &ids[ids.len().saturating_sub(USUAL_OVERLAP)..];
        let overlap: usize = tail.iter().map(|id| encoding.bpe.token_bytes(*id).len()).sum();
        let likely = previous.end.saturating_sub(overlap);
        found.sort_by_key(|place| std::cmp::Reverse(place.abs_diff(likely)));
    }
    found
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

/// The first place from `at` on that holds no blank.
fn skip_blanks(document: &str, at: usize) -> usize {
    document.get(at..).map_or(at, |rest| document.len() - rest.trim_start().len())
}

/// Whether there are only blanks between two places.
fn is_blank(document: &str, from: usize, to: usize) -> bool {
    document.get(from..to).is_none_or(|between| between.trim().is_empty())
}

/// Whether the document ends at `at`, or if `trims` has only blanks behind it.
fn is_end(document: &str, at: usize, trims: bool) -> bool {
    at >= document.len() || (trims && is_blank(document, at, document.len()))
}

/// Checks that the chunks, laid over each other, give the document back without a gap; or says what is wrong.
pub(super) fn reassemble(document: &str, chunks: &[&str], trims: bool) -> Result<(), String> {
    if chunks.is_empty() {
        return Err("has no chunk".to_owned());
    }
    let places = places(document, chunks, trims);
    let mut covered = 0;
    for (number, place) in places.iter().enumerate() {
        let is_gap = !(trims && is_blank(document, covered, place.start));
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
