//! Workers in other languages, with their own libraries, judged like any other worker: without a defect they are
//! conformant, and the cases in their `defects.toml` notice each planted defect. A worker whose tools are not installed is
//! skipped with a message.
#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "what was left out is part of the test's report")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use libtest_mimic::Trial;
use shakedown::outcome::{CaseRecord, Verdict, Word};
use shakedown::runner::{Waived, waived};
use shakedown::settings::{Contract, Settings, Source, process_variable};

use crate::defect_matrix::{self, Attempt, Instead, Matrix, PLACES, SharedStack, Unproven};
use crate::support::groups::{self, Group};
use crate::support::harness::TestStack;

/// What the names of the trials begin with.
const NAME: &str = "workers";

/// A worker under `fixtures/workers` with one release of the queue's library.
struct Fixture {
    worker: &'static str,
    release: &'static str,
    /// Suites that it passes.
    suites: &'static [&'static str],
    /// Whether its defects are planted in this one.
    defects: bool,
    /// What becomes of it in [`OUTAGE`].
    outage: Outage,
}

/// How a worker comes out of an outage of Redis that is longer than its wait for jobs.
#[derive(Clone, Copy)]
enum Outage {
    /// It takes jobs again.
    Survives,
    /// It takes none: taskforcesh/bullmq#4585.
    Hangs,
}

/// The case that distinguishes the two. It is slow, so it runs only when it is named.
const OUTAGE: &str = "reconnection.redis-outage";
/// Seconds after which a worker that hangs is given up; one that does not is done in half of that.
const OUTAGE_WITHIN_S: u64 = 75;
/// Every suite that judges a worker.
const SUITES: &[&str] = &["ingestion", "retries", "reconnection", "crash", "ordering", "load"];

/// Cases of a suite at once, as many as a user has.
const JOBS: usize = 8;
/// Those in which the queue's library is what matters.
const OF_QUEUE: &[&str] = &["reconnection", "crash", "load"];

/// What is judged. Release 6.2.0 is there for what is wrong with it alone.
const FIXTURES: &[Fixture] = &[
    Fixture { worker: "node", release: "5.81", suites: SUITES, defects: true, outage: Outage::Survives },
    Fixture { worker: "node", release: "6.7", suites: OF_QUEUE, defects: false, outage: Outage::Survives },
    Fixture { worker: "node", release: "6.2.0", suites: &[], defects: false, outage: Outage::Hangs },
    Fixture { worker: "python", release: "3.4", suites: SUITES, defects: true, outage: Outage::Survives },
];

/// Judges workers in TypeScript and Python, as they are and with one mistake planted at a time.
pub fn group(stack: &Arc<SharedStack>, is_filtered: bool) -> Group {
    let matrix: Matrix = Arc::default();
    let mut trials = Vec::new();
    let mut stacks = Vec::new();
    // Collections stay until their stack ends, and one Qdrant cannot hold those of all.
    let mut new_stack = || {
        let stack = Arc::new(stack.beside());
        stacks.push(Arc::clone(&stack));
        stack
    };
    for fixture in FIXTURES {
        let title = format!("{} {}", fixture.worker, fixture.release);
        let built = match build(fixture) {
            Ok(built) => built,
            Err(reason) if process_variable("CI").is_none() => {
                println!("left out: {title}: {reason}");
                continue;
            }
            Err(reason) => {
                let reason = format!("{title} cannot be built: {reason}");
                trials.push(Trial::test(groups::name(NAME, title), move || Err(reason.into())));
                continue;
            }
        };
        let settings = Settings::load(Source { config: Some(built.join("shakedown.toml")), ..Source::default() })
            .unwrap_or_else(|error| panic!("{error}"));
        let contract = settings.config().contract.clone().expect("it describes a worker");
        let name = format!("{}{}", fixture.worker, fixture.release.replace('.', ""));
        let stack = new_stack();
        if fixture.defects {
            for (number, defect) in
                defect_matrix::read(&directory(fixture).join("defects.toml")).into_iter().enumerate()
            {
                let (stack, matrix) = (Arc::clone(&stack), Arc::clone(&matrix));
                let contract = defect_matrix::planted(&contract, "WORKER_DEFECT", &defect.name);
                let name = format!("{name}d{number}");
                trials.push(Trial::test(groups::name(NAME, format!("{title} {}", defect.title())), move || {
                    stack.run_with(defect.places(PLACES), async |stack: &TestStack, attempt: Attempt| {
                        let instead = Instead {
                            within_s: defect.within_s,
                            documents: defect.documents.as_ref(),
                            ..Instead::default()
                        };
                        let report =
                            defect_matrix::run(stack, &attempt.name(&name), contract.clone(), &defect.cases, &instead)
                                .await;
                        defect_matrix::assert_noticed(&defect, &report, &matrix)
                    })
                }));
            }
        }
        let (shared, outage, run) = (Arc::clone(&stack), contract.clone(), format!("{name}outage"));
        let title_of_outage = match fixture.outage {
            Outage::Survives => format!("{title} takes jobs again after a long outage of Redis"),
            Outage::Hangs => format!("{title} hangs after a long outage of Redis, and the report says so"),
        };
        trials.push(Trial::test(groups::name(NAME, title_of_outage), move || {
            shared.run_with(1, async |stack: &TestStack, attempt: Attempt| {
                survives(stack, &attempt.name(&run), outage.clone(), fixture.outage).await
            })
        }));
        let waived: Vec<Waived> = waived(&settings);
        if !fixture.suites.is_empty() {
            let (stack, name, suites) = (new_stack(), format!("{name}whole"), fixture.suites);
            trials.push(Trial::test(groups::name(NAME, format!("{title} is conformant")), move || {
                let mut cases: Vec<String> = suites.iter().map(|suite| format!("{suite}.*")).collect();
                stack.run_with(PLACES, async |stack: &TestStack, attempt: Attempt| {
                    conformant(stack, &attempt.name(&name), contract.clone(), &mut cases, &waived).await
                })
            }));
        }
    }
    Group::with_end(NAME, trials, move |_| {
        if !is_filtered {
            defect_matrix::publish("Mistakes planted in workers in TypeScript and Python", "workers.md", &matrix);
        }
        for stack in stacks {
            assert_eq!(stack.stop(), Vec::<String>::new(), "something could not be removed");
        }
    })
}

