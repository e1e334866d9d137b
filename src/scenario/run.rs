//! One scenario run: set-up, workers, steps, shutdown. Everything observed is kept in [`Observations`].

use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::clients::{ServiceClients, retry_unavailable};
use super::deadline::Deadline;
use super::documents::Document;
use super::harness::{Harness, ScenarioError};
use super::jobs::{JobBuilder, JobKind};
use super::observations::{
    ApiFault, ContractTerms, EmbeddingsObservations, NetworkObservations, Observations, QueueObservations, StepRecord,
    TimingObservations, WorkerObservations,
};
use super::scheduler::{FaultRecord, FaultScheduler, Moment};
use super::setup::Setup;
use super::sidecars::Sidecars;
use super::step::{StepInput, StepTools, run_steps_together};
use crate::outcome::Trace;
use crate::redaction::{redacted, without_escapes};
use crate::services::queue::{Attached, QueueEvent};
use crate::spec::{Scenario, Step};
use crate::stack::jina::JinaRequest;
use crate::worker::Worker;

/// Deadline of a scenario that sets none.
const DEFAULT_DEADLINE: Duration = Duration::from_mins(1);
/// How long a worker that has named its connections may take until it waits for a job.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval of polling until the workers are ready.
const READY_POLL: Duration = Duration::from_millis(20);

/// Runs the scenario to its end. What the worker does wrong is an observation, not an error.
///
/// # Errors
/// The documents or the stack cannot be set up, the worker does not become ready, or a service fails the harness.
pub async fn run_scenario(name: &str, scenario: &Scenario, harness: &Harness) -> Result<Observations, ScenarioError> {
    let trace = harness.events.trace();
    let phase = trace.begin("set up");
    let Setup { documents, builder, clients, proxies, launch, secrets, supabase: _supabase } =
        Setup::prepare(name, scenario, harness).await?;
    let contract = &harness.contract;
    let grace = launch.grace;
    let workers = scenario.workers.unwrap_or(contract.worker.replicas);
    drop(phase);
    let phase = trace.begin("start workers");
    phase.fact("shakedown.workers", workers);
    // Dropped after the workers.
    let _sidecars = Sidecars::start(&launch).await?;
    let mut scheduler = FaultScheduler::start(launch, workers, &scenario.faults, proxies, Arc::clone(&clients))?;
    wait_until_ready(&mut scheduler, contract.worker.ready_within).await?;
    let attached = read_attached(&clients).await?;
    drop(phase);
    let requests_at_start = clients.begin(&scenario.limits);
    let mock_offset = scheduler.begin().saturating_duration_since(clients.mock.started());
    let begun = SystemTime::now();
    // Entries of the event stream carry the server's time.
    let begun_ms = retry_unavailable(|| clients.queue.clock_ms()).await?;

    let steps = run_steps(name, scenario, harness, &documents, &builder, (&clients, &mut scheduler)).await?;

    let timing = TimingObservations { pressure: scheduler.pressure(), stall_allowance: scheduler.stall_allowance() };
    let phase = trace.begin("stop workers");
    let counts = retry_unavailable(|| clients.queue.counts_without_schedulers()).await?;
    let workers = stop_workers(&mut scheduler, grace).await;
    let length = scheduler.elapsed();
    let others = clients.others.observe(begun_ms).await?;
    let events = read_job_events(&clients, begun_ms).await;
    let ms = |time: Duration| u64::try_from(time.as_millis()).ok();
    let queue = QueueObservations {
        counts,
        others,
        attached,
        events,
        lock_ms: scheduler.lock_times().lock.and_then(ms),
        recovery_ms: scheduler.lock_times().recovery().and_then(ms),
    };
    let faults = scheduler.faults();
    let network = NetworkObservations {
        connections: scheduler.proxied_connections(),
        answered: scheduler.answered(),
        writes: scheduler.writes(),
    };
    drop(scheduler);
    drop(phase);
    trace_faults(trace, begun, &faults);
    let mut requests = clients.mock.requests_from(requests_at_start);
    requests.retain(|request| !contract.embeddings.is_setup(&request.texts));
    let embeddings = EmbeddingsObservations {
        api_fault: api_fault(scenario, &requests),
        requests,
        endpoint: clients.mock.endpoint(),
        mock_offset,
    };
    clients.queue.close().await;
    clients.others.close().await;
    clients.postgres.close().await;
    let contract = ContractTerms::new(contract, secrets);
    let title = scenario.title.clone();
    Ok(Observations { title, length, steps, workers, queue, embeddings, network, faults, timing, contract })
}

