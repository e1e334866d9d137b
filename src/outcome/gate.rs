//! What a CI gate asks beyond the verdict: strictness, several attempts, a comparison with an earlier report.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CaseRecord, Report, Verdict, Word};

/// What was asked of a run beyond its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    /// Warnings, flaky cases among them, count as failures, and a skipped MUST as undecided.
    #[serde(default)]
    pub strict: bool,
    /// How many times every case was run.
    #[serde(default = "once")]
    pub attempts: u32,
    /// The part of the selection that was run, such as `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// What changed since an earlier report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { strict: false, attempts: once(), shard: None, comparison: None }
    }
}

const fn once() -> u32 {
    1
}

/// What changed since an earlier report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// The earlier run's id.
    pub baseline: String,
    /// Cases that pass now and did not.
    pub fixed: Vec<String>,
    /// Cases whose verdict is graver than it was; a case that is no longer judged is among them.
    pub worse: Vec<String>,
    /// Cases that were not judged before and do not pass.
    pub new: Vec<String>,
    /// Cases that were there before and are not now.
    pub gone: Vec<String>,
}

impl Comparison {
    /// Compares two runs of the same suites.
    #[must_use]
    pub fn of(before: &Report, after: &Report) -> Self {
        let words = |report: &Report| -> BTreeMap<String, Word> {
            report.cases.iter().map(|case| (case.id.clone(), case.verdict.word())).collect()
        };
        let (old, now) = (words(before), words(after));
        let mut comparison = Self { baseline: before.run.clone(), ..Self::default() };
        comparison.gone = old.keys().filter(|id| !now.contains_key(*id)).cloned().collect();
        for case in &after.cases {
            let (was, is) = (old.get(&case.id).copied(), case.verdict.word());
            let place = match was {
                None | Some(Word::Skip) if is.gravity() > 0 && is != Word::Skip => &mut comparison.new,
                Some(was) if is == Word::Pass && was != Word::Pass && was != Word::Skip => &mut comparison.fixed,
                Some(was) if was != Word::Skip && is.gravity() > was.gravity() => &mut comparison.worse,
                _ => continue,
            };
            place.push(case.id.clone());
        }
        comparison
    }

    /// Whether nothing got worse.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.worse.is_empty() && self.new.is_empty()
    }

    /// The comparison in one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        let lists = [("worse", &self.worse), ("new", &self.new), ("fixed", &self.fixed), ("gone", &self.gone)];
        let parts: Vec<String> = lists
            .into_iter()
            .filter(|(_, ids)| !ids.is_empty())
            .map(|(word, ids)| format!("{} {word} ({})", ids.len(), ids.join(", ")))
            .collect();
        let parts = if parts.is_empty() { "nothing changed".to_owned() } else { parts.join("; ") };
        format!("against run {}: {parts}", self.baseline)
    }
}

/// Why two reports cannot be compared, in one sentence; `None` when they can.
///
/// `chosen` are the cases of the run that is to be compared.
#[must_use]
pub fn incomparable(before: &Report, suite_version: &str, profile: &str, chosen: &BTreeSet<&str>) -> Option<String> {
    if before.suite_version != suite_version {
        return Some(format!("it is of suites {}, these are {suite_version}", before.suite_version));
    }
    if before.profile != profile {
        return Some(format!("it is of profile {}, this is {profile}", before.profile));
    }
    let old: BTreeSet<&str> = before.cases.iter().map(|case| case.id.as_str()).collect();
    let (missing, more) = (old.difference(chosen).count(), chosen.difference(&old).count());
    (missing + more > 0).then(|| {
        format!(
            "its coverage is another one: {missing} of its cases are not chosen now, {more} chosen ones are not in it"
        )
    })
}

/// One report out of several runs of the same cases: a case whose verdict changed is *flaky*, which is a warning.
///
/// The evidence shown is that of the gravest attempt.
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
        merged.cases.push(gravest(attempts, last));
    }
    merged.settle(merged.coverage.filtered_out);
    Some(merged)
}

fn gravest(attempts: Vec<CaseRecord>, last: CaseRecord) -> CaseRecord {
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
        let reason = format!("flaky: {passed} of {total} attempts passed; worst, {worst}: {reason}");
        case.judge(Verdict::Warn { reason });
        case.flaky = true;
    }
    case.attempts = words;
    case
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::testing::report;

    fn with(words: &[(&str, Word)]) -> Report {
        report(words)
    }

    #[test]
    fn a_comparison_lists_what_got_worse_and_what_was_mended() {
        let before = with(&[
            ("a", Word::Pass),
            ("b", Word::Fail),
            ("c", Word::Fail),
            ("d", Word::Skip),
            ("e", Word::Pass),
            ("f", Word::Pass),
        ]);
        let after =
            with(&[("a", Word::Fail), ("b", Word::Fail), ("c", Word::Pass), ("d", Word::Warn), ("e", Word::Skip)]);
        let comparison = Comparison::of(&before, &after);
        assert_eq!(comparison.worse, ["a", "e"]);
        assert_eq!(comparison.fixed, ["c"]);
        assert_eq!(comparison.new, ["d"]);
        assert_eq!(comparison.gone, ["f"]);
        assert!(!comparison.holds());
        assert!(Comparison::of(&before, &before).holds());
        assert_eq!(Comparison::of(&before, &before).sentence(), "against run r: nothing changed");
    }

    #[test]
    fn reports_of_other_suites_profiles_or_coverage_are_not_compared() {
        let before = with(&[("a", Word::Pass)]);
        let (same, other) = (BTreeSet::from(["a"]), BTreeSet::from(["a", "b"]));
        let refuse = |version: &str, profile: &str, chosen| incomparable(&before, version, profile, chosen);
        assert_eq!(refuse("v", "development", &same), None);
        assert!(refuse("w", "development", &same).unwrap().contains("suites v"));
        assert!(refuse("v", "staging", &same).unwrap().contains("profile development"));
        assert!(refuse("v", "development", &other).unwrap().contains("1 chosen ones are not in it"));
    }

    #[test]
    fn a_verdict_that_changes_is_flaky_and_one_that_stays_is_not() {
        let runs = [
            with(&[("a", Word::Pass), ("b", Word::Fail), ("c", Word::Pass)]),
            with(&[("a", Word::Fail), ("b", Word::Fail), ("c", Word::Pass)]),
            with(&[("a", Word::Pass), ("b", Word::Fail), ("c", Word::Pass)]),
        ];
        let merged = merge(runs.into()).unwrap();
        let [a, b, c] = &merged.cases[..] else { panic!("three cases") };
        assert!(a.flaky && a.verdict.word() == Word::Warn);
        assert!(a.reason.as_ref().unwrap().starts_with("flaky: 2 of 3 attempts passed; worst, fail: "));
        assert_eq!(a.attempts, [Word::Pass, Word::Fail, Word::Pass]);
        assert!(!b.flaky && b.verdict.word() == Word::Fail);
        assert!(!c.flaky && c.verdict.word() == Word::Pass);
        assert_eq!(merged.gate.attempts, 3);
        assert_eq!(merged.totals.warn, 1);
    }
}
