//! The report as `JUnit` XML, for CI servers.

use std::io::{self, Write};
use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report as Junit, TestCase, TestCaseStatus, TestRerun, TestSuite};

use super::plain;
use crate::guide::catalogue::format_source;
use crate::outcome::{CaseRecord, Cause, Level, Report, Word};

/// Writes `report` as `JUnit` XML: `fail` is a failure, an `unknown` MUST an error, `warn` a success with its text in
/// `system-out` (a failure in a strict run); everything else is skipped. The attempts of a flaky case that did not
/// pass are its flaky failures, or its reruns when the case fails. The causes are properties of each suite; a case names the
/// numbers of its own in properties too.
pub fn render(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let report = &plain(report);
    let mut junit = Junit::new("shakedown");
    junit.set_time(Duration::from_millis(report.duration_ms));
    let mut names: Vec<&str> = Vec::new();
    for case in &report.cases {
        if !names.contains(&case.suite.as_str()) {
            names.push(&case.suite);
        }
    }
    for name in names {
        let mut suite = TestSuite::new(name);
        for (key, value) in [
            ("run", report.run.clone()),
            ("seed", report.seed.to_string()),
            ("provider", report.provider.clone()),
            ("verdict", report.verdict.to_string()),
        ] {
            suite.add_property(Property::new(key, value));
        }
        for (place, cause) in report.causes.iter().enumerate() {
            let text = format!("{} remedy: {}", cause.sentence, remedies(cause));
            suite.add_property(Property::new(format!("cause {}", place + 1), text));
        }
        suite.add_test_cases(report.cases.iter().filter(|case| case.suite == name).map(|case| test_case(case, report)));
        junit.add_test_suite(suite);
    }
    junit.serialize(&mut *out).map_err(io::Error::other)?;
    writeln!(out)
}

fn test_case(case: &CaseRecord, report: &Report) -> TestCase {
    let strict = report.gate.strict;
    let reason = case.verdict.reason().unwrap_or_default();
    let mut status = match case.verdict.word() {
        Word::Pass => TestCaseStatus::success(),
        Word::Warn if !strict => TestCaseStatus::success(),
        Word::Fail | Word::Warn => TestCaseStatus::non_success(NonSuccessKind::Failure),
        // Only a case that makes the exit code nonzero may fail the job.
        Word::Unknown | Word::Skip if case.level == Level::Must && (strict || case.verdict.word() == Word::Unknown) => {
            TestCaseStatus::non_success(NonSuccessKind::Error)
        }
        Word::Unknown | Word::Skip | Word::Waived => TestCaseStatus::skipped(),
    };
    if !matches!(status, TestCaseStatus::Success { .. }) {
        status.set_message(reason);
    }
    if case.flaky {
        for (number, word) in case.attempts.iter().enumerate().filter(|(_, word)| **word != Word::Pass) {
            let mut rerun = TestRerun::new(NonSuccessKind::Failure);
            rerun.set_type(word.as_str());
            rerun.set_message(format!("attempt {} of {}: {word}", number + 1, case.attempts.len()));
            status.add_rerun(rerun);
        }
    }
    if matches!(status, TestCaseStatus::NonSuccess { .. }) {
        status.set_type(case.verdict.word().as_str());
        status.set_description(body(case, report));
    }
    let mut test = TestCase::new(case.id.clone(), status);
    test.set_classname(case.suite.clone());
    test.set_time(Duration::from_millis(case.duration_ms));
    if !case.attempts.is_empty() {
        let words: Vec<&str> = case.attempts.iter().map(|word| word.as_str()).collect();
        test.add_property(Property::new("attempts", words.join(" ")));
    }
    for number in report.cause_numbers(case) {
        test.add_property(Property::new("cause", number.to_string()));
    }
    if case.verdict.word() == Word::Warn {
        test.set_system_out(format!("warning: {reason}\n{}", body(case, report)));
    }
    test
}

/// The remedy of a cause, also for the libraries of the worker.
fn remedies(cause: &Cause) -> String {
    let libraries = cause.libraries.iter().map(|library| format!("{}: {}", library.library, library.remedy));
    std::iter::once(cause.remedy.clone()).chain(libraries).collect::<Vec<_>>().join(" ")
}

fn body(case: &CaseRecord, report: &Report) -> String {
    let mut lines = vec![case.title.clone(), String::new()];
    for number in report.cause_numbers(case) {
        if let Some(cause) = report.causes.get(number - 1) {
            lines.push(format!("because of cause {number}: {} remedy: {}", cause.sentence, remedies(cause)));
        }
    }
    for evidence in &case.evidence {
        let wanted = evidence.wanted.as_ref().map_or_else(String::new, |wanted| format!(" (wanted {wanted})"));
        lines.push(format!("evidence: {}: {}{wanted}", evidence.what, evidence.seen));
    }
    lines.extend([
        format!("why: {}", case.why),
        format!("remedy: {}", case.remedy),
        format!("source: {}\n", format_source(&case.source)),
    ]);
    lines.join("\n")
}
