//! Connections that all probes of a run share, with a cache of responses.
//!
//! Each read-only request is sent once, however many cases need it, and Postgres queries are batched: the duration of a
//! check depends on the latency of the services, not on the number of cases.

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
use crate::spec::read_only::{CommandFlags, subcommand};

/// A response that is requested once.
type Cached<T> = OnceCell<Result<T, ServiceError>>;
/// Responses by request.
type Cache<T> = Mutex<HashMap<String, Arc<Cached<T>>>>;

/// Where the rows of a query are sent.
type Reply = oneshot::Sender<Result<Vec<Value>, ServiceError>>;

/// Queries that wait for the next batch.
#[derive(Debug, Default)]
struct Batch {
    queries: Vec<(String, Reply)>,
    /// Whether a task is sending batches and will send the queries that arrive meanwhile.
    sending: bool,
}

/// How long the first query of a batch waits for others.
const GATHER: Duration = Duration::from_millis(3);

/// Responses to billed requests, shared by several runs: a successful request is not sent again.
#[derive(Debug, Clone, Default)]
pub struct BilledCache(Arc<Mutex<HashMap<String, Answer>>>);

/// The shared clients; clones share their connections and caches.
#[derive(Debug, Clone)]
pub struct SharedClients {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    endpoints: Endpoints,
    redis: Cached<Redis>,
    postgres: Cached<Postgres>,
    qdrant: Cached<Http>,
    replies: Cache<Value>,
    rows: Cache<Vec<Value>>,
    answers: Cache<Answer>,
    billed: BilledCache,
    facts: Cache<Value>,
    batch: Mutex<Batch>,
}

impl SharedClients {
    /// Clients of `endpoints`. Connections are opened on first use.
    #[must_use]
    pub fn new(endpoints: Endpoints, billed: BilledCache) -> Self {
        let inner = Inner {
            endpoints,
            redis: OnceCell::new(),
            postgres: OnceCell::new(),
            qdrant: OnceCell::new(),
            replies: Cache::default(),
            rows: Cache::default(),
            answers: Cache::default(),
            billed,
            facts: Cache::default(),
            batch: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Redis.
    pub async fn redis(&self) -> Result<Redis, ServiceError> {
        self.inner.redis.get_or_init(|| Redis::connect(&self.inner.endpoints.redis)).await.clone()
    }

    async fn postgres(&self) -> Result<Postgres, ServiceError> {
        self.inner.postgres.get_or_init(|| Postgres::connect_to_read(&self.inner.endpoints.postgres)).await.clone()
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

    /// Any HTTP service; all share one HTTP client.
    pub async fn http(
        &self,
        service: &'static str,
        base: &str,
        key: Option<SecretString>,
        header: KeyHeader,
    ) -> Result<Http, ServiceError> {
        Ok(self.qdrant().await?.other(service, base, key, header))
    }

    /// The reply to a read-only Redis command; sent once.
    pub async fn reply(&self, words: &[String]) -> Result<Value, ServiceError> {
        let cell = cell(&self.inner.replies, words.join("\u{1f}"));
        cell.get_or_init(|| async { self.redis().await?.command(words).await }).await.clone()
    }

    /// What the server says about a command, by `COMMAND INFO`; `None` if it does not say.
    pub async fn command_flags(&self, words: &[String]) -> Option<CommandFlags> {
        let name = words.first()?.to_ascii_lowercase();
        // Since Redis 7 a subcommand has flags of its own.
        let asked = ["COMMAND".to_owned(), "INFO".to_owned()].into_iter().chain(subcommand(words)).chain([name]);
        let reply = self.reply(&asked.collect::<Vec<_>>()).await.ok()?;
        let info = reply.as_array()?.iter().find_map(|info| info.get(2)?.as_array())?;
        let has = |flag: &str| info.iter().any(|word| word.as_str() == Some(flag));
        Some(match (has("write"), has("readonly")) {
            (true, _) => CommandFlags::Write,
            (false, true) => CommandFlags::Readonly,
            (false, false) => CommandFlags::Neither,
        })
    }

    /// The rows of a query, in a read-only transaction; sent once, in a batch with other queries.
    pub async fn rows(&self, query: &str) -> Result<Vec<Value>, ServiceError> {
        let cell = cell(&self.inner.rows, query.to_owned());
        cell.get_or_init(|| self.batched(query)).await.clone()
    }

    async fn batched(&self, query: &str) -> Result<Vec<Value>, ServiceError> {
        let postgres = self.postgres().await?;
        let (sender, receiver) = oneshot::channel();
        let is_first = {
            let mut batch = self.inner.batch.lock().unwrap_or_else(PoisonError::into_inner);
            batch.queries.push((query.to_owned(), sender));
            !std::mem::replace(&mut batch.sending, true)
        };
        if is_first {
            let inner = Arc::clone(&self.inner);
            // A separate task, because this future may be cancelled while others wait for their rows.
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(GATHER).await;
                    let queries = {
                        let mut batch = inner.batch.lock().unwrap_or_else(PoisonError::into_inner);
                        batch.sending = !batch.queries.is_empty();
                        std::mem::take(&mut batch.queries)
                    };
                    if queries.is_empty() {
                        return;
                    }
                    let (queries, senders): (Vec<String>, Vec<_>) = queries.into_iter().unzip();
                    for (sender, rows) in senders.into_iter().zip(postgres.read_all(&queries).await) {
                        // Fails if the receiver was cancelled.
                        let _ = sender.send(rows);
                    }
                }
            });
        }
        receiver.await.unwrap_or_else(|_| {
            Err(ServiceError::Refused { service: "postgres", detail: "the query was not sent".to_owned() })
        })
    }

