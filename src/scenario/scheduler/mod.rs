//! The workers of a scenario run, the proxies between them and the services, and the faults that strike at their time.

mod effects;
mod pool;
mod proxies;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clients::{ServiceClients, retry_unavailable};
use super::run::ScenarioError;
use crate::faults::{Answered, Applied, Injected, NetworkFault, Writes, strike};
use crate::services::queue::Attached;
use crate::settings::Ready;
use crate::spec::{Fault, FaultKind, Milestone, ServiceFault, Target, When, WorkerFault};
use crate::worker::{Ended, Worker};
pub use effects::FaultRecord;
use effects::Met;
pub(super) use pool::LaunchConfig;
use pool::WorkerPool;
pub use pool::{Exit, Output};
pub use proxies::{ProxiedConnection, Proxies};

/// How long Redis may take to say who is there.
const PATIENCE: Duration = Duration::from_millis(500);

/// Between two looks for a worker that is about to be ready.
const LOOK: Duration = Duration::from_millis(20);

/// How long a cut waits for a connection on which a request is under way: one that meets idle connections alone is
/// hardly felt. Then any will do.
const TARGET_WAIT: Duration = Duration::from_millis(100);

/// A fault in injected.
enum InjectedFault {
    Network(Vec<(Target, Applied)>),
    Service(Injected),
    Jina,
    /// The worker that was struck.
    Worker(Option<usize>),
}

enum State {
    Pending,
    Active { until: Instant, injected: InjectedFault },
    Over,
}

/// How long connections of a process that has ended may take to be closed.
const PARTING: Duration = Duration::from_secs(2);

/// A fault of this scenario run.
struct Planned {
    fault: Fault,
    state: State,
    /// Since when the point of the pipeline that it waits for is reached.
    reached: Option<Instant>,
    /// Since when its time has come.
    due: Option<Instant>,
    began: Option<Duration>,
    ended: Option<Duration>,
    /// Since when its time is over without its having met anything.
    in_vain: Option<Instant>,
    met: Met,
}

impl Planned {
    /// Whether it is to strike in this step, counted from 1.
    fn is_of(&self, step: usize) -> bool {
        self.fault.step.unwrap_or(1) == step
    }

    /// Lets the fault that is in injected last its whole time from `now` on.
    fn stay(&mut self, now: Instant) {
        if let State::Active { until, .. } = &mut self.state {
            *until = self.fault.lasts.map_or(now, |lasts| now + lasts.0);
        }
    }
}

/// The workers, their proxies and their faults.
pub(super) struct FaultScheduler {
    clients: Arc<ServiceClients>,
    pool: WorkerPool,
    proxies: Proxies,
    planned: Vec<Planned>,
    /// When the scenario run began, and the step.
    clock: Instant,
    begun: Instant,
    step: usize,
    before: BTreeMap<Milestone, u64>,
}

impl FaultScheduler {
    pub(super) fn start(
        launch: LaunchConfig,
        workers: usize,
        faults: &[Fault],
        proxies: Proxies,
        clients: Arc<ServiceClients>,
    ) -> Result<Self, ScenarioError> {
        let planned = faults.iter().map(|fault| Planned {
            fault: fault.clone(),
            state: State::Pending,
            reached: None,
            due: None,
            began: None,
            ended: None,
            in_vain: None,
            met: Met::default(),
        });
        let clock = Instant::now();
        let mut scheduler = Self {
            clients,
            pool: WorkerPool::new(launch, clock),
            proxies,
            planned: planned.collect(),
            clock,
            begun: clock,
            step: 0,
            before: BTreeMap::new(),
        };
        for _ in 0..workers {
            scheduler.pool.start()?;
        }
        Ok(scheduler)
    }

    /// The workers are ready: the scenario run begins.
    pub(super) fn begin(&mut self) -> Instant {
        self.clock = Instant::now();
        self.pool.restart_clock(self.clock);
        self.clock
    }

