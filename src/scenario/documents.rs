//! The documents a scenario ingests: those inside the binary, and generated ones.

use globset::{Glob, GlobSetBuilder};
use include_dir::{Dir, include_dir};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::spec::Documents;
use crate::spec::jina::revision_word;

static BUILTIN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/fixtures/documents");

/// The word in the text of a rejected document: the Jina mock of the scenario rejects every request that contains it.
const REJECTED_WORD: &str = "POISON";

/// Minimum bytes of a huge document: about 60,000 tokens of generated text, or 130 chunks.
const HUGE: usize = 330_000;

/// Words between two that name the revision: fewer than the smallest chunk has.
const REVISION_WORDS: usize = 6;

/// Characters of a tiny document.
const TINY: usize = 160;

/// Ids that differ only when they are compared whole and byte for byte. A worker that truncates an id, folds its case,
/// normalises it or uses it as a pattern confuses two of them.
const SIMILAR_IDS: [&str; 17] = [
    "near-ids/log",
    "near-ids/log 1",
    "near-ids/log 10",
    "near-ids/log-1",
    "near-ids/log.txt",
    "near-ids/Log.txt",
    "others/log.txt",
    "near-ids/log.txt ",
    "near-ids/log_1",
    "near-ids/log%201",
    "near-ids/the-log-of-the-harbour-master-for-the-third-quarter-with-all-appendices-tables-corrections-and-later-remarks-by-other-hands-1",
    "near-ids/the-log-of-the-harbour-master-for-the-third-quarter-with-all-appendices-tables-corrections-and-later-remarks-by-other-hands-2",
    "near-ids/caf\u{e9}",
    "near-ids/cafe\u{301}",
    "near-ids/same-text-1",
    "near-ids/same-text-2",
    "near-ids/log 11",
];

/// A document to ingest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its id.
    pub id: String,
    /// Its text.
    pub text: String,
    /// Whether the embeddings API rejects it.
    pub rejected: bool,
}

impl Document {
    /// Whether there is anything to embed.
    #[must_use]
    pub fn has_text(&self) -> bool {
        !self.text.trim().is_empty()
    }

    /// The first third of the document.
    #[must_use]
    pub fn truncated(&self) -> Self {
        let mut end = self.text.len() / 3;
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        Self { text: self.text[..end].to_owned(), ..self.clone() }
    }

    /// The document with its last two neighbouring ASCII letters that differ swapped; its length stays.
    #[must_use]
    pub fn edited(&self) -> Self {
        let mut bytes = self.text.clone().into_bytes();
        let differ = |pair: &[u8]| pair[0] != pair[1] && pair.iter().all(u8::is_ascii_alphabetic);
        if let Some(at) = bytes.windows(2).rposition(differ) {
            bytes.swap(at, at + 1);
        }
        // Swapping two ASCII bytes keeps the text valid UTF-8.
        Self { text: String::from_utf8(bytes).unwrap_or_default(), ..self.clone() }
    }

    /// The document as this revision: every few words, another one names the revision.
    #[must_use]
    pub fn revised(&self, number: usize) -> Self {
        let name = revision_word(number);
        let mut text = String::with_capacity(self.text.len() * 5 / 4 + name.len());
        for (place, word) in self.text.split_inclusive(' ').enumerate() {
            if place % REVISION_WORDS == 0 {
                text.push_str(&name);
                text.push(' ');
            }
            text.push_str(word);
        }
        Self { text, ..self.clone() }
    }

    /// The document with an empty text.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self { text: String::new(), ..self.clone() }
    }
}

