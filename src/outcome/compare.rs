//! Comparison of a run with an earlier report.

use std::collections::{BTreeMap, BTreeSet};

use super::gate::Comparison;
use super::record::Report;
use super::verdict::Word;

impl Comparison {
    /// Compares two runs of the same suites.
    #[must_use]
    pub fn between(before: &Report, after: &Report) -> Self {
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
}

/// Why a run cannot be compared with the report `before`; `None` if it can.
///
/// `chosen` are the cases of the run.
#[must_use]
pub fn incomparable(before: &Report, suite_version: &str, profile: &str, chosen: &BTreeSet<&str>) -> Option<String> {
    if before.suite_version != suite_version {
        return Some(format!("it is for suites {}, but this run uses suites {suite_version}", before.suite_version));
    }
    if before.profile != profile {
        return Some(format!("it is for profile {}, but this run uses profile {profile}", before.profile));
    }
    let old: BTreeSet<&str> = before.cases.iter().map(|case| case.id.as_str()).collect();
    let (missing, more) = (old.difference(chosen).count(), chosen.difference(&old).count());
    (missing + more > 0).then(|| {
        format!(
            "its selection of cases differs: {missing} of its cases are not selected now, {more} selected cases are not in it"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::testing::report;

    #[test]
    fn a_comparison_lists_cases_that_got_worse_and_cases_that_were_fixed() {
        let before = report(&[
            ("a", Word::Pass),
            ("b", Word::Fail),
            ("c", Word::Fail),
            ("d", Word::Skip),
            ("e", Word::Pass),
            ("f", Word::Pass),
        ]);
        let after =
            report(&[("a", Word::Fail), ("b", Word::Fail), ("c", Word::Pass), ("d", Word::Warn), ("e", Word::Skip)]);
        let comparison = Comparison::between(&before, &after);
        assert_eq!(comparison.worse, ["a", "e"]);
        assert_eq!(comparison.fixed, ["c"]);
        assert_eq!(comparison.new, ["d"]);
        assert_eq!(comparison.gone, ["f"]);
        assert!(!comparison.holds());
        assert!(Comparison::between(&before, &before).holds());
        assert_eq!(Comparison::between(&before, &before).sentence(), "compared with run r: no changes");
    }

    #[test]
    fn reports_of_other_suites_profiles_or_selections_are_not_compared() {
        let before = report(&[("a", Word::Pass)]);
        let (same, other) = (BTreeSet::from(["a"]), BTreeSet::from(["a", "b"]));
        let refuse = |version: &str, profile: &str, chosen| incomparable(&before, version, profile, chosen);
        assert_eq!(refuse("v", "development", &same), None);
        assert!(refuse("w", "development", &same).unwrap().contains("suites v"));
        assert!(refuse("v", "staging", &same).unwrap().contains("profile development"));
        assert!(refuse("v", "development", &other).unwrap().contains("1 selected cases are not in it"));
    }
}
