//! The harness's own connections to the services of a scenario run. They bypass the fault proxies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::before;
use super::document_ids::DocumentIds;
use super::documents::Document;
use super::evidence::{StoredCounts, read_points, read_rows};
use super::harness::ScenarioError;
use super::jobs::sequence;
use super::other_queues::{OpenJobs, OtherQueues};
use crate::services::ServiceError;
use crate::services::http::{Http, Key};
use crate::services::postgres::Postgres;
use crate::services::queue::{JobHash, QueueClient, QueueEvent, by_attempt};
use crate::services::queue_watch::LockTimes;
use crate::settings::{Contract, Endpoints};
use crate::spec::Milestone;
use crate::spec::jina::{Behaviour, Limits};
use crate::stack::Stack;
use crate::stack::jina::JinaMock;

/// Deadline of one polling request to a service.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(500);
/// How long [`retry_unavailable`] retries.
pub(super) const UNAVAILABLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// Entries of the queue's event stream per read.
const PAGE: usize = 1000;

/// The harness's connections, the embeddings mock, and the stack if the scenario may disturb it.
pub(super) struct ServiceClients {
    pub(super) endpoints: Endpoints,
    pub(super) queue: QueueClient,
    pub(super) postgres: Postgres,
    pub(super) qdrant: Http,
    pub(super) mock: JinaMock,
    pub(super) contract: Arc<Contract>,
    pub(super) behaviours: Vec<Behaviour>,
    /// The stack, if the scenario has one to itself.
    pub(super) stack: Option<Arc<Stack>>,
    /// The contract's further queues.
    pub(super) others: OtherQueues,
    /// The ids by which the worker knows the documents.
    pub(super) ids: DocumentIds,
    /// The entries of the queue's event stream read so far.
    pub(super) queue_events: Mutex<Vec<QueueEvent>>,
}

impl ServiceClients {
    pub(super) fn stack(&self) -> Option<&Stack> {
        self.stack.as_deref()
    }

    /// Ids of the jobs that are in `active` now.
    pub(super) async fn active(&self) -> Result<BTreeSet<String>, ServiceError> {
        with_timeout("redis", self.queue.active()).await.map(|ids| ids.into_iter().collect())
    }

    /// The remaining times of the locks of active jobs.
    pub(super) async fn lock_times(&self) -> Result<LockTimes, ServiceError> {
        let times = async {
            let active = self.queue.active().await?;
            self.queue.lock_times(active.iter().map(String::as_str)).await
        };
        with_timeout("redis", times).await
    }

