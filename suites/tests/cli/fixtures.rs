//! The documents in `fixtures/` are what their manifest says they are.

#![expect(clippy::unwrap_used, reason = "what cannot be read here has failed its test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The most that all documents may weigh together, in bytes.
const TOTAL: usize = 700_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    document: Vec<Document>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    id: String,
    exercises: String,
    bytes: usize,
    tokens: usize,
    version: String,
    status: Status,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ready,
    Skipped,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn manifest() -> Vec<Document> {
    let text = fs::read_to_string(fixtures().join("documents.toml")).unwrap();
    toml::from_str::<Manifest>(&text).unwrap().document
}

fn names_in(folder: &str) -> BTreeSet<String> {
    fs::read_dir(fixtures().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn every_document_is_in_the_manifest_and_the_other_way_round() {
    let listed: Vec<String> = manifest().into_iter().map(|document| document.id).collect();
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), names_in("documents"));
    assert_eq!(listed.len(), names_in("documents").len(), "a document is listed twice");
}

#[test]
fn every_document_has_the_bytes_tokens_version_and_status_that_the_manifest_says() {
    let tokenizer = bpe_openai::cl100k_base();
    let mut total = 0;
    for document in manifest() {
        let bytes = fs::read(fixtures().join("documents").join(&document.id)).unwrap();
        let digest = Sha256::digest(&bytes);
        let version = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let text = String::from_utf8(bytes).unwrap_or_else(|error| panic!("{}: {error}", document.id));
        let status = if text.trim().is_empty() { Status::Skipped } else { Status::Ready };

        assert_eq!(text.len(), document.bytes, "bytes of {}", document.id);
        assert_eq!(tokenizer.count(text.as_str()), document.tokens, "tokens of {}", document.id);
        assert_eq!(format!("{version:016x}"), document.version, "version of {}", document.id);
        assert_eq!(status, document.status, "status of {}", document.id);
        assert!(!document.exercises.is_empty(), "{} exercises nothing", document.id);
        total += text.len();
    }
    assert!(total <= TOTAL, "{total} bytes of documents are too many");
}

#[test]
fn no_bad_document_is_utf_8() {
    let names = names_in("bad-documents");
    assert!(!names.is_empty());
    for name in names {
        let bytes = fs::read(fixtures().join("bad-documents").join(&name)).unwrap();
        assert!(String::from_utf8(bytes).is_err(), "{name} is valid");
    }
}
