//! Cases that belong together: skipped for the same reason, explained by the same cause, or not passed for the same reason.

use crate::outcome::{CaseRecord, Report, Word};

/// Cases that are skipped for the same reason.
#[derive(Debug)]
pub(super) struct Skipped<'a> {
    pub(super) reason: &'a str,
    pub(super) cases: Vec<&'a CaseRecord>,
}

impl Skipped<'_> {
    /// The group in one sentence: the id of a single case, else a count with the suites.
    pub(super) fn sentence(&self) -> String {
        let reason = self.reason;
        if let [case] = self.cases.as_slice() {
            return format!("`{}` skipped: {reason}", case.id);
        }
        let mut suites: Vec<String> = Vec::new();
        for case in &self.cases {
            let name = format!("`{}`", case.suite);
            if !suites.contains(&name) {
                suites.push(name);
            }
        }
        format!("{} cases of {} skipped: {reason}", self.cases.len(), suites.join(", "))
    }
}

/// The skipped cases, by reason, in the order of the report.
pub(super) fn skipped(report: &Report) -> Vec<Skipped<'_>> {
    let mut groups: Vec<Skipped> = Vec::new();
    for case in report.cases.iter().filter(|case| case.verdict.word() == Word::Skip) {
        let reason = case.verdict.reason().unwrap_or_default();
        match groups.iter_mut().find(|group| group.reason == reason) {
            Some(group) => group.cases.push(case),
            None => groups.push(Skipped { reason, cases: vec![case] }),
        }
    }
    groups
}

/// Cases that no cause explains, and that did not pass for the same reason.
#[derive(Debug)]
pub(super) struct Problem<'a> {
    pub(super) cases: Vec<&'a CaseRecord>,
}

impl Problem<'_> {
    /// The reason that all cases of the group give.
    pub(super) fn shared_reason(&self) -> Option<&str> {
        self.cases.first()?.verdict.reason()
    }

    /// How grave the gravest case is.
    fn gravity(&self) -> u8 {
        self.cases.iter().map(|case| gravity(case.verdict.word())).max().unwrap_or(0)
    }
}

/// The cases that are neither passed nor skipped nor explained by a cause, by reason; the gravest last.
pub(super) fn problems(report: &Report) -> Vec<Problem<'_>> {
    let mut groups: Vec<Problem> = Vec::new();
    let is_problem = |case: &&CaseRecord| gravity(case.verdict.word()) > 0 && report.cause_numbers(case).is_empty();
    for case in report.cases.iter().filter(is_problem) {
        match groups.iter_mut().find(|group| group.shared_reason() == case.verdict.reason()) {
            Some(group) => group.cases.push(case),
            None => groups.push(Problem { cases: vec![case] }),
        }
    }
    for group in &mut groups {
        group.cases.sort_by_key(|case| gravity(case.verdict.word()));
    }
    groups.sort_by_key(Problem::gravity);
    groups
}

/// The cases that the cause with this number explains first, the gravest first.
pub(super) fn explained(report: &Report, number: usize) -> Vec<&CaseRecord> {
    let is_its = |case: &&CaseRecord| report.cause_numbers(case).first() == Some(&number);
    let mut cases: Vec<&CaseRecord> = report.cases.iter().filter(is_its).collect();
    cases.sort_by_key(|case| std::cmp::Reverse(gravity(case.verdict.word())));
    cases
}

/// The order of problems; 0 for a pass or a skip.
fn gravity(word: Word) -> u8 {
    match word {
        Word::Pass | Word::Skip => 0,
        Word::Waived => 1,
        Word::Warn => 2,
        Word::Unknown => 3,
        Word::Fail => 4,
    }
}
