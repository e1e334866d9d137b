//! Steps of a scenario run: enqueue their jobs, follow them until they end, read what is stored.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::clients::{ServiceClients, UNAVAILABLE_TIMEOUT, retry_unavailable};
use super::deadline::Deadline;
use super::documents::Document;
use super::evidence::Snapshot;
use super::harness::ScenarioError;
use super::jobs::{JobBuilder, JobKind, job_id};
use super::observations::{JobState, StepRecord};
use super::other_queues::OpenJobs;
use super::scheduler::{FaultScheduler, Moment, Shares};
use crate::outcome::{Role, Span, Trace};
use crate::services::queue::{JobHash, NewJob};
use crate::spec::{Milestone, Step};

/// Interval of polling unless a fault is about to begin.
const POLL: Duration = Duration::from_millis(50);
/// Interval of polling while a fault waits for a point of the pipeline, which passes quickly.
const FAST_POLL: Duration = Duration::from_millis(4);
/// Interval of polling rows after the jobs have ended.
const ROW_POLL: Duration = Duration::from_millis(20);
/// How long a row may lag behind the state of its job.
const ROW_LAG: Duration = Duration::from_secs(3);
/// The same on a machine that is too busy.
const STARVED_ROW_LAG: Duration = Duration::from_secs(10);
/// How long parents may wait for children that have all ended: the next moment moves them on, or nothing ever does.
const STUCK: Duration = Duration::from_secs(3);
/// With more documents than this, rows are not checked during a step.
const MAX_ROW_CHECKED: usize = 32;

/// The input of a step.
pub(super) struct StepInput {
    /// The step's number, from 0.
    pub(super) number: usize,
    pub(super) step: Step,
    pub(super) documents: Vec<Document>,
    pub(super) kind: JobKind,
    /// When it begins, if that is before the jobs of the step before it have ended.
    pub(super) begins: Option<Moment>,
}

/// What steps are run with.
pub(super) struct StepTools<'a> {
    pub(super) clients: &'a ServiceClients,
    pub(super) builder: &'a JobBuilder,
    /// The deadline of the whole scenario run.
    pub(super) deadline: Deadline,
    pub(super) span: &'a Span,
}

/// A step whose jobs are in the queue.
struct Begun {
    input: StepInput,
    /// The id of each document's job.
    ids: BTreeMap<String, String>,
    /// The bytes of each job's data.
    data_bytes: BTreeMap<String, u64>,
}

/// Runs steps to their end: one, or one and those that overlap it.
pub(super) async fn run_steps_together(
    inputs: Vec<StepInput>,
    tools: &StepTools<'_>,
    scheduler: &mut FaultScheduler,
) -> Result<Vec<StepRecord>, ScenarioError> {
    let clients = tools.clients;
    let Some(first) = inputs.first() else { return Ok(Vec::new()) };
    let overlaps: Vec<Moment> = inputs.iter().filter_map(|input| input.begins).collect();
    let checks = Checks {
        point_count: first.number > 0,
        // With a fault on a service, a row check would block and delay the next fault. While versions overlap, a row and
        // points need not be of the same one.
        done_rows: first.number == 0
            && inputs.len() == 1
            && first.documents.len() <= MAX_ROW_CHECKED
            && !scheduler.disturbs_services(),
    };
    scheduler.begin_step(first.number + 1, &overlaps, &first.documents).await?;
    let mut steps = Steps { begun: Vec::new(), waiting: inputs.into() };
    steps.begin_next(tools).await?;
    let mut progress = follow_jobs(&mut steps, tools, scheduler, checks).await?;
    if checks.done_rows {
        // On a busy machine this may be the first check that does not time out.
        let deadline = Instant::now() + ROW_LAG;
        while clients.check_done_rows(&mut progress.seen_done).await.is_err() && Instant::now() < deadline {
            tokio::time::sleep(ROW_POLL).await;
        }
    }
    let mut states = Vec::new();
    for step in &steps.begun {
        states.push(read_jobs(&step.ids, &step.data_bytes, clients).await?);
    }
    let lag = if scheduler.pressure().is_starved() { STARVED_ROW_LAG } else { ROW_LAG };
    let snapshot = read_snapshot(clients, &newest_failed(&states), lag).await?;
    let Progress { settled, recovered, least_points, seen_done } = progress;
    tools.span.fact("shakedown.settled", settled);
    if let Some(recovered) = recovered {
        tools.span.fact("shakedown.recovered_ms", recovered);
    }
    let record = |(Begun { input, .. }, jobs): (Begun, Jobs)| StepRecord {
        step: input.step,
        number: input.number,
        documents: input.documents,
        jobs,
        snapshot: snapshot.clone(),
        settled,
        least_points,
        seen_done: seen_done.clone(),
        recovered,
    };
    Ok(steps.begun.into_iter().zip(states).map(record).collect())
}

/// The state and hash of the job of each document.
type Jobs = BTreeMap<String, (JobState, JobHash)>;

