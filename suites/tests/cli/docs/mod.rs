//! The documentation against the code: links, commands, code blocks, generated tables, words.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod add_case;
mod blocks;
mod commands;
mod generated;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::Value;
use shakedown::guide::catalogue;

use crate::support::cli_sandbox::SHAKEDOWN;

/// Pages that a user or a contributor reads.
fn pages() -> Vec<PathBuf> {
    let root = root();
    let mut pages: Vec<PathBuf> = fs::read_dir(root.join("src/guide"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.sort();
    let others = [
        "README.md",
        "src/ARCHITECTURE.md",
        "src/faults/README.md",
        "src/qdrant/README.md",
        "suites/README.md",
        "suites/CASES.md",
        "suites/FAILURES.md",
        "suites/tests/README.md",
        ".github/CONTRIBUTING.md",
        ".github/SECURITY.md",
    ];
    pages.extend(others.map(|name| root.join(name)));
    pages
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The JSON Schema that `shakedown schema` prints.
fn schema(of: &str) -> Value {
    let output = Command::new(SHAKEDOWN).args(["schema", of]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every file below `directories` of the project.
fn files_below(directories: &[&str]) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = directories.iter().map(|name| root().join(name)).collect();
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files
}

#[test]
fn the_readme_is_short() {
    assert!(text(&root().join("README.md")).len() <= 8 * 1024);
}

#[test]
fn every_relative_link_leads_to_a_file() {
    let link = Regex::new(r"\]\(([^)#\s]+)(#[^)\s]*)?\)").unwrap();
    let mut broken = Vec::new();
    for page in pages() {
        for found in link.captures_iter(&text(&page)) {
            let target = &found[1];
            if !target.contains("://") && !page.parent().unwrap().join(target).exists() {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn comments_cite_entries_that_the_failure_catalogue_has() {
    let citation = Regex::new(r"FAILURES\.md(?:#([a-z0-9.-]*[a-z0-9]))?").unwrap();
    let mut unknown = Vec::new();
    let mut seen = 0;
    for file in files_below(&["src"]).iter().filter(|file| file.extension().is_some_and(|kind| kind == "rs")) {
        for (number, line) in text(file).lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//")) {
            for slug in citation.captures_iter(line).filter_map(|found| found.get(1)) {
                seen += 1;
                if catalogue::entry(slug.as_str()).is_none() {
                    unknown.push(format!("{}:{}: {}", file.display(), number + 1, slug.as_str()));
                }
            }
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
    assert!(seen >= 5, "only {seen} citations were found");
}
