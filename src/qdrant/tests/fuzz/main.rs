//! A fuzz of both protocols: valid requests with random changes, against a server in a process of its own.
//!
//! Of every request: the process lives, an answer comes in time, and it is not an error of the server (5xx but 501, or
//! gRPC's codes for the same). Of every kill in between: the server starts again, what it acknowledged is there, and
//! every collection has the points and the settings that it had.
//!
//! | variable | meaning |
//! |---|---|
//! | `SHAKEDOWN_FUZZ_SEED` | the seed that a failure printed |
//! | `SHAKEDOWN_FUZZ_REQUESTS` | number of requests; 400 by default |
//! | `SHAKEDOWN_FUZZ_SECONDS` | how long to send requests, instead of their number |

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the seed and the numbers repeat a failure")]

mod campaign;
mod child;
mod grpc;
mod rest;
mod upload;
mod values;

/// The server of the other test, as a process of its own.
#[test]
#[ignore = "the other test starts it"]
fn server() {
    child::serve();
}

#[test]
fn no_request_ends_the_server_or_damages_its_storage() {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(campaign::run());
    };
    // Requests that are nested deeply are built by recursion here too.
    let thread = std::thread::Builder::new().stack_size(64 * 1024 * 1024).spawn(run).expect("a thread");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
