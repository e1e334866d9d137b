//! The code blocks of the documentation that are not commands.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;
use shakedown::spec::Suites;

use super::{files_below, pages, root, text};
use crate::support::cli_sandbox::CliSandbox;
use crate::support::markdown::blocks;

/// What a TOML block contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Toml {
    /// Cases, with or without the head of their suite.
    Suite,
    /// Rows of `suites/causes/`.
    Cause,
    /// Rows of `fixtures/breakages/` or `fixtures/defects/`.
    Proof,
    /// `shakedown.toml`.
    Configuration,
}

impl Toml {
    fn kind_of(block: &str) -> Self {
        if block.contains("[[case]]") {
            Self::Suite
        } else if block.contains("[[cause]]") {
            Self::Cause
        } else if block.contains("[[breakage]]") || block.contains("[[defect]]") {
            Self::Proof
        } else {
            Self::Configuration
        }
    }
}

/// The TOML blocks of this kind, each with its page.
fn toml_blocks(kind: Toml) -> Vec<(std::path::PathBuf, String)> {
    let of_page = |page: std::path::PathBuf| {
        let blocks = blocks(&text(&page)).into_iter().filter(|block| block.language == "toml");
        let blocks: Vec<_> = blocks.filter(|block| Toml::kind_of(&block.text) == kind).collect();
        blocks.into_iter().map(move |block| (page.clone(), block.text))
    };
    pages().into_iter().flat_map(of_page).collect()
}

/// The suite with the cases of a block.
fn suite(page: &Path, block: &str) -> Suites {
    let id = Regex::new(r#"id = "([a-z-]+)\."#).unwrap();
    let suite = id.captures(block).unwrap()[1].to_owned();
    let head = if block.contains("suite = ") {
        String::new()
    } else {
        format!("suite = \"{suite}\"\ntitle = \"An example\"\n")
    };
    Suites::from_texts(&[(page.to_owned(), format!("{head}{block}"))])
        .unwrap_or_else(|error| panic!("{}: {error}\n{block}", page.display()))
}

#[test]
fn every_suite_of_the_documentation_can_be_read() {
    let found = toml_blocks(Toml::Suite);
    for (page, block) in &found {
        assert!(!suite(page, block).cases.is_empty(), "{}", page.display());
    }
    assert!(found.len() >= 6, "only {} suites were found", found.len());
}

#[test]
fn every_configuration_of_the_documentation_can_be_read() {
    let sandbox = CliSandbox::new();
    let work = sandbox.path("work");
    fs::create_dir_all(work.join("app")).unwrap();
    let found = toml_blocks(Toml::Configuration);
    for (page, block) in &found {
        fs::write(work.join("shakedown.toml"), block).unwrap();
        let (code, printed) = sandbox.run(&["env", "--resolved"]);
        assert_eq!(code, 0, "{}: {printed}\n{block}", page.display());
    }
    assert!(found.len() >= 5, "only {} configurations were found", found.len());
}

#[test]
fn every_proof_of_the_documentation_names_a_case() {
    let shown = toml_blocks(Toml::Suite);
    let shown = shown.iter().flat_map(|(page, block)| suite(page, block).cases);
    let cases: BTreeSet<String> =
        Suites::builtin().unwrap().cases.into_iter().chain(shown).map(|case| case.id.clone()).collect();
    let found = toml_blocks(Toml::Proof);
    for (page, block) in &found {
        let table: toml::Table = block.parse().unwrap_or_else(|error| panic!("{}: {error}\n{block}", page.display()));
        for row in table.values().filter_map(toml::Value::as_array).flatten() {
            let named = row.get("cases").and_then(toml::Value::as_array).into_iter().flatten().chain(row.get("case"));
            let named: Vec<&str> = named.filter_map(toml::Value::as_str).collect();
            assert!(!named.is_empty() && named.iter().all(|case| cases.contains(*case)), "{}: {row}", page.display());
        }
    }
    assert!(!found.is_empty());
}

#[test]
fn the_step_for_github_actions_uses_inputs_that_the_action_has() {
    let action = text(&root().join(".github/actions/shakedown/action.yml"));
    let inputs = action.split_once("\ninputs:\n").unwrap().1;
    let mut seen = 0;
    for page in pages() {
        for block in blocks(&text(&page)).iter().filter(|block| block.language == "yaml") {
            let with = block.text.split_once("with:\n").unwrap().1;
            for input in with.lines().filter_map(|line| line.trim().split_once(':')).map(|(name, _)| name) {
                seen += 1;
                assert!(inputs.contains(&format!("\n  {input}:\n")) || inputs.starts_with(&format!("  {input}:\n")));
            }
        }
    }
    assert!(seen > 0);
}

#[test]
fn the_test_code_of_the_documentation_calls_only_what_the_library_has() {
    let method = Regex::new(r"\.([a-z_]+)\(").unwrap();
    let library: String = files_below(&["src/testing"]).iter().map(|file| text(file)).collect();
    let of_std = ["unwrap", "is_err"];
    let mut seen = 0;
    for page in pages() {
        for block in blocks(&text(&page)).iter().filter(|block| block.language == "rust,ignore") {
            for found in method.captures_iter(&block.text).filter(|found| !of_std.contains(&&found[1])) {
                seen += 1;
                assert!(library.contains(&format!("fn {}", &found[1])), "{}: {}", page.display(), &found[1]);
            }
        }
    }
    assert!(seen >= 5, "only {seen} calls were found");
}

#[test]
fn every_code_block_has_a_language_that_a_test_reads() {
    // `text` is a drawing; the tests of this directory read the others.
    let read = ["console", "toml", "yaml", "rust,ignore", "text"];
    let mut unread = Vec::new();
    for page in pages() {
        let unknown = blocks(&text(&page)).into_iter().filter(|block| !read.contains(&block.language.as_str()));
        unread.extend(unknown.map(|block| format!("{}: `{}`\n{}", page.display(), block.language, block.text)));
    }
    assert_eq!(unread, Vec::<String>::new());
}

#[test]
fn every_cause_of_the_documentation_is_one_of_the_vocabulary() {
    let vocabulary = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/causes");
    let rows = |text: &str| text.parse::<toml::Table>().unwrap()["cause"].as_array().unwrap().clone();
    let known: Vec<toml::Value> = fs::read_dir(vocabulary)
        .unwrap()
        .flat_map(|file| rows(&fs::read_to_string(file.unwrap().path()).unwrap()))
        .collect();
    let found = toml_blocks(Toml::Cause);
    for (page, block) in &found {
        for row in rows(block) {
            assert!(known.iter().any(|known| known["id"] == row["id"]), "{}: {row}", page.display());
            let has = |key: &str| known.iter().any(|known| known.get(key).is_some());
            let unknown: Vec<&String> = row.as_table().unwrap().keys().filter(|key| !has(key)).collect();
            assert!(unknown.is_empty(), "{}: {unknown:?}", page.display());
        }
    }
    assert!(!found.is_empty());
}
