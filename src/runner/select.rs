//! Choosing cases: globs over suites and ids, `!` to leave out, a least level.

use globset::{Glob, GlobMatcher};

use crate::outcome::Level;
use crate::spec::{Case, Suites, meant};

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

/// Which cases to run.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    suites: Vec<Pattern>,
    cases: Vec<Pattern>,
    level: Option<Level>,
}

impl Selection {
    /// Patterns over suites and over case ids; `level` leaves out what is less binding.
    pub fn new(suites: &[String], cases: &[String], level: Option<Level>) -> Result<Self, SelectionError> {
        Ok(Self { suites: patterns(suites)?, cases: patterns(cases)?, level })
    }

    /// Whether `case` is chosen.
    #[must_use]
    pub fn chooses(&self, case: &Case) -> bool {
        self.level.is_none_or(|least| case.level <= least)
            && admits(&self.suites, &case.suite)
            && admits(&self.cases, &case.id)
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
