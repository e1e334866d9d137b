//! Selects cases: globs over suites and ids (`!` excludes), a minimum level, shards.

use std::collections::BTreeSet;
use std::str::FromStr;

use globset::{Glob, GlobMatcher};

use crate::outcome::Level;
use crate::spec::{Case, Check, Suites, Verb, did_you_mean};

/// Why a selection is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// A pattern is not a glob.
    #[error("invalid pattern `{pattern}`: {detail}; expected e.g. `redis.*` or `!jina.*`")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A pattern matches nothing.
    #[error("`{pattern}` matches no {what}; `shakedown run --list` lists all{suggestion}")]
    Nothing {
        /// The pattern.
        pattern: String,
        /// `case` or `suite`.
        what: &'static str,
        /// `; did you mean …?`, or nothing.
        suggestion: String,
    },
}

#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    glob: GlobMatcher,
    excludes: bool,
}

/// One part of a selection, such as `2/3`. Every case is in exactly one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    number: usize,
    of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err(format!("invalid shard `{text}`: expected K/N with K from 1 to N, e.g. 1/3")),
        }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// Properties that exclude a case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Without {
    writing: bool,
    spending: bool,
}

/// Which cases run.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    suites: Vec<Pattern>,
    cases: Vec<Pattern>,
    level: Option<Level>,
    /// Whether cases with the tag `slow` are selected without being named.
    slow: bool,
    /// Whether only cases with the tag `quick` are selected.
    quick: bool,
    /// The verb that runs the cases; `None` selects the cases of all verbs.
    verb: Option<Verb>,
    /// Which cases are excluded.
    without: Without,
    /// The ids of the cases in the shard.
    part: Option<BTreeSet<String>>,
}

impl Selection {
    /// Selects by patterns over suites and case ids, and by a minimum `level`.
    pub fn new(suites: &[String], cases: &[String], level: Option<Level>) -> Result<Self, SelectionError> {
        Ok(Self { suites: patterns(suites)?, cases: patterns(cases)?, level, ..Self::default() })
    }

