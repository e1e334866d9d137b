//! Groups of trials that one test program runs: each has a name, which begins the name of each of its trials, and
//! cleans up after them.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Conclusion, Trial};

/// Trials that share something, such as a stack.
pub struct Group {
    name: &'static str,
    trials: Vec<Trial>,
    finish: Box<dyn FnOnce(&Conclusion)>,
}

impl Group {
    /// Trials that leave nothing to clean up.
    pub fn new(name: &'static str, trials: Vec<Trial>) -> Self {
        Self::with_end(name, trials, |_| {})
    }

    /// Trials after which `finish` is called, whether they ran or not: it stops what they share, and panics if
    /// something is left.
    pub fn with_end(name: &'static str, trials: Vec<Trial>, finish: impl FnOnce(&Conclusion) + 'static) -> Self {
        Self { name, trials, finish: Box::new(finish) }
    }
}

/// The name of a trial of the group: `cargo test --test detection breakages::` runs one group.
pub fn name(group: &str, trial: impl std::fmt::Display) -> String {
    format!("{group}::{trial}")
}

/// Tests that share nothing, as trials of the group.
#[allow(dead_code, reason = "not every test target needs it")]
pub fn trials(group: &str, tests: &[(&str, fn())]) -> Vec<Trial> {
    let trial = |(test, run): &(&str, fn())| {
        let run = *run;
        Trial::test(name(group, test), move || {
            run();
            Ok(())
        })
    };
    tests.iter().map(trial).collect()
}

/// A trial of the group that cannot run here, and why.
#[allow(dead_code, reason = "not every test target needs it")]
pub fn ignored(group: &str, test: &str, why: &str) -> Trial {
    Trial::test(name(group, format!("{test} ({why})")), || Ok(())).with_ignored_flag(true)
}

/// Runs the groups one after the other in one program, `threads` trials at a time.
pub fn run(mut arguments: Arguments, threads: Option<usize>, groups: Vec<Group>) -> ExitCode {
    if threads.is_some() {
        arguments.test_threads = threads;
    }
    let mut trials = Vec::new();
    let mut ends = Vec::new();
    for group in groups {
        let prefix = name(group.name, "");
        assert!(group.trials.iter().all(|trial| trial.name().starts_with(&prefix)), "a trial lacks its group's name");
        trials.extend(group.trials);
        ends.push(group.finish);
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    for finish in ends {
        finish(&conclusion);
    }
    conclusion.exit_code()
}