/// The connections of workers to the queue. A worker in Python is registered once it waits for a job, a moment after it has
/// named its connections.
async fn read_attached(clients: &ServiceClients) -> Result<Attached, ScenarioError> {
    let deadline = Instant::now() + REGISTER_TIMEOUT;
    loop {
        let attached = retry_unavailable(|| clients.queue.workers()).await?;
        if attached.registered > 0 || attached.unregistered == 0 || Instant::now() >= deadline {
            return Ok(attached);
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

/// Ends all workers, with SIGTERM and the time of their grace, and waits until their connections are closed.
async fn stop_workers(scheduler: &mut FaultScheduler, grace: Duration) -> WorkerObservations {
    let died = scheduler.died();
    let peak_memory_mib = scheduler.peak_memory_mib();
    let ended = scheduler.stop().await;
    scheduler.drain().await;
    let outputs = scheduler.outputs();
    WorkerObservations {
        ended,
        died,
        exits: scheduler.exits(),
        grace,
        log: outputs.iter().map(|output| without_escapes(&output.text)).collect(),
        outputs,
        events: scheduler.worker_events(),
        peak_memory_mib,
    }
}

/// Runs the steps of the scenario one after the other, until the scenario's deadline.
async fn run_steps(
    name: &str,
    scenario: &Scenario,
    harness: &Harness,
    documents: &[Document],
    builder: &JobBuilder,
    (clients, scheduler): (&ServiceClients, &mut FaultScheduler),
) -> Result<Vec<StepRecord>, ScenarioError> {
    let timeout_factor = harness.contract.worker.timeout_factor;
    let limit = scenario.within_s.map_or(DEFAULT_DEADLINE, Duration::from_secs).mul_f64(timeout_factor);
    let deadline = Deadline { began: scheduler.pressure(), limit };
    let mut inputs: Vec<StepInput> = Vec::new();
    for (number, step) in scenario.steps.iter().enumerate() {
        let kind = match step {
            Step::Delete => JobKind::Delete,
            _ if scenario.steps[..number].iter().all(|before| *before == Step::Idle) => JobKind::Ingest,
            _ => JobKind::Reingest,
        };
        let documents = documents_of_step(*step, scenario.revision(number + 1), documents);
        let begins = scenario.overlap(number + 1).map(Moment::new);
        inputs.push(StepInput { number, step: *step, documents, kind, begins });
    }
    let mut steps: Vec<StepRecord> = Vec::new();
    let mut inputs = inputs.into_iter().peekable();
    while let Some(first) = inputs.next() {
        let mut together = vec![first];
        while let Some(next) = inputs.next_if(|next| next.begins.is_some()) {
            together.push(next);
        }
        let numbers = together.iter().map(|input| (input.number + 1).to_string()).collect::<Vec<_>>().join(", ");
        let words = together.iter().map(|input| input.step.word()).collect::<Vec<_>>().join(", ");
        let span = harness.events.trace().begin(format_args!("step {numbers}: {words}"));
        let count: usize = together.iter().map(|input| input.documents.len()).sum();
        span.fact("shakedown.documents", count);
        harness.events.note(format!("{name}: step {numbers} of {}, {count} documents", scenario.steps.len()));
        let tools = StepTools { clients, builder, deadline, span: &span };
        let records = Box::pin(run_steps_together(together, &tools, scheduler)).await?;
        steps.extend(records.into_iter().filter(|record| record.step != Step::Idle));
    }
    Ok(steps)
}

/// The documents that `step` enqueues, in its version.
fn documents_of_step(step: Step, revision: usize, documents: &[Document]) -> Vec<Document> {
    match step {
        Step::Ingest => documents.to_vec(),
        // The other half must stay: it shows whether a removal takes too much.
        Step::Delete => documents.iter().step_by(2).cloned().collect(),
        Step::Truncate => documents.iter().map(Document::truncated).collect(),
        Step::Edit => documents.iter().map(Document::edited).collect(),
        Step::Revise => documents.iter().map(|document| document.revised(revision)).collect(),
        Step::Empty => documents.iter().map(Document::emptied).collect(),
        Step::Idle => Vec::new(),
    }
}

/// Waits until all workers are ready; the error's texts are without secrets.
async fn wait_until_ready(scheduler: &mut FaultScheduler, timeout: Duration) -> Result<(), ScenarioError> {
    let deadline = Deadline { began: scheduler.pressure(), limit: timeout };
    loop {
        // A worker that exits when it is idle need not wait for the first job.
        scheduler.remove_idle();
        let died = scheduler.died();
        if died.is_none() && scheduler.are_ready().await {
            return Ok(());
        }
        let pressure = scheduler.pressure();
        if died.is_some() || deadline.is_over(&pressure, Duration::ZERO) {
            return Err(ScenarioError::NeverReady {
                // A worker that ended did so whether the machine was busy or not.
                busy: (died.is_none() && deadline.is_short(&pressure)).then(|| pressure.to_string()),
                state: match died {
                    // A process that it has left behind is not watched, and is killed.
                    Some(how) if how.ends_with("code 0") => format!("{how}, but must run in the foreground"),
                    Some(how) => how,
                    None => format!("it is running, but {}", scheduler.not_ready()),
                },
                tail: redacted(without_escapes(&scheduler.worker().map(Worker::tail).unwrap_or_default()).into_owned()),
                seconds: timeout.as_secs_f64(),
                output: redacted(
                    without_escapes(&scheduler.worker().map(Worker::output).unwrap_or_default()).into_owned(),
                ),
            });
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

/// Reads the last entries of the queue's event stream; gives all, with their time since the run began.
async fn read_job_events(clients: &ServiceClients, begun_ms: i64) -> Vec<(i64, QueueEvent)> {
    // Without the last events the timeline lacks its end, but no verdict depends on them.
    let _ = clients.read_queue_events().await;
    let events = std::mem::take(&mut *clients.queue_events.lock().unwrap_or_else(PoisonError::into_inner));
    events.into_iter().map(|event| (event.at_ms() - begun_ms, event)).collect()
}

/// Adds a span for each fault to the trace of a run that began at `begun`.
fn trace_faults(trace: &Trace, begun: SystemTime, faults: &[FaultRecord]) {
    for fault in faults {
        let Some(began) = fault.began else { continue };
        let ended = fault.ended.unwrap_or(began);
        let span = trace.past(format_args!("fault: {}", fault.what), begun + began, begun + ended);
        span.fact("shakedown.fault.affected", fault.affected.as_str());
        span.fact("shakedown.fault.took_effect", fault.took_effect);
    }
}

/// What the scenario configured the embeddings mock to do wrong, and whether it affected a request.
fn api_fault(scenario: &Scenario, requests: &[JinaRequest]) -> Option<ApiFault> {
    let limited = scenario.limits != crate::spec::jina::Limits::default();
    if limited {
        return Some(ApiFault {
            what: "rate limit of the embeddings API",
            took_effect: requests.iter().any(|request| request.status == 429),
        });
    }
    let affected = |request: &JinaRequest| request.disturbed || request.took_ms > 0;
    (!scenario.jina.is_empty()).then(|| ApiFault {
        what: "configured behaviour of the embeddings API",
        took_effect: requests.iter().any(affected),
    })
}
