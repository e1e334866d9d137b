//! The workers of a scenario run: several at once, some of them told to end.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::run::ScenarioError;
use crate::settings::Contract;
use crate::stack::Ledger;
use crate::worker::{Worker, WorkerEnv};

/// What a worker that was told to end may take beyond its grace before it is killed.
const BEYOND: Duration = Duration::from_secs(2);
/// A job that was on its way to the worker when the signal came is not held against it.
const UNDERWAY: Duration = Duration::from_millis(300);
/// How often the memory of the workers is looked at: their processes are looked for documents_matching all of the machine.
const WEIGHED: Duration = Duration::from_millis(500);
/// Time between the two signals of `terminate_twice`.
const AGAIN: Duration = Duration::from_millis(100);

/// How a worker ended that was told to during a scenario run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// When it was told, since the scenario run began.
    pub told: Duration,
    /// Time from the signal to the end.
    pub after: Duration,
    /// The grace it had.
    pub grace: Duration,
    /// In words.
    pub how: String,
    /// Exit code, where it had one; none when it had to be killed.
    pub code: Option<i32>,
    /// Whether it had to be killed.
    pub killed: bool,
    /// Jobs that it took from the queue after the signal; `None` where another worker may have taken them.
    pub taken: Option<Vec<String>>,
    /// Jobs that it left in `active`; `None` where they may be another worker's.
    pub left: Option<Vec<String>>,
}

/// What a worker put out, and when.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// The worker's number, from 1.
    pub worker: usize,
    /// Its whole output, but for the middle of one that is very long.
    pub text: String,
    /// Milliseconds since the scenario run began, and how many bytes there were by then.
    pub marks: Vec<(i64, u64)>,
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

/// A worker that was told to end.
#[derive(Debug)]
struct Leaving {
    told: Instant,
    again: bool,
    /// Jobs in work when the last signal that may be excused came; later ones were taken too late.
    known: BTreeSet<String>,
    taken: BTreeSet<String>,
    /// Starts until then, if nobody else was there: one more, and what is in work may be another's.
    alone: Option<usize>,
}

#[derive(Debug)]
pub(super) struct WorkerHandle {
    pub(super) worker: Worker,
    /// Its number, from 1.
    pub(super) number: usize,
    leaving: Option<Leaving>,
    /// Whether it has not been seen at work yet.
    is_starting: bool,
    /// How much it had put out, and when that was seen.
    marks: Vec<(Instant, u64)>,
    /// The most memory that one of its processes was seen to have had, and when that was looked at.
    peak_mib: Option<f64>,
    weighed: Option<Instant>,
}

/// The larger of two figures, one of which may be unknown.
fn most(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::max)
}

impl WorkerHandle {
    /// Whether it was told to end.
    pub(super) const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Looks at how much memory it has had at most, if that was not done a moment ago.
    fn weigh(&mut self) {
        if self.weighed.is_none_or(|weighed| weighed.elapsed() >= WEIGHED) {
            self.weighed = Some(Instant::now());
            self.peak_mib = most(self.peak_mib, self.worker.peak_memory_mib());
        }
    }

    fn mark(&mut self) {
        self.weigh();
        let written = self.worker.written();
        if self.marks.last().is_none_or(|(_, before)| *before < written) {
            self.marks.push((Instant::now(), written));
        }
    }
}

/// The output of a worker that is gone.
struct Said {
    number: usize,
    text: String,
    marks: Vec<(Instant, u64)>,
}

/// All workers.
pub(super) struct WorkerPool {
    launch: LaunchConfig,
    starts: usize,
    /// The workers that run, the one that has run longest first.
    pub(super) there: Vec<WorkerHandle>,
    /// The output of workers that are gone, with what was seen of it and when.
    said: Vec<Said>,
    /// What became of whom, and when.
    worker_events: Vec<(Instant, usize, String)>,
    pub(super) exits: Vec<Exit>,
    /// The most memory that a process of a worker that is gone was seen to have had.
    gone_mib: Option<f64>,
    clock: Instant,
}

