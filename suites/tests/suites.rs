//! Every case of the built-in suites as a test of its own, over one throwaway stack of each provider, and one snapshot
//! of the normalised report for both. `cargo test --test suites -- redis` runs what matches, like any test.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "support/mod.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use shakedown::outcome::{Report, Word};
use shakedown::runner::{self, Selection};
use shakedown::settings::docker_host;
use shakedown::spec::{Suites, Verb};
use shakedown::stack::{ProviderKind, engine_answers};

use support::harness::{TestStack, runtime};

type Observations = Arc<OnceLock<Report>>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let suites = Suites::builtin().expect("the built-in suites are readable");
    let engine = runtime().block_on(engine_answers(&docker_host(), Duration::from_secs(5)));
    let usual = usual();
    let mut trials = Vec::new();
    let providers = [(ProviderKind::Native, "native"), (ProviderKind::Containers, "containers")];
    let scenario_runs = providers.map(|(kind, name)| (kind, name, Observations::default()));
    for (kind, name, observations) in &scenario_runs {
        let (kind, ignored) = (*kind, *kind == ProviderKind::Containers && engine.is_err());
        let title = |test: &str| {
            let why = if ignored { " (no Docker engine here)" } else { "" };
            format!("{name}::{test}{why}")
        };
        // Those that take minutes are run by hand: `shakedown run --slow`.
        for case in suites.cases.iter().filter(|case| usual.chooses(case)) {
            let (id, observations) = (case.id.clone(), Arc::clone(observations));
            let trial =
                Trial::test(title(&case.id), move || passes(&id, observations.get_or_init(|| run_scenario(kind))));
            trials.push(trial.with_ignored_flag(ignored));
        }
        // One snapshot for both: the verdicts do not depend on the provider.
        let observations = Arc::clone(observations);
        let snapshot = move || {
            let report = observations.get_or_init(|| run_scenario(kind));
            insta::assert_json_snapshot!("report", shakedown::report::normalise(report));
            Ok(())
        };
        trials.push(Trial::test(title("the_report_is_what_the_snapshot_says"), snapshot).with_ignored_flag(ignored));
    }
    let [(_, _, native), (_, _, containers)] = scenario_runs;
    let same_verdicts = move || {
        let (native, containers) = (native.get_or_init(|| run_scenario(ProviderKind::Native)), containers);
        let containers = containers.get_or_init(|| run_scenario(ProviderKind::Containers));
        differences(native, containers)
    };
    trials
        .push(Trial::test("both_providers_reach_the_same_verdicts", same_verdicts).with_ignored_flag(engine.is_err()));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// One run of everything, on first use: `--list` starts nothing.
fn run_scenario(kind: ProviderKind) -> Report {
    runtime().block_on(async {
        let suites = Suites::builtin().unwrap();
        let stack = TestStack::launch(kind, "suites").await;
        let options = stack.options("suites");
        let events = shakedown::outcome::Events::silent();
        let report = runner::run(&suites, &usual(), &stack.stack, &options, &events).await;
        assert_eq!(stack.stop().await, Vec::<String>::new(), "something could not be removed");
        report
    })
}

fn differences(native: &Report, containers: &Report) -> Result<(), Failed> {
    let verdicts = |report: &Report| -> Vec<(String, Word)> {
        report.cases.iter().map(|case| (case.id.clone(), case.verdict.word())).collect()
    };
    let (native, containers) = (verdicts(native), verdicts(containers));
    let unlike: Vec<_> = native.iter().zip(&containers).filter(|(left, right)| left != right).collect();
    if native.len() == containers.len() && unlike.is_empty() {
        return Ok(());
    }
    Err(format!("native and containers differ: {unlike:?}").into())
}

fn passes(id: &str, report: &Report) -> Result<(), Failed> {
    let case = report.cases.iter().find(|case| case.id == id).ok_or("the report does not have this case")?;
    match case.verdict.word() {
        Word::Pass => Ok(()),
        word => Err(format!("{word}: {}\n{:#?}", case.verdict.reason().unwrap_or_default(), case.evidence).into()),
    }
}

/// What `shakedown run` judges by default.
fn usual() -> Selection {
    Selection::default().for_verb(Verb::Run)
}
