//! Shakedown in other people's `cargo test`: a throwaway stack for a test, and the whole judgement as one call.
//!
//! ```no_run
//! use shakedown::testing::{TestStack, judge};
//!
//! // Once in the file: how the services that are programs of ours are started.
//! shakedown::testing::child!();
//!
//! #[tokio::test]
//! async fn documents_survive_a_cut() {
//!     let stack = TestStack::start().await.unwrap();
//!     // … the code under test, with stack.environment() or stack.endpoints() …
//!     stack.redis().cut();
//! }
//!
//! #[tokio::test]
//! async fn my_worker_is_conformant() {
//!     judge("shakedown.toml").suites(["ingestion", "crash"]).run().await.unwrap().assert_conformant();
//! }
//! ```
//!
//! One stack is started in a process, when it is first asked for, and is removed when the process ends: every
//! [`TestStack`] has a queue, a table, a collection, a mock of the embeddings API and fault proxies of its own on it.

mod host;
mod judgement;
mod stack;

pub use judgement::{Judge, Judgement, judge};
pub use stack::{Broken, Faults, TestStack};

/// Why a test has no stack, or no judgement.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TestError {
    /// The services could not be started.
    #[error("no stack: {0}")]
    Stack(String),
    /// A file or a selection of cases makes no sense.
    #[error("{0}")]
    Usage(String),
}

/// Creates the test by which this test program can be started as `shakedown`. Write it once, at the top of a file in
/// `tests/`, or of the crate for unit tests.
///
/// Cargo builds no programs of a dependency, and some services are programs of ours: the embedded Qdrant, `shakedown
/// setup`. A test program that has this line is started for them, with this test as the only one.
/// `SHAKEDOWN_BIN=/path/of/shakedown` names a program instead.
#[macro_export]
macro_rules! shakedown_child {
    () => {
        #[test]
        #[ignore = "how the harness starts its own programs"]
        fn shakedown_child() {
            $crate::testing::become_child();
        }
    };
}

pub use crate::shakedown_child as child;

/// Becomes `shakedown` with the arguments that the harness gave, and ends the process with its exit code; does nothing
/// where it was not the harness that asked.
pub fn become_child() {
    let Some(arguments) = crate::settings::process_variable(host::ARGUMENTS) else { return };
    let arguments: Vec<String> =
        std::iter::once("shakedown".to_owned()).chain(arguments.lines().map(ToOwned::to_owned)).collect();
    // Test threads have a smaller stack than a main thread.
    let child = std::thread::Builder::new().stack_size(8 << 20).spawn(move || crate::cli::main_with(arguments));
    let code = child.ok().and_then(|child| child.join().ok()).unwrap_or(3);
    std::process::exit(i32::from(code));
}
