//! How long threads ran on a CPU, and how long they waited for one although they could run. Linux only: elsewhere nothing
//! is known.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use super::process_id::ProcessId;

/// Time of a thread since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// Time on a CPU.
    pub ran: Duration,
    /// Time in which the thread could run, and every CPU was busy with others.
    pub waited: Duration,
}

/// The times of each thread of these processes, by the number of the thread.
#[must_use]
pub fn cpu_times(processes: &[ProcessId]) -> BTreeMap<i32, CpuTimes> {
    let threads = processes.iter().flat_map(|process| {
        fs::read_dir(format!("/proc/{}/task", process.pid)).into_iter().flatten().flatten().filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            // The thread may have ended since the directory was read.
            Some((number, parse_schedstat(&fs::read_to_string(entry.path().join("schedstat")).ok()?)?))
        })
    });
    threads.collect()
}

/// The time in which at least one thread of the machine waited for a CPU, since the machine started; `None` where the
/// kernel does not measure it (pressure stall information).
#[must_use]
pub fn cpu_pressure() -> Option<Duration> {
    let text = fs::read_to_string("/proc/pressure/cpu").ok()?;
    let some = text.lines().find(|line| line.starts_with("some "))?;
    let total = some.split(' ').find_map(|field| field.strip_prefix("total="))?;
    total.parse().ok().map(Duration::from_micros)
}

/// Reads `ran waited timeslices`, in nanoseconds.
fn parse_schedstat(text: &str) -> Option<CpuTimes> {
    let mut fields = text.split_whitespace().map(|field| field.parse().ok().map(Duration::from_nanos));
    Some(CpuTimes { ran: fields.next()??, waited: fields.next()?? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_thread_are_read() {
        let times = CpuTimes { ran: Duration::from_nanos(7), waited: Duration::from_micros(3) };
        assert_eq!(parse_schedstat("7 3000 12\n"), Some(times));
        assert_eq!(parse_schedstat("7"), None);
        assert_eq!(parse_schedstat("a b c"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_that_computes_runs() {
        let own = [ProcessId::own()];
        let ran = || cpu_times(&own).values().map(|times| times.ran).sum::<Duration>();
        let (before, begun) = (ran(), std::time::Instant::now());
        while ran() < before + Duration::from_millis(20) {
            assert!(begun.elapsed() < Duration::from_secs(60), "no CPU time was measured");
        }
    }

    #[test]
    fn a_process_that_does_not_run_has_no_threads() {
        assert_eq!(cpu_times(&[ProcessId { pid: 0, started: String::new() }]), BTreeMap::new());
    }
}