    /// Waits until everybody takes jobs; one that never does is told by what happens next.
    pub(super) async fn gather(&mut self) {
        let deadline = Instant::now() + self.clients.contract.worker.ready_within;
        while self.pool.any_starting() && self.died().is_none() && Instant::now() < deadline {
            if self.are_ready().await {
                self.pool.welcome();
            } else {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// The next step begins: from now on its faults count their time.
    pub(super) async fn begin_step(&mut self) -> Result<(), ScenarioError> {
        self.gather().await;
        self.step += 1;
        self.before.clear();
        let milestones: BTreeSet<Milestone> = self.milestones().collect();
        for milestone in milestones {
            let count = retry_unavailable(|| self.clients.count(milestone)).await?;
            self.before.insert(milestone, count);
        }
        self.begun = Instant::now();
        // A quick worker would be done with a job before the first look. A service that is down takes no jobs, and is
        // left to that look.
        for place in 0..self.planned.len() {
            let planned = &self.planned[place];
            let is_first = matches!(planned.state, State::Pending) && planned.is_of(self.step);
            let is_aside = matches!(planned.fault.kind, FaultKind::Network { .. } | FaultKind::Jina(_));
            if is_first && is_aside && planned.fault.at == When::After(Duration::ZERO) && self.has_target(place) {
                self.strike(place).await?;
            }
        }
        Ok(())
    }

    /// The counts that faults of this step wait for.
    fn milestones(&self) -> impl Iterator<Item = Milestone> {
        self.of_step().filter(|planned| matches!(planned.state, State::Pending)).filter_map(|planned| {
            match planned.fault.at {
                When::Count(_, milestone, _) => Some(milestone),
                _ => None,
            }
        })
    }

    /// How many there are more than when the step began; `None` when they cannot be counted at the event.
    async fn count_since(&self, milestone: Milestone) -> Option<u64> {
        let before = self.before.get(&milestone).copied().unwrap_or(0);
        Some(self.clients.count(milestone).await.ok()?.saturating_sub(before))
    }

    fn of_step(&self) -> impl Iterator<Item = &Planned> {
        self.planned.iter().filter(|planned| planned.is_of(self.step))
    }

    /// A worker that runs, unless a fault keeps all of them down.
    pub(super) fn worker(&self) -> Option<&Worker> {
        self.pool.oldest().map(|handle| &handle.worker)
    }

    /// The most memory that one process of any worker has had, in MiB; unknown where that cannot be read.
    pub(super) fn peak_memory_mib(&mut self) -> Option<f64> {
        self.pool.peak_memory_mib()
    }

    /// How a worker ended, if one did so by itself.
    pub(super) fn died(&self) -> Option<String> {
        self.pool.died()
    }

    /// Whether no fault is in injected and nobody is about to leave. When all jobs have ended, what has not begun by
    /// then never will.
    pub(super) fn is_idle(&self) -> bool {
        !self.planned.iter().any(|planned| matches!(planned.state, State::Active { .. })) && !self.pool.are_leaving()
    }

    /// Whether every fault of this step is over.
    pub(super) fn is_through(&self) -> bool {
        self.of_step().all(|planned| matches!(planned.state, State::Over))
    }

    /// Whether a fault of this step still waits for a point of the pipeline, which may pass quickly.
    pub(super) fn is_watching(&self) -> bool {
        let stalks = |planned: &Planned| matches!(planned.state, State::Pending) && planned.due.is_some();
        self.pool.are_leaving() || self.milestones().next().is_some() || self.of_step().any(stalks)
    }

    /// Whether a service itself is disturbed, so that it need not answer the harness either.
    pub(super) fn is_service_down(&self) -> bool {
        let down =
            |planned: &Planned| matches!(planned.state, State::Active { injected: InjectedFault::Service(_), .. });
        self.planned.iter().any(down)
    }

    /// Whether there is a connection that a cut would meet: between two requests there may be none.
    fn has_target(&mut self, place: usize) -> bool {
        let planned = &mut self.planned[place];
        let due = *planned.due.get_or_insert_with(Instant::now);
        match &planned.fault.kind {
            FaultKind::Network { on, fault: NetworkFault::Cut, .. } if planned.fault.lasts.is_none() => {
                let asked = due.elapsed() < TARGET_WAIT;
                on.iter().flat_map(|target| self.proxies.of(*target)).any(|proxy| proxy.has_target(asked))
            }
            _ => true,
        }
    }

    /// Whether a worker is there that a fault of the worker would meet: not one that is about to leave, nor one that
    /// was started a moment ago and does not listen to signals yet.
    async fn has_worker(&mut self, place: usize) -> bool {
        if !matches!(self.planned[place].fault.kind, FaultKind::Worker(_)) {
            return true;
        }
        if self.pool.are_leaving() || self.pool.there.is_empty() {
            return false;
        }
        if self.pool.any_starting() {
            if !self.are_ready().await {
                return false;
            }
            self.pool.welcome();
        }
        true
    }

    /// What is missing for the workers to be ready, in words.
    pub(super) fn not_ready(&self) -> &'static str {
        match self.clients.contract.worker.ready {
            Ready::Queue => "is not registered on the queue",
            Ready::Log(_) => "no line of its output matches `ready` of [worker]",
            Ready::Http(_) => "the URL of `ready` in [worker] does not answer with success",
        }
    }

    /// Whether all workers that are there take jobs.
    pub(super) async fn are_ready(&self) -> bool {
        let registered = || async {
            let count = tokio::time::timeout(PATIENCE, self.clients.queue.workers()).await;
            count.ok().and_then(Result::ok).map(Attached::all)
        };
        self.pool.are_ready(registered).await
    }

    /// Begins and ends faults whose time has come; `share` of the jobs have ended.
    pub(super) async fn tick(&mut self, share: f64) -> Result<(), ScenarioError> {
        self.pool.mark();
        if self.pool.are_leaving() {
            // Who is gone is asked before what is in work: a job that ends meanwhile was not left behind.
            let gone = self.pool.gone();
            let active = self.clients.active().await.ok();
            self.pool.look_after(active.as_ref(), &gone);
        }
        for place in 0..self.planned.len() {
            let planned = &self.planned[place];
            match &planned.state {
                State::Pending if planned.is_of(self.step) => {
                    let due = match planned.fault.at {
                        When::Share(wanted) => share >= wanted,
                        When::After(time) => self.begun.elapsed() >= time,
                        When::Count(wanted, milestone, later) => {
                            let reached = match planned.reached {
                                Some(reached) => Some(reached),
                                None => self
                                    .count_since(milestone)
                                    .await
                                    .filter(|count| *count >= wanted)
                                    .map(|_| Instant::now()),
                            };
                            self.planned[place].reached = reached;
                            reached.is_some_and(|reached| reached.elapsed() >= later)
                        }
                        When::Into(time, other) => self.planned.get(other - 1).is_some_and(|other| {
                            let began = other.began.filter(|_| matches!(other.state, State::Active { .. }));
                            began.is_some_and(|began| self.clock.elapsed() >= began + time)
                        }),
                    };
                    // A cut strikes as soon as there is something to cut, a signal as soon as somebody listens.
                    if due && self.has_target(place) && self.has_worker(place).await {
                        self.strike(place).await?;
                    }
                }
                State::Active { until, injected } => {
                    // A worker that was told to end is waited for; one that joined stays for its time from the moment
                    // on at which it takes jobs.
                    let number = if let InjectedFault::Worker(number) = injected { *number } else { None };
                    let joins = matches!(planned.fault.kind, FaultKind::Worker(WorkerFault::Join));
                    let until = *until;
                    if joins && self.pool.any_starting() {
                        if self.are_ready().await {
                            self.pool.welcome();
                            self.planned[place].met.process = true;
                            self.planned[place].stay(Instant::now());
                        }
                    } else if !number.is_some_and(|number| self.is_leaving(number))
                        && Instant::now() >= until
                        && !self.is_awaited(place, until, share)
                        && !self.lingers(place, share).await
                    {
                        self.end(place).await?;
                    }
                }
                State::Pending | State::Over => {}
            }
        }
        Ok(())
    }

    fn is_leaving(&self, number: usize) -> bool {
        self.pool.there.iter().any(|handle| handle.number == number && handle.is_leaving())
    }

    /// Ends every fault that is in injected: there is no time for more.
    pub(super) async fn revert_all(&mut self) -> Result<(), ScenarioError> {
        for place in 0..self.planned.len() {
            if matches!(self.planned[place].state, State::Active { .. }) {
                self.end(place).await?;
            }
        }
        Ok(())
    }

    async fn strike(&mut self, place: usize) -> Result<(), ScenarioError> {
        let fault = self.planned[place].fault.clone();
        self.planned[place].began = Some(self.clock.elapsed());
        let injected = match &fault.kind {
            FaultKind::Network { on, fault: what, direction } => {
                let direction = direction.unwrap_or(what.usual_direction());
                let mut applied = Vec::new();
                let struck = on.iter().flat_map(|target| self.proxies.of(*target).iter().map(|proxy| (*target, proxy)));
                for (target, proxy) in struck {
                    if *what == NetworkFault::Cut && fault.lasts.is_none() {
                        self.planned[place].met.effects.push((target, proxy.cut()));
                    } else {
                        let struck = proxy.apply(*what, direction);
                        self.planned[place].met.effects.push((target, Arc::clone(&struck.effect)));
                        applied.push((target, struck));
                    }
                }
                InjectedFault::Network(applied)
            }
            FaultKind::Service { on, fault: what } => {
                // What a fault that is over at once has met was there before; what lasts meets what comes after.
                let before = self.proxies.traffic(*on);
                self.planned[place].met.sql_errors = self.sql_errors(*on, *what);
                let struck = strike(self.clients.stack(), &self.clients.endpoints, *on, *what).await?;
                let at_once = matches!(what, ServiceFault::Restart | ServiceFault::DropConnections);
                self.planned[place].met.traffic = if at_once { before } else { self.proxies.traffic(*on) };
                InjectedFault::Service(struck)
            }
            FaultKind::Jina(behaviours) => {
                self.planned[place].met.disturbed = self.clients.disturbed();
                self.clients.behave(behaviours);
                InjectedFault::Jina
            }
            FaultKind::Worker(what) => {
                let oldest = self.pool.oldest().map(|handle| (handle.number, handle.worker.ended().is_none()));
                // Who joins is there once it takes jobs.
                let joins = matches!(what, WorkerFault::Join);
                self.planned[place].met.process = !joins && oldest.is_some_and(|(_, runs)| runs);
                let oldest = oldest.map(|(number, _)| number);
                match (what, oldest) {
                    (WorkerFault::Join, _) => InjectedFault::Worker(Some(self.pool.start()?)),
                    (WorkerFault::Pause, _) => {
                        self.pool.oldest().iter().for_each(|handle| handle.worker.pause());
                        InjectedFault::Worker(oldest)
                    }
                    (WorkerFault::Kill, Some(number)) => {
                        self.pool.kill(number);
                        InjectedFault::Worker(None)
                    }
                    (WorkerFault::Terminate | WorkerFault::TerminateTwice, Some(number)) => {
                        // Those that cannot be seen now are taken for new ones: rather a false alarm than none.
                        let active = self.clients.active().await.unwrap_or_default();
                        self.pool.tell(number, active, *what == WorkerFault::TerminateTwice);
                        InjectedFault::Worker(Some(number))
                    }
                    (_, None) => InjectedFault::Worker(None),
                }
            }
        };
        let now = Instant::now();
        self.planned[place].state = State::Active { until: fault.lasts.map_or(now, |lasts| now + lasts.0), injected };
        if fault.lasts.is_none()
            && matches!(&self.planned[place].state, State::Active { injected: InjectedFault::Network(applied), .. } if applied.is_empty())
        {
            self.end(place).await?;
        }
        Ok(())
    }

    async fn end(&mut self, place: usize) -> Result<(), ScenarioError> {
        self.measure(place).await;
        let State::Active { injected, .. } = std::mem::replace(&mut self.planned[place].state, State::Over) else {
            return Ok(());
        };
        match injected {
            InjectedFault::Network(applied) => {
                for (target, applied) in applied {
                    self.proxies.lift(target, applied);
                }
            }
            InjectedFault::Service(struck) => struck.lift(self.clients.stack(), &self.clients.endpoints).await?,
            InjectedFault::Jina => self.clients.behave(&[]),
            InjectedFault::Worker(number) => {
                let FaultKind::Worker(what) = self.planned[place].fault.kind else { return Ok(()) };
                match (what, number) {
                    (WorkerFault::Pause, Some(number)) => {
                        self.pool.there.iter().filter(|handle| handle.number == number).for_each(|handle| {
                            handle.worker.resume();
                        });
                    }
                    (WorkerFault::Join, Some(number)) if self.pool.has(number) => {
                        let active = self.clients.active().await.unwrap_or_default();
                        self.pool.tell(number, active, false);
                    }
                    (WorkerFault::Pause | WorkerFault::Join, _) => {}
                    (WorkerFault::Kill | WorkerFault::Terminate | WorkerFault::TerminateTwice, number) => {
                        // Out of time: what was told to end and is still there must not work beside its successor.
                        if let Some(number) = number {
                            self.pool.kill(number);
                        }
                        self.pool.start()?;
                    }
                }
            }
        }
        self.planned[place].ended = Some(self.clock.elapsed());
        Ok(())
    }

    /// When the last fault was over, since the scenario run began.
    pub(super) fn idle_since(&self) -> Option<Duration> {
        self.planned.iter().filter_map(|planned| planned.ended).max()
    }

    /// Time since the scenario run began.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// The changes of points that passed on their way to Qdrant.
    pub(super) fn writes(&self) -> Option<Writes> {
        self.proxies.writes()
    }

    /// Waits until the connections of workers that have ended are closed: a proxy hears of that a moment later.
    pub(super) async fn part(&self) {
        let deadline = Instant::now() + PARTING;
        let is_open = || self.proxied_connections().values().flatten().any(|connection| connection.closed.is_none());
        while is_open() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Every request that a proxy answered in the place of its service.
    pub(super) fn answered(&self) -> BTreeMap<Target, Vec<Answered>> {
        self.proxies.answered(self.clock)
    }

    /// Every connection that was made through a proxy.
    pub(super) fn proxied_connections(&self) -> BTreeMap<Target, Vec<ProxiedConnection>> {
        self.proxies.proxied_connections(self.clock)
    }

    /// How workers ended that were told to during the scenario run.
    pub(super) fn exits(&self) -> Vec<Exit> {
        self.pool.exits.clone()
    }

    /// Sends every worker home; says how the first one ended that did not do as it should, or the first of all.
    /// `None` when it had to be killed, or there was none.
    pub(super) async fn stop(&mut self) -> Option<Ended> {
        // A signal that comes before a worker listens says nothing about how it ends.
        self.gather().await;
        let by_themselves: Vec<(usize, String)> =
            self.pool.there.iter().filter_map(|handle| Some((handle.number, handle.worker.ended()?))).collect();
        for (number, how) in &by_themselves {
            self.pool.note_at(Instant::now(), *number, format!("{how}, and nobody had told it to"));
        }
        let ends = futures::future::join_all(self.pool.there.iter().map(|handle| handle.worker.terminate())).await;
        let now = Instant::now();
        let numbers: Vec<usize> = self.pool.there.iter().map(|handle| handle.number).collect();
        for (number, end) in numbers.into_iter().zip(&ends) {
            if by_themselves.iter().any(|(gone, _)| *gone == number) {
                continue;
            }
            let how = end.as_ref().map_or("did not end in time", |end| end.how.as_str());
            let began = end.as_ref().map_or(now, |end| now.checked_sub(end.after).unwrap_or(now));
            self.pool.note_at(began, number, "told to end (SIGTERM): the scenario is over");
            self.pool.note_at(now, number, how);
        }
        self.pool.mark();
        let worst = ends.iter().position(|end| end.as_ref().is_none_or(|end| end.code != Some(0))).unwrap_or(0);
        ends.into_iter().nth(worst).flatten()
    }

    /// All that every worker put out.
    pub(super) fn outputs(&self) -> Vec<Output> {
        self.pool.outputs()
    }

    /// What became of the workers: milliseconds since the scenario run began, the worker's number, what happened.
    pub(super) fn worker_events(&self) -> Vec<(i64, usize, String)> {
        self.pool.worker_events()
    }
}
