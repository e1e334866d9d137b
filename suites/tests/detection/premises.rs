//! No pass without its premise: a worker that does nothing unusual, and that reads no variable of the suites but the
//! addresses and names, passes only cases whose premise was seen, and fails none.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use shakedown::outcome::{CaseRecord, Word};
use shakedown::scenario::PREMISE;
use shakedown::settings::Grace;
use shakedown::spec::{Check, Suites};

use crate::defect_matrix::{self, Attempt, Instead, PLACES, SharedStack, Unproven, fixed};
use crate::support::groups::{self, Group};
use crate::support::harness::TestStack;

/// What the names of the trials begin with.
const NAME: &str = "premises";

/// What an ordinary worker has fixed in its code: the batches of a request and of an upsert, BullMQ's defaults, and its own
/// retries.
const FIXED: &[(&str, &str)] = &[
    ("EMBED_BATCH", "100"),
    ("UPSERT_BATCH", "64"),
    ("EMBED_CONCURRENCY", "4"),
    ("WORKER_CONCURRENCY", "5"),
    ("WORKER_LOCK_MS", "30000"),
    // Six times as often as by default, so that the test waits less for jobs of killed workers.
    ("WORKER_STALLED_MS", "5000"),
    ("WORKER_MAX_STALLED", "3"),
    ("WORKER_SHUTDOWN_GRACE_MS", "8000"),
    ("RETRY_BASE_MS", "200"),
    ("RETRY_MAX_MS", "20000"),
    ("RETRY_ATTEMPTS", "5"),
    ("BREAKER_WINDOW", "10"),
    ("BREAKER_OPEN_MS", "1000"),
];

/// The grace period of the worker's contract: a little more than it needs.
const GRACE: Duration = Duration::from_secs(10);
/// Cases at once, as many as a user has.
const JOBS: usize = 8;

/// The suites run against such a worker. It takes four minutes on two cores, and runs only when it is named.
pub fn group(stack: &Arc<SharedStack>, is_filtered: bool) -> Group {
    let stack = Arc::clone(stack);
    let name = groups::name(NAME, "a worker that reads no variable of the suites passes nothing by chance");
    let trial =
        Trial::test(name, move || stack.run_with(PLACES, async |stack: &TestStack, _: Attempt| by_chance(stack).await))
            .with_ignored_flag(!is_filtered);
    Group::with_end(NAME, vec![trial], |_| {})
}

async fn by_chance(stack: &TestStack) -> Result<(), Unproven> {
    let suites = Suites::builtin().unwrap();
    let known: BTreeSet<&str> = FIXED.iter().map(|(name, _)| *name).collect();
    let read = suites.scenarios.values().flat_map(|scenario| scenario.env.keys().map(String::as_str));
    let unknown: BTreeSet<&str> = read.filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "scenarios set variables that `FIXED` lacks: {unknown:?}");

    let judges = |case: &&Arc<shakedown::spec::Case>| matches!(case.check, Check::Scenario(..)) && !case.is_slow();
    let cases: Vec<String> = suites.cases.iter().filter(judges).map(|case| case.id.clone()).collect();
    let mut contract = fixed(&stack.options(NAME).contract, FIXED.iter().copied());
    contract.worker.shutdown_grace = Grace::Fixed(GRACE);
    let report = defect_matrix::run(stack, NAME, contract, &cases, &Instead { jobs: JOBS, ..Instead::default() }).await;
    assert!(report.cases.len() > 150, "only {} cases were judged", report.cases.len());

    let mut text = String::new();
    let mut wrong = Vec::new();
    for case in &report.cases {
        let reason = case.verdict.reason().unwrap_or_default();
        writeln!(text, "{:<8} {} {reason}", case.verdict.word().to_string(), case.id).unwrap();
        match case.verdict.word() {
            Word::Pass if !has_premise(case) => wrong.push(format!("{} passed without its premise", case.id)),
            Word::Fail | Word::Warn => wrong.push(format!("{}: {reason}", case.id)),
            _ => {}
        }
    }
    writeln!(text, "{} ms", report.duration_ms).unwrap();
    std::fs::write(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("premises.txt"), text).unwrap();
    if wrong.is_empty() { Ok(()) } else { Err(Unproven::Failed(wrong.join("\n"))) }
}

/// Whether the evidence of a case lists its premises, and each as met.
fn has_premise(case: &CaseRecord) -> bool {
    let mut premises = case.evidence.iter().filter(|evidence| evidence.what.starts_with(PREMISE)).peekable();
    premises.peek().is_some()
        && premises.all(|evidence| evidence.seen.as_str().is_some_and(|seen| seen.starts_with("met: ")))
}
