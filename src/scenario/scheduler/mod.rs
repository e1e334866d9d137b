//! The workers of a scenario run, the proxies between them and the services, and when each fault begins and ends.
//!
//! What a fault breaks, and how, is the business of its driver.

mod driver;
mod idle;
mod jina;
mod locks;
mod moment;
mod network;
mod observed;
mod planned;
mod pool;
mod proxies;
mod record;
mod service;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clients::{ServiceClients, retry_unavailable};
use super::deadline::{Deadline, retry_allowance};
use super::documents::Document;
use super::harness::ScenarioError;
use super::pressure::{Pressure, PressureMeter};
use crate::services::queue_watch::LockTimes;
use crate::settings::Ready;
use crate::spec::{Fault, FaultKind, Lasts, Milestone, When};
use crate::worker::{Ended, Worker};
use driver::{Phase, RunContext};
use locks::LockWatch;
pub(super) use moment::Moment;
pub(super) use planned::Shares;
use planned::{Planned, State};
pub(super) use pool::LaunchConfig;
use pool::WorkerPool;
pub use pool::{Exit, Output, WorkerEvent};
pub use proxies::{ProxiedConnection, Proxies};
pub use record::FaultRecord;

/// Time between two checks whether a starting worker is ready.
const READY_POLL: Duration = Duration::from_millis(20);

/// How long connections of a process that has ended may take to be closed.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// A fault whose time is over and that has affected nothing yet stays in force for this much longer, as long as there is work
/// left: on a busy machine a worker may not have got that far. Once it meets something it has its whole time.
const EFFECT_WAIT: Duration = Duration::from_secs(10);

/// The workers, their proxies and their faults.
pub(super) struct FaultScheduler {
    context: RunContext,
    planned: Vec<Planned>,
    /// When the step began.
    step_began: Instant,
    /// The step, counted from 1.
    step: usize,
    /// The steps whose jobs have ended.
    ended_steps: BTreeSet<usize>,
    /// What was counted before the step.
    before: BTreeMap<Milestone, u64>,
    meter: PressureMeter,
    locks: LockWatch,
    /// How long refused jobs wait for their next attempts, if a fault lasts until these are used up.
    retries: Duration,
    /// Whether jobs are active and no worker runs, because it exits when it is idle.
    is_abandoned: bool,
}

impl FaultScheduler {
    /// Starts the workers.
    pub(super) fn start(
        launch: LaunchConfig,
        workers: usize,
        faults: &[Fault],
        proxies: Proxies,
        clients: Arc<ServiceClients>,
    ) -> Result<Self, ScenarioError> {
        let clock = Instant::now();
        let lasts_for_jobs = faults.iter().any(|fault| fault.lasts.is_some_and(|lasts| lasts.time().is_none()));
        let retries = if lasts_for_jobs { retry_allowance(&clients.contract.queue.job) } else { Duration::ZERO };
        let mut scheduler = Self {
            context: RunContext {
                clients,
                pool: WorkerPool::new(launch, clock),
                proxies,
                clock,
                documents: Vec::new(),
            },
            planned: faults.iter().map(Planned::new).collect(),
            step_began: clock,
            step: 0,
            ended_steps: BTreeSet::new(),
            before: BTreeMap::new(),
            meter: PressureMeter::start(),
            locks: LockWatch::new(faults),
            retries,
            is_abandoned: false,
        };
        for _ in 0..workers {
            scheduler.context.pool.start()?;
        }
        Ok(scheduler)
    }

    /// Begins the scenario run: the workers are ready.
    pub(super) fn begin(&mut self) -> Instant {
        self.context.clock = Instant::now();
        self.context.pool.restart_clock(self.context.clock);
        self.context.clock
    }

    /// Waits until every worker takes jobs, for as long as the contract permits. A worker that never does is reported by
    /// what follows.
    async fn wait_ready(&mut self) {
        let deadline = Deadline { began: self.pressure(), limit: self.context.clients.contract.worker.ready_within };
        self.remove_idle();
        while self.context.pool.any_starting()
            && self.died().is_none()
            && !deadline.is_over(&self.pressure(), Duration::ZERO)
        {
            self.remove_idle();
            if self.are_ready().await {
                self.context.pool.mark_ready();
            } else {
                tokio::time::sleep(READY_POLL).await;
            }
        }
    }