/// Creates the documents of `workload`: rejected documents first, then by id. The same seed gives the same documents.
pub(super) fn create(workload: &Documents, seed: u64) -> Result<Vec<Document>, String> {
    let mut documents = Vec::new();
    if workload.named.is_some() || *workload == Documents::default() {
        documents = builtin(workload.named.as_deref())?;
    }
    let document = |id: String, text: String| Document { id, text, rejected: false };
    // Each kind has its own generator, so that a document does not depend on the rest of the workload.
    let rng_of_kind = |kind: u64| StdRng::seed_from_u64(seed.wrapping_add(kind));
    let mut rng = rng_of_kind(0);
    for number in 0..workload.generated {
        documents.push(document(format!("generated-{number:04}"), paragraphs(&mut rng)));
    }
    let mut rng = rng_of_kind(1);
    for number in 0..workload.huge {
        documents.push(document(format!("huge-{number:04}"), long_text(&mut rng, HUGE)));
    }
    let mut rng = rng_of_kind(2);
    for number in 0..workload.tiny {
        documents.push(document(format!("tiny-{number:04}"), tiny_text(&mut rng)));
    }
    let mut rng = rng_of_kind(3);
    for number in 0..workload.sized {
        let bytes = workload.sized_mb.saturating_mul(1_000_000);
        documents.push(document(format!("sized-{number:04}"), long_text(&mut rng, bytes)));
    }
    let mut rng = rng_of_kind(4);
    for number in 0..workload.rejected {
        let text = format!("{REJECTED_WORD} {}", paragraphs(&mut rng));
        documents.push(Document { id: format!("rejected-{number:04}"), text, rejected: true });
    }
    let mut rng = rng_of_kind(5);
    for number in 0..workload.rejected_late {
        let text = format!("{}{REJECTED_WORD}", long_text(&mut rng, HUGE));
        documents.push(Document { id: format!("rejected-late-{number:04}"), text, rejected: true });
    }
    documents.extend(beginnings(workload, &mut rng_of_kind(7)));
    let mut rng = rng_of_kind(6);
    for id in SIMILAR_IDS.iter().take(workload.similar_ids) {
        let text = match documents.last() {
            Some(last) if id.ends_with("same-text-2") => last.text.clone(),
            // By id this is the last document, and `near-ids/Log.txt` the first: when the same text in capitals is
            // embedded, the original is already stored.
            Some(last) if *id == "others/log.txt" => last.text.to_uppercase(),
            // `log 1` has more than ten chunks: where a chunk id is document id and index without a separator, chunk
            // 10 of `log 1` and chunk 0 of `log 11` get the same id.
            _ if *id == "near-ids/log 1" => long_text(&mut rng, 36 << 10),
            _ => tiny_text(&mut rng),
        };
        documents.push(document((*id).to_owned(), text));
    }
    // Rejected documents come first, so that their effect on later documents shows.
    documents.sort_by(|left, right| (!left.rejected, &left.id).cmp(&(!right.rejected, &right.id)));
    Ok(documents)
}

/// The documents that are beginnings of one long text.
fn beginnings(workload: &Documents, rng: &mut StdRng) -> Vec<Document> {
    let Documents { beginnings, rejected_beginnings, .. } = workload;
    let Some(longest) = beginnings.iter().chain(rejected_beginnings).max() else { return Vec::new() };
    let whole = long_text(rng, *longest);
    let until = |length: usize| &whole[..whole.floor_char_boundary(length)];
    let accepted = beginnings.iter().enumerate().map(|(number, length)| Document {
        id: format!("beginning-{number:04}"),
        text: until(*length).to_owned(),
        rejected: false,
    });
    let rejected = rejected_beginnings.iter().enumerate().map(|(number, length)| Document {
        id: format!("rejected-beginning-{number:04}"),
        text: format!("{}{REJECTED_WORD}", until(*length)),
        rejected: true,
    });
    accepted.chain(rejected).collect()
}

/// The documents embedded in the binary whose path matches one of `globs`; all of them without globs.
fn builtin(globs: Option<&[String]>) -> Result<Vec<Document>, String> {
    let mut set = GlobSetBuilder::new();
    for glob in globs.unwrap_or(&[]) {
        set.add(Glob::new(glob).map_err(|error| format!("invalid document glob `{glob}`: {error}"))?);
    }
    let set = set.build().map_err(|error| error.to_string())?;
    let mut files = Vec::new();
    collect_files(&BUILTIN, &mut files);
    let mut documents = Vec::new();
    for (path, contents) in files {
        if globs.is_some() && !set.is_match(&path) {
            continue;
        }
        let text = std::str::from_utf8(contents).map_err(|error| format!("document `{path}` is not UTF-8: {error}"))?;
        documents.push(Document { id: path, text: text.to_owned(), rejected: false });
    }
    if documents.is_empty() {
        return Err("no built-in document matches `named`".to_owned());
    }
    Ok(documents)
}

