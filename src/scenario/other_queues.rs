//! The contract's queues beside the worker's own: those of child jobs and of removals. Their jobs are waited for, and their
//! failures are shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::observations::OtherQueue;
use crate::services::ServiceError;
use crate::services::queue::{Counts, JobHash, QueueClient, QueueEvent, by_attempt};
use crate::settings::{Contract, Endpoints};

/// Entries of a queue's event stream per read.
const PAGE: usize = 1000;
/// How many failed jobs of a queue are read with their reasons.
const FAILED_READ: usize = 20;

/// The number of jobs that have not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OpenJobs {
    /// Those that wait for a worker or for their time, or are active.
    pub(super) pending: u64,
    /// Those that wait for their children.
    pub(super) parents: u64,
}

impl OpenJobs {
    pub(super) const fn of(counts: &Counts) -> Self {
        Self { pending: counts.pending(), parents: counts.waiting_children }
    }

    pub(super) const fn and(self, more: Self) -> Self {
        Self { pending: self.pending + more.pending, parents: self.parents + more.parents }
    }

    /// Whether there are none.
    pub(super) const fn is_empty(self) -> bool {
        self.pending == 0 && self.parents == 0
    }

    /// Whether parents wait for children of which none will end: the last of them has failed for good.
    pub(super) const fn is_stuck(self) -> bool {
        self.pending == 0 && self.parents > 0
    }
}

/// A queue, and the entries of its event stream read so far.
pub(super) struct WatchedQueue {
    pub(super) name: String,
    pub(super) client: QueueClient,
    events: Mutex<Vec<QueueEvent>>,
}

/// The queues beside the worker's own.
#[derive(Default)]
pub(super) struct OtherQueues(Vec<WatchedQueue>);

impl OtherQueues {
    /// Opens the queues that the contract names, under the prefix of the worker's own queue.
    pub(super) async fn open(contract: &Contract, endpoints: &Endpoints) -> Result<Self, ServiceError> {
        let mut queues = Vec::new();
        for name in contract.queue.others().filter(|name| *name != endpoints.names.queue) {
            let client = QueueClient::open(&endpoints.redis, name, &endpoints.names.prefix).await?;
            queues.push(WatchedQueue { name: name.to_owned(), client, events: Mutex::default() });
        }
        Ok(Self(queues))
    }

    /// The queue of this name.
    pub(super) fn named(&self, name: &str) -> Option<&QueueClient> {
        self.0.iter().find(|queue| queue.name == name).map(|queue| &queue.client)
    }

    /// Ids of the jobs that completed and that failed, also of those that were removed since.
    pub(super) async fn ended(&self) -> Result<(BTreeSet<String>, BTreeSet<String>), ServiceError> {
        let (mut completed, mut failed) = (BTreeSet::new(), BTreeSet::new());
        for queue in &self.0 {
            let (stored_completed, stored_failed) = queue.client.ended().await?;
            completed.extend(stored_completed);
            failed.extend(stored_failed);
            queue.read_events().await?;
            completed.extend(queue.jobs_with_event("completed"));
            failed.extend(queue.jobs_with_event("failed"));
        }
        Ok((completed, failed))
    }

    /// The hash of a job in one of the queues.
    pub(super) async fn job(&self, id: &str) -> Result<Option<JobHash>, ServiceError> {
        for queue in &self.0 {
            if let Some(job) = queue.client.job(id).await? {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    /// The jobs that have not ended.
    pub(super) async fn open_jobs(&self) -> Result<OpenJobs, ServiceError> {
        let mut open = OpenJobs::default();
        for queue in &self.0 {
            open = open.and(OpenJobs::of(&queue.client.counts_without_schedulers().await?));
        }
        Ok(open)
    }

    /// Whether a job has not ended its first attempt, as far as the entries tell that were read.
    pub(super) fn has_unattempted(&self) -> bool {
        self.0.iter().any(|queue| {
            let events = queue.events.lock().unwrap_or_else(PoisonError::into_inner);
            !by_attempt(&events).1.is_empty()
        })
    }

    /// The number of jobs that a worker would take now.
    pub(super) async fn takeable(&self) -> Result<u64, ServiceError> {
        let mut takeable = 0;
        for queue in &self.0 {
            takeable += queue.client.takeable().await?;
        }
        Ok(takeable)
    }

    /// The state of each queue; `begun_ms` is when the run began, on the clock of the server.
    pub(super) async fn observe(&self, begun_ms: i64) -> Result<BTreeMap<String, OtherQueue>, ServiceError> {
        let mut observed = BTreeMap::new();
        for queue in &self.0 {
            let counts = queue.client.counts_without_schedulers().await?;
            let (_, ids) = queue.client.ended().await?;
            let mut failed = BTreeMap::new();
            for id in ids.into_iter().take(FAILED_READ) {
                let reason = queue.client.job(&id).await?.and_then(|job| job.failed_reason);
                failed.insert(id, reason.unwrap_or_else(|| "no reason given".to_owned()));
            }
            // Without the last events less is known of what was open, and no other verdict depends on them.
            let _ = queue.read_events().await;
            let events = std::mem::take(&mut *queue.events.lock().unwrap_or_else(PoisonError::into_inner));
            let events = events.into_iter().map(|event| (event.at_ms() - begun_ms, event)).collect();
            observed.insert(queue.name.clone(), OtherQueue { counts, events, failed });
        }
        Ok(observed)
    }

    /// Closes the connections.
    pub(super) async fn close(&self) {
        for queue in &self.0 {
            queue.client.close().await;
        }
    }
}

impl WatchedQueue {
    async fn read_events(&self) -> Result<(), ServiceError> {
        loop {
            let last = self.events.lock().unwrap_or_else(PoisonError::into_inner).last().map(|event| event.id.clone());
            let new = self.client.events(last.as_deref(), PAGE).await?;
            let is_last_page = new.len() < PAGE;
            self.events.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
            if is_last_page {
                return Ok(());
            }
        }
    }

    fn jobs_with_event(&self, what: &str) -> Vec<String> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().filter(|event| event.what == what).filter_map(|event| event.job.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_stuck_when_nothing_else_is_open() {
        let counts =
            |waiting_children, delayed| Counts { waiting_children, delayed, completed: 3, ..Counts::default() };
        let own = OpenJobs::of(&counts(2, 0));
        assert!(own.is_stuck() && !own.is_empty());
        assert!(!own.and(OpenJobs::of(&counts(0, 1))).is_stuck(), "a child is tried again");
        assert!(OpenJobs::of(&counts(0, 0)).is_empty());
    }
}
