//! The pulse of a service: whether it answers right now, and how fast. Reads only, and spends nothing.

use std::time::{Duration, Instant};

use bullmq::QueueKeys;
use secrecy::ExposeSecret as _;

use crate::services::ServiceError;
use crate::services::http::{Http, Key, KeyHeader};
use crate::services::postgres::Postgres;
use crate::services::queue::Counts;
use crate::services::redis::Redis;
use crate::settings::{Endpoints, Given, Names};

/// How long a service may take to answer.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What one look at a service found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Whether it answered.
    pub up: bool,
    /// How long that took, in microseconds.
    pub latency_us: u64,
    /// Why it did not.
    pub reason: Option<String>,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Since when it is so.
    pub since_ms: i64,
}

/// What a look sees beside the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sight {
    pub(super) queue: Option<QueueSight>,
    pub(super) points: Option<u64>,
}

/// A queue at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct QueueSight {
    pub(super) counts: Counts,
    /// Seconds that the job has waited that has waited longest; none when none waits.
    pub(super) oldest_s: Option<f64>,
}

/// A service whose pulse is felt, with what is kept between two looks.
pub(super) struct Prober {
    /// The suite that judges it.
    pub(super) service: &'static str,
    /// Whether it is somebody else's, who is not to be asked every other second.
    pub(super) foreign: bool,
    line: Line,
}

enum Line {
    Redis(Endpoints, Option<Redis>),
    Queue(Endpoints, Option<Redis>),
    Postgres(Endpoints, Option<Postgres>),
    Http { http: Http, method: &'static str, path: String, points: bool },
}

/// One for each service that is set.
pub(super) fn probers(endpoints: &Endpoints, given: &Given) -> Vec<Prober> {
    let mut probers = Vec::new();
    let mut add = |service, foreign, line| probers.push(Prober { service, foreign, line });
    if !endpoints.redis.url.expose_secret().is_empty() {
        add("redis", false, Line::Redis(endpoints.clone(), None));
        add("bullmq", false, Line::Queue(endpoints.clone(), None));
    }
    if !endpoints.postgres.url.expose_secret().is_empty() {
        add("postgres", false, Line::Postgres(endpoints.clone(), None));
    }
    let is_foreign = |url: &str| url::Url::parse(url).is_ok_and(|url| url.host_str() == Some("api.jina.ai"));
    if !endpoints.qdrant.url.is_empty()
        && let Ok(http) = Http::qdrant(&endpoints.qdrant)
    {
        let path = format!("/collections/{}", encoded(&endpoints.names));
        add("qdrant", false, Line::Http { http, method: "GET", path, points: true });
    }
    if let Some(url) = given.value("SUPABASE_URL")
        && let Ok(http) =
            Http::new("supabase", url.expose_secret(), given.value("SUPABASE_ANON_KEY").cloned(), KeyHeader::Apikey)
    {
        add("supabase", false, Line::Http { http, method: "GET", path: "/auth/v1/health".to_owned(), points: false });
    }
    if !endpoints.jina.base_url.is_empty()
        && let Ok(http) = Http::jina(&endpoints.jina)
    {
        let foreign = is_foreign(&endpoints.jina.base_url);
        add("jina", foreign, Line::Http { http, method: "GET", path: "/models".to_owned(), points: false });
    }
    probers
}

fn encoded(names: &Names) -> String {
    percent_encoding::utf8_percent_encode(&names.collection, percent_encoding::NON_ALPHANUMERIC).to_string()
}

impl Prober {
    /// Looks once, for at most 1.5 s.
    pub(super) async fn feel(&mut self) -> (Result<Sight, String>, Duration) {
        let begun = Instant::now();
        let seen = tokio::time::timeout(PATIENCE, self.line.ask()).await;
        let took = begun.elapsed();
        let seen = match seen {
            Ok(Ok(sight)) => Ok(sight),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("{} did not answer within {} ms", self.service, PATIENCE.as_millis())),
        };
        if seen.is_err() {
            self.line.drop_connection();
        }
        (seen, took)
    }
}

impl Line {
    /// A connection that broke while nobody looked says nothing about the service: a new one decides.
    async fn ask(&mut self) -> Result<Sight, ServiceError> {
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
            // The client itself tries again when a kept connection turns out to be closed.
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

    async fn ask_once(&mut self) -> Result<Sight, ServiceError> {
        match self {
            Self::Redis(endpoints, line) => {
                let redis = connected(line, endpoints).await?;
                redis.command(&["PING"]).await.map(|_| Sight::default())
            }
            Self::Queue(endpoints, line) => {
                let redis = connected(line, endpoints).await?;
                let queue = look_at_queue(redis, &endpoints.names).await?;
                Ok(Sight { queue: Some(queue), ..Sight::default() })
            }
            Self::Postgres(endpoints, line) => {
                let postgres = match line {
                    Some(postgres) => postgres,
                    None => line.insert(Postgres::connect_once(&endpoints.postgres).await?),
                };
                postgres.rows("select 1 as one").await.map(|_| Sight::default())
            }
            Self::Http { http, method, path, points } => {
                let answer = http.send(method, path, &Key::Own, None).await?;
                // Whoever refuses a request is there; what it refuses is for the cases to say.
                if answer.status.is_server_error() {
                    http.accept(method, path, &answer)?;
                }
                let count = answer.json()["result"]["points_count"].as_u64();
                Ok(Sight { points: count.filter(|_| *points), ..Sight::default() })
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

/// Counts and the oldest job, in three round trips; nothing is written, not even the queue's `meta`.
async fn look_at_queue(redis: &Redis, names: &Names) -> Result<QueueSight, ServiceError> {
    let keys = QueueKeys::new(&names.queue, Some(&names.prefix));
    let counts = Counts::read(redis, &keys).await?;
    let mut pipeline = redis::pipe();
    // Jobs come in on the left and are taken from the right.
    pipeline.cmd("LINDEX").arg(keys.wait()).arg(-1);
    pipeline.cmd("TIME");
    let (oldest, (seconds, micros)): (Option<String>, (i64, i64)) = redis.pipeline(&pipeline).await?;
    let added: Option<i64> = match oldest {
        Some(id) => redis.get(redis::cmd("HGET").arg(keys.job_key(&id)).arg("timestamp")).await?,
        None => None,
    };
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since a job was added")]
    let oldest_s = added.map(|added| ((seconds * 1000 + micros / 1000 - added).max(0) as f64) / 1000.0);
    Ok(QueueSight { counts, oldest_s })
}
