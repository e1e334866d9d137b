//! Stores documents: points in Qdrant over gRPC, a row in Postgres.

mod defects;
mod documents;
mod points;
mod rows;

use std::str::FromStr;
use std::time::Duration;

use qdrant_client::qdrant::{Distance, vectors_config};
use qdrant_client::{Qdrant, QdrantError};
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection};

use crate::reference_worker::defect::{Defect, planted};
use crate::reference_worker::guard::{Breakers, Class, Classified, Guard, Guarded, Policy};
use crate::settings::Endpoints;

/// The port of Supabase's pooler in transaction mode.
const TRANSACTION_POOLER: u16 = 6543;
const TIMEOUT: Duration = Duration::from_secs(15);

/// A chunk with its vector.
#[derive(Debug, Clone)]
pub(super) struct EmbeddedChunk {
    /// Its index in the document, from 0.
    pub index: u64,
    /// Its text.
    pub text: String,
    /// Its number of tokens.
    pub tokens: usize,
    /// Its vector.
    pub vector: Vec<f32>,
}

/// The status in the row of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// In progress.
    Processing,
    /// Its points are stored and counted.
    Ready,
    /// It has no text.
    Skipped,
    /// It failed permanently.
    Failed,
    /// It was removed. The row stays, so that an older job knows.
    Removed,
}

impl Status {
    const fn word(self) -> &'static str {
        match self {
            Self::Processing => "processing",
            Self::Ready => "ready",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Removed => "removed",
        }
    }
}

/// The document and version of a job.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// Its id.
    pub document: String,
    /// Its version.
    pub version: String,
    /// Its source.
    pub source: String,
    /// The number of its job, if the job has one: the newest job of a document has the highest.
    pub sequence: Option<i64>,
}

/// An error of Qdrant or Postgres.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Qdrant failed.
    #[error("qdrant: {}", without_headers(.0))]
    Qdrant(Box<QdrantError>),
    /// Qdrant accepted a write and did not complete it.
    #[error("qdrant accepted the write but did not complete it: status {0}")]
    NotCompleted(i32),
    /// Qdrant holds another number of points than were written.
    #[error("{stored} points are stored, but {written} were written")]
    WrongCount {
        /// Points counted.
        stored: u64,
        /// Points written.
        written: u64,
    },
    /// Postgres failed.
    #[error("postgres: {0}")]
    Postgres(#[from] sqlx::Error),
    /// The collection or the table does not fit the worker.
    #[error("{0}; run `shakedown setup`")]
    Shape(String),
    /// A setting is invalid.
    #[error("{0}")]
    Setting(String),
}

impl From<QdrantError> for StoreError {
    fn from(error: QdrantError) -> Self {
        Self::Qdrant(Box::new(error))
    }
}

impl Classified for StoreError {
    fn class(&self) -> Class {
        use tonic::Code;
        match self {
            Self::Qdrant(error) => match error.as_ref() {
                QdrantError::ResourceExhaustedError { retry_after_seconds, .. } => {
                    Class::Retry { after: Some(Duration::from_secs(*retry_after_seconds)) }
                }
                QdrantError::InvalidUri(_) | QdrantError::ConversionError(_) => Class::Fatal,
                QdrantError::ResponseError { status } => match status.code() {
                    Code::InvalidArgument | Code::OutOfRange => Class::Rejected,
                    Code::Unauthenticated | Code::PermissionDenied | Code::NotFound | Code::Unimplemented => {
                        Class::Fatal
                    }
                    _ => Class::Retry { after: None },
                },
                _ => Class::Retry { after: None },
            },
            Self::NotCompleted(_) | Self::WrongCount { .. } => Class::Retry { after: None },
            Self::Postgres(sqlx::Error::Database(answer)) => {
                // Classes 22 (data) and 23 (constraints) mean that this row will never fit; 08, 53, 57 are transient.
                match answer.code().as_deref().and_then(|code| code.get(..2)) {
                    Some("22" | "23") => Class::Rejected,
                    Some("28" | "3D" | "3F" | "42") => Class::Fatal,
                    _ => Class::Retry { after: None },
                }
            }
            Self::Postgres(sqlx::Error::Configuration(_) | sqlx::Error::Encode(_)) => Class::Fatal,
            Self::Postgres(_) => Class::Retry { after: None },
            Self::Shape(_) | Self::Setting(_) => Class::Fatal,
        }
    }
}

