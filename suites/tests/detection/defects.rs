//! Proof that the suites find what is wrong with a worker: defects are planted in the reference worker, one at a time,
//! and the cases that `fixtures/defects/` names must fail, each for the reason it names. What was found is written as
//! a matrix, defect × case.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use libtest_mimic::Trial;
use shakedown::spec::{Check, Suites};

use crate::defect_matrix::{self, Attempt, Defect, Instead, Matrix, PLACES, SharedStack, Unproven, fixed, planted};
use crate::support::groups::{self, Group};
use crate::support::harness::TestStack;

/// What the names of the trials begin with.
const NAME: &str = "defects";

/// Fewer defects than this prove too little.
const LEAST: usize = 40;

/// Plants one defect at a time in the reference worker; the cases that the table names must notice.
pub fn group(stack: &Arc<SharedStack>, is_filtered: bool) -> Group {
    let defects = defect_matrix::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/defects"));
    let matrix: Matrix = Arc::default();
    let mut trials = Vec::new();
    let mut names = BTreeSet::new();
    for (number, defect) in defects.into_iter().enumerate() {
        if names.insert(defect.name.clone()) {
            let (stack, name) = (Arc::clone(stack), defect.name.clone());
            // For authors of the tables: which of all cases that judge a worker a defect breaks.
            let whole = move || {
                stack.run_with(PLACES, async |stack: &TestStack, _: Attempt| survey(&name, number, stack).await)
            };
            trials.push(
                Trial::test(groups::name(NAME, format!("survey of {}", defect.name)), whole).with_ignored_flag(true),
            );
        }
        let (stack, matrix) = (Arc::clone(stack), Arc::clone(&matrix));
        trials.push(Trial::test(groups::name(NAME, defect.title()), move || {
            stack.run_with(defect.places(PLACES), async |stack: &TestStack, attempt: Attempt| {
                prove(&defect, &attempt.name(&format!("d{number}")), stack, &matrix).await
            })
        }));
    }
    Group::with_end(NAME, trials, move |conclusion| {
        if !is_filtered {
            let noticed = matrix.lock().unwrap_or_else(PoisonError::into_inner).len();
            assert!(noticed >= LEAST || conclusion.has_failed(), "only {noticed} defects were noticed");
            defect_matrix::publish("Defects planted in the reference worker", "defects.md", &matrix);
        }
    })
}

async fn prove(defect: &Defect, name: &str, stack: &TestStack, matrix: &Matrix) -> Result<(), Unproven> {
    let instead = Instead { within_s: defect.within_s, documents: defect.documents.as_ref(), ..Instead::default() };
    let contract = planted(&stack.options(name).contract, "SHAKEDOWN_DEFECT", &defect.name);
    let contract = fixed(&contract, defect.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let report = defect_matrix::run(stack, name, contract, &defect.cases, &instead).await;
    defect_matrix::assert_noticed(defect, &report, matrix)
}

/// Says which of all the cases that judge a worker notice the defect, and why.
async fn survey(defect: &str, number: usize, stack: &TestStack) -> Result<(), Unproven> {
    let suites = Suites::builtin().unwrap();
    let judges = |case: &&Arc<shakedown::spec::Case>| matches!(case.check, Check::Scenario(..)) && !case.is_slow();
    let cases: Vec<String> = suites.cases.iter().filter(judges).map(|case| case.id.clone()).collect();
    let instead = Instead { within_s: Some(12), ..Instead::default() };
    let name = format!("d{}", 1000 + number);
    let contract = planted(&stack.options(&name).contract, "SHAKEDOWN_DEFECT", defect);
    let report = defect_matrix::run(stack, &name, contract, &cases, &instead).await;
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
    std::fs::write(&path, text).unwrap();
    Ok(())
}
