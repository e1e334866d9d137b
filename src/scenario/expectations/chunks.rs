//! Chunks: their size, overlap, text and vectors.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::vectors::{VECTOR_TOLERANCE, cosine_distance};
use super::finding::Finding;
use super::measure::{count, texts, tokens};
use super::scope::Scope;
use crate::spec::Range;

impl Scope<'_> {
    pub(super) fn vectors_match_texts(&self) -> Finding {
        let mut finding = Finding::over("vectors");
        let mut worst = 0.0_f64;
        for (document, point) in self.points() {
            finding.examine();
            let Some(text) = &point.text else {
                finding.undecided =
                    Some("points have no text to compare vectors with: set `text` in [evidence]".to_owned());
                continue;
            };
            let wanted = self.observations.embeddings.vector(text);
            let distance = cosine_distance(&wanted, &point.vector);
            worst = worst.max(distance);
            if distance.is_nan() || distance > VECTOR_TOLERANCE {
                let chunk = point.chunk.map_or_else(|| "?".to_owned(), |chunk| chunk.to_string());
                let size = point.vector.len();
                finding.wrong(
                    document,
                    format!("the vector of chunk {chunk} ({size} numbers) is not the one given for its text (cosine distance {distance:.6})"),
                );
            }
        }
        finding.fact("largest cosine distance", format!("{worst:.6}"));
        finding
    }

    pub(super) fn chunk_tokens(&self, range: Range) -> Finding {
        let mut finding = Finding::over("chunks");
        let (mut least, mut most) = (usize::MAX, 0);
        for (document, point) in self.points() {
            finding.examine();
            let Some(text) = &point.text else { continue };
            let tokens = tokens(text);
            least = least.min(tokens);
            most = most.max(tokens);
            if !range.holds(count(tokens as u64)) {
                let chunk = point.chunk.map_or_else(|| "?".to_owned(), |chunk| chunk.to_string());
                finding.wrong(document, format!("chunk {chunk} has {tokens} tokens, wanted {range}"));
            }
        }
        if finding.examined > 0 {
            finding.fact("tokens per chunk, fewest and most", json!([least, most]));
        }
        finding
    }

    pub(super) fn overlap_tokens(&self, range: Range) -> Finding {
        let mut finding = Finding::over("pairs of neighbouring chunks");
        let (mut least, mut most) = (usize::MAX, 0);
        for (step, document) in self.deliverable() {
            let texts = texts(step, document);
            let places = places(&document.text, &texts);
            for (at, pair) in places.windows(2).enumerate() {
                let ([left, right], next) = (pair, at + 1) else { continue };
                if leaves_no_room(&document.text, right.start) {
                    continue;
                }
                finding.examine();
                let shared = if right.start < left.end { &document.text[right.start..left.end] } else { "" };
                let tokens = tokens(shared);
                least = least.min(tokens);
                most = most.max(tokens);
                if !range.holds(count(tokens as u64)) {
                    finding
                        .wrong(&document.id, format!("chunks {at} and {next} share {tokens} tokens, wanted {range}"));
                }
            }
        }
        if finding.examined > 0 {
            finding.fact("shared tokens, fewest and most", json!([least, most]));
        }
        finding
    }

    pub(super) fn reassembled(&self) -> Finding {
        let mut finding = Finding::over("documents");
        for (step, document) in self.deliverable() {
            finding.examine();
            let chunks = texts(step, document);
            let Err(problem) = reassemble(&document.text, &chunks) else { continue };
            let earlier = self.observations.steps.iter().take_while(|earlier| !std::ptr::eq(*earlier, step));
            let is_former = earlier.flat_map(|step| &step.documents).any(|former| {
                former.id == document.id && former.text != document.text && reassemble(&former.text, &chunks).is_ok()
            });
            let stale = if is_former { "the previous version is stored whole: " } else { "" };
            finding.wrong(&document.id, format!("{stale}{problem}"));
        }
        finding
    }

    pub(super) fn chunks_numbered(&self) -> Finding {
        let mut finding = Finding::over("documents");
        for (step, document) in self.deliverable() {
            finding.examine();
            let numbers: BTreeSet<Option<u64>> =
                step.snapshot.points_of(&document.id).iter().map(|point| point.chunk).collect();
            let wanted: BTreeSet<Option<u64>> = (0..numbers.len() as u64).map(Some).collect();
            if numbers.is_empty() || numbers != wanted {
                let missing: Vec<String> = wanted.difference(&numbers).flatten().map(u64::to_string).collect();
                let missing = if missing.is_empty() { "none".to_owned() } else { missing.join(", ") };
                finding.wrong(&document.id, format!("has {} chunk indices, missing {missing}", numbers.len()));
            }
        }
        finding
    }

    pub(super) fn unicode_intact(&self) -> Finding {
        let mut finding = Finding::over("documents");
        for (step, document) in self.deliverable() {
            finding.examine();
            let stored = step.snapshot.points_of(&document.id).iter().filter_map(|point| point.text.as_deref());
            let known: BTreeSet<char> = document.text.chars().collect();
            let mut stored_characters: BTreeSet<char> = BTreeSet::new();
            for text in stored {
                stored_characters.extend(text.chars());
            }
            if let Some(foreign) = stored_characters.difference(&known).next() {
                finding.wrong(
                    &document.id,
                    format!("a chunk has U+{:04X}, which the document does not contain", u32::from(*foreign)),
                );
            } else if let Some(lost) = known.difference(&stored_characters).next() {
                finding.wrong(&document.id, format!("the chunks have lost every U+{:04X}", u32::from(*lost)));
            }
        }
        finding
    }
}

