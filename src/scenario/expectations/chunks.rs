//! Chunks: their size, overlap, text and vectors.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::documents::Document;
use super::super::evidence::Point;
use super::super::observations::StepRecord;
use super::super::vectors::{EmbeddingDifference, VectorMatch};
use super::finding::Finding;
use super::measure::{count, texts, tokens};
use super::reassembly::{leaves_no_room, places, reassemble};
use super::scope::Scope;
use crate::settings::{ChunkFigure, SizeUnit, is_blank};
use crate::spec::Range;
use crate::stack::jina::context_of;

impl Scope<'_> {
    pub(super) fn vectors_match_texts(&self) -> Finding {
        let mut finding = Finding::over("vectors");
        let mut worst = 0.0_f64;
        let matches = self.assessment.vectors();
        for (document, point) in self.points() {
            finding.examine();
            let (found, distance) = matches.get(document, point);
            let problem = match found {
                VectorMatch::NoText => {
                    finding.undecided =
                        Some("points have no text to compare vectors with: set `text` in [evidence]".to_owned());
                    continue;
                }
                VectorMatch::Own => {
                    worst = worst.max(distance);
                    continue;
                }
                VectorMatch::Differs(differences) => {
                    let excluded = |difference: &&EmbeddingDifference| {
                        !difference.is_permitted(&self.observations.contract.chunks)
                    };
                    let Some(difference) = differences.iter().find(excluded) else { continue };
                    difference.to_string()
                }
                VectorMatch::Wrong(mismatch) => format!("{mismatch} (cosine distance {distance:.6})"),
            };
            let (chunk, size) = (chunk_number(point), point.vector.len());
            finding.wrong(
                document,
                format!("the vector of chunk {chunk} ({size} numbers) is not the one given for its text: {problem}"),
            );
        }
        for (difference, points) in matches.differences() {
            finding.fact(&format!("chunks of which {difference}"), points);
        }
        finding.fact("largest cosine distance", format!("{worst:.6}"));
        finding
    }

    /// The size of chunks, by the contract's figures or by `range` if it declares none.
    pub(super) fn chunk_tokens(&self, range: Range) -> Finding {
        let (figure, remark) = declared(self.observations.contract.chunks.size, range, "tokens");
        let mut finding = Finding::over("chunks");
        let (mut least, mut most) = (usize::MAX, 0);
        for (document, point) in self.points() {
            finding.examine();
            let Some(text) = &point.text else { continue };
            let size = figure.size(text);
            least = least.min(size);
            most = most.max(size);
            if !figure.range.holds(count(size as u64)) {
                let (chunk, unit, range) = (chunk_number(point), figure.unit, figure.range);
                finding.wrong(document, format!("chunk {chunk} has {size} {unit}, wanted {range}{remark}"));
            }
        }
        if finding.examined > 0 {
            finding.fact(&format!("{} per chunk, fewest and most", figure.unit), json!([least, most]));
        }
        finding
    }

    /// Whether the model reads every chunk to its end.
    pub(super) fn chunks_fit_model(&self) -> Finding {
        let mut finding = Finding::over("chunks");
        let context = context_of(&self.observations.embeddings.endpoint.model);
        for (document, point) in self.points() {
            finding.examine();
            let Some(text) = &point.text else { continue };
            let size = tokens(text);
            if size > context {
                let chunk = chunk_number(point);
                finding.wrong(
                    document,
                    format!("chunk {chunk} has {size} tokens, and the model reads at most {context}: its end is in no vector"),
                );
            }
        }
        finding.fact("tokens that the model reads", context);
        finding
    }

    /// What neighbouring chunks share, by the contract's figures or by `range` if it declares none.
    pub(super) fn overlap_tokens(&self, range: Range) -> Finding {
        let contract = &self.observations.contract.chunks;
        let (figure, remark) = declared(contract.overlap, range, "overlap");
        let mut finding = Finding::over("pairs of neighbouring chunks");
        let (mut least, mut most) = (usize::MAX, 0);
        for (step, document) in self.deliverable() {
            let text = contract.without_dropped(&document.text);
            let texts = self.chunk_texts(step, document);
            let places = places(&text, &strs(&texts), contract.trims());
            for (at, pair) in places.windows(2).enumerate() {
                let ([left, right], next) = (pair, at + 1) else { continue };
                if leaves_no_room(&text, right.start) {
                    continue;
                }
                finding.examine();
                let shared = if right.start < left.end { &text[right.start..left.end] } else { "" };
                let size = figure.size(shared);
                least = least.min(size);
                most = most.max(size);
                if !figure.range.holds(count(size as u64)) {
                    let (unit, range) = (figure.unit, figure.range);
                    finding.wrong(
                        &document.id,
                        format!("chunks {at} and {next} share {size} {unit}, wanted {range}{remark}"),
                    );
                }
            }
        }
        if finding.examined > 0 {
            finding.fact(&format!("shared {}, fewest and most", figure.unit), json!([least, most]));
        }
        finding
    }

    pub(super) fn reassembled(&self) -> Finding {
        let mut finding = Finding::over("documents");
        for (step, document) in self.stored() {
            finding.examine();
            let texts = self.chunk_texts(step, document);
            let contract = &self.observations.contract.chunks;
            let reassembled = |text: &str| reassemble(&contract.without_dropped(text), &strs(&texts), contract.trims());
            let Err(problem) = reassembled(&document.text) else { continue };
            let earlier = self.observations.steps.iter().take_while(|earlier| !std::ptr::eq(*earlier, step));
            let is_former = earlier.flat_map(|step| &step.documents).any(|former| {
                former.id == document.id && former.text != document.text && reassembled(&former.text).is_ok()
            });
            let stale = if is_former { "the previous version is stored whole: " } else { "" };
            finding.wrong(&document.id, format!("{stale}{problem}"));
        }
        finding
    }

    pub(super) fn chunks_numbered(&self) -> Finding {
        let mut finding = Finding::over("documents");
        let has_offset = self.observations.contract.evidence.qdrant.offset.is_some();
        for (step, document) in self.stored() {
            finding.examine();
            let points = step.snapshot.points_of(&document.id);
            if has_offset {
                let without = points.iter().filter(|point| point.offset.is_none()).count();
                if without > 0 {
                    finding.wrong(&document.id, format!("{without} of {} chunks have no offset", points.len()));
                }
                continue;
            }
            let numbers: BTreeSet<Option<u64>> = points.iter().map(|point| point.chunk).collect();
            if numbers == BTreeSet::from([None]) {
                finding.undecided = Some(
                    "no payload has the chunk index that the contract names: remove `chunk`, or correct it".to_owned(),
                );
                continue;
            }
            let wanted: BTreeSet<Option<u64>> = (0..numbers.len() as u64).map(Some).collect();
            if numbers != wanted {
                let missing: Vec<String> = wanted.difference(&numbers).flatten().map(u64::to_string).collect();
                let missing = if missing.is_empty() { "none".to_owned() } else { missing.join(", ") };
                finding.wrong(&document.id, format!("has {} chunk indices, missing {missing}", numbers.len()));
            }
        }
        finding
    }

    pub(super) fn unicode_intact(&self) -> Finding {
        let mut finding = Finding::over("documents");
        for (step, document) in self.stored() {
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
            } else if let Some(lost) = known.difference(&stored_characters).find(|lost| !self.may_miss(**lost)) {
                finding.wrong(&document.id, format!("the chunks have lost every U+{:04X}", u32::from(*lost)));
            }
        }
        finding
    }

    /// Documents of the last step of which something is stored. What is not stored is judged as not delivered.
    fn stored(&self) -> impl Iterator<Item = (&StepRecord, &Document)> {
        self.deliverable().filter(|(step, document)| !step.snapshot.points_of(&document.id).is_empty())
    }

    /// Whether a document may lose every occurrence of this character: the contract permits that, or all may stand at
    /// the edges of chunks.
    fn may_miss(&self, character: char) -> bool {
        let contract = &self.observations.contract.chunks;
        contract.may_drop(character) || (contract.trims() && is_blank(character))
    }

    /// The texts of a document's chunks in their order, without what the contract may drop.
    fn chunk_texts(&self, step: &StepRecord, document: &Document) -> Vec<String> {
        let contract = &self.observations.contract.chunks;
        texts(step, document).into_iter().map(|text| contract.without_dropped(text).into_owned()).collect()
    }
}

