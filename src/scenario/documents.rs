//! The documents a scenario ingests: those inside the binary, and generated ones.

use globset::{Glob, GlobSetBuilder};
use include_dir::{Dir, include_dir};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::spec::Documents;

static BUILTIN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/fixtures/documents");

/// The word in a poison document that the scenario's mock rejects.
const POISON: &str = "POISON";

/// Bytes of a huge document: about 60,000 tokens of this prose, or 130 chunks.
const HUGE: usize = 330_000;

/// Characters of a tiny document.
const TINY: usize = 160;

/// Ids that are told apart only by whoever looks at the whole of them, as it is: what is cut, folded, or taken for a
/// pattern makes two of them one.
const SIMILAR_IDS: [&str; 17] = [
    "similar_ids/log",
    "similar_ids/log 1",
    "similar_ids/log 10",
    "similar_ids/log-1",
    "similar_ids/log.txt",
    "similar_ids/Log.txt",
    "others/log.txt",
    "similar_ids/log.txt ",
    "similar_ids/log_1",
    "similar_ids/log%201",
    "similar_ids/the-log-of-the-harbour-master-for-the-third-quarter-with-all-appendices-tables-corrections-and-later-remarks-by-other-pool-1",
    "similar_ids/the-log-of-the-harbour-master-for-the-third-quarter-with-all-appendices-tables-corrections-and-later-remarks-by-other-pool-2",
    "similar_ids/caf\u{e9}",
    "similar_ids/cafe\u{301}",
    "similar_ids/same-text-1",
    "similar_ids/same-text-2",
    "similar_ids/log 11",
];

/// A document to ingest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its id.
    pub id: String,
    /// Its text.
    pub text: String,
    /// Whether the embeddings API is going to reject it.
    pub rejected: bool,
}

impl Document {
    /// Whether there is anything to embed.
    #[must_use]
    pub fn has_text(&self) -> bool {
        !self.text.trim().is_empty()
    }

    /// The same document, ending after its first third.
    #[must_use]
    pub fn shortened(&self) -> Self {
        let mut end = self.text.len() / 3;
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        Self { text: self.text[..end].to_owned(), ..self.clone() }
    }

    /// The same document, as long as it was, in which the last two neighbouring letters that differ have changed places.
    #[must_use]
    pub fn amended(&self) -> Self {
        let mut bytes = self.text.clone().into_bytes();
        let differ = |pair: &[u8]| pair[0] != pair[1] && pair.iter().all(u8::is_ascii_alphabetic);
        if let Some(at) = bytes.windows(2).rposition(differ) {
            bytes.swap(at, at + 1);
        }
        // Letters of ASCII are whole characters.
        Self { text: String::from_utf8(bytes).unwrap_or_default(), ..self.clone() }
    }

    /// The same document, of which no text is left.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self { text: String::new(), ..self.clone() }
    }
}

