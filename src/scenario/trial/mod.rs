//! The trial: one document through the contract, before any case. It tells the first thing that is not as the contract
//! says, or what was learned of the worker.
//!
//! It starts the worker, waits until it is ready, enqueues a document, waits for its job, and looks for its points and
//! its row. Then it ingests the document again, with others beside it, to learn how the worker works; what goes wrong
//! there is for the cases to find.

mod failure;
mod fields;
mod registrations;
mod stored;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

pub use failure::{PointsProblem, RowProblem, TrialFailure};
use registrations::Registrations;

use super::clients::{ServiceClients, retry_unavailable};
use super::documents::Document;
use super::evidence::{Point, Snapshot};
use super::harness::{Harness, ScenarioError};
use super::jobs::{JobBuilder, JobKind, job_id};
use super::output::last_error;
use super::pressure::{Pressure, PressureMeter};
use super::profile::{Learned, profile};
use super::scheduler::{LaunchConfig, Proxies};
use super::setup::Setup;
use super::sidecars::Sidecars;
use super::step::enqueue;
use crate::outcome::{Trace, WorkerProfile};
use crate::redaction::redacted;
use crate::services::ServiceError;
use crate::services::queue_watch::{LockTimes, Registration};
use crate::settings::{Idle, Ready};
use crate::spec::jina::{Answer, Behaviour, When};
use crate::spec::{Documents, Scenario, Step, Target};
use crate::worker::{Worker, WorkerError};

/// How long a worker that is ready may take to take a job.
const TAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a job may take.
const JOB_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a job may take that has failed once: it may succeed when it is tried again.
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the second ingestion may take.
const SECOND_TIMEOUT: Duration = Duration::from_secs(15);
/// Interval of polling.
const POLL: Duration = Duration::from_millis(5);
/// How many generated documents make the text of the first document: some 20 kB, or a dozen chunks of 512 tokens.
const PARTS: usize = 10;
/// How many lines of an output without an error are shown.
const LAST_LINES: usize = 3;
/// How many jobs are enqueued at once in the second ingestion.
const AT_ONCE: usize = 8;
/// How long the embeddings API takes for an answer in the second ingestion, so that jobs overlap.
const ANSWER_MS: u64 = 150;

/// Runs the trial. The outer error is one of the harness or of starting the worker; the inner one tells what is not as
/// the contract says.
///
/// # Errors
/// The stack or the worker cannot be set up or started, or a service fails the harness.
pub async fn run_trial(name: &str, harness: &Harness) -> Result<Result<WorkerProfile, TrialFailure>, ScenarioError> {
    let scenario = scenario();
    let Setup { documents, builder, clients, proxies, launch, supabase: _supabase, .. } =
        Setup::prepare(name, &scenario, harness).await?;
    let registrations = Registrations::watch(&clients.queue).await?;
    // Dropped after the worker.
    let _sidecars = Sidecars::start(&launch).await?;
    let worker = start_worker(&launch, 1)?;
    let documents = trial_documents(documents);
    let mut trial = Trial {
        clients: &clients,
        proxies: &proxies,
        builder: &builder,
        trace: harness.events.trace(),
        worker,
        launch: &launch,
        starts: 1,
        registrations,
        meter: PressureMeter::start(),
        locks: LockTimes::default(),
        most_active: 0,
        is_short: false,
    };
    let outcome = Box::pin(trial.run(&documents)).await;
    clients.queue.close().await;
    clients.others.close().await;
    clients.postgres.close().await;
    outcome
}

/// Starts the worker for the `number`th time.
fn start_worker(launch: &LaunchConfig, number: usize) -> Result<Worker, WorkerError> {
    let LaunchConfig { contract, worker_env, grace, directory, name, ledger } = launch;
    let name = if number == 1 { name.clone() } else { format!("{name}-{number}") };
    Worker::start(contract, worker_env, *grace, directory, &name, ledger)
}

