//! Cases that belong together: skipped for the same reason, or not passed from the same cause.

use crate::outcome::{CaseRecord, Diagnosis, Report, Word};

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

/// Cases that did not pass from the same cause.
#[derive(Debug)]
pub(super) struct Problem<'a> {
    /// What the scenario's evidence usually means; empty when nothing is known.
    pub(super) diagnoses: &'a [Diagnosis],
    pub(super) cases: Vec<&'a CaseRecord>,
}

impl Problem<'_> {
    /// The reason that all cases of the group give.
    pub(super) fn shared_reason(&self) -> Option<&str> {
        let reason = self.cases.first()?.verdict.reason()?;
        self.cases.iter().all(|case| case.verdict.reason() == Some(reason)).then_some(reason)
    }

    /// How grave the gravest case is.
    fn gravity(&self) -> u8 {
        self.cases.iter().map(|case| gravity(case.verdict.word())).max().unwrap_or(0)
    }
}

/// The cases that are neither passed nor skipped, by cause; the gravest last.
pub(super) fn problems(report: &Report) -> Vec<Problem<'_>> {
    let mut groups: Vec<Problem> = Vec::new();
    for case in report.cases.iter().filter(|case| gravity(case.verdict.word()) > 0) {
        let diagnoses = diagnoses(report, case);
        let same = groups.iter_mut().find(|group| {
            let other = group.cases[0].verdict.reason();
            let same_diagnosis =
                diagnoses.iter().map(|one| &one.means).eq(group.diagnoses.iter().map(|one| &one.means));
            same_diagnosis && (!diagnoses.is_empty() || other == case.verdict.reason())
        });
        match same {
            Some(group) => group.cases.push(case),
            None => groups.push(Problem { diagnoses, cases: vec![case] }),
        }
    }
    for group in &mut groups {
        group.cases.sort_by_key(|case| gravity(case.verdict.word()));
    }
    groups.sort_by_key(Problem::gravity);
    groups
}

/// The diagnoses of the scenario that `case` judges.
fn diagnoses<'a>(report: &'a Report, case: &CaseRecord) -> &'a [Diagnosis] {
    let timeline = report.timelines.iter().find(|timeline| timeline.cases.contains(&case.id));
    timeline.map_or(&[], |timeline| timeline.diagnoses.as_slice())
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
