//! Shakedown as a library for `cargo test`: a throwaway stack for a test, and the conformance check as one call.
//!
//! ```no_run
//! use shakedown::testing::{ConformanceCheck, TestStack};
//!
//! // Once per file: lets the harness start its own services.
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
//!     let check = ConformanceCheck::new("shakedown.toml").suites(["ingestion", "crash"]);
//!     check.run().await.unwrap().assert_conformant();
//! }
//! ```
//!
//! Each process starts one stack on first use and removes it at exit. On it, every [`TestStack`] has its own queue,
//! table, collection, mock of the embeddings API and fault proxies.

mod conformance;
mod host;
mod stack;

pub use conformance::{ConformanceCheck, ConformanceResult};
pub use stack::{FaultGuard, Faults, TestStack};

/// Why a stack cannot be started or a check cannot run.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TestError {
    /// The services could not be started.
    #[error("cannot start the stack: {0}")]
    Stack(String),
    /// A file, a variable or a selection of cases is invalid.
    #[error("{0}")]
    Usage(String),
}

/// Defines the test through which this test program can be started as `shakedown`. Write it once, at the top of a file
/// in `tests/`, or at the top of the crate for unit tests.
///
/// The harness needs the program `shakedown` for the embedded Qdrant and for `shakedown setup`, but Cargo does not build
/// the programs of a dependency. So it starts the test program itself, with this test as the only one.
/// `SHAKEDOWN_BIN=/path/to/shakedown` names a program instead.
#[macro_export]
macro_rules! shakedown_child {
    () => {
        #[test]
        #[ignore = "the harness starts its own programs through it"]
        fn shakedown_child() {
            $crate::testing::become_child();
        }
    };
}

pub use crate::shakedown_child as child;

/// Runs `shakedown` with the arguments from the harness and exits with its code. Does nothing if the harness did not
/// start this process.
pub fn become_child() {
    let Some(arguments) = crate::settings::process_variable(host::ARGUMENTS) else { return };
    let arguments: Vec<String> =
        std::iter::once("shakedown".to_owned()).chain(arguments.lines().map(ToOwned::to_owned)).collect();
    // Test threads have a smaller stack than a main thread.
    let child = std::thread::Builder::new().stack_size(8 << 20).spawn(move || crate::cli::main_with(arguments));
    let code = child.ok().and_then(|child| child.join().ok()).unwrap_or(3);
    std::process::exit(i32::from(code));
}
