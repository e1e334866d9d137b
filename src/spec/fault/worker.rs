//! Faults of worker processes.

use schemars::JsonSchema;
use serde::Deserialize;

/// A fault of a worker process: of the longest-running one if there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerFault {
    /// SIGKILL; the worker is started again when the fault is over.
    Kill,
    /// SIGTERM; the worker is started again when it has ended and the fault is over.
    Terminate,
    /// SIGTERM, and again 100 ms later; the worker is started again when it has ended and the fault is over.
    TerminateTwice,
    /// One more worker is started; it gets SIGTERM when the fault is over. The fault takes effect if the worker has not begun
    /// to take jobs by then.
    TerminateStarting,
    /// SIGSTOP; SIGCONT when the fault is over.
    Pause,
    /// SIGSTOP; SIGCONT when the fault is over, and the locks of the jobs that were active have expired.
    PauseBeyondLocks,
    /// One more worker is started; it gets SIGTERM when the fault is over.
    Join,
}

impl WorkerFault {
    /// Its name in suites and reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Terminate => "terminate",
            Self::TerminateTwice => "terminate_twice",
            Self::TerminateStarting => "terminate_starting",
            Self::Pause => "pause",
            Self::PauseBeyondLocks => "pause_beyond_locks",
            Self::Join => "join",
        }
    }
}
