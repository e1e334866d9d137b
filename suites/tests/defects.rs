//! Proof that the suites find what is wrong with a worker: defects are planted in the reference worker, one at a time,
//! and the cases that `fixtures/defects/` names must fail, each for the reason it names. What was found is written as
//! a matrix, defect × case.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "the place of the matrix is part of the test's report")]

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;
use shakedown::outcome::{Events, Level, Report, Word};
use shakedown::runner::{self, Selection};
use shakedown::spec::{Check, Documents, Suites};
use shakedown::stack::ProviderKind;

use harness::{Ship, runtime};

/// What a verdict says that is there for the right reason: one thing, or one of several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Says {
    One(String),
    AnyOf(Vec<String>),
}

impl Says {
    fn words(&self) -> &[String] {
        match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::AnyOf(words) => words,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    defect: Vec<Defect>,
}

/// A planted defect and the cases that must notice.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defect {
    /// Its name in the worker.
    name: String,
    /// What is wrong with the worker.
    what: String,
    /// The cases that must notice.
    cases: Vec<String>,
    /// What the reason must say: a failure for another reason proves nothing.
    says: Says,
    /// Seconds until a scenario is given up: what is lost is waited for in vain.
    #[serde(default)]
    within_s: Option<u64>,
    /// Documents instead of the scenario's own.
    #[serde(default)]
    documents: Option<Documents>,
}

/// Which cases failed with which defect, and for what reason.
type Matrix = Arc<Mutex<BTreeMap<String, BTreeMap<String, String>>>>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let defects = read();
    let ship: Arc<Mutex<Option<Ship>>> = Arc::default();
    let matrix: Matrix = Arc::default();
    let mut trials = Vec::new();
    let mut names = BTreeSet::new();
    for (number, defect) in defects.into_iter().enumerate() {
        if names.insert(defect.name.clone()) {
            let (ship, name) = (Arc::clone(&ship), defect.name.clone());
            // For whoever writes the tables: what a defect breaks, among all cases that judge a worker.
            let whole = move || aboard(&ship, async |ship: &Ship| survey(&name, number, ship).await);
            trials.push(Trial::test(format!("survey of {}", defect.name), whole).with_ignored_flag(true));
        }
        let (ship, matrix) = (Arc::clone(&ship), Arc::clone(&matrix));
        let title = format!("{}, told by {}", defect.name, defect.says.words()[0]);
        trials.push(Trial::test(title, move || {
            aboard(&ship, async |ship: &Ship| prove(&defect, number, ship, &matrix).await)
        }));
    }
    // A run has its cases side by side; several runs would only wait for each other.
    arguments.test_threads = Some(1);
    let conclusion = libtest_mimic::run(&arguments, trials);
    let left = ship.lock().unwrap_or_else(PoisonError::into_inner).take().map(|ship| runtime().block_on(ship.sink()));
    assert_eq!(left.unwrap_or_default(), Vec::<String>::new(), "something could not be removed");
    publish(&matrix.lock().unwrap_or_else(PoisonError::into_inner));
    conclusion.exit_code()
}

fn aboard(ship: &Mutex<Option<Ship>>, work: impl AsyncFnOnce(&Ship) -> Result<(), Failed>) -> Result<(), Failed> {
    let mut ship = ship.lock().unwrap_or_else(PoisonError::into_inner);
    runtime().block_on(async {
        if ship.is_none() {
            *ship = Some(Ship::launch(ProviderKind::Native, "defects").await);
        }
        work(ship.as_ref().expect("it was launched above")).await
    })
}

fn read() -> Vec<Defect> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/defects");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .into_iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            toml::from_str::<File>(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())).defect
        })
        .collect()
}

