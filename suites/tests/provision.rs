//! `shakedown plan` and `shakedown setup` of a desired state, and `shakedown queue`, as somebody meets them.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "shared with targets that use other parts of it")]
mod desk;
#[expect(dead_code, reason = "shared with targets that use other parts of it")]
mod harness;
mod queue_care;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Trial};
use shakedown::stack::ProviderKind;

use harness::{Ship, runtime};

type Test = fn(&Ship);

const TESTS: &[(&str, Test)] = &[
    ("a_queue_is_counted_and_tended_as_bullmq_5_does", queue_care::beside_node_5),
    ("a_queue_is_counted_and_tended_as_bullmq_6_does", queue_care::beside_node_6),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let ship: Arc<Mutex<Option<Ship>>> = Arc::default();
    let trial = |(name, test): &(&str, Test)| {
        let (ship, test) = (Arc::clone(&ship), *test);
        Trial::test(*name, move || {
            let mut ship = ship.lock().unwrap_or_else(PoisonError::into_inner);
            if ship.is_none() {
                *ship = Some(runtime().block_on(Ship::launch(ProviderKind::Native, "provision")));
            }
            test(ship.as_ref().expect("it was launched above"));
            Ok(())
        })
    };
    let trials = TESTS.iter().map(trial).collect();
    // One stack for all, and one test at a time.
    arguments.test_threads = Some(1);
    let conclusion = libtest_mimic::run(&arguments, trials);
    let left = ship.lock().unwrap_or_else(PoisonError::into_inner).take().map(|ship| runtime().block_on(ship.sink()));
    assert_eq!(left.unwrap_or_default(), Vec::<String>::new(), "something could not be removed");
    conclusion.exit_code()
}