    /// The response to a GET with the endpoint's key; sent once.
    pub async fn get(&self, http: &Http, path: &str) -> Result<Answer, ServiceError> {
        let cell = cell(&self.inner.answers, format!("GET {path} {}", http.identity()));
        cell.get_or_init(|| http.send("GET", path, &Key::Own, None)).await.clone()
    }

    /// The response to a billed POST; sent once, and in later runs again only if it failed.
    pub async fn post(&self, http: &Http, path: &str, body: &Value) -> Result<Answer, ServiceError> {
        let what = format!("POST {path} {} {body}", http.identity());
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

    /// A value that several cases need and that takes several requests; computed once.
    pub async fn fact(
        &self,
        name: &str,
        find: impl Future<Output = Result<Value, ServiceError>>,
    ) -> Result<Value, ServiceError> {
        cell(&self.inner.facts, name.to_owned()).get_or_init(|| find).await.clone()
    }

    /// Closes the Postgres connection.
    pub async fn close(&self) {
        if let Some(Ok(postgres)) = self.inner.postgres.get() {
            postgres.close().await;
        }
    }
}

fn cell<T>(cache: &Cache<T>, what: String) -> Arc<Cached<T>> {
    Arc::clone(cache.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default())
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::{any, header};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;
    use crate::settings::{Need, Settings, Source};

    fn endpoints(qdrant: &str) -> Endpoints {
        let variables = [
            ("REDIS_URL", "redis://h:6379"),
            ("DATABASE_URL", "postgres://u:p@h/d"),
            ("QDRANT_URL", qdrant),
            ("QDRANT_GRPC_URL", qdrant),
            ("JINA_BASE_URL", "http://h/v1"),
            ("JINA_API_KEY", "jina_x"),
        ];
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let settings = Settings::load(Source { environment, ..Source::default() }).unwrap();
        settings.endpoints_for(Need::Setup).unwrap()
    }

    #[tokio::test]
    async fn a_cached_answer_belongs_to_the_key_that_asked() {
        let server = MockServer::start().await;
        let secret = Mock::given(header("apikey", "the-secret-key")).respond_with(ResponseTemplate::new(200)).expect(1);
        secret.mount(&server).await;
        let public = Mock::given(header("apikey", "the-public-key")).respond_with(ResponseTemplate::new(401)).expect(1);
        public.mount(&server).await;
        let bearer =
            Mock::given(header("authorization", "Bearer the-public-key")).respond_with(ResponseTemplate::new(403));
        bearer.expect(1).mount(&server).await;
        Mock::given(any()).respond_with(ResponseTemplate::new(500)).mount(&server).await;
        let clients = SharedClients::new(endpoints(&server.uri()), BilledCache::default());
        let asked = async |key: &str, header| {
            let http = clients.http("supabase", &server.uri(), Some(key.to_owned().into()), header).await.unwrap();
            clients.get(&http, "/rest/v1/documents").await.unwrap().status.as_u16()
        };
        for _ in 0..2 {
            assert_eq!(asked("the-secret-key", KeyHeader::Apikey).await, 200);
            assert_eq!(asked("the-public-key", KeyHeader::Apikey).await, 401);
            assert_eq!(asked("the-public-key", KeyHeader::Bearer).await, 403);
        }
    }
}
