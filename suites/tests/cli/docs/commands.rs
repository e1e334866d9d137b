//! The commands that the documentation shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use super::{pages, root, text};
use crate::support::cli_sandbox::SHAKEDOWN;
use crate::support::markdown::blocks;

/// The commands of a `console` block, without comments. In a block with prompts the other lines are output.
pub(super) fn commands(block: &str) -> Vec<&str> {
    let has_prompts = block.lines().any(|line| line.starts_with("$ "));
    block
        .lines()
        .filter_map(|line| if has_prompts { line.strip_prefix("$ ") } else { Some(line) })
        .filter_map(|line| line.split('#').next().map(str::trim))
        .filter(|line| !line.is_empty())
        .collect()
}

/// What commands may name: the help of Shakedown's verbs, and the targets and features of this project.
#[derive(Default)]
struct Known {
    help: BTreeMap<Vec<String>, Option<String>>,
}

impl Known {
    /// The help of a verb; `None` if there is no such verb.
    fn help(&mut self, verb: &[&str]) -> Option<String> {
        let key = verb.iter().map(|word| (*word).to_owned()).collect();
        let help = self.help.entry(key).or_insert_with(|| {
            let output = Command::new(SHAKEDOWN).args(verb).arg("--help").output().unwrap();
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        });
        help.clone()
    }

    /// Why `command` cannot work; `None` if it names only what exists.
    fn problem(&mut self, command: &str) -> Option<String> {
        let words: Vec<&str> = command.split_whitespace().skip_while(|word| word.contains('=')).collect();
        match words.split_first()? {
            (&"shakedown", rest) => self.shakedown_problem(rest),
            (&"cargo", rest) => cargo_problem(rest),
            (script, rest) if script.trim_start_matches("./").starts_with("scripts/") => script_problem(script, rest),
            (other, _) => Some(format!("no test checks the program `{other}`")),
        }
    }

    fn shakedown_problem(&mut self, rest: &[&str]) -> Option<String> {
        let is_verb = |word: &&str| word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-');
        let verbs: Vec<&str> = rest.iter().copied().take_while(is_verb).take(2).collect();
        // The second word is a verb below the first, or an argument.
        let Some(help) = (1..=verbs.len()).rev().find_map(|count| self.help(&verbs[..count])) else {
            return Some("no such verb".to_owned());
        };
        let mut flags = rest.iter().filter(|word| word.starts_with("--")).filter_map(|word| word.split('=').next());
        flags.find(|flag| !help.contains(flag)).map(|flag| format!("no flag {flag}"))
    }
}

/// The values of a flag of `cargo`, whether written `--flag value` or `--flag=value`.
fn values<'a>(words: &[&'a str], flag: &str) -> Vec<&'a str> {
    let separate = words.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1]);
    let joined = words.iter().filter_map(|word| word.strip_prefix(flag)?.strip_prefix('='));
    separate.chain(joined).collect()
}

fn cargo_problem(words: &[&str]) -> Option<String> {
    let manifest: toml::Table = text(&root().join("Cargo.toml")).parse().unwrap();
    let named = |table: &str| -> BTreeSet<String> {
        let entries = manifest.get(table).and_then(toml::Value::as_array).into_iter().flatten();
        entries.filter_map(|entry| entry["name"].as_str().map(str::to_owned)).collect()
    };
    let features: BTreeSet<String> = manifest["features"].as_table().unwrap().keys().cloned().collect();
    let mut tests = named("test");
    if values(words, "-p").contains(&"shakedown-qdrant") {
        // Cargo finds the tests of that crate by their directories.
        let found = fs::read_dir(root().join("src/qdrant/tests")).unwrap();
        tests = found.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    }
    for (flag, known) in [("--test", tests), ("--bench", named("bench")), ("--features", features)] {
        if let Some(value) = values(words, flag).into_iter().find(|value| !known.contains(*value)) {
            return Some(format!("{flag} {value} is not in Cargo.toml"));
        }
    }
    None
}

fn script_problem(script: &str, rest: &[&str]) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = root().join(script.trim_start_matches("./"));
    let Ok(file) = path.metadata() else { return Some("no such script".to_owned()) };
    if file.permissions().mode() & 0o111 == 0 {
        return Some("the script is not executable".to_owned());
    }
    let text = text(&path);
    let mut flags = rest.iter().map(|word| word.trim_matches(['[', ']'])).filter(|word| word.starts_with("--"));
    flags.find(|flag| !text.contains(flag)).map(|flag| format!("the script has no flag {flag}"))
}

#[test]
fn every_command_of_the_documentation_names_only_what_exists() {
    let mut known = Known::default();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in pages() {
        for block in blocks(&text(&page)).iter().filter(|block| block.language == "console") {
            let commands = commands(&block.text);
            assert!(!commands.is_empty(), "{}: a console block without a command:\n{}", page.display(), block.text);
            for command in commands {
                seen += 1;
                if let Some(problem) = known.problem(command) {
                    wrong.push(format!("{}: {problem}: {command}", page.display()));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(seen > 60, "only {seen} commands were found");
}

#[test]
fn a_command_that_names_something_unknown_is_found() {
    let mut known = Known::default();
    for (command, problem) in [
        ("shakedown fly", "no such verb"),
        ("shakedown run --fly", "no flag --fly"),
        ("KEY=1 shakedown run --quick", ""),
        ("cargo test --test nothing", "--test nothing is not in Cargo.toml"),
        ("cargo test --features=defects --test cli rooms::", ""),
        ("cargo test -p shakedown-qdrant --test fuzz", ""),
        ("cargo test -p shakedown-qdrant --test cli", "--test cli is not in Cargo.toml"),
        ("scripts/nothing", "no such script"),
        ("./scripts/soak --fly 3", "the script has no flag --fly"),
        ("npm test", "no test checks the program `npm`"),
    ] {
        assert_eq!(known.problem(command).unwrap_or_default(), problem, "{command}");
    }
    assert_eq!(commands("$ shakedown qdrant\n{}\n"), ["shakedown qdrant"]);
    assert_eq!(commands("shakedown up  # a comment\n# another\n"), ["shakedown up"]);
}
