//! The heartbeat of a service: whether it answers, and how fast. Reads only, and costs nothing.

use std::time::{Duration, Instant};

use bullmq::QueueKeys;
use secrecy::ExposeSecret as _;

use crate::redaction::redacted;
use crate::services::ServiceError;
use crate::services::http::{Http, Key, KeyHeader};
use crate::services::postgres::Postgres;
use crate::services::queue::Counts;
use crate::services::redis::Redis;
use crate::settings::{Endpoints, Given, Names};

/// How long a service may take to answer.
const TIMEOUT: Duration = Duration::from_millis(1500);

/// The last result of asking a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Whether it answered.
    pub up: bool,
    /// How long the answer took, in microseconds.
    pub latency_us: u64,
    /// Why it did not answer.
    pub reason: Option<String>,
    /// When it was asked, in milliseconds since 1970.
    pub at_ms: i64,
    /// Since when `up` has this value, in milliseconds since 1970.
    pub since_ms: i64,
}

/// Why a probe has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProbeFailure {
    /// The service did not answer.
    NoAnswer(String),
    /// A limit of this process prevented the probe.
    OwnLimit(String),
}

/// What a probe reads in addition to the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct ProbeResult {
    pub(super) queue: Option<QueueState>,
    pub(super) points: Option<u64>,
}

/// The state of the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct QueueState {
    pub(super) counts: Counts,
    /// Age of the oldest waiting job in seconds; none when no job waits.
    pub(super) oldest_s: Option<f64>,
}

/// Asks one service whether it answers, and keeps its connection open.
pub(super) struct Prober {
    /// The suite of the service.
    pub(super) service: &'static str,
    /// Whether it is a public service, which is asked at the interval of the checks.
    pub(super) is_public: bool,
    connection: ProbeConnection,
}

enum ProbeConnection {
    Redis(Endpoints, Option<Redis>),
    Queue(Endpoints, Option<Redis>),
    Postgres(Endpoints, Option<Postgres>),
    Http { http: Http, method: &'static str, path: String, points: bool },
}

/// A prober for each configured service.
pub(super) fn probers(endpoints: &Endpoints, given: &Given) -> Vec<Prober> {
    let mut probers = Vec::new();
    let mut add = |service, is_public, connection| probers.push(Prober { service, is_public, connection });
    if !endpoints.redis.url.expose_secret().is_empty() {
        add("redis", false, ProbeConnection::Redis(endpoints.clone(), None));
        add("bullmq", false, ProbeConnection::Queue(endpoints.clone(), None));
    }
    if !endpoints.postgres.url.expose_secret().is_empty() {
        add("postgres", false, ProbeConnection::Postgres(endpoints.clone(), None));
    }
    let is_public = |url: &str| url::Url::parse(url).is_ok_and(|url| url.host_str() == Some("api.jina.ai"));
    if !endpoints.qdrant.url.is_empty()
        && let Ok(http) = Http::qdrant(&endpoints.qdrant)
    {
        let path = format!("/collections/{}", encoded(&endpoints.names));
        add("qdrant", false, ProbeConnection::Http { http, method: "GET", path, points: true });
    }
    if let Some(url) = given.value("SUPABASE_URL")
        && let Ok(http) =
            Http::new("supabase", url.expose_secret(), given.value("SUPABASE_ANON_KEY").cloned(), KeyHeader::Apikey)
    {
        add(
            "supabase",
            false,
            ProbeConnection::Http { http, method: "GET", path: "/auth/v1/health".to_owned(), points: false },
        );
    }
    if !endpoints.jina.base_url.is_empty()
        && let Ok(http) = Http::jina(&endpoints.jina)
    {
        let is_public = is_public(&endpoints.jina.base_url);
        add(
            "jina",
            is_public,
            ProbeConnection::Http { http, method: "GET", path: "/models".to_owned(), points: false },
        );
    }
    probers
}

fn encoded(names: &Names) -> String {
    percent_encoding::utf8_percent_encode(&names.collection, percent_encoding::NON_ALPHANUMERIC).to_string()
}

impl Prober {
    /// Asks once, for at most 1.5 s.
    pub(super) async fn probe(&mut self) -> (Result<ProbeResult, ProbeFailure>, Duration) {
        let begun = Instant::now();
        let answer = tokio::time::timeout(TIMEOUT, self.connection.ask()).await;
        let took = begun.elapsed();
        let result = match answer {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error @ ServiceError::OwnLimit { .. })) => Err(ProbeFailure::OwnLimit(redacted(error.to_string()))),
            Ok(Err(error)) => Err(ProbeFailure::NoAnswer(redacted(error.to_string()))),
            Err(_) => {
                let why = format!("{} did not answer within {} ms", self.service, TIMEOUT.as_millis());
                Err(ProbeFailure::NoAnswer(why))
            }
        };
        if result.is_err() {
            self.connection.drop_connection();
        }
        (result, took)
    }
}