/// The documents whose newest job failed.
fn newest_failed(steps: &[Jobs]) -> Vec<&String> {
    let mut newest: BTreeMap<&String, JobState> = BTreeMap::new();
    newest.extend(steps.iter().flatten().map(|(document, (state, _))| (document, *state)));
    newest.into_iter().filter(|(_, state)| *state == JobState::Failed).map(|(document, _)| document).collect()
}

/// Steps that overlap: those whose jobs are in the queue, and those that have not begun.
struct Steps {
    begun: Vec<Begun>,
    waiting: VecDeque<StepInput>,
}

impl Steps {
    /// Adds the jobs of the next step to the queue.
    async fn begin_next(&mut self, tools: &StepTools<'_>) -> Result<(), ScenarioError> {
        let Some(input) = self.waiting.pop_front() else { return Ok(()) };
        let jobs = tools.builder.jobs(input.number, input.kind, &input.documents)?;
        if input.kind != JobKind::Delete {
            tools.clients.prepare_rows(&input.documents, input.number).await?;
        }
        let id = |document: &Document| (document.id.clone(), job_id(input.number, &document.id));
        let ids = input.documents.iter().map(id).collect();
        let data_bytes = jobs.iter().map(|job| (job.id.clone(), job.data.to_string().len() as u64)).collect();
        enqueue(jobs, tools.clients, tools.span.trace()).await?;
        self.begun.push(Begun { input, ids, data_bytes });
        Ok(())
    }

    /// The ids of their jobs.
    fn ids(&self) -> BTreeSet<&String> {
        self.begun.iter().flat_map(|step| step.ids.values()).collect()
    }

    /// How many of their jobs have ended, and how many there are; the scheduler is told of each step that has ended.
    fn count(&self, ended: &BTreeSet<&String>, scheduler: &mut FaultScheduler) -> (usize, usize) {
        let mut counts = (0, 0);
        for step in &self.begun {
            let done = step.ids.values().filter(|id| ended.contains(id)).count();
            if done == step.ids.len() {
                scheduler.end_step(step.input.number + 1);
            }
            counts = (counts.0 + done, counts.1 + step.ids.len());
        }
        counts
    }

    /// Begins the next step if its moment has come, or if there is nothing left to overlap with.
    async fn begin_due(
        &mut self,
        tools: &StepTools<'_>,
        scheduler: &FaultScheduler,
        share: f64,
    ) -> Result<(), ScenarioError> {
        let Some(moment) = self.waiting.front_mut().and_then(|next| next.begins.as_mut()) else { return Ok(()) };
        if share >= 1.0 || scheduler.has_come(moment, share).await {
            self.begin_next(tools).await?;
        }
        Ok(())
    }
}

/// Adds the jobs, with the parent span that each carries.
pub(super) async fn enqueue(jobs: Vec<NewJob>, clients: &ServiceClients, trace: &Trace) -> Result<(), ScenarioError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let adding = trace.begin_as(Role::Producer, "add jobs");
    adding.fact("messaging.system", "bullmq");
    adding.fact("messaging.destination.name", clients.endpoints.names.queue.as_str());
    adding.fact("messaging.batch.message_count", jobs.len());
    let mut by_queue: BTreeMap<Option<String>, Vec<NewJob>> = BTreeMap::new();
    for job in jobs {
        by_queue.entry(job.queue.clone()).or_default().push(job);
    }
    for (name, jobs) in by_queue {
        let queue = name.and_then(|name| clients.others.named(&name)).unwrap_or(&clients.queue);
        queue.add_below(jobs, adding.place()).await?;
    }
    Ok(())
}

/// What is checked while the jobs of a step run.
#[derive(Debug, Clone, Copy)]
struct Checks {
    /// The number of points, for [`StepRecord::least_points`].
    point_count: bool,
    /// Rows that are done, for [`StepRecord::seen_done`].
    done_rows: bool,
}

/// What was seen while the jobs of a step ran; see [`StepRecord`].
#[derive(Debug, Default)]
struct Progress {
    settled: bool,
    recovered: Option<Duration>,
    least_points: Option<u64>,
    seen_done: BTreeMap<String, Option<String>>,
}

