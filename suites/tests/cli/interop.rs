//! BullMQ's libraries with each other: they agree, and each case of the suite notices a library that does not. One of
//! them is spoilt at a time, in everything that the suite looks at (`PEER_DEFECTS`).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stderr, reason = "what was left out is part of the test's report")]

use std::collections::BTreeMap;
use std::fs;

use crate::support::cli_sandbox::CliSandbox;
use rstest::rstest;
use shakedown::outcome::{Report, Word};
use shakedown::settings::process_variable;

/// What each case says of a library that has lost what it looks at.
const SAYS: &[(&str, &str)] = &[
    ("data", "data.text is"),
    ("options", "id is \"other-named\""),
    ("attempts", "atm is"),
    ("backoff-fixed", "wanted 480 to"),
    ("backoff-exponential", "wanted 380 to"),
    ("delay", "wanted 2950 to"),
    ("priorities", "wanted 4, 1, 3, 2, 0"),
    ("lifo", "wanted 2, 0, 1"),
    ("deduplication", "wanted 2"),
    ("progress", "progress is"),
    ("failures", "atm is"),
    ("events", "wanted added, waiting, active, completed"),
    ("pause", "sees it running"),
    ("stalled", "jobs ended within"),
];

/// Runs the suite with the library of `spoilt` spoilt; none when something is not installed here.
fn run(sandbox: &CliSandbox, spoilt: &str) -> Option<BTreeMap<String, (Word, String)>> {
    let report = sandbox.path("work").join("report.json");
    let report_at = format!("json={}", report.display());
    let arguments = ["run", "--provider", "native", "--suite", "bullmq-interop", "--jobs", "4", "--report", &report_at];
    let output = sandbox.command(&arguments).env("PEER_DEFECTS", spoilt).output().unwrap();
    let text = fs::read_to_string(&report)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let report: Report = serde_json::from_str(&text).unwrap();
    sandbox.assert_clean();
    let skipped = report.cases.iter().find(|case| case.verdict.word() == Word::Skip);
    if let Some(reason) = skipped.and_then(|case| case.verdict.reason())
        && process_variable("CI").is_none()
    {
        eprintln!("left out: {reason}");
        return None;
    }
    let seen = |case: &shakedown::outcome::CaseRecord| {
        let evidence: Vec<String> = case.evidence.iter().map(|evidence| evidence.seen.to_string()).collect();
        format!("{} {}", case.verdict.reason().unwrap_or_default(), evidence.join("\n")).replace("\\\"", "\"")
    };
    Some(report.cases.iter().map(|case| (case.id.clone(), (case.verdict.word(), seen(case)))).collect())
}

#[test]
fn the_libraries_agree() {
    let Some(cases) = run(&CliSandbox::new(), "nobody") else { return };
    assert_eq!(cases.len(), SAYS.len(), "every case of the suite has what it says of a broken library");
    let wrong: Vec<_> = cases.iter().filter(|(_, (word, _))| *word != Word::Pass).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[rstest]
#[case::rust("rust", &["node-5", "node-6", "python"])]
#[case::node("node", &["rust", "python"])]
#[case::python("python", &["rust", "node-5", "node-6"])]
fn a_library_that_loses_a_field_is_noticed(#[case] spoilt: &str, #[case] others: &[&str]) {
    let Some(cases) = run(&CliSandbox::new(), spoilt) else { return };
    let mut wrong = Vec::new();
    for (case, says) in SAYS {
        let (word, seen) = &cases[&format!("bullmq-interop.{case}")];
        if *word != Word::Fail || !seen.contains(says) {
            wrong.push(format!("{case}: {word}, wanted fail and `{says}`: {seen}"));
        }
        // Correct libraries agree with each other.
        for maker in others {
            for taker in others {
                if maker != taker && seen.contains(&format!("{maker} → {taker}")) {
                    wrong.push(format!("{case}: {maker} → {taker} is blamed: {seen}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
