//! The page "Add a built-in case" in `suites/README.md`, followed step by step on a copy of the files that it names.

use std::fs;
use std::path::Path;

use regex::Regex;
use serde_json::Value;

use super::commands::commands;
use super::{root, text};
use crate::support::cli_sandbox::CliSandbox;
use crate::support::markdown::{blocks, section};

/// Copies the TOML files of a directory of the project to the same place below `target`.
fn copy(directory: &str, target: &Path) {
    fs::create_dir_all(target.join(directory)).unwrap();
    for entry in fs::read_dir(root().join(directory)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            fs::copy(&path, target.join(directory).join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// What following the page did.
#[derive(Default)]
struct Followed {
    /// The id of the new case.
    id: String,
    /// The files to which a block was appended.
    changed: Vec<String>,
    /// The output of each command that was run.
    outputs: Vec<(String, String)>,
}

impl Followed {
    /// The output of the only command that contains `words`.
    fn output(&self, words: &str) -> &str {
        let mut outputs = self.outputs.iter().filter(|(command, _)| command.contains(words));
        let (_, output) = outputs.next().unwrap_or_else(|| panic!("the page has no command `{words}`"));
        assert!(outputs.next().is_none(), "the page has several commands `{words}`");
        output
    }
}

/// Follows the page in `work`: appends each TOML block to the file that the text before it names last, and runs each
/// command of Shakedown. `docs::commands` checks the other commands, which would build this project again.
fn follow(sandbox: &CliSandbox, work: &Path) -> Followed {
    let file = Regex::new(r"`((?:suites|fixtures)/[a-z/-]+\.toml)`").unwrap();
    let id = Regex::new(r#"(?m)^id = "([^"]+)""#).unwrap();
    let page = text(&root().join("suites/README.md"));
    let mut followed = Followed::default();
    for block in blocks(section(&page, "Add a built-in case")) {
        match block.language.as_str() {
            "toml" => {
                let file = file.captures_iter(&block.before).last();
                let file = file.unwrap_or_else(|| panic!("no file is named before:\n{}", block.text))[1].to_owned();
                let path = work.join(&file);
                fs::write(&path, format!("{}\n{}", text(&path), block.text)).unwrap();
                followed.changed.push(file);
                if let Some(found) = id.captures(&block.text) {
                    found[1].clone_into(&mut followed.id);
                }
            }
            "console" => {
                for command in commands(&block.text) {
                    let Some(arguments) = command.strip_prefix("shakedown ") else { continue };
                    let (code, output) = sandbox.run(&arguments.split_whitespace().collect::<Vec<_>>());
                    assert_eq!(code, 0, "{command}: {output}");
                    followed.outputs.push((command.to_owned(), output));
                }
            }
            other => panic!("the page has a block that cannot be followed: {other}"),
        }
    }
    followed
}

#[test]
fn the_page_that_says_how_to_add_a_case_can_be_followed() {
    let sandbox = CliSandbox::new();
    let work = sandbox.path("work");
    copy("suites", &work);
    copy("fixtures/breakages", &work);
    let (_, before) = sandbox.run(&["suites", "lint", "suites"]);
    let followed = follow(&sandbox, &work);

    let (suite, _) = followed.id.split_once('.').unwrap();
    assert_eq!(followed.changed, [format!("suites/{suite}.toml"), format!("fixtures/breakages/{suite}.toml")]);
    let count = |text: &str| -> usize {
        Regex::new(r"with (\d+) cases").unwrap().captures(text).unwrap_or_else(|| panic!("{text}"))[1].parse().unwrap()
    };
    assert_eq!(count(followed.output("suites lint")), count(&before) + 1);
    assert!(followed.output("--list").contains(&format!("must {}", followed.id)), "{}", followed.output("--list"));
    assert!(followed.output("explain").contains(&followed.id), "{}", followed.output("explain"));
    let report = work.join("case.json");
    let (code, printed) = sandbox.run(&[
        "run",
        "--suites",
        "suites",
        "--case",
        &followed.id,
        "--provider",
        "native",
        "--report",
        &format!("json={}", report.display()),
    ]);
    assert_eq!(code, 0, "{printed}");
    let report: Value = serde_json::from_str(&text(&report)).unwrap();
    let cases: Vec<(&str, &str)> = report["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| (case["id"].as_str().unwrap(), case["verdict"].as_str().unwrap()))
        .collect();
    assert_eq!(cases, [(followed.id.as_str(), "pass")], "{printed}");
    assert!(followed.output("--provider native").contains("conformant: 1 of 1 MUST cases judged"));
    sandbox.assert_clean();

    // The row that proves it is in the copied table; the test program `detection` runs it.
    let rows: toml::Table = text(&work.join(&followed.changed[1])).parse().unwrap();
    let last = rows["breakage"].as_array().unwrap().last().unwrap();
    assert_eq!(last["case"].as_str(), Some(followed.id.as_str()));
}
