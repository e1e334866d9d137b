//! The structure of the source: which room may use which, which file may import which, and how long files and functions
//! are. A room is a directory of `src`; it may use the rooms below it, never those above or beside it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod circles;
mod modules;
mod size;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A crate of its own, which cannot use this one.
const QDRANT: &str = "qdrant";

/// Each room with the rooms that it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("redaction", &[]),
    ("outcome", &["redaction"]),
    ("spec", &["outcome", "redaction"]),
    ("guide", &[]),
    ("project", &[]),
    ("settings", &["outcome", "spec", "redaction"]),
    ("services", &["settings", "outcome", "spec", "redaction"]),
    ("stack", &["services", "settings", "outcome", "spec", "redaction"]),
    ("probe", &["stack", "services", "settings", "outcome", "spec", "redaction"]),
    ("faults", &["stack", "services", "settings", "outcome", "spec"]),
    ("worker", &["stack", "services", "settings", "outcome", "spec", "redaction"]),
    ("scenario", &["faults", "worker", "stack", "services", "settings", "outcome", "spec", "redaction"]),
    (
        "runner",
        &["probe", "scenario", "faults", "worker", "stack", "services", "settings", "outcome", "spec", "redaction"],
    ),
    ("report", &["outcome", "guide", "redaction"]),
    ("telemetry", &["services", "settings", "outcome", "redaction"]),
    ("serve", &["runner", "report", "guide", "services", "settings", "outcome", "spec", "redaction"]),
    (
        "testing",
        &[
            "cli",
            "redaction",
            "runner",
            "report",
            "scenario",
            "faults",
            "worker",
            "stack",
            "services",
            "settings",
            "outcome",
            "spec",
        ],
    ),
    ("operations", &["services", "settings", "outcome", "redaction"]),
    ("reference_worker", &["services", "settings", "outcome"]),
    ("interop_peer", &[]),
];

#[test]
fn no_room_uses_one_above_or_beside_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (room, allowed) in MAY_USE {
        for file in files(&src.join(room)) {
            let text = fs::read_to_string(&file).unwrap();
            for used in rooms_in(&text) {
                if used != *room && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{} uses {used}", file.strip_prefix(&src).unwrap().display()));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_room_has_its_rule() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms: BTreeSet<String> = fs::read_dir(src)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let ruled: BTreeSet<String> =
        MAY_USE.iter().map(|(room, _)| (*room).to_owned()).chain(["cli".to_owned(), QDRANT.to_owned()]).collect();
    assert_eq!(rooms, ruled);
}

/// The rooms that a text names as `crate::<room>`.
fn rooms_in(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '_').collect())
        .filter(|room: &String| MAY_USE.iter().any(|(known, _)| known == room) || room == "cli")
        .collect()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .unwrap()
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { files(&path) } else { vec![path] }
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}
