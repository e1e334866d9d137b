//! How busy the machine was during a scenario run: what part of the time the worker, or the harness, could run and had no
//! CPU. Deadlines count the rest of the time, and a failure that rests on time proves nothing if that part was large.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::stack::{CpuTimes, ProcessId, cpu_pressure, cpu_times};

/// The shortest time between two measurements.
const INTERVAL: Duration = Duration::from_millis(200);
/// How often the processes of the workers are searched for, among all processes of the machine.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);
/// The largest factor by which a deadline is extended.
const MAX_FACTOR: u32 = 3;
/// From this part of the time on, a worker that waits for a CPU counts as starved.
const STARVED: f64 = 0.35;
/// The same for the harness, which runs many scenarios and mostly waits for them.
const OWN_STARVED: f64 = 0.5;
/// A worker that used at least this part of all CPUs was not starved by others, but by itself.
const OWN_LOAD: f64 = 0.5;

/// A process that ran, or waited for a CPU, for less than this part of the time slept: timers and heartbeats take no more.
const SLEEPING: f64 = 0.1;

/// How busy the machine was during a scenario run. All zero where the system does not measure it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// The time that was measured.
    pub elapsed: Duration,
    /// The part of it in which some thread of the machine waited for a CPU, from 0 to 1; `None` if unknown.
    pub cpu: Option<f64>,
    /// How long the thread of the workers that waited longest for a CPU did so.
    pub worker_waited: Duration,
    /// CPU time of all threads of the workers.
    pub worker_ran: Duration,
    /// How long the thread of the harness that waited longest for a CPU did so.
    pub own_waited: Duration,
    /// The time in which the worker or the harness waited.
    pub stalled: Duration,
    /// The number of CPUs.
    pub cpus: u32,
}

impl Pressure {
    /// What part of `elapsed` a time is.
    fn part(&self, time: Duration) -> f64 {
        if self.elapsed.is_zero() { 0.0 } else { time.as_secs_f64() / self.elapsed.as_secs_f64() }
    }

    /// Whether the worker or the harness waited so long for a CPU, because of others, that times prove nothing.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        let cpu_time = self.worker_ran.as_secs_f64() / f64::from(self.cpus.max(1));
        // A worker that ran for longer than it waited had most of the CPU that it wanted.
        let is_own_load = self.part(Duration::try_from_secs_f64(cpu_time).unwrap_or_default()) >= OWN_LOAD
            || (self.worker_ran > self.worker_waited && !self.worker_waited.is_zero());
        let waits = self.part(self.worker_waited) >= STARVED || self.part(self.own_waited) >= OWN_STARVED;
        waits && !is_own_load
    }

    /// The time since `before` in which the worker could have run.
    fn could_run(&self, before: &Self) -> Duration {
        let stalled = self.stalled.saturating_sub(before.stalled);
        self.elapsed.saturating_sub(before.elapsed).saturating_sub(stalled)
    }

    /// Whether a deadline that has passed proves nothing: it was extended as far as it may be, and the worker could still
    /// not run for `limit`.
    #[must_use]
    pub fn is_short_of(&self, before: &Self, limit: Duration) -> bool {
        self.could_run(before) < limit
    }

    /// Whether a deadline of `limit` has passed for what began when `before` was measured: the time in which the worker
    /// could have run is over, or three times the limit.
    #[must_use]
    pub fn is_over(&self, before: &Self, limit: Duration) -> bool {
        let elapsed = self.elapsed.saturating_sub(before.elapsed);
        self.could_run(before) >= limit || elapsed >= limit * MAX_FACTOR
    }
}

/// How the reason of a verdict that a busy machine left unknown says so.
pub const TOO_BUSY: &str = "the machine was too busy";

/// Such as `the machine was too busy (CPU pressure 62 %, the worker waited 14 s of 20 s for a CPU)`.
impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TOO_BUSY} (")?;
        if let Some(cpu) = self.cpu {
            write!(f, "CPU pressure {:.0} %, ", cpu * 100.0)?;
        }
        let (who, waited) = if self.worker_waited >= self.own_waited {
            ("the worker", self.worker_waited)
        } else {
            ("Shakedown", self.own_waited)
        };
        write!(f, "{who} waited {:.1} s of {:.1} s for a CPU)", waited.as_secs_f64(), self.elapsed.as_secs_f64())
    }
}

