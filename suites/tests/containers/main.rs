//! What needs a Docker engine: the container provider, and compose files. Without one most are skipped, by name.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests ask services themselves")]
#![allow(dead_code, reason = "each test program uses a part of `support`")]

mod compose;
mod provider;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    // The program starts itself again as a harness that panics.
    if let Some(place) = provider::panicking_place() {
        provider::panic_with_a_stack(&place);
    }
    support::groups::run(Arguments::from_args(), None, vec![provider::group(), compose::group()])
}