    /// Whether one of the faults is on a service itself, and not on its network.
    pub(super) fn disturbs_services(&self) -> bool {
        self.planned.iter().any(|planned| matches!(planned.fault.kind, FaultKind::Service { .. }))
    }

    /// Begins a step, counted from 1, with these documents: from now on its faults count their time, and so do the steps that
    /// `overlap` it.
    pub(super) async fn begin_step(
        &mut self,
        step: usize,
        overlaps: &[Moment],
        documents: &[Document],
    ) -> Result<(), ScenarioError> {
        self.context.documents = documents.to_vec();
        self.wait_ready().await;
        self.step = step;
        self.before.clear();
        let of_steps = overlaps.iter().filter_map(Moment::milestone);
        let milestones: BTreeSet<Milestone> = self.milestones().chain(of_steps).collect();
        for milestone in milestones {
            let count = retry_unavailable(|| self.context.clients.count(milestone)).await?;
            self.before.insert(milestone, count);
        }
        self.step_began = Instant::now();
        // A quick worker would finish a job before the first tick. A service that is down takes no jobs, so faults of
        // services are left to that tick.
        for index in 0..self.planned.len() {
            let planned = &self.planned[index];
            let is_first = planned.is_pending() && planned.is_in_step(self.step);
            if is_first
                && planned.driver.is_immediate()
                && planned.fault.at == When::After(Duration::ZERO)
                && self.has_target(index).await
            {
                self.inject(index).await?;
            }
        }
        Ok(())
    }

    /// The counts that faults of this step wait for.
    fn milestones(&self) -> impl Iterator<Item = Milestone> {
        self.planned_in_step().filter(|planned| planned.is_pending()).filter_map(|planned| planned.moment.milestone())
    }

    /// By how much a count has grown since the step began; `None` when it cannot be read at the moment.
    async fn count_since(&self, milestone: Milestone) -> Option<u64> {
        let before = self.before.get(&milestone).copied().unwrap_or(0);
        Some(self.context.clients.count(milestone).await.ok()?.saturating_sub(before))
    }

    /// Whether a moment has come; `share` of the jobs have ended.
    pub(super) async fn has_come(&self, moment: &mut Moment, share: f64) -> bool {
        match moment.at {
            When::Share(wanted) => share >= wanted,
            When::After(time) => self.step_began.elapsed() >= time,
            When::Count(wanted, milestone, later) => {
                if moment.reached.is_none() && self.count_since(milestone).await.is_some_and(|count| count >= wanted) {
                    moment.reached = Some(Instant::now());
                }
                moment.reached.is_some_and(|reached| reached.elapsed() >= later)
            }
            When::Into(time, other) => self.planned.get(other - 1).is_some_and(|other| {
                let began = other.began.filter(|_| other.is_active());
                began.is_some_and(|began| self.elapsed() >= began + time)
            }),
        }
    }

    fn planned_in_step(&self) -> impl Iterator<Item = &Planned> {
        self.planned.iter().filter(|planned| planned.is_in_step(self.step))
    }

    /// How busy the machine has been since the workers were started.
    pub(super) fn pressure(&mut self) -> Pressure {
        let Self { meter, context, .. } = self;
        meter.measure(|| context.pool.processes());
        meter.pressure()
    }

    /// Reads the locks of active jobs, where the deadlines depend on them.
    pub(super) async fn see_locks(&mut self) {
        if self.is_service_down() {
            return;
        }
        let delays_a_fault = self.is_watching();
        self.locks.see(&self.context.clients, delays_a_fault).await;
    }

    /// The longest remaining times of locks that were seen.
    pub(super) const fn lock_times(&self) -> LockTimes {
        self.locks.seen()
    }

    /// By how much longer than suites assume the recovery after the last fault may take.
    pub(super) fn stall_allowance(&self) -> Duration {
        self.locks.after_fault()
    }

    /// Whether `deadline` has passed, with the time in which jobs of killed workers wait for another one, and refused ones
    /// for their next attempt.
    pub(super) fn is_out_of_time(&mut self, deadline: &Deadline) -> bool {
        let pressure = self.pressure();
        deadline.is_over(&pressure, self.locks.allowance() + self.retries)
    }

    /// A worker that runs; `None` while a fault keeps all of them down.
    pub(super) fn worker(&self) -> Option<&Worker> {
        self.context.pool.oldest().map(|handle| &handle.worker)
    }