/// Measures [`Pressure`], in intervals.
#[derive(Debug)]
pub(super) struct PressureMeter {
    started: Instant,
    measured: Instant,
    /// The processes of the workers, and when they were searched for.
    workers: (Vec<ProcessId>, Option<Instant>),
    own: [ProcessId; 1],
    pressure_before: Option<Duration>,
    worker_threads: BTreeMap<i32, CpuTimes>,
    own_threads: BTreeMap<i32, CpuTimes>,
    total: Pressure,
    pressure_total: Duration,
}

/// What threads did between two measurements.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Interval {
    /// CPU time of all threads.
    ran: Duration,
    /// Waiting time of the thread that waited longest.
    longest_wait: Duration,
}

impl Interval {
    fn between(before: &BTreeMap<i32, CpuTimes>, now: &BTreeMap<i32, CpuTimes>) -> Self {
        let mut interval = Self::default();
        for (thread, times) in now {
            // A thread that is new since then is counted from its start.
            let earlier = before.get(thread).copied().unwrap_or_default();
            let waited = times.waited.saturating_sub(earlier.waited);
            interval.ran += times.ran.saturating_sub(earlier.ran);
            interval.longest_wait = interval.longest_wait.max(waited);
        }
        interval
    }
}

/// What the threads of some processes had done at a moment.
#[derive(Debug)]
pub(super) struct CpuTimesAt {
    at: Instant,
    threads: BTreeMap<i32, CpuTimes>,
}

impl CpuTimesAt {
    pub(super) fn now(processes: &[ProcessId]) -> Self {
        Self { at: Instant::now(), threads: cpu_times(processes) }
    }

    /// Whether the processes have slept since then: no thread waited for a CPU, and together they hardly used one. False
    /// where that is not measured.
    pub(super) fn slept_since(&self, processes: &[ProcessId]) -> bool {
        let now = cpu_times(processes);
        let interval = Interval::between(&self.threads, &now);
        let most = self.at.elapsed().mul_f64(SLEEPING);
        !now.is_empty() && interval.ran < most && interval.longest_wait < most
    }
}

