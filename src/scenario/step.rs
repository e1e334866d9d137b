//! One step of a scenario run: enqueue its jobs, follow them until they end, read what is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::clients::{ServiceClients, UNAVAILABLE_TIMEOUT, retry_unavailable};
use super::deadline::Deadline;
use super::documents::Document;
use super::evidence::Snapshot;
use super::harness::ScenarioError;
use super::jobs::job_id;
use super::observations::{JobState, StepRecord};
use super::other_queues::OpenJobs;
use super::scheduler::{FaultScheduler, Shares};
use crate::outcome::{Role, Span, Trace};
use crate::services::queue::{JobHash, NewJob};
use crate::spec::Milestone;

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
    pub(super) documents: Vec<Document>,
    /// One job for each document.
    pub(super) jobs: Vec<NewJob>,
    /// The deadline of the whole scenario run.
    pub(super) deadline: Deadline,
}

/// Runs one step to its end.
pub(super) async fn run_step(
    input: StepInput,
    clients: &ServiceClients,
    scheduler: &mut FaultScheduler,
    span: &Span,
) -> Result<StepRecord, ScenarioError> {
    let StepInput { number, documents, jobs, deadline } = input;
    let ids: BTreeMap<String, String> =
        documents.iter().map(|document| (document.id.clone(), job_id(number, &document.id))).collect();
    let data_bytes: BTreeMap<String, u64> =
        jobs.iter().map(|job| (job.id.clone(), job.data.to_string().len() as u64)).collect();
    scheduler.begin_step(&documents).await?;
    enqueue(jobs, clients, span.trace()).await?;
    let checks = Checks {
        point_count: number > 0,
        // With a fault on a service, a row check would block and delay the next fault.
        done_rows: number == 0 && documents.len() <= MAX_ROW_CHECKED && !scheduler.disturbs_services(),
    };
    let mut progress = follow_jobs(&ids, clients, scheduler, checks, deadline).await?;
    if checks.done_rows {
        // On a busy machine this may be the first check that does not time out.
        let deadline = Instant::now() + ROW_LAG;
        while clients.check_done_rows(&mut progress.seen_done).await.is_err() && Instant::now() < deadline {
            tokio::time::sleep(ROW_POLL).await;
        }
    }
    let jobs = read_jobs(&ids, &data_bytes, clients).await?;
    let failed = |(_, (state, _)): &(&String, &(JobState, JobHash))| *state == JobState::Failed;
    let failed: Vec<&String> = jobs.iter().filter(failed).map(|(document, _)| document).collect();
    let lag = if scheduler.pressure().is_starved() { STARVED_ROW_LAG } else { ROW_LAG };
    let snapshot = read_snapshot(clients, &failed, lag).await?;
    let Progress { settled, recovered, least_points, seen_done } = progress;
    span.fact("shakedown.settled", settled);
    if let Some(recovered) = recovered {
        span.fact("shakedown.recovered_ms", recovered);
    }
    Ok(StepRecord { documents, jobs, snapshot, settled, least_points, seen_done, recovered })
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

/// Drives the faults of a step until all jobs have ended and all faults are over, or a worker dies, or the deadline
/// passes.
async fn follow_jobs(
    ids: &BTreeMap<String, String>,
    clients: &ServiceClients,
    scheduler: &mut FaultScheduler,
    checks: Checks,
    deadline: Deadline,
) -> Result<Progress, ScenarioError> {
    let wanted: BTreeSet<&String> = ids.values().collect();
    let mut settled_at = None;
    let mut shares = Shares::default();
    let mut last_answer = Instant::now();
    let mut stuck_since: Option<Instant> = None;
    let mut progress = Progress { settled: wanted.is_empty(), ..Progress::default() };
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
                let ended = completed.iter().chain(&failed).filter(|id| wanted.contains(id)).count();
                // Jobs may outlive the job that added them. If they cannot be counted, the next iteration asks.
                let open = clients.open_jobs().await.ok();
                progress.settled = ended == wanted.len() && open.is_some_and(OpenJobs::is_empty);
                stuck_since = open.filter(|open| open.is_stuck()).map(|_| stuck_since.unwrap_or(last_answer));
                #[expect(clippy::cast_precision_loss, reason = "a share of a few thousand jobs")]
                let share = |count: usize| if wanted.is_empty() { 1.0 } else { count as f64 / wanted.len() as f64 };
                let attempted = if scheduler.waits_for_attempts() { clients.attempted(&wanted) } else { 0 };
                shares = Shares { ended: share(ended), attempted: share(attempted) };
            }
            Err(_) if scheduler.is_service_down() || last_answer.elapsed() < UNAVAILABLE_TIMEOUT => {}
            Err(error) => return Err(error.into()),
        }
        scheduler.see_locks().await;
        scheduler.tick(shares).await?;
        let is_over = progress.settled && scheduler.is_idle() && (!wanted.is_empty() || scheduler.is_through());
        let is_stuck = stuck_since.is_some_and(|since| since.elapsed() >= STUCK) && scheduler.is_idle();
        let is_left = is_stuck || scheduler.is_abandoned() || scheduler.died().is_some();
        if is_over || is_left || scheduler.is_out_of_time(&deadline) {
            let faults_ended_at = scheduler.idle_since().filter(|_| progress.settled);
            progress.recovered =
                faults_ended_at.map(|ended| settled_at.unwrap_or(scheduler.elapsed()).saturating_sub(ended));
            scheduler.revert_all().await?;
            return Ok(progress);
        }
        if progress.settled && settled_at.is_none() {
            settled_at = Some(scheduler.elapsed());
        }
        tokio::time::sleep(if scheduler.is_watching() { FAST_POLL } else { POLL }).await;
    }
}

/// The state and hash of each document's job.
async fn read_jobs(
    ids: &BTreeMap<String, String>,
    data_bytes: &BTreeMap<String, u64>,
    clients: &ServiceClients,
) -> Result<BTreeMap<String, (JobState, JobHash)>, ScenarioError> {
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
