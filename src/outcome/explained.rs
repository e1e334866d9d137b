//! Which causes explain which cases of a report.

use std::cmp::Reverse;

use super::cause::Cause;
use super::record::{CaseRecord, Report};
use super::verdict::Word;

impl Report {
    /// The numbers of the causes of `case`, from 1, in the order of the report. Empty if the case passed, or if its failure
    /// is not explained.
    #[must_use]
    pub fn cause_numbers(&self, case: &CaseRecord) -> Vec<usize> {
        let is_its = |cause: &Cause| case.causes.contains(&cause.id);
        self.causes.iter().enumerate().filter(|(_, cause)| is_its(cause)).map(|(number, _)| number + 1).collect()
    }

    /// The causes of `case` as a phrase, such as `because of cause 1` or `because of causes 1 and 3`; `None` if it has none.
    #[must_use]
    pub fn because(&self, case: &CaseRecord) -> Option<String> {
        let numbers: Vec<String> = self.cause_numbers(case).iter().map(usize::to_string).collect();
        let (last, others) = numbers.split_last()?;
        Some(match others {
            [] => format!("because of cause {last}"),
            _ => format!("because of causes {} and {last}", others.join(", ")),
        })
    }

    /// Lists the cases under their causes, removes causes that explain no case, and sorts the rest: the one that explains
    /// most failures first.
    pub(super) fn settle_causes(&mut self) {
        for case in &mut self.cases {
            if matches!(case.verdict.word(), Word::Pass | Word::Skip) {
                case.causes.clear();
            }
        }
        for cause in &mut self.causes {
            let its = self.cases.iter().filter(|case| case.causes.contains(&cause.id));
            cause.cases = its.map(|case| case.id.clone()).collect();
        }
        self.causes.retain(|cause| !cause.cases.is_empty());
        let failures = |cause: &Cause| {
            let its = self.cases.iter().filter(|case| case.causes.contains(&cause.id));
            its.filter(|case| case.verdict.word() == Word::Fail).count()
        };
        self.causes.sort_by_key(|cause| Reverse((failures(cause), cause.cases.len())));
        let known: Vec<&str> = self.causes.iter().map(|cause| cause.id.as_str()).collect();
        for case in &mut self.cases {
            case.causes.retain(|id| known.contains(&id.as_str()));
        }
    }

    /// Adds the causes of other reports of the same worker; evidence of a known cause is not repeated.
    pub(crate) fn add_causes<'a>(&mut self, causes: impl IntoIterator<Item = &'a Cause>) {
        for cause in causes {
            match self.causes.iter_mut().find(|known| known.id == cause.id) {
                None => self.causes.push(cause.clone()),
                Some(known) if known.evidence.is_empty() => known.evidence.clone_from(&cause.evidence),
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{cause, report};
    use super::*;

    #[test]
    fn causes_are_sorted_by_the_failures_that_they_explain_and_the_others_are_removed() {
        let mut report = report(&[
            ("a", Word::Fail),
            ("b", Word::Warn),
            ("c", Word::Fail),
            ("d", Word::Fail),
            ("e", Word::Pass),
            ("f", Word::Warn),
        ]);
        report.causes = vec![cause("idle"), cause("slow"), cause("rare")];
        for (place, id) in [(0, "slow"), (1, "idle"), (2, "slow"), (3, "gone"), (4, "rare"), (5, "idle")] {
            report.cases[place].causes = vec![id.to_owned()];
        }
        report.settle(0);
        let causes: Vec<(&str, Vec<&str>)> = report
            .causes
            .iter()
            .map(|cause| (cause.id.as_str(), cause.cases.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(causes, [("slow", vec!["a", "c"]), ("idle", vec!["b", "f"])]);
        let because: Vec<Option<String>> = report.cases.iter().map(|case| report.because(case)).collect();
        let slow = Some("because of cause 1".to_owned());
        let idle = Some("because of cause 2".to_owned());
        assert_eq!(because, [slow.clone(), idle.clone(), slow, None, None, idle]);
        report.cases[0].causes.push("idle".to_owned());
        assert_eq!(report.because(&report.cases[0]).as_deref(), Some("because of causes 1 and 2"));
    }
}