/// Both stores, shared by all jobs.
pub(super) struct Store {
    qdrant: Qdrant,
    postgres: PgPool,
    collection: String,
    /// The name of the collection's vector; `None` for the unnamed one.
    vector: Option<String>,
    table: String,
    model: String,
    batch: usize,
    /// Addresses of the other services, `host:port`; used by planted defects only.
    other_addresses: Vec<String>,
    /// A connection that is used whatever state it is in; by a planted defect only.
    reused: tokio::sync::Mutex<Option<PgConnection>>,
    /// Whether `DATABASE_URL` points to a pooler in transaction mode.
    pooled: bool,
    vectors_guard: Guard,
    rows_guard: Guard,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("collection", &self.collection)
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

type StoreResult<T> = Result<T, Guarded<StoreError>>;

impl Store {
    /// Opens both without a request to either.
    pub(super) fn open(
        endpoints: &Endpoints,
        batch: usize,
        policy: Policy,
        breakers: &Breakers,
    ) -> Result<Self, StoreError> {
        let mut config = Qdrant::from_url(&endpoints.qdrant.grpc_url)
            .timeout(TIMEOUT)
            .connect_timeout(Duration::from_secs(5))
            .keep_alive_while_idle()
            .skip_compatibility_check();
        if let Some(key) = &endpoints.qdrant.api_key {
            config = config.api_key(key.expose_secret());
        }
        let qdrant = config.build()?;
        // A parse error of the URL could contain the password.
        let options = PgConnectOptions::from_str(endpoints.postgres.url.expose_secret())
            .map_err(|_| StoreError::Setting("DATABASE_URL is not a postgres:// URL".to_owned()))?
            .statement_cache_capacity(0);
        let name = options.get_application_name().unwrap_or("shakedown-worker").to_owned();
        let options = options.application_name(&name);
        let postgres = PgPoolOptions::new()
            // Dead connections are detected before use, unless a defect is planted.
            .test_before_acquire(!planted(Defect::FirstErrorIsFinal))
            .max_connections(4)
            .acquire_timeout(TIMEOUT)
            .connect_lazy_with(options.clone());
        let table: Vec<String> =
            endpoints.names.table.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
        Ok(Self {
            qdrant,
            postgres,
            collection: endpoints.names.collection.clone(),
            vector: endpoints.qdrant.vector.clone(),
            table: table.join("."),
            model: endpoints.jina.model.clone(),
            other_addresses: [
                &endpoints.qdrant.grpc_url,
                &endpoints.jina.base_url,
                endpoints.redis.url.expose_secret(),
            ]
            .into_iter()
            .filter_map(|url| url::Url::parse(url).ok())
            .filter_map(|url| Some(format!("{}:{}", url.host_str()?, url.port()?)))
            .collect(),
            batch: batch.max(1),
            reused: tokio::sync::Mutex::new(None),
            pooled: options.get_port() == TRANSACTION_POOLER,
            vectors_guard: Guard::new("qdrant", policy, breakers, None),
            rows_guard: Guard::new("postgres", policy, breakers, None),
        })
    }

    /// Checks that the collection exists and has vectors of `dimensions` dimensions with cosine distance.
    pub(super) async fn check_collection(&self, dimensions: u32) -> Result<(), StoreError> {
        let wrong = |problem: String| StoreError::Shape(format!("collection `{}` {problem}", self.collection));
        let info = match self.qdrant.collection_info(&self.collection).await {
            Err(QdrantError::ResponseError { status }) if status.code() == tonic::Code::NotFound => {
                return Err(wrong("does not exist".to_owned()));
            }
            other => other?,
        };
        let config = info
            .result
            .and_then(|info| info.config)
            .and_then(|config| config.params)
            .and_then(|params| params.vectors_config)
            .and_then(|vectors| vectors.config);
        let params = match (config, &self.vector) {
            (Some(vectors_config::Config::Params(params)), None) => params,
            (Some(vectors_config::Config::ParamsMap(mut named)), Some(name)) => {
                named.map.remove(name).ok_or_else(|| wrong(format!("has no vector named `{name}` (QDRANT_VECTOR)")))?
            }
            (_, None) => return Err(wrong("has no unnamed vector".to_owned())),
            (_, Some(name)) => return Err(wrong(format!("has no vector named `{name}` (QDRANT_VECTOR)"))),
        };
        if params.size != u64::from(dimensions) {
            return Err(wrong(format!(
                "has vectors of {} dimensions, but EMBEDDING_DIMENSIONS is {dimensions}",
                params.size
            )));
        }
        if params.distance != Distance::Cosine as i32 {
            return Err(wrong("does not compare vectors by cosine".to_owned()));
        }
        Ok(())
    }

    /// Checks that Postgres accepts the credentials and the table exists.
    pub(super) async fn check_table(&self) -> Result<(), StoreError> {
        // On a separate connection: the pool keeps retrying, and reports only a timeout.
        let mut connection = PgConnection::connect_with(self.postgres.connect_options().as_ref()).await?;
        let query = format!(
            "select id, version, status, chunks, tokens, source, error, sequence, updated_at from {} limit 0",
            self.table
        );
        match sqlx::raw_sql(AssertSqlSafe(query)).execute(&mut connection).await {
            Err(sqlx::Error::Database(answer))
                if matches!(answer.code().as_deref(), Some("42P01" | "42703" | "3F000")) =>
            {
                return Err(StoreError::Shape(format!("table {}: {}", self.table, answer.message())));
            }
            other => other?,
        };
        connection.close().await?;
        Ok(())
    }

    /// Closes the pool.
    pub(super) async fn close(&self) {
        self.postgres.close().await;
    }
}

/// An error of Qdrant without the headers of its response.
fn without_headers(error: &QdrantError) -> String {
    match error {
        QdrantError::ResponseError { status } => format!("{:?}: {}", status.code(), status.message()),
        other => other.to_string(),
    }
}
