//! The tests of expectations: each is written as in a suite, and evaluated over runs made by hand.

use super::super::testing::TestRun;
use super::evaluate;
use crate::outcome::{Level, Verdict};
use crate::spec::{Expect, Expectation};

/// An expectation as a suite writes it, such as `max_attempts = 1`.
///
/// A test says first which run passes, then which one fails, then what else there is to say.
pub(super) fn check(entry: &str) -> Check {
    let expect: Expect = toml::from_str(entry).unwrap();
    assert!(expect.matchers.is_empty() && expect.expectations.len() == 1, "`{entry}` is one expectation");
    Check { expectation: expect.expectations[0].1.clone() }
}

#[must_use = "an expectation without a run that passes is not tested"]
pub(super) struct Check {
    expectation: Expectation,
}

#[must_use = "an expectation without a run that fails is not tested"]
pub(super) struct Passed(Check);

pub(super) struct Tested(Check);

impl Check {
    fn verdict(&self, run: &TestRun) -> Verdict {
        evaluate(&[], std::slice::from_ref(&self.expectation), &run.assessment(), None, Level::Must).0
    }

    #[track_caller]
    pub(super) fn passes(self, run: &TestRun) -> Passed {
        assert_eq!(self.verdict(run), Verdict::Pass);
        Passed(self)
    }
}

impl Passed {
    /// The first run that fails, with the whole reason.
    #[track_caller]
    pub(super) fn fails(self, run: &TestRun, reason: &str) -> Tested {
        let tested = Tested(self.0);
        tested.fails(run, reason);
        tested
    }
}

impl Tested {
    #[track_caller]
    pub(super) fn passes(&self, run: &TestRun) -> &Self {
        assert_eq!(self.0.verdict(run), Verdict::Pass);
        self
    }

    #[track_caller]
    pub(super) fn fails(&self, run: &TestRun, reason: &str) -> &Self {
        assert_eq!(self.0.verdict(run), Verdict::unmet(Level::Must, reason));
        self
    }

    /// The run does not decide the expectation, for this reason.
    #[track_caller]
    pub(super) fn is_unknown(&self, run: &TestRun, reason: &str) -> &Self {
        assert_eq!(self.0.verdict(run), Verdict::unknown(reason));
        self
    }

    /// The contract lacks what the expectation needs, and the reason names it.
    #[track_caller]
    pub(super) fn is_skipped(&self, run: &TestRun, part: &str) -> &Self {
        let verdict = self.0.verdict(run);
        let Verdict::Skip { reason } = &verdict else { panic!("{verdict:?}") };
        assert!(reason.contains(part), "{reason}");
        self
    }
}

/// The files of the families; each has the tests of its expectations.
const FAMILIES: [&str; 11] = [
    include_str!("chunks.rs"),
    include_str!("connections.rs"),
    include_str!("delivery.rs"),
    include_str!("jobs.rs"),
    include_str!("log.rs"),
    include_str!("newest.rs"),
    include_str!("process.rs"),
    include_str!("requests.rs"),
    include_str!("retries.rs"),
    include_str!("rows.rs"),
    include_str!("versions.rs"),
];

#[test]
fn every_expectation_has_a_run_that_passes_and_one_that_fails() {
    let schema = schemars::schema_for!(Expectation);
    let variants = schema.get("oneOf").unwrap().as_array().unwrap();
    assert!(variants.len() > 50, "{}", variants.len());
    let keys = variants.iter().flat_map(|variant| match variant["properties"].as_object() {
        Some(properties) => properties.keys().cloned().collect::<Vec<_>>(),
        None => vec![variant["const"].as_str().unwrap().to_owned()],
    });
    // `check` gives something that must be used until both are there.
    let untested: Vec<String> =
        keys.filter(|key| !FAMILIES.iter().any(|family| family.contains(&format!("check(\"{key} = ")))).collect();
    assert!(untested.is_empty(), "add a test with `check(\"KEY = …\")` beside the check of {untested:?}");
}