    /// Ids of the jobs that completed and that failed, including jobs that BullMQ has removed since.
    pub(super) async fn ended(&self) -> Result<(BTreeSet<String>, BTreeSet<String>), ServiceError> {
        let (completed, failed) = with_timeout("redis", self.queue.ended()).await?;
        with_timeout("redis", self.read_queue_events()).await?;
        let others = with_timeout("redis", self.others.ended()).await?;
        let events = self.queue_events.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs_with_event = |what: &'static str| {
            events.iter().filter(move |event| event.what == what).filter_map(|event| event.job.clone())
        };
        let (others_completed, others_failed) = others;
        let completed: BTreeSet<String> =
            completed.into_iter().chain(jobs_with_event("completed")).chain(others_completed).collect();
        let failed = failed.into_iter().chain(jobs_with_event("failed")).chain(others_failed);
        let failed = failed.filter(|id| !completed.contains(id)).collect();
        Ok((completed, failed))
    }

    /// How many of these jobs have ended an attempt, as far as the entries tell that [`Self::ended`] read. The attempts of
    /// child jobs belong to the last one.
    pub(super) fn attempted(&self, jobs: &BTreeSet<&String>) -> usize {
        let events = self.queue_events.lock().unwrap_or_else(PoisonError::into_inner);
        let (attempted, _) = by_attempt(&events);
        let count = jobs.iter().filter(|job| attempted.contains(job.as_str())).count();
        if self.others.has_unattempted() { count.min(jobs.len().saturating_sub(1)) } else { count }
    }

    /// The hash of a job, in whichever queue of the worker it is.
    pub(super) async fn job(&self, id: &str) -> Result<Option<JobHash>, ServiceError> {
        match self.queue.job(id).await? {
            Some(job) => Ok(Some(job)),
            None => self.others.job(id).await,
        }
    }

    /// The jobs that have not ended, in all queues of the contract. Jobs of documents may have added more jobs, to the
    /// worker's own queue too.
    pub(super) async fn open_jobs(&self) -> Result<OpenJobs, ServiceError> {
        let others = with_timeout("redis", self.others.open_jobs()).await?;
        let own = with_timeout("redis", self.queue.counts_without_schedulers()).await?;
        Ok(others.and(OpenJobs::of(&own)))
    }

    /// The number of jobs that a worker would take now, in all queues of the contract.
    pub(super) async fn takeable(&self) -> Result<u64, ServiceError> {
        let own = with_timeout("redis", self.queue.takeable()).await?;
        Ok(own + with_timeout("redis", self.others.takeable()).await?)
    }

    /// Executes the contract's `before` for each document of a step, counted from 0: the application's rows, before the
    /// documents are enqueued.
    pub(super) async fn prepare_rows(&self, documents: &[Document], step: usize) -> Result<(), ScenarioError> {
        let Some(statement) = &self.contract.queue.before else { return Ok(()) };
        let kind = self.contract.queue.document.id;
        for document in documents {
            // A fault of the step before may have just restarted Postgres.
            retry_unavailable(|| {
                before::execute(statement, (document, sequence(step)), &self.endpoints, kind, &self.postgres)
            })
            .await
            .map_err(|error| ScenarioError::Spec(format!("the statement of [queue] before failed: {error}")))?;
        }
        Ok(())
    }

    /// Reads the new entries of the queue's event stream. For a worker that removes jobs when they end, the stream is
    /// the only record of them.
    pub(super) async fn read_queue_events(&self) -> Result<(), ServiceError> {
        loop {
            let last =
                self.queue_events.lock().unwrap_or_else(PoisonError::into_inner).last().map(|event| event.id.clone());
            let new_events = self.queue.events(last.as_deref(), PAGE).await?;
            let is_last_page = new_events.len() < PAGE;
            self.queue_events.lock().unwrap_or_else(PoisonError::into_inner).extend(new_events);
            if is_last_page {
                return Ok(());
            }
        }
    }

    /// How often a job was taken again because its children had ended, which is no new attempt.
    pub(super) fn continued(&self, id: &str) -> u64 {
        let events = self.queue_events.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut began, mut continued) = (false, 0);
        for event in events.iter().filter(|event| event.job.as_deref() == Some(id)) {
            match event.what.as_str() {
                "active" => began = true,
                // A parent that is added with its children waits for them before it begins.
                "waiting-children" if began => continued += 1,
                _ => {}
            }
        }
        continued
    }

    /// Rebuilds the hash of a removed job from the event stream.
    pub(super) fn job_from_events(&self, id: &str) -> JobHash {
        let events = self.queue_events.lock().unwrap_or_else(PoisonError::into_inner);
        let mut job = JobHash::default();
        for event in events.iter().filter(|event| event.job.as_deref() == Some(id)) {
            let at = u64::try_from(event.at_ms()).ok();
            match event.what.as_str() {
                "active" => {
                    job.starts += 1;
                    job.processed_on = at;
                }
                "stalled" => job.stalls += 1,
                "completed" => {
                    job.returnvalue.clone_from(&event.detail);
                    job.finished_on = at;
                }
                "failed" => {
                    job.failed_reason.clone_from(&event.detail);
                    job.finished_on = at;
                }
                _ => {}
            }
        }
        // BullMQ counts no attempt for a start that stalled.
        job.attempts = job.starts.saturating_sub(job.stalls);
        job
    }

    /// The current count of `milestone`.
    pub(super) async fn count(&self, milestone: Milestone) -> Result<u64, ServiceError> {
        match milestone {
            Milestone::Requests => Ok(self.mock.request_count() as u64),
            Milestone::Active => self.active().await.map(|active| active.len() as u64),
            Milestone::Jobs => self.ended().await.map(|(completed, failed)| (completed.len() + failed.len()) as u64),
            Milestone::Delayed => with_timeout("redis", self.queue.counts()).await.map(|counts| counts.delayed),
            Milestone::Points => self.count_points(None).await,
            Milestone::Rows => {
                let Some(contract) = &self.contract.evidence.postgres else { return Ok(0) };
                let rows = with_timeout("postgres", read_rows(contract, &self.endpoints, &self.postgres)).await?;
                Ok(rows.iter().flat_map(std::collections::BTreeMap::values).filter(|row| row.done).count() as u64)
            }
        }
    }

    /// How much is stored of each document now; `None` if that cannot be read in time.
    pub(super) async fn stored_counts(&self) -> Option<StoredCounts> {
        let evidence = &self.contract.evidence;
        let reading = StoredCounts::read(&self.endpoints, evidence, &self.postgres, &self.qdrant, &self.ids);
        with_timeout("qdrant", reading).await.ok()
    }

    /// Records each document whose row is newly `done`, with an error text if its points are not all stored. It reads
    /// rows before points: a worker that stores points first is never reported.
    pub(super) async fn check_done_rows(
        &self,
        seen_done: &mut BTreeMap<String, Option<String>>,
    ) -> Result<(), ServiceError> {
        let Some(contract) = &self.contract.evidence.postgres else { return Ok(()) };
        let Ok(rows) = with_timeout("postgres", read_rows(contract, &self.endpoints, &self.postgres)).await? else {
            return Ok(());
        };
        for (document, row) in rows.into_iter().filter(|(_, row)| row.done) {
            if seen_done.contains_key(&self.ids.name(&document)) {
                continue;
            }
            let stored = self.count_points(Some(&document)).await?;
            let wanted = row.chunks.unwrap_or(1).max(1);
            let missing = (stored < wanted)
                .then(|| format!("its row was `{}` when {stored} of its {wanted} points were stored", row.status));
            seen_done.insert(self.ids.name(&document), missing);
        }
        Ok(())
    }

    /// The number of stored chunks, of all documents or of the one that the worker knows by this id; 0 without a
    /// collection.
    async fn count_points(&self, document: Option<&str>) -> Result<u64, ServiceError> {
        let keys = &self.contract.evidence.qdrant;
        let Some(filter) = keys.qdrant_filter(document) else {
            // Qdrant cannot compare a field inside a text, so the points are read.
            let points = with_timeout("qdrant", read_points(&self.endpoints, keys, &self.qdrant, false)).await?;
            let is_counted = |id: &String| document.is_none_or(|document| id == document);
            return Ok(points.iter().filter(|(id, _)| is_counted(id)).map(|(_, points)| points.len() as u64).sum());
        };
        let path = format!("/collections/{}/points/count", self.endpoints.names.collection);
        let body = json!({ "exact": true, "filter": filter });
        let answer = with_timeout("qdrant", self.qdrant.send("POST", &path, &Key::Own, Some(&body))).await?;
        if answer.status.as_u16() == 404 {
            return Ok(0);
        }
        let answer = self.qdrant.accept("POST", &path, &answer)?;
        Ok(answer["result"]["count"].as_u64().unwrap_or(0))
    }

    /// The number of requests that a configured behaviour of the embeddings mock affected.
    pub(super) fn disturbed(&self) -> usize {
        self.mock.requests().iter().filter(|request| request.disturbed).count()
    }

    /// Makes the embeddings mock apply the behaviours of the scenario and these limits from now on; returns the number of
    /// requests before, which the worker sent while it started.
    pub(super) fn begin(&self, limits: &Limits) -> usize {
        self.mock.limit(limits.clone());
        self.behave(&[]);
        self.mock.request_count()
    }

    /// Makes the embeddings mock apply `more` before the behaviours of the scenario.
    pub(super) fn behave(&self, more: &[Behaviour]) {
        self.mock.behave(more.iter().chain(&self.behaviours).cloned().collect());
    }
}

/// Limits `request` to [`REQUEST_TIMEOUT`], so that a service under a fault does not block the harness.
async fn with_timeout<T>(
    service: &'static str,
    request: impl Future<Output = Result<T, ServiceError>>,
) -> Result<T, ServiceError> {
    tokio::time::timeout(REQUEST_TIMEOUT, request).await.unwrap_or_else(|_| {
        Err(ServiceError::Unreachable {
            service,
            endpoint: "its address (without proxy)".to_owned(),
            detail: format!("no answer within {} ms", REQUEST_TIMEOUT.as_millis()),
        })
    })
}

/// Retries `request` for [`UNAVAILABLE_TIMEOUT`] while the service is unreachable or refuses: a fault may have just
/// restarted it.
pub(super) async fn retry_unavailable<T, F>(request: impl Fn() -> F) -> Result<T, ServiceError>
where
    F: Future<Output = Result<T, ServiceError>>,
{
    let deadline = Instant::now() + UNAVAILABLE_TIMEOUT;
    loop {
        match request().await {
            Err(ServiceError::Unreachable { .. } | ServiceError::OwnLimit { .. } | ServiceError::Refused { .. })
                if Instant::now() < deadline =>
            {
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            result => return result,
        }
    }
}
