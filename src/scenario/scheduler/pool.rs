//! The workers of a scenario run: several at once, some of them terminating.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::harness::ScenarioError;
use super::super::pressure::CpuTimesAt;
use crate::settings::{Contract, Idle};
use crate::stack::{Ledger, ProcessId};
use crate::worker::{Ended, Worker, WorkerEnv};

/// How long a worker may take to end beyond its grace before it is killed.
const KILL_DELAY: Duration = Duration::from_secs(2);
/// A job that starts this soon after the signal was on its way to the worker already, and does not count as taken.
const IN_FLIGHT: Duration = Duration::from_millis(300);
/// How often the memory of the workers is read: their processes are searched among all processes of the machine.
const MEMORY_INTERVAL: Duration = Duration::from_millis(500);
/// Time between the two signals of `terminate_twice`.
const SECOND_SIGNAL: Duration = Duration::from_millis(100);

/// How a worker ended that a fault terminated during a scenario run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// When it was sent SIGTERM, since the scenario run began.
    pub signalled: Duration,
    /// Time from the signal to the end.
    pub after: Duration,
    /// Its grace.
    pub grace: Duration,
    /// How it ended, such as `exited with code 0`.
    pub how: String,
    /// Exit code; 128 and its number for a signal.
    pub code: Option<i32>,
    /// Whether it had to be killed.
    pub killed: bool,
    /// Whether it slept for the last seconds before it was killed: it waited for something, and not for a CPU.
    pub slept: bool,
    /// Jobs that it took from the queue after the signal; `None` where another worker may have taken them.
    pub taken: Option<Vec<String>>,
    /// Jobs that it left in `active`; `None` where they may belong to another worker.
    pub left: Option<Vec<String>>,
}

/// The output of a worker.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// The worker's number, from 1.
    pub worker: usize,
    /// Its whole output; the middle of a very long one is omitted.
    pub text: String,
    /// Milliseconds since the scenario run began, and the length of the output in bytes by then.
    pub marks: Vec<(i64, u64)>,
}

/// An event in the life of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerEvent {
    /// When, in milliseconds since the scenario run began; negative before that.
    pub at_ms: i64,
    /// The worker's number, from 1.
    pub worker: usize,
    /// What happened, such as `takes jobs`.
    pub what: String,
}

/// How workers are started.
pub(in crate::scenario) struct LaunchConfig {
    pub(in crate::scenario) contract: Arc<Contract>,
    pub(in crate::scenario) worker_env: WorkerEnv,
    pub(in crate::scenario) grace: Duration,
    pub(in crate::scenario) directory: PathBuf,
    pub(in crate::scenario) name: String,
    pub(in crate::scenario) ledger: Ledger,
}

/// The state of a worker that was sent SIGTERM.
#[derive(Debug)]
struct Leaving {
    signalled: Instant,
    /// Whether a second signal is still to be sent.
    again: bool,
    /// Jobs that were active by the end of [`IN_FLIGHT`]; later ones were taken after the signal.
    known: BTreeSet<String>,
    taken: BTreeSet<String>,
    /// What its threads had done when its grace was over.
    after_grace: Option<CpuTimesAt>,
    /// How many workers had been started, if no other one ran: after one more start, active jobs may belong to that one.
    alone: Option<usize>,
}

/// A worker that runs.
#[derive(Debug)]
pub(super) struct WorkerHandle {
    pub(super) worker: Worker,
    /// Its number, from 1.
    pub(super) number: usize,
    leaving: Option<Leaving>,
    /// Whether it has not been seen ready yet.
    is_starting: bool,
    /// The length of its output in bytes, and when that was read.
    marks: Vec<(Instant, u64)>,
    /// The peak memory of one of its processes, as last read.
    peak_mib: Option<f64>,
    /// When the memory was read.
    memory_read: Option<Instant>,
}

/// The larger of two figures, either of which may be unknown.
fn larger(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::max)
}

impl WorkerHandle {
    /// Whether it was sent SIGTERM.
    pub(super) const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Reads its peak memory, unless that was done a moment ago.
    fn read_memory(&mut self) {
        if self.memory_read.is_none_or(|read| read.elapsed() >= MEMORY_INTERVAL) {
            self.memory_read = Some(Instant::now());
            self.peak_mib = larger(self.peak_mib, self.worker.peak_memory_mib());
        }
    }

