//! Proof that the suites find what is wrong with a worker: defects are planted in the reference worker, one at a time,
//! and the cases that `fixtures/defects/` names must fail, each for the reason it names. What was found is written as
//! a matrix, defect × case.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;
mod proof;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use shakedown::outcome::Report;
use shakedown::spec::{Check, Suites};

use harness::Ship;
use proof::{Aboard, Defect, Instead, Matrix, planted};

/// Runs at once: what a planted defect loses is waited for in vain, which costs nothing but time.
const PLACES: u32 = 3;
/// Fewer defects than this prove too little.
const LEAST: usize = 40;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let defects = proof::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/defects"));
    let ship = Arc::new(Aboard::new("defects", PLACES));
    let matrix: Matrix = Arc::default();
    let mut trials = Vec::new();
    let mut names = BTreeSet::new();
    for (number, defect) in defects.into_iter().enumerate() {
        if names.insert(defect.name.clone()) {
            let (ship, name) = (Arc::clone(&ship), defect.name.clone());
            // For whoever writes the tables: what a defect breaks, among all cases that judge a worker.
            let whole = move || ship.with(PLACES, async |ship: &Ship| survey(&name, number, ship).await);
            trials.push(Trial::test(format!("survey of {}", defect.name), whole).with_ignored_flag(true));
        }
        let (ship, matrix) = (Arc::clone(&ship), Arc::clone(&matrix));
        trials.push(Trial::test(defect.title(), move || {
            ship.with(defect.places(PLACES), async |ship: &Ship| prove(&defect, number, ship, &matrix).await)
        }));
    }
    arguments.test_threads = Some(PLACES as usize);
    let conclusion = libtest_mimic::run(&arguments, trials);
    assert_eq!(ship.sink(), Vec::<String>::new(), "something could not be removed");
    if !proof::is_filtered(&arguments) {
        let noticed = matrix.lock().unwrap_or_else(PoisonError::into_inner).len();
        assert!(noticed >= LEAST || conclusion.has_failed(), "only {noticed} defects were noticed");
        proof::publish("Defects planted in the reference worker", "defects.md", &matrix);
    }
    conclusion.exit_code()
}

/// The reference worker with `defect` planted, judged by `cases`.
async fn run(defect: &str, cases: &[String], instead: &Instead<'_>, number: usize, ship: &Ship) -> Report {
    let name = format!("d{number}");
    let contract = planted(&ship.options(&name).contract, "SHAKEDOWN_DEFECT", defect);
    proof::run(ship, &name, contract, cases, instead).await
}

async fn prove(defect: &Defect, number: usize, ship: &Ship, matrix: &Matrix) -> Result<(), Failed> {
    let instead = Instead { within_s: defect.within_s, documents: defect.documents.as_ref(), ..Instead::default() };
    let report = run(&defect.name, &defect.cases, &instead, number, ship).await;
    proof::judge(defect, &report, matrix)
}

/// Says which of all the cases that judge a worker notice the defect, and why.
async fn survey(defect: &str, number: usize, ship: &Ship) -> Result<(), Failed> {
    let suites = Suites::builtin().unwrap();
    let judges = |case: &&Arc<shakedown::spec::Case>| matches!(case.check, Check::Scenario(..)) && !case.is_slow();
    let cases: Vec<String> = suites.cases.iter().filter(judges).map(|case| case.id.clone()).collect();
    let instead = Instead { within_s: Some(12), ..Instead::default() };
    let report = run(defect, &cases, &instead, 1000 + number, ship).await;
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