fn collect_files(directory: &'static Dir<'static>, files: &mut Vec<(String, &'static [u8])>) {
    files.extend(directory.files().map(|file| (file.path().to_string_lossy().replace('\\', "/"), file.contents())));
    for inner in directory.dirs() {
        collect_files(inner, files);
    }
}

/// Generated text of at least `min_bytes` bytes.
fn long_text(rng: &mut StdRng, min_bytes: usize) -> String {
    let mut text = String::with_capacity(min_bytes + 8192);
    while text.len() < min_bytes {
        text.push_str(&paragraphs(rng));
    }
    text
}

/// Generated text of [`TINY`] characters.
fn tiny_text(rng: &mut StdRng) -> String {
    paragraphs(rng).chars().take(TINY).collect()
}

/// The words of generated text, one in each line.
const WORDS: &str = include_str!("../../fixtures/words.txt");

/// A few paragraphs of generated text: one to three chunks.
fn paragraphs(rng: &mut StdRng) -> String {
    let all: Vec<&str> = WORDS.lines().collect();
    let mut text = String::new();
    for _ in 0..rng.random_range(2..8) {
        for _ in 0..rng.random_range(3..9) {
            let words: Vec<&str> = (0..rng.random_range(6..16)).map(|_| *all.choose(rng).unwrap_or(&"")).collect();
            text.push_str(&words.join(" "));
            text.push_str(". ");
        }
        text.push_str("\n\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("the log", "the lgo")]
    #[case("caf\u{e9} aab\u{e9}bb.\n", "caf\u{e9} aba\u{e9}bb.\n")]
    #[case("aaa 11 \u{e9}\u{e8}", "aaa 11 \u{e9}\u{e8}")]
    fn an_edited_text_keeps_its_length_and_swaps_two_letters(#[case] text: &str, #[case] edited: &str) {
        let document = Document { id: "a".to_owned(), text: text.to_owned(), rejected: false };
        assert_eq!(document.edited().text, edited);
    }

    #[test]
    fn every_few_words_of_a_revision_name_it() {
        let text = "one two three four five six seven\n\neight ".to_owned();
        let document = Document { id: "a".to_owned(), text, rejected: false };
        assert_eq!(document.revised(3).text, "revision-3 one two three four five six revision-3 seven\n\neight ");
    }

    #[test]
    fn beginnings_are_of_one_text() {
        let workload =
            Documents { beginnings: vec![900, 20_000], rejected_beginnings: vec![5000], ..Documents::default() };
        let documents = create(&workload, 7).unwrap();
        let texts: Vec<&str> = documents.iter().map(|document| document.text.as_str()).collect();
        assert_eq!(documents.iter().map(|document| document.rejected).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!((texts[1].len(), texts[2].len()), (900, 20_000));
        assert!(texts[2].starts_with(texts[1]) && texts[2].starts_with(texts[0].trim_end_matches(REJECTED_WORD)));
        let longer = create(&Documents { beginnings: vec![40_000], ..Documents::default() }, 7).unwrap();
        assert!(longer[0].text.starts_with(texts[2]), "a longer text has the same beginning");
    }

    #[test]
    fn a_document_does_not_depend_on_the_rest_of_the_workload() {
        let few = Documents { generated: 3, tiny: 1, rejected_late: 1, similar_ids: 17, ..Documents::default() };
        let more = Documents { generated: 9, huge: 1, tiny: 4, rejected: 2, rejected_late: 1, ..few.clone() };
        let (few, more) = (create(&few, 7).unwrap(), create(&more, 7).unwrap());
        assert_eq!((few.len(), more.len()), (22, 34));
        assert!(few.iter().all(|document| more.contains(document)));
    }
}
