//! The verbs that look at, set up and serve a stack, as a user calls them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests ask services themselves")]
#![allow(dead_code, reason = "each test program uses a part of `support`")]

#[cfg(target_os = "linux")]
mod aborts;
mod check;
mod collection_swap;
mod collector;
mod migrations;
mod provision;
mod provision_sandbox;
mod queue_care;
mod read_only;
mod serve;
mod setup_steps;
#[path = "../support/mod.rs"]
mod support;
mod telemetry;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let groups = vec![
        #[cfg(target_os = "linux")]
        aborts::group(),
        check::group(),
        migrations::group(),
        provision::group(),
        read_only::group(),
        serve::group(),
        telemetry::group(),
    ];
    // One at a time: some break their stack for a while.
    support::groups::run(Arguments::from_args(), Some(1), groups)
}
