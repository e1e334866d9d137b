//! The runner: plans which cases and scenarios run, judges the cases, and assembles the report.
//!
//! `plan` (cases → scenario runs with their baselines) → `run` (the engine: one case at a time for each slot) →
//! `scenario_runs` (each scenario once for all its cases) → `waivers` → `causes` → `timelines` → `report`.

mod admission;
mod baseline;
mod causes;
mod clean_up;
mod environment_check;
mod options;
mod plan;
mod preflight;
mod report;
mod run;
mod scenario_runs;
mod select;
mod stack_pool;
mod timelines;
mod waivers;
mod worker_output;

/// Minimum number of runtime threads. With more threads than cores, the operating system shares the cores, so that
/// computations (the mock's vectors, verdicts) do not delay the injection of faults.
const MIN_THREADS: usize = 8;

/// The Tokio runtime for runs.
///
/// # Errors
/// The threads cannot be started.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread().worker_threads(cores.max(MIN_THREADS)).enable_all().build()
}

pub use crate::probe::BilledCache;
pub use environment_check::{CheckOptions, EnvironmentCheck};
pub use options::RunOptions;
pub use preflight::{PreflightError, preflight};
pub use run::{run, unreachable_service};
pub use select::{Selection, SelectionError, Shard};
pub use stack_pool::StackPoolOptions;
pub use waivers::{Waived, waived};
