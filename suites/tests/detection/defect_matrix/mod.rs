//! Defects that are planted in a worker, and the proof that the cases which a table names notice each.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "the place of the matrix is part of the test's report")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed};
use serde::Deserialize;
use shakedown::outcome::{CaseRecord, Events, Level, Report, Word};
use shakedown::runner::{self, Selection};
use shakedown::scenario;
use shakedown::settings::{Contract, Grace, Template, process_variable};
use shakedown::spec::{Documents, Suites};
use shakedown::stack::ProviderKind;

use tokio::sync::{OnceCell, Semaphore};

use crate::support::harness::{TestStack, runtime};

/// What a verdict says that is there for the right reason: one thing, or one of several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Says {
    One(String),
    AnyOf(Vec<String>),
}

impl Says {
    pub fn words(&self) -> &[String] {
        match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::AnyOf(words) => words,
        }
    }

    /// Whether the reason or the evidence of the verdict contains one of the words. The worker's output does not count.
    fn is_in(&self, case: &CaseRecord) -> bool {
        let is_output = |what: &str| matches!(what, "the worker's last output" | "the worker's last error");
        let findings = case.evidence.iter().filter(|evidence| !is_output(&evidence.what));
        let seen = findings.map(|evidence| evidence.seen.to_string());
        let all: Vec<String> =
            std::iter::once(case.verdict.reason().unwrap_or_default().to_owned()).chain(seen).collect();
        self.words().iter().any(|word| all.iter().any(|text| text.contains(word)))
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
pub struct Defect {
    /// Its name in the worker.
    pub name: String,
    /// What is wrong with the worker.
    pub what: String,
    /// The cases that must notice.
    pub cases: Vec<String>,
    /// What the reason, or the evidence, must say: a failure for another reason proves nothing.
    pub says: Says,
    /// Seconds until a scenario is given up: what is lost is waited for in vain.
    #[serde(default)]
    pub within_s: Option<u64>,
    /// Documents instead of the scenario's own.
    #[serde(default)]
    pub documents: Option<Documents>,
    /// Variables that have these values, whatever a scenario sets: the worker is one that does not read them.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

impl Defect {
    /// Places that its run takes: a few cases leave room for others, many keep the machine busy by themselves.
    pub fn places(&self, all: u32) -> u32 {
        if self.cases.len() > 3 { all } else { 1 }
    }

    /// A name for its test, unlike that of any other.
    pub fn title(&self) -> String {
        let first = self.cases.first().map_or("", String::as_str);
        format!("{} breaks {first}, reported as {}", self.name, self.says.words()[0])
    }
}

/// Which cases failed with which defect, and for what reason.
pub type Matrix = Arc<Mutex<BTreeMap<String, BTreeMap<String, String>>>>;

/// The tables of a file, or of every file of a directory.
pub fn read(path: &Path) -> Vec<Defect> {
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(path) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => vec![path.to_owned()],
    };
    paths.sort();
    paths
        .into_iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            toml::from_str::<File>(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())).defect
        })
        .collect()
}

/// `contract` with a variable that plants a defect, and less time to end.
pub fn planted(contract: &Contract, variable: &str, defect: &str) -> Contract {
    let mut contract = contract.clone();
    contract.worker.env.insert(variable.to_owned(), Template::literal(defect));
    contract.worker.shutdown_grace = Grace::Fixed(Duration::from_secs(2));
    contract
}

/// `contract` with variables that have these values, whatever a scenario sets.
pub fn fixed<'a>(contract: &Contract, env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Contract {
    let mut contract = contract.clone();
    contract.worker.env.extend(env.into_iter().map(|(name, value)| (name.to_owned(), Template::literal(value))));
    contract
}

/// Places for runs on the shared stack: a worker that waits for a defect to be noticed leaves the processor to others.
pub const PLACES: u32 = 3;

/// Why a run proves nothing.
#[derive(Debug)]
pub enum Unproven {
    /// What it showed is wrong.
    Failed(String),
    /// All that is wrong is a verdict that is unknown because the machine was too busy.
    Busy(String),
}