impl WorkerPool {
    pub(super) fn new(launch: LaunchConfig, clock: Instant) -> Self {
        Self {
            launch,
            starts: 0,
            there: Vec::new(),
            said: Vec::new(),
            worker_events: Vec::new(),
            exits: Vec::new(),
            gone_mib: None,
            clock,
        }
    }

    /// All who are there are at work: the scenario run begins.
    pub(super) fn restart_clock(&mut self, clock: Instant) {
        self.clock = clock;
        self.welcome();
    }

    /// Starts one more; gives its number.
    pub(super) fn start(&mut self) -> Result<usize, ScenarioError> {
        self.starts += 1;
        let LaunchConfig { contract, worker_env, grace, directory, name, ledger } = &self.launch;
        let name = if self.starts == 1 { name.clone() } else { format!("{name}-{}", self.starts) };
        let worker = Worker::start(contract, worker_env, *grace, directory, &name, ledger)?;
        self.there.push(WorkerHandle {
            worker,
            number: self.starts,
            leaving: None,
            is_starting: true,
            marks: Vec::new(),
            peak_mib: None,
            weighed: None,
        });
        self.note(self.starts, "started");
        Ok(self.starts)
    }

    fn note(&mut self, number: usize, what: impl Into<String>) {
        self.note_at(Instant::now(), number, what);
    }

    /// Writes down what became of somebody.
    pub(super) fn note_at(&mut self, at: Instant, number: usize, what: impl Into<String>) {
        self.worker_events.push((at, number, what.into()));
    }

    /// Looks how much everybody has put out by now.
    pub(super) fn mark(&mut self) {
        self.there.iter_mut().for_each(WorkerHandle::mark);
    }

    /// The most memory that one process of any worker has had, in MiB.
    pub(super) fn peak_memory_mib(&mut self) -> Option<f64> {
        for handle in &mut self.there {
            handle.weighed = None;
            handle.weigh();
        }
        self.there.iter().map(|handle| handle.peak_mib).fold(self.gone_mib, most)
    }

    /// Milliseconds since the scenario run began.
    fn ms(&self, at: Instant) -> i64 {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        ms(at.saturating_duration_since(self.clock)) - ms(self.clock.saturating_duration_since(at))
    }

    /// What became of whom: milliseconds since the scenario run began, the worker's number, what happened.
    pub(super) fn worker_events(&self) -> Vec<(i64, usize, String)> {
        self.worker_events.iter().map(|(at, number, what)| (self.ms(*at), *number, what.clone())).collect()
    }

    /// What every worker put out.
    pub(super) fn outputs(&self) -> Vec<Output> {
        let output = |worker: usize, text: String, marks: &[(Instant, u64)]| Output {
            worker,
            text,
            marks: marks.iter().map(|(at, bytes)| (self.ms(*at), *bytes)).collect(),
        };
        let gone = self.said.iter().map(|said| output(said.number, said.text.clone(), &said.marks));
        gone.chain(self.there.iter().map(|handle| output(handle.number, handle.worker.output(), &handle.marks)))
            .collect()
    }

    /// The one that has run longest and was not told to end.
    pub(super) fn oldest(&self) -> Option<&WorkerHandle> {
        self.there.iter().find(|handle| !handle.is_leaving())
    }

    /// Whether somebody has not been seen at work yet.
    pub(super) fn any_starting(&self) -> bool {
        self.there.iter().any(|handle| handle.is_starting)
    }

    /// Whether all who are there take jobs; `registered` asks the queue how many are registered on it.
    pub(super) async fn are_ready<F>(&self, registered: impl FnOnce() -> F) -> bool
    where
        F: Future<Output = Option<usize>>,
    {
        for handle in &self.there {
            match handle.worker.is_ready().await {
                Some(true) => {}
                Some(false) => return false,
                // The queue does not say who of them it is.
                None => return registered().await.is_some_and(|count| count >= self.there.len()),
            }
        }
        true
    }

