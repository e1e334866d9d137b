//! Choosing cases: globs over suites and ids, `!` to leave out, a least level.

use std::collections::BTreeSet;
use std::str::FromStr;

use globset::{Glob, GlobMatcher};

use crate::outcome::Level;
use crate::spec::{Case, Check, Suites, Verb, meant};

/// Why a selection makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// A pattern cannot be read.
    #[error("`{pattern}` is no pattern: {detail}; write for instance `redis.*` or `!jina.*`")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A pattern matches nothing: most likely a slip.
    #[error("`{pattern}` matches no {what}; `shakedown run --list` shows them all{meant}")]
    Nothing {
        /// The pattern.
        pattern: String,
        /// `case` or `suite`.
        what: &'static str,
        /// `; did you mean …?`, or nothing.
        meant: String,
    },
}

#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    glob: GlobMatcher,
    leaves_out: bool,
}

/// One part of several, such as `2/3`: together they are the whole selection, and no case is in two of them.
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
            _ => Err(format!("`{text}` is no shard; write K/N with K from 1 to N, for instance 1/3")),
        }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// What cases must not do to be chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Without {
    writing: bool,
    spending: bool,
}

/// Which cases to run.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    suites: Vec<Pattern>,
    cases: Vec<Pattern>,
    level: Option<Level>,
    /// Whether cases that take minutes are chosen without being named.
    slow: bool,
    /// Whether only the few cases are chosen that catch most.
    quick: bool,
    /// Who judges; without one, every case may be chosen.
    verb: Option<Verb>,
    /// Whether cases are left out that change something, or that cost money.
    without: Without,
    /// The ids of a shard.
    part: Option<BTreeSet<String>>,
}

impl Selection {
    /// Patterns over suites and over case ids; `level` leaves out what is less binding.
    pub fn new(suites: &[String], cases: &[String], level: Option<Level>) -> Result<Self, SelectionError> {
        Ok(Self { suites: patterns(suites)?, cases: patterns(cases)?, level, ..Self::default() })
    }

    /// The same selection, of which only the cases are chosen that `verb` judges.
    #[must_use]
    pub fn for_verb(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// The same selection, without the cases that change something on the stack.
    #[must_use]
    pub fn only_reading(mut self, only: bool) -> Self {
        self.without.writing = only;
        self
    }

    /// The same selection, without the cases that cost money.
    #[must_use]
    pub fn without_spending(mut self, without: bool) -> Self {
        self.without.spending = without;
        self
    }

    /// The same selection, with the cases that take minutes (tag `slow`), which are otherwise left out unless one is
    /// named by its id.
    #[must_use]
    pub fn with_slow(mut self, slow: bool) -> Self {
        self.slow = slow;
        self
    }

    /// The same selection, of which only the few cases are run that catch most (tag `quick`).
    #[must_use]
    pub fn only_quick(mut self, quick: bool) -> Self {
        self.quick = quick;
        self
    }

    /// Whether `case` is chosen.
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

    /// Whether `case` is one of those that this verb judges.
    #[must_use]
    pub fn considers(&self, case: &Case) -> bool {
        self.verb.is_none_or(|verb| case.verbs.contains(&verb))
    }

    /// Whether the case, or its suite, is named as it is called, and not by a pattern.
    fn names(&self, case: &Case) -> bool {
        let called = |patterns: &[Pattern], name: &str| patterns.iter().any(|pattern| pattern.text == name);
        called(&self.suites, &case.suite) || called(&self.cases, &case.id)
    }

    /// The same selection, of which only `shard` is run. Cases that judge one scenario stay together, for it is
    /// run once for all of them; the parts are as even as that allows.
    #[must_use]
    pub fn sharded(mut self, suites: &Suites, shard: Shard) -> Self {
        // What a scenario costs, in probes; measured on the built-in suites, and only the order of magnitude matters.
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

    /// An error for the first pattern that matches nothing at all.
    pub fn check(&self, suites: &Suites) -> Result<(), SelectionError> {
        let ids: Vec<&str> = suites.cases.iter().map(|case| case.id.as_str()).collect();
        let names: Vec<&str> = suites.suites.iter().map(|suite| suite.name.as_str()).collect();
        for (patterns, known, what) in [(&self.suites, names, "suite"), (&self.cases, ids, "case")] {
            for pattern in patterns {
                if !known.iter().any(|known| pattern.glob.is_match(known)) {
                    let word = pattern.text.trim_start_matches('!');
                    let meant = meant(word, known.iter().copied());
                    return Err(SelectionError::Nothing { pattern: pattern.text.clone(), what, meant });
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
            let (leaves_out, glob) = text.strip_prefix('!').map_or((false, text.as_str()), |rest| (true, rest));
            let glob = Glob::new(glob)
                .map_err(|error| SelectionError::Pattern { pattern: text.clone(), detail: error.kind().to_string() })?;
            Ok(Pattern { text: text.clone(), glob: glob.compile_matcher(), leaves_out })
        })
        .collect()
}

/// With no positive pattern everything is in; a negative one always leaves out.
fn admits(patterns: &[Pattern], name: &str) -> bool {
    let mut positive = patterns.iter().filter(|pattern| !pattern.leaves_out).peekable();
    let wanted = positive.peek().is_none() || positive.any(|pattern| pattern.glob.is_match(name));
    wanted && !patterns.iter().any(|pattern| pattern.leaves_out && pattern.glob.is_match(name))
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
    fn shards_cover_everything_once_and_keep_scenarios_whole(#[case] of: usize) {
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
        // What is run by name only was not named.
        assert_eq!(seen.len(), suites.cases.iter().filter(|case| !case.is_by_name()).count());
    }

    #[test]
    fn what_takes_minutes_is_chosen_when_asked_for_or_named() {
        let suites = Suites::builtin().unwrap();
        let slow = suites.cases.iter().find(|case| case.is_slow()).unwrap();
        let named = Selection::new(&[], std::slice::from_ref(&slow.id), None).unwrap();
        let by_glob = Selection::new(&[], &["*".to_owned()], None).unwrap();
        assert!(!Selection::default().chooses(slow) && !by_glob.chooses(slow));
        assert!(Selection::default().with_slow(true).chooses(slow) && named.chooses(slow));
    }

    #[test]
    fn a_shard_is_one_of_several() {
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
    fn patterns_admit_or_leave_out(#[case] texts: &[&str], #[case] name: &str, #[case] admitted: bool) {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        assert_eq!(admits(&patterns(&texts).unwrap(), name), admitted);
    }
}
