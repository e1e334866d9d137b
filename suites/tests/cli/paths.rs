//! The paths that the documentation names.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// The directories of the repository whose files are named by their whole path.
const NAMED: &str = "`((?:src|suites|fixtures|scripts)/[A-Za-z0-9_./-]+)`";

/// A file that the reader names, such as `src/faults/network/KIND.rs`.
const PLACEHOLDER: &str = r"/[A-Z]+\.rs$";

#[test]
fn every_path_that_a_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    for directory in ["src", "suites", ".github"] {
        pages.extend(markdown(&root.join(directory)));
    }
    let named = Regex::new(NAMED).unwrap();
    let placeholder = Regex::new(PLACEHOLDER).unwrap();
    let mut missing = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(page).unwrap();
        for path in named.captures_iter(&text).map(|found| found.get(1).unwrap().as_str()) {
            if !placeholder.is_match(path) && !root.join(path).exists() {
                missing.push(format!("{} names {path}", page.strip_prefix(root).unwrap().display()));
            }
        }
    }
    assert!(pages.len() > 10, "{pages:?}");
    assert_eq!(missing, Vec::<String>::new());
}

/// Every Markdown file below `directory`.
fn markdown(directory: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let all = paths.flat_map(|path| if path.is_dir() { markdown(&path) } else { vec![path] });
    all.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}