    /// Records the length of its output, and its memory.
    fn record_output(&mut self) {
        self.read_memory();
        let written = self.worker.written();
        if self.marks.last().is_none_or(|(_, before)| *before < written) {
            self.marks.push((Instant::now(), written));
        }
    }
}

/// The output of a worker that has ended.
struct EndedOutput {
    number: usize,
    text: String,
    marks: Vec<(Instant, u64)>,
}

/// All workers.
pub(super) struct WorkerPool {
    launch: LaunchConfig,
    /// How many workers were started.
    starts: usize,
    /// The workers that run, the one that has run longest first.
    pub(super) running: Vec<WorkerHandle>,
    /// The output of workers that have ended.
    ended_outputs: Vec<EndedOutput>,
    /// How the last worker ended that exited because it was idle.
    idle_end: Option<Ended>,
    /// What happened to which worker, and when.
    worker_events: Vec<(Instant, usize, String)>,
    pub(super) exits: Vec<Exit>,
    /// The peak memory of one process of a worker that has ended.
    ended_mib: Option<f64>,
    clock: Instant,
}

impl WorkerPool {
    pub(super) fn new(launch: LaunchConfig, clock: Instant) -> Self {
        Self {
            launch,
            starts: 0,
            running: Vec::new(),
            ended_outputs: Vec::new(),
            idle_end: None,
            worker_events: Vec::new(),
            exits: Vec::new(),
            ended_mib: None,
            clock,
        }
    }

    /// Begins the scenario run: all workers take jobs.
    pub(super) fn restart_clock(&mut self, clock: Instant) {
        self.clock = clock;
        self.mark_ready();
    }

    /// Starts one more worker. Returns its number.
    pub(super) fn start(&mut self) -> Result<usize, ScenarioError> {
        self.starts += 1;
        let LaunchConfig { contract, worker_env, grace, directory, name, ledger } = &self.launch;
        let name = if self.starts == 1 { name.clone() } else { format!("{name}-{}", self.starts) };
        let worker = Worker::start(contract, worker_env, *grace, directory, &name, ledger)?;
        self.running.push(WorkerHandle {
            worker,
            number: self.starts,
            leaving: None,
            is_starting: true,
            marks: Vec::new(),
            peak_mib: None,
            memory_read: None,
        });
        self.record(self.starts, "started");
        Ok(self.starts)
    }

    fn record(&mut self, number: usize, what: impl Into<String>) {
        self.record_at(Instant::now(), number, what);
    }

    /// Records what happened to a worker.
    fn record_at(&mut self, at: Instant, number: usize, what: impl Into<String>) {
        self.worker_events.push((at, number, what.into()));
    }

    /// Records the length of every worker's output.
    pub(super) fn record_output(&mut self) {
        self.running.iter_mut().for_each(WorkerHandle::record_output);
    }

    /// The peak memory of one process of any worker, in MiB.
    pub(super) fn peak_memory_mib(&mut self) -> Option<f64> {
        for handle in &mut self.running {
            handle.memory_read = None;
            handle.read_memory();
        }
        self.running.iter().map(|handle| handle.peak_mib).fold(self.ended_mib, larger)
    }

    /// Milliseconds since the scenario run began.
    fn ms(&self, at: Instant) -> i64 {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        ms(at.saturating_duration_since(self.clock)) - ms(self.clock.saturating_duration_since(at))
    }

    /// What happened to which worker.
    pub(super) fn worker_events(&self) -> Vec<WorkerEvent> {
        let event = |(at, number, what): &(Instant, usize, String)| WorkerEvent {
            at_ms: self.ms(*at),
            worker: *number,
            what: what.clone(),
        };
        self.worker_events.iter().map(event).collect()
    }

    /// The output of every worker.
    pub(super) fn outputs(&self) -> Vec<Output> {
        let output = |worker: usize, text: String, marks: &[(Instant, u64)]| Output {
            worker,
            text,
            marks: marks.iter().map(|(at, bytes)| (self.ms(*at), *bytes)).collect(),
        };
        let ended = self.ended_outputs.iter().map(|ended| output(ended.number, ended.text.clone(), &ended.marks));
        ended
            .chain(self.running.iter().map(|handle| output(handle.number, handle.worker.output(), &handle.marks)))
            .collect()
    }