/// The place of each chunk in the document, up to the first chunk that has none.
///
/// A chunk begins after its predecessor's start and no later than its end. Repeated text may fit in several places: the
/// one whose overlap is nearest to [`USUAL_OVERLAP`] tokens is tried first, and others if a later chunk then has no place.
fn places(document: &str, chunks: &[&str]) -> Vec<std::ops::Range<usize>> {
    let mut budget = SEARCH_BUDGET;
    let mut path: Vec<std::ops::Range<usize>> = Vec::new();
    let mut best: Vec<std::ops::Range<usize>> = Vec::new();
    let mut open: Vec<Vec<usize>> = chunks.first().map(|first| candidates(document, first, None)).into_iter().collect();
    while let Some(options) = open.last_mut() {
        let Some(start) = options.pop().filter(|_| budget > 0) else {
            open.pop();
            path.pop();
            continue;
        };
        budget -= 1;
        path.push(start..start + chunks[path.len()].len());
        let reach = |path: &[std::ops::Range<usize>]| (path.len(), path.last().map_or(0, |place| place.end));
        if reach(&path) > reach(&best) {
            best.clone_from(&path);
        }
        match chunks.get(path.len()) {
            Some(next) => open.push(candidates(document, next, path.last())),
            None if path.last().is_some_and(|place| place.end == document.len()) => break,
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
fn candidates(document: &str, chunk: &str, previous: Option<&std::ops::Range<usize>>) -> Vec<usize> {
    let Some(previous) = previous else {
        return document.find(chunk).into_iter().collect();
    };
    let mut found = Vec::new();
    let mut at = next_char(document, previous.start);
    while at <= previous.end {
        let Some(offset) = document.get(at..).and_then(|rest| rest.find(chunk)) else { break };
        let place = at + offset;
        if place > previous.end {
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
fn leaves_no_room(text: &str, at: usize) -> bool {
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

/// Checks that the chunks, laid over each other, give the document back without a gap; or says what is wrong.
fn reassemble(document: &str, chunks: &[&str]) -> Result<(), String> {
    if chunks.is_empty() {
        return Err("has no chunk".to_owned());
    }
    let places = places(document, chunks);
    let mut covered = 0;
    for (number, place) in places.iter().enumerate() {
        if place.start > covered {
            return Err(format!("{} bytes are missing before chunk {number}", place.start - covered));
        }
        covered = covered.max(place.end);
    }
    if let Some(chunk) = chunks.get(places.len()) {
        let start: String = chunk.chars().take(40).collect();
        let number = places.len();
        return Err(format!("chunk {number} of {} does not continue the document: {start:?}", chunks.len()));
    }
    if covered < document.len() {
        return Err(format!("its last {} of {} bytes are in no chunk", document.len() - covered, document.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::TestRun;
    use super::super::testing::check;
    use super::*;

    #[test]
    fn chunks_that_overlap_give_the_document_back() {
        assert_eq!(reassemble("abcdefghij", &["abcde", "defgh", "ghij"]), Ok(()));
        assert_eq!(reassemble("aaaaaaaaaa", &["aaaaa", "aaaaa", "aaa"]), Ok(()), "repeated text is no gap");
    }

    #[test]
    fn a_gap_a_missing_end_and_altered_text_are_distinguished() {
        assert!(reassemble("abcdefghij", &["abc", "efghij"]).unwrap_err().contains("does not continue the document"));
        assert!(reassemble("abcdefghij", &["abcde", "defgh"]).unwrap_err().contains("last 2 of 10 bytes"));
        assert!(
            reassemble("abcdefghij", &["bcde", "efghij"]).unwrap_err().contains("1 bytes are missing before chunk 0")
        );
        assert!(reassemble("abcdefghij", &["abcde", "dXfghij"]).unwrap_err().contains("chunk 1"));
        assert!(reassemble("abc", &[]).unwrap_err().contains("no chunk"));
    }

    #[test]
    fn a_stored_vector_must_belong_to_its_text() {
        let run = TestRun::two_documents();
        let negated = run.edit_step(|step| {
            step.points("a.md")[0].vector.iter_mut().for_each(|number| *number = -*number);
        });
        check("vectors_match_texts = true")
            .passes(&run)
            .fails(
                &negated,
                "a.md: the vector of chunk 0 (8 numbers) is not the one given for its text (cosine distance 2.000000)",
            )
            .is_unknown(
                &run.edit_step(|step| step.points("a.md")[0].text = None),
                "points have no text to compare vectors with: set `text` in [evidence]",
            )
            .is_skipped(&run.edit(|seen| seen.contract.evidence.qdrant.text = None), "add `text = ");
    }

    #[test]
    fn the_tokens_of_each_chunk_are_bounded() {
        let run = TestRun::two_documents();
        check("chunk_tokens = { at_most = 5 }")
            .passes(&run)
            .fails(
                &run.edit_step(|step| step.points("a.md")[0].text = Some("one two three four five six".to_owned())),
                "a.md: chunk 0 has 6 tokens, wanted at most 5",
            )
            .is_unknown(&TestRun::ingested(&[]), "there were no chunks to evaluate");
    }

    #[test]
    fn the_tokens_that_chunks_share_are_bounded() {
        let chunked = |chunks: &[&str]| TestRun::chunked("one two three four five", chunks);
        check("overlap_tokens = { at_most = 2 }")
            .passes(&chunked(&["one two three", " three four five"]))
            .fails(
                &chunked(&["one two three four", " two three four five"]),
                "a.md: chunks 0 and 1 share 3 tokens, wanted at most 2",
            )
            .is_unknown(
                &chunked(&["one two three four five"]),
                "there were no pairs of neighbouring chunks to evaluate",
            );
    }

    #[test]
    fn the_chunks_of_a_document_must_give_it_back() {
        let chunked = |chunks: &[&str]| TestRun::chunked("abcdefghij", chunks);
        check("reassembled = true")
            .passes(&chunked(&["abcde", "defgh", "hij"]))
            .fails(&chunked(&["abcde", "defgh"]), "a.md: its last 2 of 10 bytes are in no chunk")
            .fails(
                &chunked(&["abcde", "fghij"]).then(|step| step.document("a.md").text.push('k')),
                "a.md: the previous version is stored whole: its last 1 of 11 bytes are in no chunk",
            )
            .is_unknown(&TestRun::ingested(&[]), "there were no documents to evaluate");
    }

    #[test]
    fn chunk_indices_must_count_from_zero() {
        let run = TestRun::two_documents();
        check("chunks_numbered = true")
            .passes(&run)
            .fails(
                &run.edit_step(|step| step.points("a.md")[1].chunk = Some(2)),
                "a.md: has 2 chunk indices, missing 1",
            )
            .is_unknown(&TestRun::ingested(&[]), "there were no documents to evaluate");
    }

    #[test]
    fn no_character_may_be_altered_or_lost() {
        let chunked = |chunk: &str| TestRun::chunked("na\u{ef}ve", &[chunk]);
        check("unicode_intact = true")
            .passes(&chunked("na\u{ef}ve"))
            .fails(&chunked("na\u{fffd}\u{ef}ve"), "a.md: a chunk has U+FFFD, which the document does not contain")
            .fails(&chunked("nave"), "a.md: the chunks have lost every U+00EF")
            .is_unknown(&TestRun::ingested(&[]), "there were no documents to evaluate");
    }
}
