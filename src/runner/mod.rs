//! The runner: which cases run, in which order, how many at once, and what their verdicts become.

mod run;
mod select;
mod spare;

pub use run::{RunOptions, Waived, run};
pub use select::{Selection, SelectionError, Shard};
pub use spare::SpareOptions;
