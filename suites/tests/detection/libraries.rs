//! Workers as the documentation of their libraries shows them: each case has the verdict that `expected.toml` names, for
//! the reason that it names, and a mended worker passes all others. A worker whose tools are not installed is skipped with
//! a message.
#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "what was left out is part of the test's report")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use serde::Deserialize;
use shakedown::outcome::{CaseRecord, Report, Word};
use shakedown::settings::{Settings, Source, process_variable};

use crate::defect_matrix::{self, Attempt, Instead, SharedStack, Unproven};
use crate::support::groups::{self, Group};
use crate::support::harness::TestStack;

/// What the names of the trials begin with.
const NAME: &str = "libraries";

/// Cases of a worker at once, as many as a user has.
const JOBS: usize = 8;

/// The directories under `fixtures/workers` with an `expected.toml`, those that take longest first.
const WORKERS: &[&str] = &[
    "langchain-python",
    "llama-index-ts",
    "llama-index-python",
    "nestjs",
    "langchain-js",
    "job-per-chunk",
    "exits-when-idle",
];

/// What is judged of a worker.
#[derive(Clone, Copy)]
enum Variant {
    /// As it is written.
    Written,
    /// With `mended.patch`.
    Mended,
}

impl Variant {
    const ALL: [Self; 2] = [Self::Written, Self::Mended];

    /// The argument of the `build` script.
    const fn word(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Mended => "mended",
        }
    }

    /// The end of the trial's name.
    const fn title(self) -> &'static str {
        match self {
            Self::Written => "as written",
            Self::Mended => "mended",
        }
    }
}

/// `expected.toml` of a worker.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// The reduced set, which is judged here.
    ci: Vec<String>,
    /// What does not pass as the worker is written.
    #[serde(default)]
    cause: Vec<Cause>,
    /// What does not pass although the worker is mended.
    #[serde(default)]
    mended: Vec<Cause>,
}

/// Cases that do not pass, for one cause.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cause {
    /// What is wrong, and where: in the library or in the worker.
    why: String,
    /// What the verdict's reason or its evidence says.
    #[serde(default)]
    says: Option<String>,
    #[serde(default)]
    fail: Vec<String>,
    #[serde(default)]
    warn: Vec<String>,
    #[serde(default)]
    skip: Vec<String>,
    #[serde(default)]
    unknown: Vec<String>,
}

impl Expected {
    fn causes(&self, variant: Variant) -> &[Cause] {
        match variant {
            Variant::Written => &self.cause,
            Variant::Mended => &self.mended,
        }
    }
}

/// Judges every worker as it is written, and mended.
pub fn group(stack: &Arc<SharedStack>, _is_filtered: bool) -> Group {
    let mut trials = Vec::new();
    for worker in WORKERS {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/workers").join(worker);
        let text = std::fs::read_to_string(directory.join("expected.toml")).expect("it can be read");
        let expected: Arc<Expected> =
            Arc::new(toml::from_str(&text).unwrap_or_else(|error| panic!("expected.toml of {worker}: {error}")));
        for variant in Variant::ALL {
            let (stack, directory, expected) = (Arc::clone(stack), directory.clone(), Arc::clone(&expected));
            let title = groups::name(NAME, format!("{worker} {}", variant.title()));
            let name = format!("{worker}{}", variant.word()).replace('-', "");
            trials.push(Trial::test(title, move || trial(&stack, &name, &directory, variant, &expected)));
        }
    }
    Group::with_end(NAME, trials, |_| {})
}

fn trial(
    stack: &SharedStack,
    name: &str,
    directory: &Path,
    variant: Variant,
    expected: &Expected,
) -> Result<(), Failed> {
    let built = match build(directory, variant) {
        Err(reason) if process_variable("CI").is_none() => {
            println!("left out: {name}: {reason}");
            return Ok(());
        }
        built => built?,
    };
    let settings = Settings::load(Source { config: Some(built.join("shakedown.toml")), ..Source::default() })
        .unwrap_or_else(|error| panic!("{error}"));
    let contract = settings.config().contract.clone().expect("it describes a worker");
    let mut cases = expected.ci.clone();
    stack.run_with(1, async |stack: &TestStack, attempt: Attempt| {
        let instead = Instead { jobs: JOBS, ..Instead::default() };
        let report = defect_matrix::run(stack, &attempt.name(name), contract.clone(), &cases, &instead).await;
        assert_eq!(report.cases.len(), cases.len(), "{name}: some of {cases:?} do not exist");
        compare(&report, expected.causes(variant), &mut cases)
    })
}

/// Every case has the verdict of its cause, for its reason, or passes if none names it. `cases` are then those that are
/// left to be judged once more.
fn compare(report: &Report, causes: &[Cause], cases: &mut Vec<String>) -> Result<(), Unproven> {
    let mut wanted: BTreeMap<&str, (Word, &Cause)> = BTreeMap::new();
    for cause in causes {
        let by_word = [
            (Word::Fail, &cause.fail),
            (Word::Warn, &cause.warn),
            (Word::Skip, &cause.skip),
            (Word::Unknown, &cause.unknown),
        ];
        for (word, cases) in by_word {
            wanted.extend(cases.iter().map(|case| (case.as_str(), (word, cause))));
        }
    }
    let mut wrong: Vec<(Option<&CaseRecord>, String)> = Vec::new();
    for case in &report.cases {
        let (word, cause) =
            wanted.get(case.id.as_str()).map_or((Word::Pass, None), |(word, cause)| (*word, Some(cause)));
        let text = format!("{}\n{:#?}", case.verdict.reason().unwrap_or_default(), case.evidence);
        let says = cause.and_then(|cause| cause.says.as_deref()).unwrap_or_default();
        if case.verdict.word() != word {
            let why = cause.map(|cause| format!(" ({})", cause.why)).unwrap_or_default();
            wrong.push((Some(case), format!("{}: {}, wanted {word}{why}: {text}", case.id, case.verdict.word())));
        } else if !text.contains(says) {
            wrong.push((Some(case), format!("{}: {word} for another reason than `{says}`: {text}", case.id)));
        }
    }
    let again: BTreeSet<String> = wrong.iter().filter_map(|(case, _)| Some((*case)?.id.clone())).collect();
    *cases = again.into_iter().collect();
    Unproven::of(&wrong)
}

/// Builds the variant outside the repository; returns the directory that it runs in.
fn build(directory: &Path, variant: Variant) -> Result<PathBuf, String> {
    let script = directory.join("build");
    let output = Command::new(&script).arg(variant.word()).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", script.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().last().map(PathBuf::from).ok_or_else(|| "the script did not say where".to_owned())
}