    /// The peak memory of one process of any worker, in MiB; `None` where it cannot be read.
    pub(super) fn peak_memory_mib(&mut self) -> Option<f64> {
        self.context.pool.peak_memory_mib()
    }

    /// Whether a fault in force ends when every job has ended an attempt.
    pub(super) fn waits_for_attempts(&self) -> bool {
        self.planned.iter().any(|planned| planned.is_active() && planned.fault.lasts == Some(Lasts::Attempt))
    }

    /// How a worker ended, if one did so without a signal from the harness.
    pub(super) fn died(&self) -> Option<String> {
        self.context.pool.died()
    }

    /// Whether no fault is in force and no worker is leaving. A fault that has not begun when all jobs have ended never
    /// will.
    pub(super) fn is_idle(&self) -> bool {
        !self.planned.iter().any(Planned::is_active) && !self.context.pool.are_leaving()
    }

    /// Whether every fault of this step is over. A fault of a worker that has exited because it is idle never begins.
    pub(super) fn is_through(&self) -> bool {
        let is_idle = self.context.pool.exits_when_idle() && self.context.pool.running.is_empty();
        self.planned_in_step().all(|planned| {
            matches!(planned.state, State::Over)
                || (is_idle && planned.is_pending() && planned.worker_fault().is_some())
        })
    }

    /// Whether a fault of this step waits for a point of the pipeline, which may pass quickly.
    pub(super) fn is_watching(&self) -> bool {
        let waits_for_target = |planned: &Planned| planned.is_pending() && planned.due.is_some();
        self.context.pool.are_leaving()
            || self.milestones().next().is_some()
            || self.planned_in_step().any(waits_for_target)
    }

    /// Whether a service itself is disturbed, so that it need not answer the harness either.
    pub(super) fn is_service_down(&self) -> bool {
        self.planned.iter().any(|planned| planned.is_active() && planned.driver.disturbs_service())
    }

    /// Whether there is something that the fault, which is due, would meet.
    async fn has_target(&mut self, index: usize) -> bool {
        let planned = &mut self.planned[index];
        let due = *planned.due.get_or_insert_with(Instant::now);
        planned.driver.has_target(&mut self.context, due.elapsed()).await
    }

