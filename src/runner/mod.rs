//! The runner: which cases run, in which order, how many at once, and what their verdicts become.

mod baseline;
mod environment_check;
mod run;
mod select;
mod stack_pool;

/// Threads of the runtime of a run, at least. What computes (vectors of the mock, verdicts) must not hold up what
/// watches: with more threads than cores the system shares the time among them, and faults strike when they are due.
const THREADS: usize = 8;

/// The runtime that runs are made for.
///
/// # Errors
/// The system gives no threads.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread().worker_threads(cores.max(THREADS)).enable_all().build()
}

pub use crate::probe::BilledCache;
pub use environment_check::{CheckOptions, EnvironmentCheck};
pub use run::{RunOptions, Waived, run, unreachable_service, waived};
pub use select::{Selection, SelectionError, Shard};
pub use stack_pool::StackPoolOptions;