/// One generated document after the other, and a look at the changes of points.
fn scenario() -> Scenario {
    Scenario {
        title: "One document, before the cases".to_owned(),
        documents: Documents { generated: PARTS + AT_ONCE, ..Documents::default() },
        steps: vec![Step::Ingest],
        watch: vec![Target::Qdrant],
        ..Scenario::default()
    }
}

/// The first document, with the text of several, and others beside it.
fn trial_documents(generated: Vec<Document>) -> Vec<Document> {
    let mut documents = generated.into_iter();
    let parts: Vec<Document> = documents.by_ref().take(PARTS).collect();
    let text = parts.iter().map(|part| part.text.as_str()).collect::<String>();
    let first = parts.into_iter().next().map(|part| Document { text, ..part });
    first.into_iter().chain(documents.take(AT_ONCE - 1)).collect()
}

/// The last lines that are not empty.
fn last_lines(output: &str) -> String {
    let mut lines: Vec<&str> = output.lines().rev().filter(|line| !line.trim().is_empty()).take(LAST_LINES).collect();
    lines.reverse();
    lines.join("\n")
}

/// A trial that runs.
struct Trial<'a> {
    clients: &'a ServiceClients,
    proxies: &'a Proxies,
    builder: &'a JobBuilder,
    trace: &'a Trace,
    worker: Worker,
    launch: &'a LaunchConfig,
    /// How many times the worker was started.
    starts: usize,
    registrations: Registrations,
    meter: PressureMeter,
    locks: LockTimes,
    /// The most jobs that were active at once.
    most_active: usize,
    /// Whether a deadline passed although the worker could not run for so long.
    is_short: bool,
}

