//! The result of one expectation, and the verdict that follows from it.

use std::collections::BTreeSet;

use super::grouped::grouped;
use crate::outcome::{Evidence, Level, Verdict};

/// How many groups of wrong items the evidence of a finding lists; the items of the rest are counted.
const LISTED: usize = 6;

/// The result of evaluating one expectation.
#[derive(Debug, Default)]
pub(super) struct Finding {
    /// How many items were examined. If there were none, the verdict is `unknown`.
    pub(super) examined: usize,
    /// What the items are, in the plural.
    pub(super) items: &'static str,
    /// What is wrong: where, and what.
    pub(super) wrong: Vec<(String, String)>,
    /// Which of these took too long, and are wrong for no other reason.
    pub(super) late: BTreeSet<usize>,
    /// Figures for the evidence.
    pub(super) facts: Vec<Evidence>,
    /// Why the expectation could not be evaluated.
    pub(super) undecided: Option<String>,
}

impl Finding {
    pub(super) fn over(items: &'static str) -> Self {
        Self { items, ..Self::default() }
    }

    pub(super) fn examine(&mut self) {
        self.examined += 1;
    }

    pub(super) fn wrong(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.wrong.push((at.into(), what.into()));
    }

    /// Something took too long.
    pub(super) fn late(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.late.insert(self.wrong.len());
        self.wrong(at, what);
    }

    pub(super) fn fact(&mut self, what: &str, seen: impl Into<serde_json::Value>) {
        self.facts.push(Evidence::seen(what, seen));
    }

    /// The verdict of this finding; its facts are added to `evidence`.
    pub(super) fn into_verdict(self, level: Level, evidence: &mut Vec<Evidence>) -> Verdict {
        evidence.push(Evidence::seen(self.items, self.examined));
        evidence.extend(self.facts);
        let groups = grouped(&self.wrong);
        for group in groups.iter().take(LISTED) {
            evidence.push(Evidence::seen(group.places(), group.text()));
        }
        let unlisted: usize = groups.iter().skip(LISTED).map(|group| group.items).sum();
        if unlisted > 0 {
            evidence.push(Evidence::seen("more of these", unlisted));
        }
        if let Some((at, what)) = self.wrong.first() {
            let more = match self.wrong.len() {
                1 => String::new(),
                all => format!(" (and {} more)", all - 1),
            };
            Verdict::unmet(level, format!("{at}: {what}{more}"))
        } else if let Some(reason) = self.undecided {
            Verdict::unknown(reason)
        } else if self.examined == 0 {
            // Nothing to examine proves nothing.
            Verdict::unknown(format!("there were no {} to evaluate", self.items))
        } else {
            Verdict::Pass
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(finding: Finding) -> (Verdict, Vec<Evidence>) {
        let mut evidence = Vec::new();
        let verdict = finding.into_verdict(Level::Must, &mut evidence);
        (verdict, evidence)
    }

    #[test]
    fn a_finding_without_items_proves_nothing() {
        assert_eq!(verdict(Finding::over("jobs")).0, Verdict::unknown("there were no jobs to evaluate"));
        let mut finding = Finding::over("jobs");
        finding.examine();
        assert_eq!(verdict(finding).0, Verdict::Pass);
    }

    #[test]
    fn what_is_wrong_outweighs_what_is_undecided() {
        let mut finding = Finding::over("jobs");
        finding.examine();
        finding.undecided = Some("no text".to_owned());
        finding.wrong("a.md", "its job failed");
        finding.wrong("b.md", "its job failed");
        let (found, evidence) = verdict(finding);
        assert_eq!(found, Verdict::unmet(Level::Must, "a.md: its job failed (and 1 more)"));
        assert_eq!(evidence, [Evidence::seen("jobs", 1), Evidence::seen("a.md, b.md", "its job failed")]);
    }

    #[test]
    fn the_evidence_lists_a_few_items_and_counts_the_rest() {
        let mut finding = Finding::over("jobs");
        for number in 0..LISTED + 3 {
            finding.wrong(format!("{number}.md"), format!("its job failed {number} times"));
            finding.wrong(format!("{number}.txt"), format!("its job failed {number} times"));
        }
        let (_, evidence) = verdict(finding);
        assert_eq!(evidence.len(), 1 + LISTED + 1, "the items, what is wrong, and the rest");
        assert_eq!(evidence[1], Evidence::seen("0.md, 0.txt", "its job failed 0 times"));
        assert_eq!(evidence.last().unwrap(), &Evidence::seen("more of these", 6));
    }
}