/// The same worker, unchanged, with one release or another: the outage is survived, or what is wrong is named.
async fn survives(stack: &TestStack, name: &str, contract: Contract, wanted: Outage) -> Result<(), Unproven> {
    let instead = Instead { within_s: Some(OUTAGE_WITHIN_S), ..Instead::default() };
    let report = defect_matrix::run(stack, name, contract, &[OUTAGE.to_owned()], &instead).await;
    let [case] = report.cases.as_slice() else {
        return Err(Unproven::Failed(format!("{} cases were judged", report.cases.len())));
    };
    let reason = case.verdict.reason().unwrap_or_default();
    let its = report.causes.iter().filter(|cause| case.causes.contains(&cause.id));
    let is_named = its.map(|cause| &cause.sentence).any(|sentence| sentence.contains("taskforcesh/bullmq#4585"));
    match (wanted, case.verdict.word()) {
        (Outage::Survives, Word::Pass) => Ok(()),
        (Outage::Hangs, Word::Fail) if reason.contains("its job never ended") && is_named => Ok(()),
        (_, word) => {
            let text = format!("{word}: {reason}\n{:#?}\n{:#?}", case.evidence, report.timelines);
            Unproven::of(&[(Some(case), text)])
        }
    }
}

/// Every case passes, but for those that the worker's own file waives, which fail. `cases` are then those that are left to
/// be judged once more.
async fn conformant(
    stack: &TestStack,
    name: &str,
    contract: Contract,
    cases: &mut Vec<String>,
    waived: &[Waived],
) -> Result<(), Unproven> {
    let report = defect_matrix::run(stack, name, contract, cases, &Instead { jobs: JOBS, ..Instead::default() }).await;
    let is_waived = |id: &str| waived.iter().any(|waiver| waiver.case == id);
    let is_wrong = |case: &&CaseRecord| (case.verdict.word() == Word::Pass) == is_waived(&case.id);
    let wrong: Vec<(Option<&CaseRecord>, String)> = report
        .cases
        .iter()
        .filter(|case| is_wrong(case) && !is_not_concerned(&case.verdict))
        .map(|case| {
            let reason = case.verdict.reason().unwrap_or("it is waived, and passes");
            (Some(case), format!("{}: {}: {reason}\n{:#?}", case.id, case.verdict.word(), case.evidence))
        })
        .collect();
    for suite in cases.iter().filter_map(|pattern| pattern.strip_suffix(".*")) {
        let judged = report.cases.iter().filter(|case| case.suite == suite).count();
        assert!(judged > 5, "only {judged} cases of {suite} were judged");
    }
    *cases = wrong.iter().filter_map(|(case, _)| Some((*case)?.id.clone())).collect();
    Unproven::of(&wrong)
}

/// Whether a fault is meant for requests that the worker does not send.
fn is_not_concerned(verdict: &Verdict) -> bool {
    verdict.word() == Word::Skip
        && verdict.reason().is_some_and(|reason| reason.starts_with("the worker sends no request for which"))
}

fn directory(fixture: &Fixture) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/workers").join(fixture.worker)
}

/// Builds the worker in a place of its own outside the repository, with the script beside it.
fn build(fixture: &Fixture) -> Result<PathBuf, String> {
    let script = directory(fixture).join("build");
    let output = Command::new(&script).arg(fixture.release).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", script.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().last().map(PathBuf::from).ok_or_else(|| "the script did not say where".to_owned())
}
