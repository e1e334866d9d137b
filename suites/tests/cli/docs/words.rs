//! The words of code and documentation: no former word comes back, and the glossary is complete.

use std::collections::BTreeSet;
use std::fs;

use regex::Regex;

use super::{files_below, root, schema, text};

/// A regular expression that matches the words of the former vocabulary.
const FORMER_WORDS: &str = include_str!("former_words.txt");

#[test]
fn no_metaphor_is_in_code_suites_scripts_and_documentation() {
    let word = Regex::new(FORMER_WORDS.trim()).unwrap();
    let data = ["former_words.txt", "renamed.tsv"];
    let mut found = Vec::new();
    let mut files = files_below(&["src", "suites", "scripts", ".github"]);
    files.extend(["README.md", "CHANGELOG.md"].map(|name| root().join(name)));
    for file in files.iter().filter(|file| !data.iter().any(|data| file.ends_with(data))) {
        let Ok(text) = fs::read_to_string(file) else { continue };
        for (number, line) in text.lines().enumerate().filter(|(_, line)| word.is_match(line)) {
            found.push(format!("{}:{}: {line}", file.display(), number + 1));
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

/// Parts of type names that need no entry in the glossary: plain English, or a service's own word.
const ORDINARY: &[&str] = &[
    "All",
    "Answer",
    "Auth",
    "Authentication",
    "Behaviour",
    "Body",
    "Command",
    "Commands",
    "Comparison",
    "Consistency",
    "Direction",
    "Dns",
    "Documents",
    "Env",
    "Environment",
    "Expect",
    "File",
    "Gate",
    "Http",
    "Ingestion",
    "Intact",
    "Interop",
    "Jina",
    "Kind",
    "Lasts",
    "Left",
    "Limits",
    "Migrations",
    "Network",
    "Pattern",
    "Queue",
    "Range",
    "Redis",
    "Requests",
    "Retry",
    "Rule",
    "Search",
    "Service",
    "Setup",
    "Sql",
    "Statements",
    "Tcp",
    "Tls",
    "Totals",
    "When",
    "Word",
];

#[test]
fn the_glossary_explains_the_types_of_suites_and_reports() {
    let architecture = text(&root().join("src/ARCHITECTURE.md"));
    let glossary = architecture.split("## Glossary").nth(1).unwrap();
    let entries: BTreeSet<String> = glossary
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next().map(str::to_owned))
        .flat_map(|entry| entry.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let part = Regex::new("[A-Z][a-z]+").unwrap();
    let mut unexplained = BTreeSet::new();
    for schema in [schema("suite"), schema("report")] {
        for name in schema["$defs"].as_object().unwrap().keys() {
            let parts: Vec<&str> = part.find_iter(name).map(|part| part.as_str()).collect();
            let known = |part: &&str| {
                ORDINARY.contains(part)
                    || entries.contains(&part.to_lowercase())
                    || entries.contains(&format!("{}s", part.to_lowercase()))
            };
            if !parts.iter().any(known) {
                unexplained.insert(name.clone());
            }
        }
    }
    assert_eq!(unexplained, BTreeSet::new(), "add them to the glossary of src/ARCHITECTURE.md");
    let lines: Vec<&str> = glossary.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()).collect();
    let unique: BTreeSet<&&str> = lines.iter().collect();
    assert_eq!(unique.len(), lines.len(), "each word once: {lines:?}");
}
