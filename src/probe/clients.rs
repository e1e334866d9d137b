//! The connections that all probes of a run share, and what was heard over them.
//!
//! What only looks is asked once however many cases need it, and queries that are wanted at the same moment go together:
//! so the time that a check takes grows with the distance of the services, and not with the number of cases.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::{OnceCell, oneshot};

use crate::services::ServiceError;
use crate::services::http::{Answer, Http, Key, KeyHeader};
use crate::services::postgres::Postgres;
use crate::services::redis::Redis;
use crate::settings::Endpoints;

type Heard<T> = OnceCell<Result<T, ServiceError>>;
type Memory<T> = Mutex<HashMap<String, Arc<Heard<T>>>>;

/// Whoever wants the rows of a query.
type Asker = oneshot::Sender<Result<Vec<Value>, ServiceError>>;

/// Queries that wait to be asked together, and who wants the answers.
#[derive(Debug, Default)]
struct Waiting {
    queries: Vec<(String, Asker)>,
    /// Whether somebody is asking what has come, and will ask what comes meanwhile.
    asking: bool,
}

/// How long the first query waits for others, which are about to come.
const GATHER: Duration = Duration::from_millis(3);

/// Answers that were paid for, in all the runs that share this: what was answered well is not asked again.
#[derive(Debug, Clone, Default)]
pub struct BilledCache(Arc<Mutex<HashMap<String, Answer>>>);

/// The shared connections; clones share them.
#[derive(Debug, Clone)]
pub struct SharedClients {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    endpoints: Endpoints,
    redis: Heard<Redis>,
    postgres: Heard<Postgres>,
    qdrant: Heard<Http>,
    replies: Memory<Value>,
    rows: Memory<Vec<Value>>,
    answers: Memory<Answer>,
    billed: BilledCache,
    facts: Memory<Value>,
    waiting: Mutex<Waiting>,
}

impl SharedClients {
    /// Connections to `endpoints`, none of which is opened yet.
    #[must_use]
    pub fn new(endpoints: Endpoints, billed: BilledCache) -> Self {
        let inner = Inner {
            endpoints,
            redis: OnceCell::new(),
            postgres: OnceCell::new(),
            qdrant: OnceCell::new(),
            replies: Memory::default(),
            rows: Memory::default(),
            answers: Memory::default(),
            billed,
            facts: Memory::default(),
            waiting: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Redis.
    pub async fn redis(&self) -> Result<Redis, ServiceError> {
        self.inner.redis.get_or_init(|| Redis::connect(&self.inner.endpoints.redis)).await.clone()
    }

    async fn postgres(&self) -> Result<Postgres, ServiceError> {
        self.inner.postgres.get_or_init(|| Postgres::connect_once(&self.inner.endpoints.postgres)).await.clone()
    }

    /// Qdrant's REST API.
    pub async fn qdrant(&self) -> Result<Http, ServiceError> {
        self.inner.qdrant.get_or_init(|| async { Http::qdrant(&self.inner.endpoints.qdrant) }).await.clone()
    }

    /// The embeddings API.
    pub async fn jina(&self) -> Result<Http, ServiceError> {
        let jina = &self.inner.endpoints.jina;
        self.http("jina", &jina.base_url, jina.api_key.clone(), KeyHeader::Bearer).await
    }

    /// Any service over HTTP; one client serves them all.
    pub async fn http(
        &self,
        service: &'static str,
        base: &str,
        key: Option<SecretString>,
        header: KeyHeader,
    ) -> Result<Http, ServiceError> {
        Ok(self.qdrant().await?.other(service, base, key, header))
    }

    /// What Redis replies to a command that changes nothing; asked once.
    pub async fn reply(&self, words: &[String]) -> Result<Value, ServiceError> {
        let cell = cell(&self.inner.replies, words.join("\u{1f}"));
        cell.get_or_init(|| async { self.redis().await?.command(words).await }).await.clone()
    }

    /// The rows of a query, in a transaction that can only read; asked once, and together with what others ask.
    pub async fn rows(&self, query: &str) -> Result<Vec<Value>, ServiceError> {
        let cell = cell(&self.inner.rows, query.to_owned());
        cell.get_or_init(|| self.asked_together(query)).await.clone()
    }

    async fn asked_together(&self, query: &str) -> Result<Vec<Value>, ServiceError> {
        let postgres = self.postgres().await?;
        let (tell, told) = oneshot::channel();
        let first = {
            let mut waiting = self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.queries.push((query.to_owned(), tell));
            !std::mem::replace(&mut waiting.asking, true)
        };
        if first {
            let inner = Arc::clone(&self.inner);
            // Whoever was first may be cancelled; the others still want their answers.
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(GATHER).await;
                    let queries = {
                        let mut waiting = inner.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                        waiting.asking = !waiting.queries.is_empty();
                        std::mem::take(&mut waiting.queries)
                    };
                    if queries.is_empty() {
                        return;
                    }
                    let (queries, tell): (Vec<String>, Vec<_>) = queries.into_iter().unzip();
                    for (tell, answer) in tell.into_iter().zip(postgres.read_all(&queries).await) {
                        // One who is gone wants no answer.
                        let _ = tell.send(answer);
                    }
                }
            });
        }
        told.await.unwrap_or_else(|_| {
            Err(ServiceError::Refused { service: "postgres", detail: "the query was not asked".to_owned() })
        })
    }

    /// The answer to a GET with the endpoint's own key; asked once.
    pub async fn get(&self, http: &Http, path: &str) -> Result<Answer, ServiceError> {
        let cell = cell(&self.inner.answers, format!("GET {}{path}", http.base()));
        cell.get_or_init(|| http.send("GET", path, &Key::Own, None)).await.clone()
    }

    /// The answer to a request that costs something; sent once, and in later runs again only if it was refused.
    pub async fn post(&self, http: &Http, path: &str, body: &Value) -> Result<Answer, ServiceError> {
        let what = format!("POST {}{path} {body}", http.base());
        let billed = || self.inner.billed.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = billed().get(&what).cloned();
        if let Some(answer) = known {
            return Ok(answer);
        }
        let cell = cell(&self.inner.answers, what.clone());
        let answer = cell.get_or_init(|| http.send("POST", path, &Key::Own, Some(body))).await.clone();
        if let Ok(answer) = &answer
            && answer.status.is_success()
        {
            billed().insert(what, answer.clone());
        }
        answer
    }

    /// Facts that several cases need and that take more than one question; found out once.
    pub async fn fact(
        &self,
        name: &str,
        find: impl Future<Output = Result<Value, ServiceError>>,
    ) -> Result<Value, ServiceError> {
        cell(&self.inner.facts, name.to_owned()).get_or_init(|| find).await.clone()
    }

    /// Closes what was opened.
    pub async fn close(&self) {
        if let Some(Ok(postgres)) = self.inner.postgres.get() {
            postgres.close().await;
        }
    }
}

fn cell<T>(memory: &Memory<T>, what: String) -> Arc<Heard<T>> {
    Arc::clone(memory.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default())
}