    /// The processes of all workers.
    pub(super) fn processes(&self) -> Vec<ProcessId> {
        self.running.iter().flat_map(|handle| handle.worker.processes()).collect()
    }

    /// The worker that has run longest, of those that were not sent SIGTERM.
    pub(super) fn oldest(&self) -> Option<&WorkerHandle> {
        self.running.iter().find(|handle| !handle.is_leaving())
    }

    /// Whether a worker has not been seen ready yet.
    pub(super) fn any_starting(&self) -> bool {
        self.running.iter().any(|handle| handle.is_starting)
    }

    /// Whether all workers that run take jobs; `registered` reads from the queue how many are registered on it.
    pub(super) async fn are_ready<F>(&self, registered: impl FnOnce() -> F) -> bool
    where
        F: Future<Output = Option<usize>>,
    {
        for handle in &self.running {
            match handle.worker.is_ready().await {
                Some(true) => {}
                Some(false) => return false,
                // The queue knows how many workers there are, not which.
                None => return registered().await.is_some_and(|count| count >= self.running.len()),
            }
        }
        true
    }

    /// Records that all workers that run take jobs.
    pub(super) fn mark_ready(&mut self) {
        let now = Instant::now();
        for handle in self.running.iter_mut().filter(|handle| handle.is_starting) {
            handle.is_starting = false;
            self.worker_events.push((now, handle.number, "takes jobs".to_owned()));
        }
    }

    /// The worker with this number, if it runs.
    pub(super) fn handle(&self, number: usize) -> Option<&WorkerHandle> {
        self.running.iter().find(|handle| handle.number == number)
    }

    /// Whether the worker with this number was sent SIGTERM and still runs.
    pub(super) fn is_leaving(&self, number: usize) -> bool {
        self.handle(number).is_some_and(WorkerHandle::is_leaving)
    }

    /// Sends SIGTERM to a worker, and with `twice` soon once more; `active` are the jobs that are active now.
    pub(super) fn terminate(&mut self, number: usize, active: BTreeSet<String>, twice: bool) {
        let alone = (self.running.len() == 1).then_some(self.starts);
        self.record(number, if twice { "received SIGTERM, the first of two" } else { "received SIGTERM" });
        if let Some(handle) = self.running.iter_mut().find(|handle| handle.number == number) {
            handle.worker.send_sigterm();
            handle.leaving = Some(Leaving {
                signalled: Instant::now(),
                again: twice,
                known: active,
                taken: BTreeSet::new(),
                after_grace: None,
                alone,
            });
        }
    }

    /// Ends a worker with SIGKILL, and keeps its output.
    pub(super) fn kill(&mut self, number: usize) {
        if let Some(index) = self.running.iter().position(|handle| handle.number == number) {
            let mut handle = self.running.remove(index);
            let how = handle.worker.ended().unwrap_or_else(|| "killed (SIGKILL)".to_owned());
            self.record(number, how);
            handle.record_output();
            self.ended_mib = larger(self.ended_mib, handle.peak_mib);
            self.ended_outputs.push(EndedOutput {
                number,
                text: handle.worker.output_after_kill(),
                marks: handle.marks,
            });
        }
    }

    /// Whether a worker was sent SIGTERM and still runs.
    pub(super) fn are_leaving(&self) -> bool {
        self.running.iter().any(WorkerHandle::is_leaving)
    }

    /// The numbers of those that were sent SIGTERM and have ended.
    pub(super) fn ended_leaving(&self) -> BTreeSet<usize> {
        let ended = |handle: &&WorkerHandle| handle.is_leaving() && handle.worker.exit().is_some();
        self.running.iter().filter(ended).map(|handle| handle.number).collect()
    }

