//! The documentation against the code: links, commands, TOML, generated tables, words.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::Value;
use shakedown::settings::process_variable;
use shakedown::spec::Suites;

use crate::support::cli_sandbox::{CliSandbox, SHAKEDOWN};

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

/// The fenced code blocks of this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, Vec<&str>)> = None;
    for line in text.lines() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(info)) => open = Some((info == language, Vec::new())),
            (Some((wanted, lines)), Some(_)) => {
                if *wanted {
                    blocks.push(lines.join("\n"));
                }
                open = None;
            }
            (Some((_, lines)), None) => lines.push(line.trim_start()),
            (None, None) => {}
        }
    }
    blocks
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
fn every_command_of_the_documentation_has_the_verbs_and_flags_that_it_uses() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in pages() {
        for block in blocks(&text(&page), "console") {
            for line in block.lines().filter_map(|line| line.split('#').next()) {
                let words: Vec<&str> =
                    line.split_whitespace().skip_while(|word| *word == "$" || word.contains('=')).collect();
                let Some((&"shakedown", rest)) = words.split_first() else { continue };
                let verbs: Vec<&str> = rest
                    .iter()
                    .copied()
                    .take_while(|word| word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-'))
                    .take(2)
                    .collect();
                // The second word is a verb below the first, or an argument.
                let help = (1..=verbs.len()).rev().find_map(|count| {
                    let output = Command::new(SHAKEDOWN).args(&verbs[..count]).arg("--help").output().unwrap();
                    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
                });
                let Some(help) = help else {
                    wrong.push(format!("{}: no such verb: {line}", page.display()));
                    continue;
                };
                seen += 1;
                for flag in rest.iter().filter(|word| word.starts_with("--")) {
                    let flag = flag.split('=').next().unwrap();
                    if !help.contains(flag) {
                        wrong.push(format!("{}: {flag} of: {line}", page.display()));
                    }
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(seen > 50, "only {seen} commands were found");
}

#[test]
fn every_suite_of_the_documentation_can_be_read() {
    let id = Regex::new(r#"id = "([a-z-]+)\."#).unwrap();
    let mut seen = 0;
    for page in pages() {
        for block in blocks(&text(&page), "toml").iter().filter(|block| block.contains("[[case]]")) {
            seen += 1;
            let suite = id.captures(block).unwrap()[1].to_owned();
            let head = if block.contains("suite = ") {
                String::new()
            } else {
                format!("suite = \"{suite}\"\ntitle = \"An example\"\n")
            };
            let read = Suites::from_texts(&[(page.clone(), format!("{head}{block}"))]);
            assert!(read.is_ok(), "{}: {}\n{block}", page.display(), read.err().unwrap());
        }
    }
    assert!(seen >= 5, "only {seen} suites were found");
}

#[test]
fn every_configuration_of_the_documentation_can_be_read() {
    let sandbox = CliSandbox::new();
    let mut seen = 0;
    for page in pages() {
        for block in blocks(&text(&page), "toml") {
            if block.contains("[[case]]") || block.contains("[[breakage]]") || block.contains("[[defect]]") {
                continue;
            }
            seen += 1;
            let work = sandbox.path("work");
            fs::write(work.join("shakedown.toml"), &block).unwrap();
            fs::create_dir_all(work.join("app")).unwrap();
            let (code, printed) = sandbox.run(&["env", "--resolved"]);
            assert_eq!(code, 0, "{}: {printed}\n{block}", page.display());
        }
    }
    assert!(seen >= 4, "only {seen} configurations were found");
}

/// Names and descriptions of the variants or properties of a schema.
fn rows(schema: &Value) -> Vec<(String, String)> {
    let description = |value: &Value| -> String {
        let text = value["description"].as_str().unwrap_or_default();
        // A link of rustdoc leads nowhere in the guide.
        text.replace('\n', " ").replace('|', "\\|").replace("[`", "`").replace("`]", "`")
    };
    let mut rows = Vec::new();
    for variant in schema["oneOf"].as_array().into_iter().flatten() {
        let names: Vec<String> = match (&variant["const"], &variant["enum"], &variant["properties"]) {
            (Value::String(name), ..) => vec![name.clone()],
            (_, Value::Array(names), _) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            (.., Value::Object(properties)) => properties
                .iter()
                .map(|(name, value)| {
                    let keys: Vec<&str> =
                        value["properties"].as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
                    if keys.is_empty() { name.clone() } else { format!("{name} = {{ {} }}", keys.join(", ")) }
                })
                .collect(),
            _ => Vec::new(),
        };
        rows.extend(names.into_iter().map(|name| (name, description(variant))));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        rows.push((name.clone(), description(property)));
    }
    rows
}

fn table(head: [&str; 2], rows: &[(String, String)]) -> String {
    let mut table = format!("| {} | {} |\n|---|---|\n", head[0], head[1]);
    for (name, description) in rows {
        let _ = writeln!(table, "| `{name}` | {description} |");
    }
    table
}

fn schema(of: &str) -> Value {
    let output = Command::new(SHAKEDOWN).args(["schema", of]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn exit_codes() -> String {
    let source = text(&root().join("src/outcome/exit.rs"));
    let code = Regex::new(r"(?m)^    /// (\d+): (.+)\.$").unwrap();
    let rows: Vec<(String, String)> =
        code.captures_iter(&source).map(|found| (found[1].to_owned(), found[2].to_owned())).collect();
    assert!(rows.len() >= 6, "{rows:?}");
    table(["code", "meaning"], &rows)
}

/// The tables that stand between `<!-- generated: NAME -->` and `<!-- end -->` in the guide.
fn generated(name: &str) -> String {
    let suite = schema("suite");
    let of = |definition: &str| rows(&suite["$defs"][definition]);
    match name {
        "faults" => {
            let parts = [
                ("Network", "NetworkFault"),
                ("Service", "ServiceFault"),
                ("Worker", "WorkerFault"),
                ("Answers of the embeddings API", "Answer"),
            ];
            parts
                .map(|(title, definition)| format!("### {title}\n\n{}", table(["fault", "effect"], &of(definition))))
                .join("\n")
        }
        "expectations" => table(["key", "what must hold"], &expected(&suite, true)),
        "matchers" => table(["key", "what must hold"], &expected(&suite, false)),
        "exit-codes" => exit_codes(),
        "report-fields" => {
            let report = schema("report");
            let parts = [
                ("Report", &report),
                ("Case", &report["$defs"]["CaseRecord"]),
                ("Timeline", &report["$defs"]["Timeline"]),
            ];
            parts
                .map(|(title, schema)| format!("### {title}\n\n{}", table(["field", "meaning"], &rows(schema))))
                .join("\n")
        }
        other => panic!("no generated table is called {other}"),
    }
}

/// The keys of `expect`: those of scenarios or those of probes.
fn expected(suite: &Value, of_scenarios: bool) -> Vec<(String, String)> {
    const OF_PROBES: [&str; 14] = [
        "answers",
        "refused",
        "or_denied",
        "equals",
        "not_equals",
        "one_of",
        "matches",
        "not_matches",
        "contains",
        "at_least",
        "at_most",
        "version_at_least",
        "empty",
        "exists",
    ];
    let all = rows(&suite["$defs"]["Expect"]);
    assert!(all.len() > 50, "{all:?}");
    all.into_iter().filter(|(name, _)| OF_PROBES.contains(&name.as_str()) != of_scenarios).collect()
}

#[test]
fn generated_tables_are_what_the_code_says() {
    let write = process_variable("WRITE_DOCS").is_some();
    let block = Regex::new(r"(?s)<!-- generated: ([a-z-]+) -->\n.*?<!-- end -->").unwrap();
    let mut stale = Vec::new();
    let mut names = BTreeSet::new();
    for page in pages() {
        let old = text(&page);
        let new = block.replace_all(&old, |found: &regex::Captures<'_>| {
            names.insert(found[1].to_owned());
            format!("<!-- generated: {} -->\n{}<!-- end -->", &found[1], generated(&found[1]))
        });
        if new != old {
            if write {
                fs::write(&page, new.as_ref()).unwrap();
            } else {
                stale.push(page.display().to_string());
            }
        }
    }
    assert_eq!(stale, Vec::<String>::new(), "write them anew with: scripts/check/schema --write");
    assert_eq!(names.len(), 5, "{names:?}");
}

/// A regular expression that matches the words of the former vocabulary.
const FORMER_WORDS: &str = include_str!("former_words.txt");

#[test]
fn no_metaphor_is_in_code_suites_scripts_and_documentation() {
    let word = Regex::new(FORMER_WORDS.trim()).unwrap();
    let data = ["former_words.txt", "renamed.tsv"];
    let mut found = Vec::new();
    let mut directories: Vec<PathBuf> = ["src", "suites", "scripts", ".github"].map(|name| root().join(name)).into();
    let mut files = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
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
    "Comparison",
    "Consistency",
    "Direction",
    "Dns",
    "Expect",
    "Pattern",
    "Documents",
    "Env",
    "Environment",
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