impl Trial<'_> {
    async fn run(&mut self, documents: &[Document]) -> Result<Result<WorkerProfile, TrialFailure>, ScenarioError> {
        let Some(first) = documents.first() else {
            return Err(ScenarioError::Spec("there is no document".to_owned()));
        };
        if let Some(failure) = self.wait_ready().await? {
            return self.unless_too_busy(failure);
        }
        let asked = self.clients.mock.request_count();
        if let Some(failure) = self.ingest(first).await? {
            return self.unless_too_busy(failure);
        }
        let points = match stored::find_stored(self.clients, first).await? {
            Ok(points) => points,
            Err(failure) => return Ok(Err(failure)),
        };
        let requests = self.clients.mock.requests_from(asked);
        let point_changes = self.proxies.writes().map(crate::faults::Writes::total);
        let again = self.ingest_again(documents).await;
        // One that has exited because it was idle gets no SIGTERM.
        let is_idle = self.is_idle();
        let ended = self.worker.terminate().await;
        let profile = profile(&Learned {
            document: first,
            points: &points,
            points_again: again.as_deref(),
            requests: &requests,
            point_changes,
            most_active: self.most_active,
            enqueued: AT_ONCE,
            locks: self.locks,
            attempts: self.clients.contract.queue.job.attempts.unwrap_or(1),
            ended: ended.as_ref(),
        });
        Ok(Ok(if is_idle { WorkerProfile { exit_ms: None, ..profile } } else { profile }))
    }

    /// The failure, unless the machine was too busy to tell.
    fn unless_too_busy(&mut self, failure: TrialFailure) -> Result<Result<WorkerProfile, TrialFailure>, ScenarioError> {
        if failure.rests_on_time() && self.is_short {
            return Err(ScenarioError::TooBusy(self.pressure().to_string()));
        }
        Ok(Err(failure))
    }

    /// Whether a deadline of `limit` since `before` has passed.
    fn is_over(&mut self, before: &Pressure, limit: Duration) -> bool {
        let pressure = self.pressure();
        self.is_short = pressure.is_short_of(before, limit);
        pressure.is_over(before, limit)
    }

    /// Measures how busy the machine is.
    fn pressure(&mut self) -> Pressure {
        let Self { worker, meter, .. } = self;
        meter.measure(|| worker.processes());
        self.meter.pressure()
    }

    /// `time`, multiplied as the contract says.
    fn timeout(&self, time: Duration) -> Duration {
        time.mul_f64(self.clients.contract.worker.timeout_factor)
    }

    /// The last error in the worker's output, or its last lines if there is none.
    fn errors(&self) -> String {
        let output = self.worker.output();
        redacted(last_error(&output).unwrap_or_else(|| last_lines(&output)))
    }

    fn ended(&self) -> Option<TrialFailure> {
        if self.is_idle() {
            return None;
        }
        let how = self.worker.ended()?;
        // A process that it has left behind is not watched, and is killed.
        let how = if how.ends_with("code 0") { format!("{how}, but must run in the foreground") } else { how };
        Some(TrialFailure::Ended { how, errors: self.errors() })
    }

    /// Whether it has exited because no jobs waited, as the contract permits.
    fn is_idle(&self) -> bool {
        let exits = self.launch.contract.worker.idle == Idle::Exits;
        exits && self.worker.exit().is_some_and(|(_, code)| code == Some(0))
    }

    /// Starts it again if it has exited because no jobs waited, and jobs wait.
    async fn start_for_waiting_jobs(&mut self) -> Result<(), ScenarioError> {
        if self.is_idle() && self.clients.takeable().await? > 0 {
            self.starts += 1;
            self.worker = start_worker(self.launch, self.starts)?;
        }
        Ok(())
    }

    /// Waits until the worker is ready; gives why it is not.
    async fn wait_ready(&mut self) -> Result<Option<TrialFailure>, ServiceError> {
        let (before, limit) = (self.pressure(), self.clients.contract.worker.ready_within);
        loop {
            if let Some(ended) = self.ended() {
                return Ok(Some(ended));
            }
            self.registrations.update(&self.clients.queue).await?;
            let is_ready = self.worker.is_ready().await.unwrap_or_else(|| self.registrations.is_registered());
            if is_ready || self.is_idle() {
                return Ok(None);
            }
            let by_queue = matches!(self.clients.contract.worker.ready, Ready::Queue);
            let is_elsewhere = by_queue && self.registrations.is_elsewhere();
            if is_elsewhere || self.is_over(&before, limit) {
                return Ok(Some(TrialFailure::NotReady {
                    seconds: (!is_elsewhere).then_some(limit.as_secs_f64()),
                    wanted: self.registrations.wanted(),
                    elsewhere: self.registrations.elsewhere(),
                    queues: self.other_queues().await?,
                    errors: self.errors(),
                }));
            }
            self.see_locks(&[]).await?;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Enqueues the first document, and waits until its job has completed; gives why it has not.
    async fn ingest(&mut self, document: &Document) -> Result<Option<TrialFailure>, ScenarioError> {
        let id = job_id(0, &document.id);
        self.clients.prepare_rows(std::slice::from_ref(document), 0).await?;
        let jobs = self.builder.jobs(0, JobKind::Ingest, std::slice::from_ref(document))?;
        enqueue(jobs, self.clients, self.trace).await?;
        let mut before = self.pressure();
        let (mut taken, mut failed_at) = (false, None);
        loop {
            self.start_for_waiting_jobs().await?;
            let (completed, failed) = retry_unavailable(|| self.clients.ended()).await?;
            if completed.contains(&id) && self.clients.open_jobs().await?.is_empty() {
                return Ok(None);
            }
            let active = self.clients.queue.active().await?;
            self.see_locks(&active).await?;
            let job = self.clients.job(&id).await?.unwrap_or_else(|| self.clients.job_from_events(&id));
            if !taken && (job.starts > 0 || job.processed_on.is_some() || active.contains(&id)) {
                (taken, before) = (true, self.pressure());
            }
            if let Some(reason) = job.failed_reason.filter(|reason| !reason.is_empty()) {
                let since = *failed_at.get_or_insert_with(Instant::now);
                if failed.contains(&id) || since.elapsed() >= RETRY_TIMEOUT {
                    let (reason, attempts) = (redacted(reason), job.attempts);
                    return Ok(Some(TrialFailure::JobFailed { reason, attempts, errors: self.errors() }));
                }
            }
            if let Some(ended) = self.ended() {
                return Ok(Some(ended));
            }
            if let Some(failure) = self.late(taken, &before).await? {
                return Ok(Some(failure));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Why the job is given up, if it is: it was not taken, or did not end, in the time since `before`.
    async fn late(&mut self, taken: bool, before: &Pressure) -> Result<Option<TrialFailure>, ServiceError> {
        if taken {
            let limit = self.timeout(JOB_TIMEOUT);
            let is_over = self.is_over(before, limit);
            let failure = || TrialFailure::NotFinished { seconds: limit.as_secs_f64(), errors: self.errors() };
            return Ok(is_over.then(failure));
        }
        self.registrations.update(&self.clients.queue).await?;
        let limit = TAKE_TIMEOUT;
        let is_over = self.is_over(before, limit);
        let failure = || TrialFailure::NotTaken {
            seconds: limit.as_secs_f64(),
            wanted: self.registrations.wanted(),
            registered: self.registrations.is_registered(),
            elsewhere: self.registrations.elsewhere(),
            errors: self.errors(),
        };
        Ok((self.registrations.is_elsewhere() || is_over).then(failure))
    }

    /// Reads the locks of these jobs, to learn how long they last.
    async fn see_locks(&mut self, active: &[String]) -> Result<(), ServiceError> {
        let seen = self.clients.queue.lock_times(active.iter().map(String::as_str)).await?;
        self.locks = self.locks.max(seen);
        Ok(())
    }

    /// Ingests the first document again, with the others at the same time. Gives its points; `None` if that went wrong.
    async fn ingest_again(&mut self, documents: &[Document]) -> Option<Vec<Point>> {
        let (first, others) = documents.split_first()?;
        let slow = Answer::Delay { ms: ANSWER_MS, jitter: 0 };
        self.clients.mock.behave(vec![Behaviour { when: When::All, answer: slow }]);
        self.clients.prepare_rows(documents, 1).await.ok()?;
        let mut jobs = self.builder.jobs(1, JobKind::Reingest, std::slice::from_ref(first)).ok()?;
        jobs.extend(self.builder.jobs(1, JobKind::Ingest, others).ok()?);
        let wanted: BTreeSet<String> = jobs.iter().map(|job| job.id.clone()).collect();
        enqueue(jobs, self.clients, self.trace).await.ok()?;
        let (before, limit) = (self.pressure(), self.timeout(SECOND_TIMEOUT));
        loop {
            self.start_for_waiting_jobs().await.ok()?;
            let active = self.clients.queue.active().await.ok()?;
            self.see_locks(&active).await.ok()?;
            self.most_active = self.most_active.max(active.len());
            let (completed, failed) = self.clients.ended().await.ok()?;
            if wanted.iter().all(|job| completed.contains(job) || failed.contains(job)) {
                break;
            }
            if self.ended().is_some() || self.pressure().is_over(&before, limit) {
                return None;
            }
            tokio::time::sleep(POLL).await;
        }
        let ServiceClients { endpoints, contract, postgres, qdrant, ids, .. } = self.clients;
        let snapshot = Snapshot::read(endpoints, &contract.evidence, postgres, qdrant, ids).await.ok()?;
        Some(snapshot.points_of(&first.id).to_vec())
    }

    /// The queues that exist in Redis, without those of the harness.
    async fn other_queues(&self) -> Result<Vec<Registration>, ServiceError> {
        let wanted = self.registrations.wanted();
        let queues = self.clients.queue.all_queues().await?;
        Ok(queues.into_iter().filter(|queue| *queue != wanted && !queue.prefix.starts_with("sd-")).collect())
    }
}