/// The documents of `workload`, in the order of their ids; the same for the same seed.
pub(super) fn choose(workload: &Documents, seed: u64) -> Result<Vec<Document>, String> {
    let mut documents = Vec::new();
    if workload.named.is_some() || *workload == Documents::default() {
        let mut globs = GlobSetBuilder::new();
        for glob in workload.named.as_deref().unwrap_or(&[]) {
            globs.add(Glob::new(glob).map_err(|error| format!("`{glob}` is no glob over documents: {error}"))?);
        }
        let globs = globs.build().map_err(|error| error.to_string())?;
        let mut files = Vec::new();
        gather(&BUILTIN, &mut files);
        for (path, contents) in files {
            if workload.named.is_some() && !globs.is_match(&path) {
                continue;
            }
            let text =
                std::str::from_utf8(contents).map_err(|error| format!("document `{path}` is not UTF-8: {error}"))?;
            documents.push(Document { id: path, text: text.to_owned(), rejected: false });
        }
        if documents.is_empty() {
            return Err("no built-in document has such a name".to_owned());
        }
    }
    // Each kind has dice of its own: a document is the same whatever else is asked for, and in a larger workload.
    let dice = |kind: u64| StdRng::seed_from_u64(seed.wrapping_add(kind));
    let mut rng = dice(0);
    for number in 0..workload.generated {
        documents.push(Document { id: format!("generated-{number:04}"), text: prose(&mut rng), rejected: false });
    }
    let mut rng = dice(1);
    for number in 0..workload.huge {
        documents.push(Document { id: format!("huge-{number:04}"), text: long(&mut rng, HUGE), rejected: false });
    }
    let mut rng = dice(2);
    for number in 0..workload.tiny {
        let text: String = prose(&mut rng).chars().take(TINY).collect();
        documents.push(Document { id: format!("tiny-{number:04}"), text, rejected: false });
    }
    let mut rng = dice(3);
    for number in 0..workload.sized {
        let text = long(&mut rng, workload.sized_mb.saturating_mul(1_000_000));
        documents.push(Document { id: format!("sized-{number:04}"), text, rejected: false });
    }
    let mut rng = dice(4);
    for number in 0..workload.rejected {
        let text = format!("{POISON} {}", prose(&mut rng));
        documents.push(Document { id: format!("poison-{number:04}"), text, rejected: true });
    }
    let mut rng = dice(5);
    for number in 0..workload.rejected_late {
        let text = format!("{}{POISON}", long(&mut rng, HUGE));
        documents.push(Document { id: format!("poison-late-{number:04}"), text, rejected: true });
    }
    let mut rng = dice(6);
    for id in SIMILAR_IDS.iter().take(workload.similar_ids) {
        // `log 1` has more than ten chunks: its eleventh and the first one of `log 11` are of one name where a
        // name is made of document and place, and nothing is between the two.
        let text = match documents.last() {
            Some(last) if id.ends_with("same-text-2") => last.text.clone(),
            // The last one that is ingested has the text of the first one, in capitals: by then that one is stored.
            Some(last) if *id == "others/log.txt" => last.text.to_uppercase(),
            _ if *id == "similar_ids/log 1" => long(&mut rng, 36 << 10),
            _ => prose(&mut rng).chars().take(TINY).collect(),
        };
        documents.push(Document { id: (*id).to_owned(), text, rejected: false });
    }
    // Poison comes first: what it does to the others shows in those that come after it.
    documents.sort_by(|left, right| (!left.rejected, &left.id).cmp(&(!right.rejected, &right.id)));
    Ok(documents)
}

fn gather(directory: &'static Dir<'static>, files: &mut Vec<(String, &'static [u8])>) {
    files.extend(directory.files().map(|file| (file.path().to_string_lossy().replace('\\', "/"), file.contents())));
    for inner in directory.dirs() {
        gather(inner, files);
    }
}

/// So many bytes of prose, and some more.
fn long(rng: &mut StdRng, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 8192);
    while text.len() < bytes {
        text.push_str(&prose(rng));
    }
    text
}

/// A few paragraphs: enough for one to three chunks.
fn prose(rng: &mut StdRng) -> String {
    const WORDS: &[&str] = &[
        "anchor",
        "ballast",
        "beacon",
        "bell",
        "launch",
        "bridge",
        "buoy",
        "cable",
        "cargo",
        "chart",
        "compass",
        "course",
        "scheduler",
        "current",
        "deck",
        "depth",
        "dock",
        "draught",
        "engine",
        "fathom",
        "fog",
        "harbour",
        "hatch",
        "hold",
        "backend",
        "keel",
        "knot",
        "ledger",
        "lantern",
        "log",
        "mast",
        "mooring",
        "pilot",
        "port",
        "quay",
        "rigging",
        "rudder",
        "run_scenario",
        "sextant",
        "signal",
        "sounding",
        "starboard",
        "stern",
        "swell",
        "tide",
        "tow",
        "watch",
        "wind",
    ];
    let mut text = String::new();
    for _ in 0..rng.random_range(2..8) {
        for _ in 0..rng.random_range(3..9) {
            let words: Vec<&str> =
                (0..rng.random_range(6..16)).map(|_| *WORDS.choose(rng).unwrap_or(&"run_scenario")).collect();
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
    fn an_amended_text_is_as_long_and_has_two_letters_in_other_places(#[case] text: &str, #[case] amended: &str) {
        let document = Document { id: "a".to_owned(), text: text.to_owned(), rejected: false };
        assert_eq!(document.amended().text, amended);
    }

    #[test]
    fn a_document_is_the_same_in_a_larger_workload() {
        let few = Documents { generated: 3, tiny: 1, rejected_late: 1, similar_ids: 17, ..Documents::default() };
        let more = Documents { generated: 9, huge: 1, tiny: 4, rejected: 2, rejected_late: 1, ..few.clone() };
        let (few, more) = (choose(&few, 7).unwrap(), choose(&more, 7).unwrap());
        assert_eq!((few.len(), more.len()), (22, 34));
        assert!(few.iter().all(|document| more.contains(document)));
    }
}