fn strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// The number of a chunk in messages.
fn chunk_number(point: &Point) -> String {
    point.chunk.map_or_else(|| "?".to_owned(), |chunk| chunk.to_string())
}

/// Bounds on the size of a text.
struct Figure {
    unit: SizeUnit,
    range: Range,
}

impl Figure {
    fn size(&self, text: &str) -> usize {
        match self.unit {
            SizeUnit::Tokens => tokens(text),
            SizeUnit::Characters => text.chars().count(),
        }
    }
}

/// The figure of the contract, or `range` in tokens with a remark for messages that the contract declares none.
fn declared(figure: ChunkFigure, range: Range, key: &str) -> (Figure, String) {
    match figure {
        ChunkFigure::Within(unit, range) => (Figure { unit, range }, String::new()),
        ChunkFigure::Undeclared | ChunkFigure::NotJudged => (
            Figure { unit: SizeUnit::Tokens, range },
            format!("; the contract declares no figure: add `{key} = {{ at_most = N }}` to [chunks]"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::TestRun;
    use super::super::testing::check;
    use super::*;
    use crate::settings::ChunksContract;

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
                "a.md: the vector of chunk 0 (8 numbers) is not the one given for its text: it is that of no text that was \
                 sent (cosine distance 2.000000)",
            )
            .is_unknown(
                &run.edit_step(|step| step.points("a.md")[0].text = None),
                "points have no text to compare vectors with: set `text` in [evidence]",
            )
            .is_skipped(&run.edit(|seen| seen.contract.evidence.qdrant.text = None), "add `text = ");
    }

    #[test]
    fn the_tokens_of_each_chunk_are_bounded() {
        let run = TestRun::two_documents().edit(|seen| seen.contract.chunks.size = ChunkFigure::Undeclared);
        let long = |run: &TestRun| {
            run.edit_step(|step| step.points("a.md")[0].text = Some("one two three four five six".to_owned()))
        };
        let declared = |unit, at_most| {
            let range = Range { at_least: None, at_most: Some(at_most) };
            run.edit(|seen| seen.contract.chunks.size = ChunkFigure::Within(unit, range))
        };
        check("chunk_tokens = { at_most = 5 }")
            .passes(&run)
            .fails(
                &long(&run),
                "a.md: chunk 0 has 6 tokens, wanted at most 5; the contract declares no figure: add `tokens = { at_most = \
                 N }` to [chunks]",
            )
            .passes(&long(&declared(SizeUnit::Tokens, 6.0)))
            .passes(&long(&declared(SizeUnit::Characters, 27.0)))
            .fails(&long(&declared(SizeUnit::Characters, 26.0)), "a.md: chunk 0 has 27 characters, wanted at most 26")
            .is_skipped(&run.edit(|seen| seen.contract.chunks.size = ChunkFigure::NotJudged), "not judged")
            .is_unknown(&run.edit_step(|step| step.snapshot.points.clear()), "there were no chunks to evaluate");
    }

    #[test]
    fn the_model_must_read_every_chunk_to_its_end() {
        let run = TestRun::two_documents();
        let long = "word ".repeat(9000);
        check("chunks_fit_model = true")
            .passes(&run)
            .fails(
                &run.edit_step(|step| step.points("a.md")[0].text = Some(long.clone())),
                "a.md: chunk 0 has 9001 tokens, and the model reads at most 8192: its end is in no vector",
            )
            .is_unknown(&TestRun::ingested(&[]), "there were no chunks to evaluate");
    }

    #[test]
    fn the_tokens_that_chunks_share_are_bounded() {
        let range = Range { at_least: None, at_most: Some(2.0) };
        let chunked = |chunks: &[&str]| {
            let run = TestRun::chunked("one two three four five", chunks);
            run.edit(|seen| seen.contract.chunks.overlap = ChunkFigure::Within(SizeUnit::Tokens, range))
        };
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
        let ordinary = |text: &str, chunks: &[&str]| {
            TestRun::chunked(text, chunks).edit(|seen| seen.contract.chunks = ChunksContract::default())
        };
        check("reassembled = true")
            .passes(&chunked(&["abcde", "defgh", "hij"]))
            .fails(&chunked(&["abcde", "defgh"]), "a.md: its last 2 of 10 bytes are in no chunk")
            .fails(
                &chunked(&["abcde", "fghij"]).then(|step| step.document("a.md").text.push('k')),
                "a.md: the previous version is stored whole: its last 1 of 11 bytes are in no chunk",
            )
            .passes(&ordinary(" One.\0\n\nTwo. ", &["One.", "Two."]))
            .fails(
                &TestRun::chunked("One.\n\nTwo.", &["One.", "Two."]),
                "a.md: chunk 1 of 2 does not continue the document: \"Two.\"",
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
            .is_unknown(
                &run.edit_step(|step| {
                    let points = step.snapshot.points.values_mut().flatten();
                    points.for_each(|point| point.chunk = None);
                }),
                "no payload has the chunk index that the contract names: remove `chunk`, or correct it",
            )
            .passes(&with_offsets(&run, Some(7)))
            .fails(&with_offsets(&run, None), "a.md: 2 of 2 chunks have no offset (and 1 more)")
            .is_unknown(&TestRun::ingested(&[]), "there were no documents to evaluate");
    }

    /// The run with an offset instead of an index.
    fn with_offsets(run: &TestRun, offset: Option<u64>) -> TestRun {
        let run = run.edit(|seen| {
            let keys = &mut seen.contract.evidence.qdrant;
            (keys.chunk, keys.offset) = (None, Some("start".to_owned()));
        });
        run.edit_step(|step| {
            let points = step.snapshot.points.values_mut().flatten();
            points.for_each(|point| (point.chunk, point.offset) = (None, offset));
        })
    }

    #[test]
    fn no_character_may_be_altered_or_lost() {
        let chunked = |chunk: &str| TestRun::chunked("na\u{ef}ve", &[chunk]);
        let ordinary = TestRun::chunked("\0naive\n", &["naive"]);
        let ordinary = ordinary.edit(|seen| seen.contract.chunks = ChunksContract::default());
        check("unicode_intact = true")
            .passes(&chunked("na\u{ef}ve"))
            .fails(&chunked("na\u{fffd}\u{ef}ve"), "a.md: a chunk has U+FFFD, which the document does not contain")
            .fails(&chunked("nave"), "a.md: the chunks have lost every U+00EF")
            .passes(&ordinary)
            .fails(&ordinary.edit(|seen| seen.contract.chunks.drops.clear()), "a.md: the chunks have lost every U+0000")
            .is_unknown(&TestRun::ingested(&[]), "there were no documents to evaluate");
    }
}