    /// All who are there are at work.
    pub(super) fn welcome(&mut self) {
        let now = Instant::now();
        for handle in self.there.iter_mut().filter(|handle| handle.is_starting) {
            handle.is_starting = false;
            self.worker_events.push((now, handle.number, "takes jobs".to_owned()));
        }
    }

    pub(super) fn has(&self, number: usize) -> bool {
        self.there.iter().any(|handle| handle.number == number)
    }

    /// Tells a worker to end; `active` are the jobs in work at this event.
    pub(super) fn tell(&mut self, number: usize, active: BTreeSet<String>, twice: bool) {
        let alone = (self.there.len() == 1).then_some(self.starts);
        self.note(number, if twice { "told to end (SIGTERM), and soon once more" } else { "told to end (SIGTERM)" });
        if let Some(handle) = self.there.iter_mut().find(|handle| handle.number == number) {
            handle.worker.tell_to_end();
            handle.leaving =
                Some(Leaving { told: Instant::now(), again: twice, known: active, taken: BTreeSet::new(), alone });
        }
    }

    /// Ends a worker with SIGKILL, and keeps what it said.
    pub(super) fn kill(&mut self, number: usize) {
        if let Some(place) = self.there.iter().position(|handle| handle.number == number) {
            let mut handle = self.there.remove(place);
            let how = handle.worker.ended().unwrap_or_else(|| "killed (SIGKILL)".to_owned());
            self.note(number, how);
            handle.mark();
            self.gone_mib = most(self.gone_mib, handle.peak_mib);
            self.said.push(Said { number, text: handle.worker.output_after_kill(), marks: handle.marks });
        }
    }

    /// Whether somebody was told to end and is still there.
    pub(super) fn are_leaving(&self) -> bool {
        self.there.iter().any(WorkerHandle::is_leaving)
    }

    /// Those who were told to end and have ended.
    pub(super) fn gone(&self) -> BTreeSet<usize> {
        let ended = |handle: &&WorkerHandle| handle.is_leaving() && handle.worker.exit().is_some();
        self.there.iter().filter(ended).map(|handle| handle.number).collect()
    }

    /// Looks after those who were told to end. `active` are the jobs in work, `None` when unknown; `ended` are those who
    /// had ended before that was read.
    pub(super) fn look_after(&mut self, active: Option<&BTreeSet<String>>, ended: &BTreeSet<usize>) {
        let mut gone = Vec::new();
        let starts = self.starts;
        for handle in &mut self.there {
            let Some(leaving) = &mut handle.leaving else { continue };
            let since = leaving.told.elapsed();
            if leaving.again && since >= AGAIN {
                leaving.again = false;
                handle.worker.tell_to_end();
            }
            let exit = ended.contains(&handle.number).then(|| handle.worker.exit()).flatten();
            if let Some(active) = active.filter(|_| exit.is_none()) {
                if since <= UNDERWAY {
                    leaving.known.extend(active.iter().cloned());
                } else {
                    leaving.taken.extend(active.difference(&leaving.known).cloned());
                }
            }
            let grace = handle.worker.grace();
            let (how, code, killed) = match exit {
                Some((how, code)) => (how, code, false),
                None if since >= grace + BEYOND => {
                    (format!("did not end within {:.1} s of SIGTERM, and was killed", since.as_secs_f32()), None, true)
                }
                None => continue,
            };
            let list = |jobs: &BTreeSet<String>| jobs.iter().cloned().collect();
            self.exits.push(Exit {
                told: leaving.told.saturating_duration_since(self.clock),
                after: since,
                grace,
                how,
                code,
                killed,
                taken: (leaving.alone == Some(starts)).then(|| list(&leaving.taken)),
                left: active.filter(|_| leaving.alone == Some(starts)).map(list),
            });
            gone.push(handle.number);
        }
        for number in gone {
            self.kill(number);
        }
    }

    /// How a worker ended that was not told to, if one did.
    pub(super) fn died(&self) -> Option<String> {
        self.there.iter().filter(|handle| !handle.is_leaving()).find_map(|handle| handle.worker.ended())
    }
}