impl Unproven {
    /// What is wrong, with the record that shows it. A verdict that a busy machine left unknown is no failure by itself.
    pub fn of(wrong: &[(Option<&CaseRecord>, String)]) -> Result<(), Self> {
        let is_busy = |case: &CaseRecord| {
            case.verdict.word() == Word::Unknown
                && case.verdict.reason().is_some_and(|reason| reason.contains(scenario::TOO_BUSY))
        };
        let text = || wrong.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n");
        match wrong {
            [] => Ok(()),
            _ if wrong.iter().all(|(case, _)| case.is_some_and(is_busy)) => Err(Self::Busy(text())),
            _ => Err(Self::Failed(text())),
        }
    }
}

/// Which run of a trial it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Beside others.
    First,
    /// Again, with the stack to itself, because the machine was too busy: for the first time, the second time, and so on.
    Alone(u8),
}

/// How often a run is made again on a machine that is too busy.
const AGAIN: u8 = 3;

impl Attempt {
    /// A name for the run, which no other run of the stack has.
    pub fn name(self, trial: &str) -> String {
        match self {
            Self::First => trial.to_owned(),
            Self::Alone(nth) => format!("{trial}a{nth}"),
        }
    }
}

/// A stack that runs share, and the places for runs that are made at once.
pub struct SharedStack {
    name: &'static str,
    stack: OnceCell<TestStack>,
    places: Arc<Semaphore>,
}

impl SharedStack {
    /// A stack that is started for its first run; its runs take from `places`, of which there are [`PLACES`].
    pub fn new(name: &'static str, places: &Arc<Semaphore>) -> Self {
        Self { name, stack: OnceCell::new(), places: Arc::clone(places) }
    }

    /// Another stack, whose runs take from the same places.
    pub fn beside(&self) -> Self {
        Self::new(self.name, &self.places)
    }

    /// Runs `work` on the stack as soon as `places` are free; and again with all places, if the machine was too busy to
    /// tell.
    pub fn run_with(
        &self,
        places: u32,
        mut work: impl AsyncFnMut(&TestStack, Attempt) -> Result<(), Unproven>,
    ) -> Result<(), Failed> {
        runtime().block_on(async {
            let mut attempt = Attempt::First;
            loop {
                let (needed, next) = match attempt {
                    Attempt::First => (places, Attempt::Alone(1)),
                    Attempt::Alone(nth) => (PLACES, Attempt::Alone(nth + 1)),
                };
                let _places = self.places.acquire_many(needed).await.unwrap();
                let stack = self.stack.get_or_init(|| TestStack::launch(ProviderKind::Native, self.name)).await;
                match work(stack, attempt).await {
                    Ok(()) => return Ok(()),
                    Err(Unproven::Busy(wrong)) if next != Attempt::Alone(AGAIN + 1) => {
                        println!("once more, alone: {}", wrong.lines().next().unwrap_or_default());
                        attempt = next;
                    }
                    Err(Unproven::Failed(wrong) | Unproven::Busy(wrong)) => return Err(wrong.into()),
                }
            }
        })
    }

    /// Stops the stack; returns what could not be removed, or that the stack is still in use.
    pub fn stop(self: Arc<Self>) -> Vec<String> {
        match Arc::into_inner(self) {
            Some(shared) => shared.stack.into_inner().map(|stack| runtime().block_on(stack.stop())).unwrap_or_default(),
            None => vec!["the stack is still in use".to_owned()],
        }
    }
}

/// What to run: the worker, and what scenarios have instead of their own.
#[derive(Debug, Clone)]
pub struct Instead<'a> {
    pub within_s: Option<u64>,
    pub documents: Option<&'a Documents>,
    pub jobs: usize,
}

impl Default for Instead<'_> {
    fn default() -> Self {
        // What is lost is waited for in vain, which costs nothing but time.
        Self { within_s: None, documents: None, jobs: 16 }
    }
}