    /// Only the cases of `verb`.
    #[must_use]
    pub fn for_verb(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// Excludes the cases that write to the stack, if `only`.
    #[must_use]
    pub fn only_reading(mut self, only: bool) -> Self {
        self.without.writing = only;
        self
    }

    /// Excludes the cases that cost money, if `without`.
    #[must_use]
    pub fn without_spending(mut self, without: bool) -> Self {
        self.without.spending = without;
        self
    }

    /// Includes the cases that take minutes (tag `slow`). Without it they are excluded unless named by their id.
    #[must_use]
    pub fn with_slow(mut self, slow: bool) -> Self {
        self.slow = slow;
        self
    }

    /// Only the few cases that find most defects (tag `quick`), if `quick`.
    #[must_use]
    pub fn only_quick(mut self, quick: bool) -> Self {
        self.quick = quick;
        self
    }

    /// Whether `case` is selected.
    #[must_use]
    pub fn chooses(&self, case: &Case) -> bool {
        self.level.is_none_or(|least| case.level <= least)
            && admits(&self.suites, &case.suite)
            && admits(&self.cases, &case.id)
            && (self.slow || !case.is_slow() || self.cases.iter().any(|pattern| pattern.text == case.id))
            && (!case.is_by_name() || self.names(case))
            && (!self.quick || case.has_tag("quick"))
            && self.considers(case)
            && !(self.without.writing && case.writes())
            && !(self.without.spending && case.spends)
            && self.part.as_ref().is_none_or(|part| part.contains(&case.id))
    }

    /// Whether `case` belongs to the verb of this selection.
    #[must_use]
    pub fn considers(&self, case: &Case) -> bool {
        self.verb.is_none_or(|verb| case.verbs.contains(&verb))
    }

    /// Whether a pattern is the exact id of the case or the exact name of its suite.
    fn names(&self, case: &Case) -> bool {
        let is_named = |patterns: &[Pattern], name: &str| patterns.iter().any(|pattern| pattern.text == name);
        is_named(&self.suites, &case.suite) || is_named(&self.cases, &case.id)
    }

    /// Only the cases of `shard`. All cases of a scenario are in the same shard, because the scenario runs once for all
    /// of them. Within this limit the shards have about the same cost.
    #[must_use]
    pub fn sharded(mut self, suites: &Suites, shard: Shard) -> Self {
        // The cost of a scenario in probes, measured on the built-in suites; only its order of magnitude matters.
        const SCENARIO: usize = 40;
        let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
        for case in suites.cases.iter().filter(|case| self.chooses(case)) {
            let key = match &case.check {
                Check::Scenario(name, _) => format!("scenario {name}"),
                Check::Probe(..) => case.id.clone(),
            };
            match groups.iter_mut().find(|(known, _)| *known == key) {
                Some((_, ids)) => ids.push(&case.id),
                None => groups.push((key, vec![&case.id])),
            }
        }
        let cost =
            |(key, ids): &(String, Vec<&str>)| ids.len() + if key.starts_with("scenario ") { SCENARIO } else { 0 };
        groups.sort_by_key(|group| (std::cmp::Reverse(cost(group)), group.0.clone()));
        let mut loads = vec![0; shard.of];
        let mut part = BTreeSet::new();
        for group in &groups {
            let lightest = (0..loads.len()).min_by_key(|place| loads[*place]).unwrap_or_default();
            loads[lightest] += cost(group);
            if lightest + 1 == shard.number {
                part.extend(group.1.iter().map(ToString::to_string));
            }
        }
        self.part = Some(part);
        self
    }

    /// Checks that every pattern matches something.
    ///
    /// # Errors
    /// The first pattern that matches nothing.
    pub fn check(&self, suites: &Suites) -> Result<(), SelectionError> {
        let ids: Vec<&str> = suites.cases.iter().map(|case| case.id.as_str()).collect();
        let names: Vec<&str> = suites.suites.iter().map(|suite| suite.name.as_str()).collect();
        for (patterns, known, what) in [(&self.suites, names, "suite"), (&self.cases, ids, "case")] {
            for pattern in patterns {
                if !known.iter().any(|known| pattern.glob.is_match(known)) {
                    let word = pattern.text.trim_start_matches('!');
                    let suggestion = did_you_mean(word, known.iter().copied());
                    return Err(SelectionError::Nothing { pattern: pattern.text.clone(), what, suggestion });
                }
            }
        }
        Ok(())
    }
}

fn patterns(texts: &[String]) -> Result<Vec<Pattern>, SelectionError> {
    texts
        .iter()
        .map(|text| {
            let (excludes, glob) = text.strip_prefix('!').map_or((false, text.as_str()), |rest| (true, rest));
            let glob = Glob::new(glob)
                .map_err(|error| SelectionError::Pattern { pattern: text.clone(), detail: error.kind().to_string() })?;
            Ok(Pattern { text: text.clone(), glob: glob.compile_matcher(), excludes })
        })
        .collect()
}

/// Whether `patterns` select `name`: without a positive pattern everything is selected, and a negative one always excludes.
fn admits(patterns: &[Pattern], name: &str) -> bool {
    let mut positive = patterns.iter().filter(|pattern| !pattern.excludes).peekable();
    let wanted = positive.peek().is_none() || positive.any(|pattern| pattern.glob.is_match(name));
    wanted && !patterns.iter().any(|pattern| pattern.excludes && pattern.glob.is_match(name))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(1)]
    #[case(2)]
    #[case(5)]
    #[case(400)]
    fn every_case_is_in_one_shard_and_scenarios_are_not_split(#[case] of: usize) {
        let suites = Suites::builtin().unwrap();
        let mut seen = BTreeSet::new();
        for number in 1..=of {
            let shard = format!("{number}/{of}").parse().unwrap();
            let selection = Selection::default().with_slow(true).sharded(&suites, shard);
            let chosen: Vec<_> = suites.cases.iter().filter(|case| selection.chooses(case)).collect();
            for case in &chosen {
                assert!(seen.insert(case.id.clone()), "{} is in two shards", case.id);
                if let Check::Scenario(name, _) = &case.check {
                    let whole = suites
                        .cases
                        .iter()
                        .filter(|other| matches!(&other.check, Check::Scenario(its, _) if its == name));
                    assert!(whole.into_iter().all(|other| selection.chooses(other)));
                }
            }
        }
        // Cases that run only by name are not selected.
        assert_eq!(seen.len(), suites.cases.iter().filter(|case| !case.is_by_name()).count());
    }

    #[test]
    fn slow_cases_are_selected_by_flag_or_by_id() {
        let suites = Suites::builtin().unwrap();
        let slow = suites.cases.iter().find(|case| case.is_slow()).unwrap();
        let named = Selection::new(&[], std::slice::from_ref(&slow.id), None).unwrap();
        let by_glob = Selection::new(&[], &["*".to_owned()], None).unwrap();
        assert!(!Selection::default().chooses(slow) && !by_glob.chooses(slow));
        assert!(Selection::default().with_slow(true).chooses(slow) && named.chooses(slow));
    }

    #[test]
    fn a_shard_has_a_number_and_a_count() {
        assert_eq!("2/3".parse::<Shard>().unwrap().to_string(), "2/3");
        for wrong in ["0/3", "4/3", "1", "a/b", "1/0", ""] {
            assert!(wrong.parse::<Shard>().unwrap_err().contains("K/N"));
        }
    }

    #[rstest]
    #[case(&[], "redis.version", true)]
    #[case(&["redis.*"], "redis.version", true)]
    #[case(&["redis.*"], "jina.auth", false)]
    #[case(&["!redis.*"], "jina.auth", true)]
    #[case(&["!redis.*"], "redis.version", false)]
    #[case(&["*", "!*.version"], "redis.version", false)]
    #[case(&["{redis,jina}.*"], "jina.auth", true)]
    fn patterns_select_or_exclude(#[case] texts: &[&str], #[case] name: &str, #[case] admitted: bool) {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        assert_eq!(admits(&patterns(&texts).unwrap(), name), admitted);
    }
}
