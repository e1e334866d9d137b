//! Every case notices what it is there for: breakages of the stack, defects planted in the reference worker, and
//! mistakes planted in workers in TypeScript and Python; and none passes by chance.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests ask services themselves")]
#![allow(dead_code, reason = "each test program uses a part of `support`")]

mod breakages;
mod defect_matrix;
mod defects;
mod libraries;
mod premises;
#[path = "../support/mod.rs"]
mod support;
mod workers;

use std::process::ExitCode;
use std::sync::Arc;

use defect_matrix::{PLACES, SharedStack};
use libtest_mimic::Arguments;
use support::groups::{Group, run};
use tokio::sync::Semaphore;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let is_filtered = defect_matrix::is_filtered(&arguments);
    // Trials begin in this order. Breakages share a stack under a lock, one at a time. The others have a stack for each
    // group: collections stay until their stack ends, and one Qdrant cannot hold those of all.
    let mut groups = vec![breakages::group()];
    let places = Arc::new(Semaphore::new(PLACES as usize));
    for (name, group) in [
        ("defects", defects::group as fn(&_, _) -> _),
        ("premises", premises::group),
        ("workers", workers::group),
        ("libraries", libraries::group),
    ] {
        let stack = Arc::new(SharedStack::new(name, &places));
        groups.push(group(&stack, is_filtered));
        groups.push(Group::with_end("stack", Vec::new(), move |_| {
            assert_eq!(stack.stop(), Vec::<String>::new(), "something could not be removed");
        }));
    }
    run(arguments, Some(PLACES as usize), groups)
}
