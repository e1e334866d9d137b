//! Descendants that have lost their parents: they become children of this process, which ends them when it ends.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::process_id::ProcessId;

/// How long descendants may take to end.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How many scans in a row must find no descendant.
const QUIET_SCANS: u32 = 10;

/// How often orphans that have exited are reaped. A worker that starts a daemon for each job must not exhaust the pids.
#[cfg(target_os = "linux")]
const REAP_INTERVAL: Duration = Duration::from_secs(2);

static ADOPTS: AtomicBool = AtomicBool::new(false);

/// The processes that this one has started itself, and whose exit status it still needs.
static STARTED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Makes this process the parent of every descendant whose own parent ends, and lets [`end_descendants`] end them. Only
/// for a program of ours: the children of a test program that uses the library are not ours.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if nix::sys::prctl::set_child_subreaper(true).is_ok() && !ADOPTS.swap(true, Ordering::Relaxed) {
        // Without the thread, exited orphans stay until this process ends.
        let _ = std::thread::Builder::new().name("reaper".to_owned()).spawn(|| {
            let mut seen = BTreeSet::new();
            loop {
                std::thread::sleep(REAP_INTERVAL);
                seen = reap(&seen);
            }
        });
    }
}

/// Keeps the exit status of the process `pid`, which this one has started, until [`release`].
pub(super) fn hold(pid: i32) {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
}

/// Declares the process `pid` reaped.
pub(super) fn release(pid: i32) {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
}

/// Reaps the children that have exited and are in `seen`, except those that are held. Returns all that have exited: who
/// waits for a child reaps it at once, so one that is seen twice is an orphan.
#[cfg(target_os = "linux")]
fn reap(seen: &BTreeSet<ProcessId>) -> BTreeSet<ProcessId> {
    use nix::sys::wait::{WaitPidFlag, waitpid};
    let exited = ProcessId::own().exited_children();
    let started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    for orphan in exited.intersection(seen).filter(|process| !started.contains(&process.pid)) {
        // If it is gone, nothing is left to do.
        let _ = waitpid(nix::unistd::Pid::from_raw(orphan.pid), Some(WaitPidFlag::WNOHANG));
    }
    exited
}

/// Ends every descendant of this process, if it adopts orphans. Returns what did not end, one line each.
#[must_use]
pub fn end_descendants() -> Vec<String> {
    if !ADOPTS.load(Ordering::Relaxed) {
        return Vec::new();
    }
    let own = ProcessId::own();
    let deadline = Instant::now() + TIMEOUT;
    let mut exited = own.exited_children();
    let mut quiet = 0;
    loop {
        let family = own.stop_descendants();
        // A process that starts the next one and exits can be missed by a scan; what it leaves are exited children.
        let now = own.exited_children();
        quiet = if family.is_empty() && now.is_subset(&exited) { quiet + 1 } else { 0 };
        exited = now;
        if quiet == QUIET_SCANS {
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_has_exited_is_reaped_when_it_is_seen_again_unless_it_is_held() {
        let mut children = [(); 2].map(|()| std::process::Command::new("true").spawn().unwrap());
        let [orphan, held] = [&children[0], &children[1]].map(|child| i32::try_from(child.id()).unwrap());
        hold(held);
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut seen = BTreeSet::new();
        let is_in = |seen: &BTreeSet<ProcessId>, pid: i32| seen.iter().any(|process| process.pid == pid);
        while !(is_in(&seen, orphan) && is_in(&seen, held)) {
            assert!(Instant::now() < deadline, "the children did not exit");
            let own = |process: &ProcessId| [orphan, held].contains(&process.pid);
            seen = ProcessId::own().exited_children().into_iter().filter(own).collect();
        }
        reap(&seen);
        assert!(children[0].try_wait().is_err(), "it was not reaped");
        assert!(children[1].try_wait().unwrap().is_some_and(|status| status.success()));
        release(held);
    }
}