    /// Follows the workers that were sent SIGTERM: sends the second signal, records which jobs they take, and removes those
    /// that have ended or are out of time. `active` are the active jobs, `None` when unknown; `ended` are the workers
    /// that had ended before that was read.
    pub(super) fn follow_leaving(&mut self, active: Option<&BTreeSet<String>>, ended: &BTreeSet<usize>) {
        let mut removed = Vec::new();
        let starts = self.starts;
        for handle in &mut self.running {
            let Some(leaving) = &mut handle.leaving else { continue };
            let since = leaving.signalled.elapsed();
            if leaving.again && since >= SECOND_SIGNAL {
                leaving.again = false;
                handle.worker.send_sigterm();
            }
            let exit = ended.contains(&handle.number).then(|| handle.worker.exit()).flatten();
            if let Some(active) = active.filter(|_| exit.is_none()) {
                if since <= IN_FLIGHT {
                    leaving.known.extend(active.iter().cloned());
                } else {
                    leaving.taken.extend(active.difference(&leaving.known).cloned());
                }
            }
            let grace = handle.worker.grace();
            if since >= grace && leaving.after_grace.is_none() {
                leaving.after_grace = Some(CpuTimesAt::now(&handle.worker.processes()));
            }
            let (how, code, killed) = match exit {
                Some((how, code)) => (how, code, false),
                None if since >= grace + KILL_DELAY => {
                    (format!("did not end within {:.1} s of SIGTERM and was killed", since.as_secs_f32()), None, true)
                }
                None => continue,
            };
            let list = |jobs: &BTreeSet<String>| jobs.iter().cloned().collect();
            self.exits.push(Exit {
                signalled: leaving.signalled.saturating_duration_since(self.clock),
                after: since,
                grace,
                how,
                code,
                killed,
                slept: killed
                    && leaving
                        .after_grace
                        .as_ref()
                        .is_some_and(|before| before.slept_since(&handle.worker.processes())),
                taken: (leaving.alone == Some(starts)).then(|| list(&leaving.taken)),
                left: active.filter(|_| leaving.alone == Some(starts)).map(list),
            });
            removed.push(handle.number);
        }
        for number in removed {
            self.kill(number);
        }
    }

    /// Whether its workers exit when no jobs wait, so that a new one must be started for the next job.
    pub(super) fn exits_when_idle(&self) -> bool {
        self.launch.contract.worker.idle == Idle::Exits
    }

    /// Removes the workers that have exited because they were idle, if the contract permits that.
    pub(super) fn remove_idle(&mut self) {
        if !self.exits_when_idle() {
            return;
        }
        let exits = self.running.iter().filter(|handle| !handle.is_leaving());
        let exits = exits.filter_map(|handle| Some((handle.number, handle.worker.exit()?)));
        let idle: Vec<(usize, String)> =
            exits.filter(|(_, (_, code))| *code == Some(0)).map(|(number, (how, _))| (number, how)).collect();
        for (number, how) in idle {
            self.kill(number);
            self.idle_end = Some(Ended { how, code: Some(0), after: Duration::ZERO });
        }
    }

    /// How a worker ended that was not sent SIGTERM, if one did. The end of an idle worker does not count if the contract
    /// permits it.
    pub(super) fn died(&self) -> Option<String> {
        let exits = self.running.iter().filter(|handle| !handle.is_leaving()).filter_map(|handle| handle.worker.exit());
        let permitted = self.exits_when_idle().then_some(Some(0));
        exits.filter(|(_, code)| Some(*code) != permitted).map(|(how, _)| how).next()
    }

    /// Sends SIGTERM to every worker and waits until they have ended, because the scenario is over. Returns how the first
    /// one ended that did not exit with code 0, or the first of all; `None` if it had to be killed, or if none runs. If
    /// all have exited because they were idle, how the last one of these ended.
    pub(super) async fn stop(&mut self) -> Option<Ended> {
        self.remove_idle();
        if self.running.is_empty() {
            return self.idle_end.take();
        }
        let died: Vec<(usize, String)> =
            self.running.iter().filter_map(|handle| Some((handle.number, handle.worker.ended()?))).collect();
        for (number, how) in &died {
            self.record(*number, format!("{how} without being asked to"));
        }
        let ends = futures::future::join_all(self.running.iter().map(|handle| handle.worker.terminate())).await;
        let now = Instant::now();
        let numbers: Vec<usize> = self.running.iter().map(|handle| handle.number).collect();
        for (number, end) in numbers.into_iter().zip(&ends) {
            if died.iter().any(|(ended, _)| *ended == number) {
                continue;
            }
            let how = end.as_ref().map_or("did not end in time", |end| end.how.as_str());
            let began = end.as_ref().map_or(now, |end| now.checked_sub(end.after).unwrap_or(now));
            self.record_at(began, number, "received SIGTERM: the scenario is over");
            self.record_at(now, number, how);
        }
        self.record_output();
        let worst = ends.iter().position(|end| end.as_ref().is_none_or(|end| end.code != Some(0))).unwrap_or(0);
        ends.into_iter().nth(worst).flatten()
    }
}
