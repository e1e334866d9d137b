//! The harness's own way to the services of a scenario run, past every proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::evidence::rows;
use crate::services::ServiceError;
use crate::services::http::{Http, Key};
use crate::services::postgres::Postgres;
use crate::services::queue::{JobHash, QueueClient, QueueEvent};
use crate::settings::{Contract, Endpoints};
use crate::spec::Milestone;
use crate::spec::jina::Behaviour;
use crate::stack::Stack;
use crate::stack::jina::JinaMock;

/// How long a service may take to tell the harness something that it asks again and again.
const PATIENCE: Duration = Duration::from_millis(500);
/// Entries of the queue's event stream that are read at once.
const PAGE: usize = 1000;

/// Connections of the harness, and what it may disturb.
pub(super) struct ServiceClients {
    pub(super) endpoints: Endpoints,
    pub(super) queue: QueueClient,
    pub(super) postgres: Postgres,
    pub(super) qdrant: Http,
    pub(super) mock: JinaMock,
    pub(super) contract: Arc<Contract>,
    pub(super) behaviours: Vec<Behaviour>,
    /// The stack, where the scenario has it alone.
    pub(super) stack: Option<Arc<Stack>>,
    /// What the queue's event stream has said so far.
    pub(super) heard: Mutex<Vec<QueueEvent>>,
}

impl ServiceClients {
    pub(super) fn stack(&self) -> Option<&Stack> {
        self.stack.as_deref()
    }

    /// Ids of the jobs that are in work at this event.
    pub(super) async fn active(&self) -> Result<BTreeSet<String>, ServiceError> {
        in_time("redis", self.queue.active()).await.map(|ids| ids.into_iter().collect())
    }

    /// Ids of the jobs that ended as `completed` and as `failed`, those included that are not kept.
    pub(super) async fn ended(&self) -> Result<(BTreeSet<String>, BTreeSet<String>), ServiceError> {
        let (completed, failed) = in_time("redis", self.queue.ended()).await?;
        in_time("redis", self.listen()).await?;
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let said = |what: &'static str| {
            heard.iter().filter(move |event| event.what == what).filter_map(|event| event.job.clone())
        };
        let completed: BTreeSet<String> = completed.into_iter().chain(said("completed")).collect();
        let failed = failed.into_iter().chain(said("failed")).filter(|id| !completed.contains(id)).collect();
        Ok((completed, failed))
    }

    /// Reads what the queue's event stream says that was not read yet. Workers may be told to keep no job that has
    /// ended: then nothing else knows of it.
    pub(super) async fn listen(&self) -> Result<(), ServiceError> {
        loop {
            let last = self.heard.lock().unwrap_or_else(PoisonError::into_inner).last().map(|event| event.id.clone());
            let news = self.queue.events(last.as_deref(), PAGE).await?;
            let is_all = news.len() < PAGE;
            self.heard.lock().unwrap_or_else(PoisonError::into_inner).extend(news);
            if is_all {
                return Ok(());
            }
        }
    }

    /// What the event stream says of a job that is not kept.
    pub(super) fn remembered(&self, id: &str) -> JobHash {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut job = JobHash::default();
        for event in heard.iter().filter(|event| event.job.as_deref() == Some(id)) {
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
        // One that stalled was begun, and that was no attempt.
        job.attempts = job.starts.saturating_sub(job.stalls);
        job
    }

    /// How many there are of something.
    pub(super) async fn count(&self, milestone: Milestone) -> Result<u64, ServiceError> {
        match milestone {
            Milestone::Requests => Ok(self.mock.request_count() as u64),
            Milestone::Active => self.active().await.map(|active| active.len() as u64),
            Milestone::Jobs => self.ended().await.map(|(completed, failed)| (completed.len() + failed.len()) as u64),
            Milestone::Points => {
                let path = format!("/collections/{}/points/count", self.endpoints.names.collection);
                let body = json!({ "exact": true });
                let answer = in_time("qdrant", self.qdrant.send("POST", &path, &Key::Own, Some(&body))).await?;
                if answer.status.as_u16() == 404 {
                    return Ok(0);
                }
                let answer = self.qdrant.accept("POST", &path, &answer)?;
                Ok(answer["result"]["count"].as_u64().unwrap_or(0))
            }
            Milestone::Rows => {
                let Some(contract) = &self.contract.evidence.postgres else { return Ok(0) };
                let rows = in_time("postgres", rows(contract, &self.endpoints, &self.postgres)).await?;
                Ok(rows.iter().flat_map(std::collections::BTreeMap::values).filter(|row| row.done).count() as u64)
            }
        }
    }

    /// Looks at rows that say for the first time that a document is stored, and whether its points are there. Rows are
    /// read before points, so that what was stored in this order is found in it.
    pub(super) async fn look_at_rows(&self, seen: &mut BTreeMap<String, Option<String>>) -> Result<(), ServiceError> {
        let Some(contract) = &self.contract.evidence.postgres else { return Ok(()) };
        let Ok(rows) = in_time("postgres", rows(contract, &self.endpoints, &self.postgres)).await? else {
            return Ok(());
        };
        for (document, row) in rows.into_iter().filter(|(_, row)| row.done) {
            if seen.contains_key(&document) {
                continue;
            }
            let path = format!("/collections/{}/points/count", self.endpoints.names.collection);
            let key = &self.contract.evidence.qdrant.document;
            let body = json!({
                "exact": true,
                "filter": { "must": [{ "key": key, "match": { "value": document } }] },
            });
            let answer = in_time("qdrant", self.qdrant.send("POST", &path, &Key::Own, Some(&body))).await?;
            let answer = self.qdrant.accept("POST", &path, &answer)?;
            let (stored, wanted) = (answer["result"]["count"].as_u64().unwrap_or(0), row.chunks.unwrap_or(1).max(1));
            let missing = (stored < wanted)
                .then(|| format!("its row said `{}` when {stored} of its {wanted} points were stored", row.status));
            seen.insert(document, missing);
        }
        Ok(())
    }

    /// Requests that the embeddings API did not answer as it should.
    pub(super) fn disturbed(&self) -> usize {
        self.mock.requests().iter().filter(|request| request.disturbed).count()
    }

    /// Lets the embeddings API answer as the scenario says, and as `more` does; that comes first.
    pub(super) fn behave(&self, more: &[Behaviour]) {
        self.mock.behave(more.iter().chain(&self.behaviours).cloned().collect());
    }
}

/// A service that a fault has silenced must not silence the harness.
async fn in_time<T>(
    service: &'static str,
    question: impl Future<Output = Result<T, ServiceError>>,
) -> Result<T, ServiceError> {
    tokio::time::timeout(PATIENCE, question).await.unwrap_or_else(|_| {
        Err(ServiceError::Unreachable {
            service,
            endpoint: "past the proxies".to_owned(),
            detail: format!("no answer within {} ms", PATIENCE.as_millis()),
        })
    })
}
