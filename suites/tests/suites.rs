//! Every case of the built-in suites as a test of its own, over one throwaway stack, and one snapshot of the
//! normalised report. `cargo test --test suites -- redis` runs what matches, like any test.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod harness;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};
use shakedown::outcome::{Report, Word};
use shakedown::runner::{self, Selection};
use shakedown::spec::Suites;

use harness::Ship;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let suites = Suites::builtin().expect("the built-in suites are readable");
    let report: Arc<OnceLock<Report>> = Arc::default();
    let mut trials: Vec<Trial> = suites
        .cases
        .iter()
        .map(|case| {
            let (id, report) = (case.id.clone(), Arc::clone(&report));
            Trial::test(case.id.clone(), move || passes(&id, report.get_or_init(sail)))
        })
        .collect();
    trials.push(Trial::test("the_report_is_what_the_snapshot_says", move || {
        let report = report.get_or_init(sail);
        insta::assert_json_snapshot!("report", shakedown::report::normalise(report));
        Ok(())
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// One run of everything, on first use: `--list` starts nothing.
fn sail() -> Report {
    harness::runtime().block_on(async {
        let suites = Suites::builtin().unwrap();
        let ship = Ship::launch("suites").await;
        let options = ship.options("suites");
        let events = shakedown::outcome::Events::silent();
        let report = runner::run(&suites, &Selection::default(), &ship.stack, &options, &events).await;
        assert_eq!(ship.sink().await, Vec::<String>::new(), "something could not be removed");
        report
    })
}

fn passes(id: &str, report: &Report) -> Result<(), Failed> {
    let case = report.cases.iter().find(|case| case.id == id).ok_or("the report does not have this case")?;
    match case.verdict.word() {
        Word::Pass => Ok(()),
        word => Err(format!("{word}: {}\n{:#?}", case.verdict.reason().unwrap_or_default(), case.evidence).into()),
    }
}
