//! Merges several attempts of the same cases into one report.

use super::record::{CaseRecord, Report};
use super::verdict::{Verdict, Word};

/// Merges several runs of the same cases into one report. A case whose verdict changed is *flaky*, which is a warning.
///
/// The evidence is that of the most severe attempt.
#[must_use]
pub fn merge(mut reports: Vec<Report>) -> Option<Report> {
    let mut merged = reports.pop()?;
    merged.gate.attempts = u32::try_from(reports.len() + 1).unwrap_or(u32::MAX);
    merged.duration_ms += reports.iter().map(|report| report.duration_ms).sum::<u64>();
    if let Some(first) = reports.first() {
        merged.started_at.clone_from(&first.started_at);
    }
    for note in reports.iter().flat_map(|report| &report.notes) {
        if !merged.notes.contains(note) {
            merged.notes.push(note.clone());
        }
    }
    for report in reports.iter().rev() {
        merged.add_causes(&report.causes);
    }
    for timeline in reports.iter().rev().flat_map(|report| &report.timelines) {
        if !merged.timelines.iter().any(|other| other.scenario == timeline.scenario) {
            merged.timelines.push(timeline.clone());
        }
    }
    for last in std::mem::take(&mut merged.cases) {
        let mut attempts: Vec<CaseRecord> = Vec::new();
        for report in &mut reports {
            if let Some(place) = report.cases.iter().position(|case| case.id == last.id) {
                attempts.push(report.cases.swap_remove(place));
            }
        }
        merged.cases.push(most_severe(attempts, last));
    }
    merged.settle(merged.coverage.filtered_out);
    Some(merged)
}

fn most_severe(attempts: Vec<CaseRecord>, last: CaseRecord) -> CaseRecord {
    let words: Vec<Word> = attempts.iter().chain([&last]).map(|case| case.verdict.word()).collect();
    let passed = words.iter().filter(|word| **word == Word::Pass).count();
    let took = attempts.iter().chain([&last]).map(|case| case.duration_ms).sum();
    let mut case = attempts.into_iter().fold(last, |worst, case| {
        if case.verdict.word().gravity() > worst.verdict.word().gravity() { case } else { worst }
    });
    case.duration_ms = took;
    if words.iter().any(|word| *word != words[0]) {
        let (total, worst) = (words.len(), case.verdict.word());
        let reason = case.verdict.reason().unwrap_or_default();
        let reason = format!("flaky: {passed} of {total} attempts passed; worst attempt: {worst}: {reason}");
        case.set_verdict(Verdict::Warn { reason });
        case.flaky = true;
    }
    case.attempts = words;
    case
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::testing::report;

    #[test]
    fn a_verdict_that_changes_is_flaky_and_one_that_stays_is_not() {
        let runs = [
            report(&[("a", Word::Pass), ("b", Word::Fail), ("c", Word::Pass)]),
            report(&[("a", Word::Fail), ("b", Word::Fail), ("c", Word::Pass)]),
            report(&[("a", Word::Pass), ("b", Word::Fail), ("c", Word::Pass)]),
        ];
        let merged = merge(runs.into()).unwrap();
        let [a, b, c] = &merged.cases[..] else { panic!("three cases") };
        assert!(a.flaky && a.verdict.word() == Word::Warn);
        assert!(a.reason.as_ref().unwrap().starts_with("flaky: 2 of 3 attempts passed; worst attempt: fail: "));
        assert_eq!(a.attempts, [Word::Pass, Word::Fail, Word::Pass]);
        assert!(!b.flaky && b.verdict.word() == Word::Fail);
        assert!(!c.flaky && c.verdict.word() == Word::Pass);
        assert_eq!(merged.gate.attempts, 3);
        assert_eq!(merged.totals.warn, 1);
    }
}
