//! Descendants that have lost their parents: they become children of this process, which ends them when it ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::process_id::ProcessId;

/// How long descendants may take to end.
const TIMEOUT: Duration = Duration::from_secs(5);

static ADOPTS: AtomicBool = AtomicBool::new(false);

/// Makes this process the parent of every descendant whose own parent ends, and lets [`end_descendants`] end them. Only
/// for a program of ours: the children of a test program that uses the library are not ours.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if nix::sys::prctl::set_child_subreaper(true).is_ok() {
        ADOPTS.store(true, Ordering::Relaxed);
    }
}

/// Ends every descendant of this process, if it adopts orphans. Returns what did not end, one line each.
#[must_use]
pub fn end_descendants() -> Vec<String> {
    if !ADOPTS.load(Ordering::Relaxed) {
        return Vec::new();
    }
    let own = ProcessId::own();
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let family = own.stop_descendants();
        if family.is_empty() {
            return Vec::new();
        }
        if Instant::now() > deadline {
            return family.iter().map(|process| format!("process {} did not exit", process.pid)).collect();
        }
        for process in &family {
            process.signal(Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
