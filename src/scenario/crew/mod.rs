//! The workers of a voyage, the proxies between them and the services, and the faults that strike at their time.

mod effects;
mod hands;
mod proxies;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::direct::Direct;
use super::voyage::{ScenarioError, patiently};
use crate::faults::{Answered, Applied, NetworkFault, Struck, Writes, strike};
use crate::services::queue::Attached;
use crate::settings::Ready;
use crate::spec::{Breaks, Fault, Milestone, ServiceFault, Target, When, WorkerFault};
use crate::worker::{Ended, Worker};
pub use effects::FaultRecord;
use effects::Met;
pub(super) use hands::Berth;
use hands::Hands;
pub use hands::{Exit, Output};
pub use proxies::{Contact, Proxies};

/// How long Redis may take to say who is there.
const PATIENCE: Duration = Duration::from_millis(500);

/// Between two looks for a worker that is about to be ready.
const LOOK: Duration = Duration::from_millis(20);

/// How long a cut waits for a connection on which a request is under way: one that meets idle connections alone is
/// hardly felt. Then any will do.
const STALK: Duration = Duration::from_millis(100);

/// A fault in force.
enum Force {
    Network(Vec<(Target, Applied)>),
    Service(Struck),
    Jina,
    /// The worker that was struck.
    Worker(Option<usize>),
}

enum State {
    Pending,
    Active { until: Instant, force: Force },
    Over,
}

/// How long connections of a process that has ended may take to be closed.
const PARTING: Duration = Duration::from_secs(2);

/// A fault of this voyage.
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

    /// Lets the fault that is in force last its whole time from `now` on.
    fn stay(&mut self, now: Instant) {
        if let State::Active { until, .. } = &mut self.state {
            *until = self.fault.lasts.map_or(now, |lasts| now + lasts.0);
        }
    }
}

/// The workers, their proxies and their faults.
pub(super) struct Crew {
    direct: Arc<Direct>,
    hands: Hands,
    proxies: Proxies,
    planned: Vec<Planned>,
    /// When the voyage began, and the step.
    clock: Instant,
    begun: Instant,
    step: usize,
    before: BTreeMap<Milestone, u64>,
}

impl Crew {
    pub(super) fn sign_on(
        berth: Berth,
        workers: usize,
        faults: &[Fault],
        proxies: Proxies,
        direct: Arc<Direct>,
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
        let mut crew = Self {
            direct,
            hands: Hands::new(berth, clock),
            proxies,
            planned: planned.collect(),
            clock,
            begun: clock,
            step: 0,
            before: BTreeMap::new(),
        };
        for _ in 0..workers {
            crew.hands.start()?;
        }
        Ok(crew)
    }

    /// The workers are ready: the voyage begins.
    pub(super) fn begin(&mut self) -> Instant {
        self.clock = Instant::now();
        self.hands.restart_clock(self.clock);
        self.clock
    }