/// Drives the faults of the steps, and begins those that overlap, until all jobs have ended and all faults are over, or a
/// worker dies, or the deadline passes.
async fn follow_jobs(
    steps: &mut Steps,
    tools: &StepTools<'_>,
    scheduler: &mut FaultScheduler,
    checks: Checks,
) -> Result<Progress, ScenarioError> {
    let clients = tools.clients;
    let mut settled_at = None;
    let mut shares = Shares::default();
    let mut last_answer = Instant::now();
    let has_jobs = |steps: &Steps| steps.begun.iter().any(|step| !step.ids.is_empty());
    let mut stuck_since: Option<Instant> = None;
    let mut progress = Progress { settled: !has_jobs(steps), ..Progress::default() };
    loop {
        if checks.point_count
            && let Ok(points) = clients.count(Milestone::Points).await
        {
            progress.least_points = Some(progress.least_points.map_or(points, |least| least.min(points)));
        }
        if checks.done_rows && !scheduler.is_watching() {
            // After an error the next iteration tries again.
            let _ = clients.check_done_rows(&mut progress.seen_done).await;
        }
        match clients.ended().await {
            Ok((completed, failed)) => {
                last_answer = Instant::now();
                let (ended, wanted) = steps.count(&completed.iter().chain(&failed).collect(), scheduler);
                // Jobs may outlive the job that added them. If they cannot be counted, the next iteration asks.
                let open = clients.open_jobs().await.ok();
                progress.settled = ended == wanted && steps.waiting.is_empty() && open.is_some_and(OpenJobs::is_empty);
                stuck_since = open.filter(|open| open.is_stuck()).map(|_| stuck_since.unwrap_or(last_answer));
                #[expect(clippy::cast_precision_loss, reason = "a share of a few thousand jobs")]
                let share = |count: usize| if wanted == 0 { 1.0 } else { count as f64 / wanted as f64 };
                let attempted = if scheduler.waits_for_attempts() { clients.attempted(&steps.ids()) } else { 0 };
                shares = Shares { ended: share(ended), attempted: share(attempted) };
            }
            Err(_) if scheduler.is_service_down() || last_answer.elapsed() < UNAVAILABLE_TIMEOUT => {}
            Err(error) => return Err(error.into()),
        }
        scheduler.see_locks().await;
        scheduler.tick(shares).await?;
        let is_over = progress.settled && scheduler.is_idle() && (has_jobs(steps) || scheduler.is_through());
        let is_stuck = stuck_since.is_some_and(|since| since.elapsed() >= STUCK) && scheduler.is_idle();
        let is_left = is_stuck || scheduler.is_abandoned() || scheduler.died().is_some();
        if is_over || is_left || scheduler.is_out_of_time(&tools.deadline) {
            let faults_ended_at = scheduler.idle_since().filter(|_| progress.settled);
            progress.recovered =
                faults_ended_at.map(|ended| settled_at.unwrap_or(scheduler.elapsed()).saturating_sub(ended));
            scheduler.revert_all().await?;
            return Ok(progress);
        }
        if progress.settled && settled_at.is_none() {
            settled_at = Some(scheduler.elapsed());
        }
        steps.begin_due(tools, scheduler, shares.ended).await?;
        let is_watching = scheduler.is_watching() || !steps.waiting.is_empty();
        tokio::time::sleep(if is_watching { FAST_POLL } else { POLL }).await;
    }
}

/// The state and hash of each document's job.
async fn read_jobs(
    ids: &BTreeMap<String, String>,
    data_bytes: &BTreeMap<String, u64>,
    clients: &ServiceClients,
) -> Result<Jobs, ScenarioError> {
    let (completed, failed) = retry_unavailable(|| clients.ended()).await?;
    let mut jobs = BTreeMap::new();
    for (document, id) in ids {
        let stored = retry_unavailable(|| clients.job(id)).await?;
        let state = if completed.contains(id) {
            JobState::Completed
        } else if failed.contains(id) {
            JobState::Failed
        } else if stored.is_some() {
            JobState::Unfinished
        } else {
            JobState::Missing
        };
        let mut hash = stored.unwrap_or_else(|| clients.job_from_events(id));
        hash.starts = hash.starts.saturating_sub(clients.continued(id));
        // `notes` counts what the worker added, so the data that the harness enqueued is subtracted.
        hash.notes = hash.notes.map(|bytes| bytes.saturating_sub(data_bytes.get(id).copied().unwrap_or_default()));
        jobs.insert(document.clone(), (state, hash));
    }
    Ok(jobs)
}

/// Reads points and rows after the jobs have ended. Many workers write `failed` into a row only after BullMQ reports the
/// job as failed, so it waits up to `lag` for the rows of the `failed` documents.
async fn read_snapshot(clients: &ServiceClients, failed: &[&String], lag: Duration) -> Result<Snapshot, ScenarioError> {
    let evidence = &clients.contract.evidence;
    let failed_status = evidence.postgres.as_ref().and_then(|rows| rows.failed.as_deref());
    let deadline = Instant::now() + lag;
    loop {
        let snapshot = retry_unavailable(|| {
            Snapshot::read(&clients.endpoints, evidence, &clients.postgres, &clients.qdrant, &clients.ids)
        })
        .await?;
        let is_marked = |document: &&String| {
            snapshot.rows.get(document.as_str()).is_some_and(|row| Some(row.status.as_str()) == failed_status)
        };
        if failed_status.is_none() || failed.iter().all(is_marked) || Instant::now() >= deadline {
            return Ok(snapshot);
        }
        tokio::time::sleep(ROW_POLL).await;
    }
}