/// Runs `cases` with `defect` planted.
async fn run(
    defect: &str,
    cases: &[String],
    within_s: Option<u64>,
    documents: Option<&Documents>,
    number: usize,
    ship: &Ship,
) -> Report {
    let mut suites = Suites::builtin().unwrap();
    let mut options = ship.options(&format!("d{number}"));
    harness::plant(&mut options, defect);
    // What is lost is waited for in vain, which costs nothing but time.
    options.jobs = 16;
    let calm: BTreeSet<String> = suites.scenarios.values().filter_map(|scenario| scenario.calm.clone()).collect();
    for (name, scenario) in &mut suites.scenarios {
        if let Some(documents) = documents {
            scenario.documents = documents.clone();
        }
        // The voyage that the others are compared with has the time that it needs.
        if !calm.contains(name) {
            scenario.within_s = within_s.or(scenario.within_s);
        }
    }
    let selection = Selection::new(&[], cases, None).unwrap();
    runner::run(&suites, &selection, &ship.stack, &options, &Events::silent()).await
}

async fn prove(defect: &Defect, number: usize, ship: &Ship, matrix: &Matrix) -> Result<(), Failed> {
    let report = run(&defect.name, &defect.cases, defect.within_s, defect.documents.as_ref(), number, ship).await;
    let mut wrong = Vec::new();
    let known: BTreeSet<&str> = report.cases.iter().map(|case| case.id.as_str()).collect();
    wrong.extend(
        defect
            .cases
            .iter()
            .filter(|case| !known.contains(case.as_str()))
            .map(|case| format!("there is no case {case}")),
    );
    for case in &report.cases {
        let wanted = if case.level == Level::Must { Word::Fail } else { Word::Warn };
        let (seen, reason) = (case.verdict.word(), case.verdict.reason().unwrap_or_default());
        if seen != wanted {
            wrong.push(format!("{}: the verdict is {seen}, wanted {wanted}: {reason}\n{:#?}", case.id, case.evidence));
        } else if !defect.says.words().iter().any(|word| reason.contains(word)) {
            wrong.push(format!(
                "{}: failed for another reason than `{}`: {reason}",
                case.id,
                defect.says.words().join("`, `")
            ));
        } else {
            let mut matrix = matrix.lock().unwrap_or_else(PoisonError::into_inner);
            matrix.entry(defect.name.clone()).or_default().insert(case.id.clone(), reason.to_owned());
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{}:\n{}", defect.what, wrong.join("\n")).into()) }
}

/// Says which of all the cases that judge a worker notice the defect, and why.
async fn survey(defect: &str, number: usize, ship: &Ship) -> Result<(), Failed> {
    let suites = Suites::builtin().unwrap();
    let judges = |case: &&Arc<shakedown::spec::Case>| matches!(case.check, Check::Scenario(..)) && !case.is_slow();
    let cases: Vec<String> = suites.cases.iter().filter(judges).map(|case| case.id.clone()).collect();
    let report = run(defect, &cases, Some(12), None, 1000 + number, ship).await;
    let mut text = format!("\n{defect}, {} ms\n", report.duration_ms);
    for case in &report.cases {
        writeln!(
            text,
            "{defect} {:<8} {} {}",
            case.verdict.word().to_string(),
            case.id,
            case.verdict.reason().unwrap_or_default()
        )
        .unwrap();
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("survey-{defect}.txt"));
    std::fs::write(&path, text)?;
    Ok(())
}

/// Writes what was found as a table: a row for each defect, with the cases that noticed it.
fn publish(matrix: &BTreeMap<String, BTreeMap<String, String>>) {
    if matrix.is_empty() {
        return;
    }
    let cases: usize = matrix.values().map(BTreeMap::len).sum();
    let mut text =
        format!("# Planted defects\n\n{} defects, {cases} verdicts that they must lead to.\n\n", matrix.len());
    text.push_str("| defect | case | reason |\n|---|---|---|\n");
    for (defect, cases) in matrix {
        for (case, reason) in cases {
            let reason = reason.lines().next().unwrap_or_default().replace('|', "\\|");
            writeln!(text, "| {defect} | {case} | {reason} |").unwrap();
        }
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("defects.md");
    std::fs::write(&path, text).unwrap();
    println!("{} defects were noticed by {cases} cases: {}", matrix.len(), path.display());
}