impl ProbeConnection {
    /// Asks again on a new connection if a kept one is broken, which proves nothing about the service.
    async fn ask(&mut self) -> Result<ProbeResult, ServiceError> {
        let fresh = !self.is_connected();
        match self.ask_once().await {
            Err(_) if !fresh => {
                self.drop_connection();
                self.ask_once().await
            }
            other => other,
        }
    }

    const fn is_connected(&self) -> bool {
        match self {
            Self::Redis(_, line) | Self::Queue(_, line) => line.is_some(),
            Self::Postgres(_, line) => line.is_some(),
            // The client itself retries when a kept connection is closed.
            Self::Http { .. } => false,
        }
    }

    fn drop_connection(&mut self) {
        match self {
            Self::Redis(_, line) | Self::Queue(_, line) => *line = None,
            Self::Postgres(_, line) => *line = None,
            Self::Http { .. } => {}
        }
    }

    async fn ask_once(&mut self) -> Result<ProbeResult, ServiceError> {
        match self {
            Self::Redis(endpoints, line) => {
                let redis = connected(line, endpoints).await?;
                redis.command(&["PING"]).await.map(|_| ProbeResult::default())
            }
            Self::Queue(endpoints, line) => {
                let redis = connected(line, endpoints).await?;
                let queue = read_queue(redis, &endpoints.names).await?;
                Ok(ProbeResult { queue: Some(queue), ..ProbeResult::default() })
            }
            Self::Postgres(endpoints, line) => {
                let postgres = match line {
                    Some(postgres) => postgres,
                    None => line.insert(Postgres::connect_to_read(&endpoints.postgres).await?),
                };
                postgres.rows("select 1 as one").await.map(|_| ProbeResult::default())
            }
            Self::Http { http, method, path, points } => {
                let answer = http.send(method, path, &Key::Own, None).await?;
                // A service that refuses a request answers; the cases report what it refuses.
                if answer.status.is_server_error() {
                    http.accept(method, path, &answer)?;
                }
                let count = answer.json()["result"]["points_count"].as_u64();
                Ok(ProbeResult { points: count.filter(|_| *points), ..ProbeResult::default() })
            }
        }
    }
}

async fn connected<'a>(line: &'a mut Option<Redis>, endpoints: &Endpoints) -> Result<&'a Redis, ServiceError> {
    match line {
        Some(redis) => Ok(redis),
        None => Ok(line.insert(Redis::connect(&endpoints.redis).await?)),
    }
}

/// Reads the counts and the oldest job in three round trips; writes nothing, not even the queue's `meta`.
async fn read_queue(redis: &Redis, names: &Names) -> Result<QueueState, ServiceError> {
    let keys = QueueKeys::new(&names.queue, Some(&names.prefix));
    let counts = Counts::read(redis, &keys).await?;
    let mut pipeline = redis::pipe();
    // Jobs are added on the left and taken from the right.
    pipeline.cmd("LINDEX").arg(keys.wait()).arg(-1);
    pipeline.cmd("TIME");
    let (oldest, (seconds, micros)): (Option<String>, (i64, i64)) = redis.pipeline(&pipeline).await?;
    let added: Option<i64> = match oldest {
        Some(id) => redis.get(redis::cmd("HGET").arg(keys.job_key(&id)).arg("timestamp")).await?,
        None => None,
    };
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since a job was added")]
    let oldest_s = added.map(|added| ((seconds * 1000 + micros / 1000 - added).max(0) as f64) / 1000.0);
    Ok(QueueState { counts, oldest_s })
}
