//! Storage that something else than a kill has damaged: refused with the name of the file, never opened half empty.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::server::{Rest, Server};

/// Points of the collection.
const POINTS: u64 = 200;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

async fn fill(rest: &Rest, ids: std::ops::Range<u64>) {
    let points: Vec<Value> =
        ids.map(|id| json!({ "id": id, "vector": vec![0.5; 32], "payload": { "n": id } })).collect();
    rest.put("/collections/c/points?wait=true", json!({ "points": points })).await;
}

/// A directory with a storage below it, of a server that was stopped.
async fn storage() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let storage = directory.path().join("storage");
    let server = Server::start(&storage);
    server.rest().put("/collections/c", json!({ "vectors": { "size": 32, "distance": "Dot" } })).await;
    fill(&server.rest(), 0..POINTS).await;
    assert!(server.terminate().0.success());
    (directory, storage)
}

fn collection(storage: &Path) -> PathBuf {
    fs::read_dir(storage.join("collections")).unwrap().next().unwrap().unwrap().path()
}

/// Starts a server that must refuse the storage, and name `file` and a remedy.
fn refused(storage: &Path, file: &Path) {
    let refusal = Server::try_start(storage).err().unwrap_or_else(|| panic!("opened without {}", file.display()));
    // The terminal breaks long lines, so blanks do not count.
    let text: String = refusal.text.chars().filter(|letter| !letter.is_whitespace() && *letter != '│').collect();
    assert_eq!(refusal.status.code(), Some(2), "{refusal:?}");
    assert!(!text.contains("panicked"), "{refusal:?}");
    assert!(
        text.contains(&file.file_name().unwrap().to_string_lossy().into_owned()),
        "{}: {refusal:?}",
        file.display()
    );
    assert!(text.contains("restoreitfromacopy"), "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_without_readable_settings_is_refused() {
    let (_directory, storage) = storage().await;
    let settings = collection(&storage).join("collection.json");
    let text = fs::read(&settings).unwrap();
    fs::write(&settings, &text[..text.len() / 2]).unwrap();
    refused(&storage, &settings);
    fs::remove_file(&settings).unwrap();
    refused(&storage, &settings);
    fs::write(&settings, text).unwrap();
    let server = Server::start(&storage);
    let count = server.rest().post("/collections/c/points/count", json!({ "exact": true })).await;
    assert_eq!(count["count"], POINTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_without_one_of_its_files_is_refused() {
    let (directory, storage) = storage().await;
    let mut all = Vec::new();
    files(&collection(&storage).join("shard/segments"), &mut all);
    assert!(all.len() > 3, "{all:?}");
    for file in all.iter().filter(|file| !file.components().any(|part| part.as_os_str() == "payload_index")) {
        let torn = directory.path().join("torn");
        copy(&storage, &torn);
        let missing = torn.join(file.strip_prefix(&storage).unwrap());
        fs::remove_file(&missing).unwrap();
        refused(&torn, &missing);
        fs::remove_dir_all(&torn).unwrap();
    }
    fs::remove_dir_all(collection(&storage).join("shard/segments")).unwrap();
    refused(&storage, &collection(&storage).join("shard/segments"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_is_refused_and_a_torn_one_is_not() {
    let (directory, storage) = storage().await;
    let server = Server::start(&storage);
    for round in 0..5 {
        fill(&server.rest(), POINTS + round * 10..POINTS + round * 10 + 10).await;
    }
    // At once, so that nothing is flushed.
    server.kill();
    let journal = collection(&storage).join("journal");
    let bytes = fs::read(&journal).unwrap();
    assert!(bytes.len() > 5 * 10 * 32 * 4, "the journal was flushed too early");
    for place in [3, 9, 17, bytes.len() / 2] {
        let damaged = directory.path().join("damaged");
        copy(&storage, &damaged);
        let journal = damaged.join(journal.strip_prefix(&storage).unwrap());
        let mut flipped = bytes.clone();
        flipped[place] ^= 4;
        fs::write(&journal, flipped).unwrap();
        refused(&damaged, &journal);
        fs::remove_dir_all(&damaged).unwrap();
    }
    fs::write(&journal, &bytes[..bytes.len() - 7]).unwrap();
    let server = Server::start(&storage);
    let count = server.rest().post("/collections/c/points/count", json!({ "exact": true })).await;
    assert_eq!(count["count"], POINTS + 40);
}