    /// What the workers lack to be ready.
    pub(super) fn not_ready(&self) -> &'static str {
        match self.context.clients.contract.worker.ready {
            Ready::Queue => "is not registered on the queue",
            Ready::Log(_) => "no line of its output matches `ready` of [worker]",
            Ready::Http(_) => "the URL of `ready` in [worker] does not answer with success",
        }
    }

    /// Whether all workers that run take jobs.
    pub(super) async fn are_ready(&self) -> bool {
        self.context.are_ready().await
    }

    /// The jobs of this step, counted from 1, have ended.
    pub(super) fn end_step(&mut self, step: usize) {
        self.ended_steps.insert(step);
    }

    /// Begins and ends faults that are due.
    pub(super) async fn tick(&mut self, shares: Shares) -> Result<(), ScenarioError> {
        self.context.pool.record_output();
        self.start_for_waiting_jobs().await?;
        if self.context.pool.are_leaving() {
            // Ended workers are listed before active jobs: a job that ends in between was not left behind.
            let ended = self.context.pool.ended_leaving();
            let active = self.context.clients.active().await.ok();
            self.context.pool.follow_leaving(active.as_ref(), &ended);
        }
        for index in 0..self.planned.len() {
            match self.planned[index].state {
                State::Pending if self.planned[index].is_in_step(self.step) => {
                    // A cut waits for a connection, a signal for a worker that handles it.
                    if self.is_due(index, shares.ended).await && self.has_target(index).await {
                        self.inject(index).await?;
                    }
                }
                State::Active { until } => match self.planned[index].driver.phase(&mut self.context).await {
                    Phase::Busy => {}
                    Phase::Begins => self.planned[index].restart_time(Instant::now()),
                    Phase::Done => self.revert(index).await?,
                    Phase::InForce if shares.ended >= 1.0 && self.planned[index].driver.ends_with_work() => {
                        self.revert(index).await?;
                    }
                    Phase::InForce => {
                        let until_step = self.planned[index].fault.until_step;
                        if until_step.is_some_and(|step| self.ended_steps.contains(&step))
                            || (Instant::now() >= until
                                && !self.planned[index].is_kept_by_jobs(shares)
                                && !self.is_awaited(index, until, shares.ended)
                                && !self.waits_for_effect(index, shares.ended).await)
                        {
                            self.revert(index).await?;
                        }
                    }
                },
                State::Pending | State::Over => {}
            }
        }
        Ok(())
    }

    /// Whether the time of a fault that has not begun has come.
    async fn is_due(&mut self, index: usize, share: f64) -> bool {
        let mut moment = self.planned[index].moment;
        let has_come = self.has_come(&mut moment, share).await;
        self.planned[index].moment = moment;
        has_come
    }

    /// Whether a fault whose time was over at `until` stays in force because another is to begin within it and has not:
    /// on a busy machine both moments may have passed before a tick.
    fn is_awaited(&self, index: usize, until: Instant, share: f64) -> bool {
        let Some(lasts) = self.planned[index].fault.lasts else { return false };
        let begins_before = |time: Duration| lasts.time().is_none_or(|lasts| time < lasts);
        let begins_within = |other: &Planned| {
            other.is_in_step(self.step)
                && matches!(other.fault.at, When::Into(time, number) if number == index + 1 && begins_before(time))
        };
        share < 1.0
            && until.elapsed() < EFFECT_WAIT
            && self.planned.iter().any(|other| other.is_pending() && begins_within(other))
    }

    /// Whether a fault whose time is over stays in force until it has affected something; see [`EFFECT_WAIT`].
    async fn waits_for_effect(&mut self, index: usize, share: f64) -> bool {
        let planned = &mut self.planned[index];
        if planned.fault.lasts.is_none() || !planned.driver.waits_for_effect() {
            return false;
        }
        planned.driver.measure(&self.context).await;
        let took_effect = planned.evidence(&self.context).took_effect;
        let now = Instant::now();
        if took_effect {
            let is_late = planned.without_effect.take().is_some();
            if is_late {
                planned.restart_time(now);
            }
            return is_late;
        }
        share < 1.0 && now.duration_since(*planned.without_effect.get_or_insert(now)) < EFFECT_WAIT
    }

    /// Ends every fault that is in force, because no time is left.
    pub(super) async fn revert_all(&mut self) -> Result<(), ScenarioError> {
        for index in 0..self.planned.len() {
            if self.planned[index].is_active() {
                self.revert(index).await?;
            }
        }
        Ok(())
    }

    async fn inject(&mut self, index: usize) -> Result<(), ScenarioError> {
        let planned = &mut self.planned[index];
        planned.began = Some(self.context.clock.elapsed());
        planned.driver.inject(&mut self.context).await?;
        if planned.needs_stored_counts() {
            planned.stored = self.context.clients.stored_counts().await;
        }
        let now = Instant::now();
        planned.state = State::Active { until: now + planned.time() };
        if planned.fault.lasts.is_none() && planned.driver.is_over_at_once() {
            self.revert(index).await?;
        }
        Ok(())
    }

    /// Ends a fault that is in force.
    async fn revert(&mut self, index: usize) -> Result<(), ScenarioError> {
        let planned = &mut self.planned[index];
        planned.driver.measure(&self.context).await;
        planned.state = State::Over;
        planned.driver.revert(&mut self.context).await?;
        planned.ended = Some(self.context.clock.elapsed());
        Ok(())
    }

    /// When the last fault was over, since the scenario run began.
    pub(super) fn idle_since(&self) -> Option<Duration> {
        self.planned.iter().filter_map(|planned| planned.ended).max()
    }

    /// Time since the scenario run began.
    pub(super) fn elapsed(&self) -> Duration {
        self.context.clock.elapsed()
    }

    /// Waits until the connections of workers that have ended are closed: a proxy notices that a moment later.
    pub(super) async fn drain(&self) {
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        let is_open = || self.proxied_connections().values().flatten().any(|connection| connection.closed.is_none());
        while is_open() && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    /// Sends SIGTERM to every worker and waits until they have ended. Returns how the first one ended that did not exit
    /// with code 0, or the first of all; `None` if it had to be killed, or if no worker ran.
    pub(super) async fn stop(&mut self) -> Option<Ended> {
        // A signal that arrives before a worker handles signals proves nothing about how it ends.
        self.wait_ready().await;
        self.context.pool.stop().await
    }
}