impl PressureMeter {
    pub(super) fn start() -> Self {
        let (now, own) = (Instant::now(), [ProcessId::own()]);
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            started: now,
            measured: now,
            workers: (Vec::new(), None),
            own_threads: cpu_times(&own),
            own,
            pressure_before: cpu_pressure(),
            worker_threads: BTreeMap::new(),
            total: Pressure { cpus: u32::try_from(cpus).unwrap_or(1), ..Pressure::default() },
            pressure_total: Duration::ZERO,
        }
    }

    /// Measures, unless that was done a moment ago. `workers` gives the processes of the workers.
    pub(super) fn measure(&mut self, workers: impl FnOnce() -> Vec<ProcessId>) {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.measured);
        if elapsed < INTERVAL {
            return;
        }
        self.measured = now;
        if self.workers.1.is_none_or(|searched| searched.elapsed() >= SEARCH_INTERVAL) {
            self.workers = (workers(), Some(now));
        }
        let pressure = cpu_pressure();
        let worker_threads = cpu_times(&self.workers.0);
        let own_threads = cpu_times(&self.own);
        let worker = Interval::between(&self.worker_threads, &worker_threads);
        let own = Interval::between(&self.own_threads, &own_threads);
        if let (Some(before), Some(now)) = (self.pressure_before, pressure) {
            self.pressure_total += now.saturating_sub(before).min(elapsed);
        }
        self.add(elapsed, worker, own);
        (self.pressure_before, self.worker_threads, self.own_threads) = (pressure, worker_threads, own_threads);
    }

    /// Adds what was measured in an interval that lasted `elapsed`.
    fn add(&mut self, elapsed: Duration, worker: Interval, own: Interval) {
        let worker_waited = worker.longest_wait.min(elapsed);
        let own_waited = own.longest_wait.min(elapsed);
        self.total.worker_ran += worker.ran;
        self.total.worker_waited += worker_waited;
        self.total.own_waited += own_waited;
        self.total.stalled += worker_waited.max(own_waited);
    }

    /// What was measured so far.
    pub(super) fn pressure(&self) -> Pressure {
        let measured = self.measured.saturating_duration_since(self.started);
        let cpu = self.pressure_before.filter(|_| !measured.is_zero());
        let cpu = cpu.map(|_| self.pressure_total.as_secs_f64() / measured.as_secs_f64());
        Pressure { elapsed: self.started.elapsed(), cpu, ..self.total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn waits(wait: Duration, ran: Duration) -> Interval {
        Interval { ran, longest_wait: wait }
    }

    /// Ten seconds in which the worker waited and ran for so long in each second.
    fn ten_seconds(wait: Duration, ran: Duration) -> Pressure {
        let mut meter = PressureMeter::start();
        for _ in 0..10 {
            meter.add(SECOND, waits(wait, ran), Interval::default());
        }
        Pressure { elapsed: 10 * SECOND, cpu: Some(0.62), cpus: 2, ..meter.pressure() }
    }

    #[test]
    fn a_worker_that_waits_for_others_is_starved() {
        let starved = ten_seconds(Duration::from_millis(700), Duration::from_millis(200));
        assert!(starved.is_starved());
        let wanted = "the machine was too busy (CPU pressure 62 %, the worker waited 7.0 s of 10.0 s for a CPU)";
        assert_eq!(starved.to_string(), wanted);
        assert!(!ten_seconds(Duration::from_millis(100), Duration::from_millis(200)).is_starved());
    }

    #[test]
    fn a_worker_that_uses_the_cpus_itself_is_not_starved() {
        let own_load = ten_seconds(Duration::from_millis(700), Duration::from_millis(1600));
        assert!(!own_load.is_starved());
    }

    #[test]
    fn nothing_measured_is_not_starved() {
        assert!(!Pressure::default().is_starved());
    }

    #[test]
    fn a_deadline_counts_the_time_in_which_the_worker_could_run() {
        let before = Pressure::default();
        let after = |elapsed: u32, stalled: u32| Pressure {
            elapsed: elapsed * SECOND,
            stalled: stalled * SECOND,
            ..Pressure::default()
        };
        assert!(!after(9, 0).is_over(&before, 10 * SECOND));
        assert!(after(10, 0).is_over(&before, 10 * SECOND));
        assert!(!after(20, 11).is_over(&before, 10 * SECOND));
        assert!(after(20, 10).is_over(&before, 10 * SECOND));
        assert!(after(30, 29).is_over(&before, 10 * SECOND), "three times the limit at most");
        assert!(after(30, 29).is_short_of(&before, 10 * SECOND), "and then it proves nothing");
        assert!(!after(20, 10).is_short_of(&before, 10 * SECOND));
        assert!(!after(30, 29).is_over(&after(15, 10), 10 * SECOND), "only what came after counts");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_waits_for_something_sleeps_and_one_that_computes_does_not() {
        let slept = |program: &str| {
            let mut child = std::process::Command::new("sh").args(["-c", program]).spawn().unwrap();
            let process = ProcessId::from_pid(i32::try_from(child.id()).unwrap()).unwrap();
            std::thread::sleep(INTERVAL);
            let before = CpuTimesAt::now(std::slice::from_ref(&process));
            std::thread::sleep(2 * SECOND);
            let slept = before.slept_since(&[process]);
            child.kill().unwrap();
            child.wait().unwrap();
            slept
        };
        assert!(slept("exec sleep 60"));
        assert!(!slept("while :; do :; done"));
        assert!(!CpuTimesAt::now(&[]).slept_since(&[]), "nothing was measured");
    }

    /// Both a busy child and a machine with other load: each waits longer than alone.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_beside_many_busy_ones_is_starved() {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let busy = || std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let mut children: Vec<_> = (0..cpus * 6).map(|_| busy()).collect();
        let worker = ProcessId::from_pid(i32::try_from(children[0].id()).unwrap()).unwrap();
        let mut meter = PressureMeter::start();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !meter.pressure().is_starved() && Instant::now() < deadline {
            std::thread::sleep(INTERVAL);
            meter.measure(|| vec![worker.clone()]);
        }
        let pressure = meter.pressure();
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(pressure.is_starved(), "{pressure:?}");
        assert!(pressure.worker_waited > Duration::ZERO && pressure.worker_ran > Duration::ZERO, "{pressure:?}");
    }
}