    /// Waits until everybody takes jobs; one that never does is told by what happens next.
    pub(super) async fn gather(&mut self) {
        let deadline = Instant::now() + self.direct.contract.worker.ready_within;
        while self.hands.have_newcomers() && self.died().is_none() && Instant::now() < deadline {
            if self.are_ready().await {
                self.hands.welcome();
            } else {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// The next step begins: from now on its faults count their time.
    pub(super) async fn set_sail(&mut self) -> Result<(), ScenarioError> {
        self.gather().await;
        self.step += 1;
        self.before.clear();
        let milestones: BTreeSet<Milestone> = self.milestones().collect();
        for milestone in milestones {
            let count = patiently(|| self.direct.count(milestone)).await?;
            self.before.insert(milestone, count);
        }
        self.begun = Instant::now();
        // A quick worker would be done with a job before the first look. A service that is down takes no jobs, and is
        // left to that look.
        for place in 0..self.planned.len() {
            let planned = &self.planned[place];
            let is_first = matches!(planned.state, State::Pending) && planned.is_of(self.step);
            let is_aside = matches!(planned.fault.breaks, Breaks::Network { .. } | Breaks::Jina(_));
            if is_first && is_aside && planned.fault.at == When::After(Duration::ZERO) && self.has_prey(place) {
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

    /// How many there are more than when the step began; `None` when they cannot be counted at the moment.
    async fn count_since(&self, milestone: Milestone) -> Option<u64> {
        let before = self.before.get(&milestone).copied().unwrap_or(0);
        Some(self.direct.count(milestone).await.ok()?.saturating_sub(before))
    }

    fn of_step(&self) -> impl Iterator<Item = &Planned> {
        self.planned.iter().filter(|planned| planned.is_of(self.step))
    }

    /// A worker that runs, unless a fault keeps all of them down.
    pub(super) fn worker(&self) -> Option<&Worker> {
        self.hands.oldest().map(|hand| &hand.worker)
    }

    /// The most memory that one process of any worker has had, in MiB; unknown where that cannot be read.
    pub(super) fn peak_memory_mib(&mut self) -> Option<f64> {
        self.hands.peak_memory_mib()
    }

    /// How a worker ended, if one did so by itself.
    pub(super) fn died(&self) -> Option<String> {
        self.hands.died()
    }

    /// Whether no fault is in force and nobody is about to leave. When all jobs have ended, what has not begun by
    /// then never will.
    pub(super) fn is_calm(&self) -> bool {
        !self.planned.iter().any(|planned| matches!(planned.state, State::Active { .. })) && !self.hands.are_leaving()
    }

    /// Whether every fault of this step is over.
    pub(super) fn is_through(&self) -> bool {
        self.of_step().all(|planned| matches!(planned.state, State::Over))
    }

    /// Whether a fault of this step still waits for a point of the pipeline, which may pass quickly.
    pub(super) fn is_watching(&self) -> bool {
        let stalks = |planned: &Planned| matches!(planned.state, State::Pending) && planned.due.is_some();
        self.hands.are_leaving() || self.milestones().next().is_some() || self.of_step().any(stalks)
    }

    /// Whether a service itself is disturbed, so that it need not answer the harness either.
    pub(super) fn is_service_down(&self) -> bool {
        let down = |planned: &Planned| matches!(planned.state, State::Active { force: Force::Service(_), .. });
        self.planned.iter().any(down)
    }

    /// Whether there is a connection that a cut would meet: between two requests there may be none.
    fn has_prey(&mut self, place: usize) -> bool {
        let planned = &mut self.planned[place];
        let due = *planned.due.get_or_insert_with(Instant::now);
        match &planned.fault.breaks {
            Breaks::Network { on, fault: NetworkFault::Cut, .. } if planned.fault.lasts.is_none() => {
                let asked = due.elapsed() < STALK;
                on.iter().flat_map(|target| self.proxies.of(*target)).any(|proxy| proxy.has_prey(asked))
            }
            _ => true,
        }
    }

    /// Whether a worker is there that a fault of the worker would meet: not one that is about to leave, nor one that
    /// was started a moment ago and does not listen to signals yet.
    async fn is_manned(&mut self, place: usize) -> bool {
        if !matches!(self.planned[place].fault.breaks, Breaks::Worker(_)) {
            return true;
        }
        if self.hands.are_leaving() || self.hands.there.is_empty() {
            return false;
        }
        if self.hands.have_newcomers() {
            if !self.are_ready().await {
                return false;
            }
            self.hands.welcome();
        }
        true
    }

    /// What is missing for the workers to be ready, in words.
    pub(super) fn not_ready(&self) -> &'static str {
        match self.direct.contract.worker.ready {
            Ready::Queue => "is not registered on the queue",
            Ready::Log(_) => "no line of its output matches `ready` of [worker]",
            Ready::Http(_) => "the URL of `ready` in [worker] does not answer with success",
        }
    }

    /// Whether all workers that are there take jobs.
    pub(super) async fn are_ready(&self) -> bool {
        let registered = || async {
            let count = tokio::time::timeout(PATIENCE, self.direct.queue.workers()).await;
            count.ok().and_then(Result::ok).map(Attached::all)
        };
        self.hands.are_ready(registered).await
    }

    /// Begins and ends faults whose time has come; `share` of the jobs have ended.
    pub(super) async fn tick(&mut self, share: f64) -> Result<(), ScenarioError> {
        self.hands.mark();
        if self.hands.are_leaving() {
            // Who is gone is asked before what is in work: a job that ends meanwhile was not left behind.
            let gone = self.hands.gone();
            let active = self.direct.active().await.ok();
            self.hands.look_after(active.as_ref(), &gone);
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
                    if due && self.has_prey(place) && self.is_manned(place).await {
                        self.strike(place).await?;
                    }
                }
                State::Active { until, force } => {
                    // A worker that was told to end is waited for; one that joined stays for its time from the moment
                    // on at which it takes jobs.
                    let number = if let Force::Worker(number) = force { *number } else { None };
                    let joins = matches!(planned.fault.breaks, Breaks::Worker(WorkerFault::Join));
                    let until = *until;
                    if joins && self.hands.have_newcomers() {
                        if self.are_ready().await {
                            self.hands.welcome();
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
        self.hands.there.iter().any(|hand| hand.number == number && hand.is_leaving())
    }

    /// Ends every fault that is in force: there is no time for more.
    pub(super) async fn calm(&mut self) -> Result<(), ScenarioError> {
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
        let force = match &fault.breaks {
            Breaks::Network { on, fault: what, direction } => {
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
                Force::Network(applied)
            }
            Breaks::Service { on, fault: what } => {
                // What a fault that is over at once has met was there before; what lasts meets what comes after.
                let before = self.proxies.traffic(*on);
                self.planned[place].met.sql_errors = self.sql_errors(*on, *what);
                let struck = strike(self.direct.stack(), &self.direct.endpoints, *on, *what).await?;
                let at_once = matches!(what, ServiceFault::Restart | ServiceFault::DropConnections);
                self.planned[place].met.traffic = if at_once { before } else { self.proxies.traffic(*on) };
                Force::Service(struck)
            }
            Breaks::Jina(behaviours) => {
                self.planned[place].met.disturbed = self.direct.disturbed();
                self.direct.behave(behaviours);
                Force::Jina
            }
            Breaks::Worker(what) => {
                let oldest = self.hands.oldest().map(|hand| (hand.number, hand.worker.ended().is_none()));
                // Who joins is there once it takes jobs.
                let joins = matches!(what, WorkerFault::Join);
                self.planned[place].met.process = !joins && oldest.is_some_and(|(_, runs)| runs);
                let oldest = oldest.map(|(number, _)| number);
                match (what, oldest) {
                    (WorkerFault::Join, _) => Force::Worker(Some(self.hands.start()?)),
                    (WorkerFault::Pause, _) => {
                        self.hands.oldest().iter().for_each(|hand| hand.worker.pause());
                        Force::Worker(oldest)
                    }
                    (WorkerFault::Kill, Some(number)) => {
                        self.hands.kill(number);
                        Force::Worker(None)
                    }
                    (WorkerFault::Terminate | WorkerFault::TerminateTwice, Some(number)) => {
                        // Those that cannot be seen now are taken for new ones: rather a false alarm than none.
                        let active = self.direct.active().await.unwrap_or_default();
                        self.hands.tell(number, active, *what == WorkerFault::TerminateTwice);
                        Force::Worker(Some(number))
                    }
                    (_, None) => Force::Worker(None),
                }
            }
        };
        let now = Instant::now();
        self.planned[place].state = State::Active { until: fault.lasts.map_or(now, |lasts| now + lasts.0), force };
        if fault.lasts.is_none()
            && matches!(&self.planned[place].state, State::Active { force: Force::Network(applied), .. } if applied.is_empty())
        {
            self.end(place).await?;
        }
        Ok(())
    }

    async fn end(&mut self, place: usize) -> Result<(), ScenarioError> {
        self.measure(place).await;
        let State::Active { force, .. } = std::mem::replace(&mut self.planned[place].state, State::Over) else {
            return Ok(());
        };
        match force {
            Force::Network(applied) => {
                for (target, applied) in applied {
                    self.proxies.lift(target, applied);
                }
            }
            Force::Service(struck) => struck.lift(self.direct.stack(), &self.direct.endpoints).await?,
            Force::Jina => self.direct.behave(&[]),
            Force::Worker(number) => {
                let Breaks::Worker(what) = self.planned[place].fault.breaks else { return Ok(()) };
                match (what, number) {
                    (WorkerFault::Pause, Some(number)) => {
                        self.hands.there.iter().filter(|hand| hand.number == number).for_each(|hand| {
                            hand.worker.resume();
                        });
                    }
                    (WorkerFault::Join, Some(number)) if self.hands.has(number) => {
                        let active = self.direct.active().await.unwrap_or_default();
                        self.hands.tell(number, active, false);
                    }
                    (WorkerFault::Pause | WorkerFault::Join, _) => {}
                    (WorkerFault::Kill | WorkerFault::Terminate | WorkerFault::TerminateTwice, number) => {
                        // Out of time: what was told to end and is still there must not work beside its successor.
                        if let Some(number) = number {
                            self.hands.kill(number);
                        }
                        self.hands.start()?;
                    }
                }
            }
        }
        self.planned[place].ended = Some(self.clock.elapsed());
        Ok(())
    }

    /// When the last fault was over, since the voyage began.
    pub(super) fn calm_since(&self) -> Option<Duration> {
        self.planned.iter().filter_map(|planned| planned.ended).max()
    }

    /// Time since the voyage began.
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
        let is_open = || self.contacts().values().flatten().any(|contact| contact.closed.is_none());
        while is_open() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Every request that a proxy answered in the place of its service.
    pub(super) fn answered(&self) -> BTreeMap<Target, Vec<Answered>> {
        self.proxies.answered(self.clock)
    }

    /// Every connection that was made through a proxy.
    pub(super) fn contacts(&self) -> BTreeMap<Target, Vec<Contact>> {
        self.proxies.contacts(self.clock)
    }

    /// How workers ended that were told to during the voyage.
    pub(super) fn exits(&self) -> Vec<Exit> {
        self.hands.exits.clone()
    }

    /// Sends every worker home; says how the first one ended that did not do as it should, or the first of all.
    /// `None` when it had to be killed, or there was none.
    pub(super) async fn sign_off(&mut self) -> Option<Ended> {
        // A signal that comes before a worker listens says nothing about how it ends.
        self.gather().await;
        let by_themselves: Vec<(usize, String)> =
            self.hands.there.iter().filter_map(|hand| Some((hand.number, hand.worker.ended()?))).collect();
        for (number, how) in &by_themselves {
            self.hands.note_at(Instant::now(), *number, format!("{how}, and nobody had told it to"));
        }
        let ends = futures::future::join_all(self.hands.there.iter().map(|hand| hand.worker.terminate())).await;
        let now = Instant::now();
        let numbers: Vec<usize> = self.hands.there.iter().map(|hand| hand.number).collect();
        for (number, end) in numbers.into_iter().zip(&ends) {
            if by_themselves.iter().any(|(gone, _)| *gone == number) {
                continue;
            }
            let how = end.as_ref().map_or("did not end in time", |end| end.how.as_str());
            let began = end.as_ref().map_or(now, |end| now.checked_sub(end.after).unwrap_or(now));
            self.hands.note_at(began, number, "told to end (SIGTERM): the scenario is over");
            self.hands.note_at(now, number, how);
        }
        self.hands.mark();
        let worst = ends.iter().position(|end| end.as_ref().is_none_or(|end| end.code != Some(0))).unwrap_or(0);
        ends.into_iter().nth(worst).flatten()
    }

    /// All that every worker put out.
    pub(super) fn outputs(&self) -> Vec<Output> {
        self.hands.outputs()
    }

    /// What became of the workers: milliseconds since the voyage began, the worker's number, what happened.
    pub(super) fn chronicle(&self) -> Vec<(i64, usize, String)> {
        self.hands.chronicle()
    }
}