/// Runs `cases` against the worker of `contract`.
pub async fn run(stack: &TestStack, name: &str, contract: Contract, cases: &[String], instead: &Instead<'_>) -> Report {
    let mut suites = Suites::builtin().unwrap();
    let mut options = stack.options(name);
    options.contract = Arc::new(contract);
    // Runs side by side have scenarios of the same names.
    options.directory = options.directory.join(name);
    std::fs::create_dir_all(&options.directory).unwrap();
    options.jobs = instead.jobs;
    let baselines: BTreeSet<String> =
        suites.scenarios.values().filter_map(|scenario| scenario.baseline.clone()).collect();
    for (name, scenario) in &mut suites.scenarios {
        if let Some(documents) = instead.documents {
            scenario.documents = documents.clone();
        }
        // The scenario run that the others are compared with has the time that it needs.
        if !baselines.contains(name) {
            scenario.within_s = instead.within_s.or(scenario.within_s);
        }
    }
    let selection = Selection::new(&[], cases, None).unwrap();
    runner::run(&suites, &selection, &stack.stack, &options, &Events::silent()).await
}

/// Whether every case of the table noticed the defect, for the reason that the table names.
pub fn assert_noticed(defect: &Defect, report: &Report, matrix: &Matrix) -> Result<(), Unproven> {
    let known: BTreeSet<&str> = report.cases.iter().map(|case| case.id.as_str()).collect();
    let unknown = defect.cases.iter().filter(|case| !known.contains(case.as_str()));
    let mut wrong: Vec<(Option<&CaseRecord>, String)> =
        unknown.map(|case| (None, format!("{}: there is no case {case}", defect.what))).collect();
    for case in &report.cases {
        let wanted = if case.level == Level::Must { Word::Fail } else { Word::Warn };
        let (seen, reason) = (case.verdict.word(), case.verdict.reason().unwrap_or_default());
        let what = if seen != wanted {
            format!("the verdict is {seen}, wanted {wanted}: {reason}\n{:#?}", case.evidence)
        } else if !defect.says.is_in(case) {
            format!("failed for another reason than `{}`: {reason}", defect.says.words().join("`, `"))
        } else {
            let mut matrix = matrix.lock().unwrap_or_else(PoisonError::into_inner);
            matrix.entry(defect.name.clone()).or_default().insert(case.id.clone(), reason.to_owned());
            continue;
        };
        wrong.push((Some(case), format!("{}: {}: {what}", defect.what, case.id)));
    }
    Unproven::of(&wrong)
}

/// Writes what was found as a table, a row for each verdict, where the other results of the tests are; and into the
/// summary of the job, where there is one.
pub fn publish(title: &str, file: &str, matrix: &Matrix) {
    let matrix = matrix.lock().unwrap_or_else(PoisonError::into_inner);
    if matrix.is_empty() {
        return;
    }
    let cases: usize = matrix.values().map(BTreeMap::len).sum();
    let mut text = format!("# {title}\n\n{} defects, {cases} verdicts that they must lead to.\n\n", matrix.len());
    text.push_str("| defect | case | reason |\n|---|---|---|\n");
    for (defect, cases) in matrix.iter() {
        for (case, reason) in cases {
            let reason = reason.lines().next().unwrap_or_default().replace('|', "\\|");
            writeln!(text, "| {defect} | {case} | {reason} |").unwrap();
        }
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    std::fs::write(&path, &text).unwrap();
    let mut page = std::fs::File::create(path.with_extension("html")).unwrap();
    shakedown::report::html::matrix(title, &matrix, &mut page).unwrap();
    if let Some(summary) = process_variable("GITHUB_STEP_SUMMARY") {
        let summary = std::fs::OpenOptions::new().append(true).create(true).open(summary);
        summary.and_then(|mut summary| summary.write_all(text.as_bytes())).unwrap();
    }
    println!("{} defects were noticed by {cases} verdicts: {}", matrix.len(), path.display());
}

/// Whether the arguments select only some tests, so that the matrix is incomplete.
pub fn is_filtered(arguments: &Arguments) -> bool {
    arguments.filter.is_some() || !arguments.skip.is_empty() || arguments.list || arguments.ignored
}
