//! Where a document ends up: points in Qdrant over gRPC, a row in Postgres.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, DeletePointsBuilder, Distance, Filter, NamedVectors, PointStruct, Range,
    UpdateStatus, UpsertPointsBuilder, Value, vectors_config,
};
use qdrant_client::{Qdrant, QdrantError};
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection};
use uuid::Uuid;

use super::defect::{Defect, planted};
use super::guard::{Breakers, Class, Classified, Guard, Guarded, Policy};
use crate::settings::Endpoints;

/// The namespace of point ids: UUIDv5 of the URL namespace and this project's word for a chunk.
const CHUNK_NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_3c1e_52a4_5d0f_9a51_7f0e_3d2b_8c44);
/// The port on which Supabase's pooler hands out a server per transaction.
const TRANSACTION_POOLER: u16 = 6543;
const TIMEOUT: Duration = Duration::from_secs(15);

/// A chunk with its vector, ready to be stored.
#[derive(Debug, Clone)]
pub(super) struct EmbeddedChunk {
    /// Its place in the document, from 0.
    pub index: u64,
    /// Its text.
    pub text: String,
    /// Its tokens.
    pub tokens: usize,
    /// Its vector.
    pub vector: Vec<f32>,
}

/// What the row of a document says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// It is being worked on.
    Processing,
    /// Its points are stored and counted.
    Ready,
    /// It has no text.
    Skipped,
    /// It was given up.
    Failed,
}

impl Status {
    const fn word(self) -> &'static str {
        match self {
            Self::Processing => "processing",
            Self::Ready => "ready",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// What was asked of one document.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// Its id.
    pub document: String,
    /// Its version.
    pub version: String,
    /// Where it came from.
    pub source: String,
}

/// An error of either store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Qdrant failed.
    #[error("qdrant: {}", without_headers(.0))]
    Qdrant(Box<QdrantError>),
    /// Qdrant took a write and did not finish it.
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
    /// The collection or the table is not as the worker needs it.
    #[error("{0}; run `shakedown setup`")]
    Shape(String),
    /// A setting makes no sense.
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
                    Code::InvalidArgument | Code::OutOfRange => Class::Poison,
                    Code::Unauthenticated | Code::PermissionDenied | Code::NotFound | Code::Unimplemented => {
                        Class::Fatal
                    }
                    _ => Class::Retry { after: None },
                },
                _ => Class::Retry { after: None },
            },
            Self::NotCompleted(_) | Self::WrongCount { .. } => Class::Retry { after: None },
            Self::Postgres(sqlx::Error::Database(answer)) => {
                // Classes 22 (data) and 23 (constraints) say that this row will never fit; 08, 53, 57 pass.
                match answer.code().as_deref().and_then(|code| code.get(..2)) {
                    Some("22" | "23") => Class::Poison,
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
    /// Where the others are, `host:port`; used by planted defects only.
    other_addresses: Vec<String>,
    /// Whether `DATABASE_URL` leads to a pooler that hands out a server per transaction.
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

type Statement<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;
type StoreResult<T> = Result<T, Guarded<StoreError>>;

impl Store {
    /// Opens both; neither is asked anything yet.
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
        // A parse error of the URL could repeat the password.
        let options = PgConnectOptions::from_str(endpoints.postgres.url.expose_secret())
            .map_err(|_| StoreError::Setting("DATABASE_URL is not a postgres:// URL".to_owned()))?
            .statement_cache_capacity(0)
            .application_name("shakedown-worker");
        let postgres = PgPoolOptions::new()
            // A dead connection is noticed before it is used, unless a defect is planted.
            .test_before_acquire(!planted(Defect::GivesUp))
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
            pooled: options.get_port() == TRANSACTION_POOLER,
            vectors_guard: Guard::new("qdrant", policy, breakers, None),
            rows_guard: Guard::new("postgres", policy, breakers, None),
        })
    }

    /// Whether the collection is there and takes vectors of `dimensions` numbers, compared by cosine.
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

    /// Whether Postgres lets us in and the table is there.
    pub(super) async fn check_table(&self) -> Result<(), StoreError> {
        // On a connection of its own: the pool keeps trying, and says no more than that it had no success.
        let mut connection = PgConnection::connect_with(self.postgres.connect_options().as_ref()).await?;
        let query = format!(
            "select id, version, status, chunks, tokens, source, error, updated_at from {} limit 0",
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

    /// Stores points and waits until they are.
    pub(super) async fn upsert(&self, identity: &Identity, total: usize, chunks: &[EmbeddedChunk]) -> StoreResult<()> {
        for batch in chunks.chunks(self.batch) {
            self.vectors_guard
                .call(|| async {
                    let mut points: Vec<PointStruct> = batch
                        .iter()
                        .map(|chunk| self.point(identity, total, chunk, chunk_id(identity, chunk.index)))
                        .collect();
                    if planted(Defect::DuplicatesPoints) {
                        points.extend(batch.iter().map(|chunk| self.point(identity, total, chunk, Uuid::new_v4())));
                    }
                    let request = UpsertPointsBuilder::new(&self.collection, points);
                    let answer = self.qdrant.upsert_points(request.wait(!planted(Defect::WaitFalse))).await?;
                    if planted(Defect::WaitFalse) {
                        return Ok(());
                    }
                    completed(answer.result.map(|result| result.status))
                })
                .await?;
        }
        Ok(())
    }

    fn point(&self, identity: &Identity, total: usize, chunk: &EmbeddedChunk, id: Uuid) -> PointStruct {
        let integer = |number: u64| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
        let mut payload: HashMap<String, Value> = HashMap::from([
            ("document_id".to_owned(), identity.document.clone().into()),
            ("version".to_owned(), identity.version.clone().into()),
            ("source".to_owned(), identity.source.clone().into()),
            ("chunk_index".to_owned(), integer(chunk.index + u64::from(planted(Defect::IndexFromOne)))),
            ("chunk_count".to_owned(), integer(total as u64)),
            ("text".to_owned(), chunk.text.clone().into()),
            ("tokens".to_owned(), integer(chunk.tokens as u64)),
            ("model".to_owned(), self.model.clone().into()),
        ]);
        if planted(Defect::NoChunkIndex) {
            payload.remove("chunk_index");
        }
        match &self.vector {
            Some(name) => {
                let named = NamedVectors::default().add_vector(name, chunk.vector.clone());
                PointStruct::new(id.to_string(), named, payload)
            }
            None => PointStruct::new(id.to_string(), chunk.vector.clone(), payload),
        }
    }

    /// Creates the points of this version the only ones of the document. To be called once all of them are stored.
    ///
    /// The old version is removed only when the new one is known to be whole: a document that can be found now can
    /// be found at every moment. The last count catches another worker that settled another version of the same
    /// document at the same time, so that each removed the other's points; the attempt is then repeated.
    pub(super) async fn keep_only_version(&self, identity: &Identity, written: usize) -> StoreResult<()> {
        let (all, own) = (document_filter(identity), version_filter(identity));
        let planted_more =
            [Defect::DuplicatesPoints, Defect::RandomIds, Defect::SkipsFailedBatches, Defect::ZipsShortAnswers]
                .into_iter()
                .any(planted);
        if self.count(&own).await? > written as u64 && !planted_more {
            // The same version was once cut into more chunks than now.
            let mut tail = own.clone();
            let from_here = Range { gte: Some(as_range_bound(written)), ..Range::default() };
            tail.must.push(Condition::range("chunk_index", from_here));
            self.delete(&tail).await?;
        }
        if !planted_more {
            self.expect_count(&own, written).await?;
        }
        if planted(Defect::KeepsStaleTail) {
            return Ok(());
        }
        let mut others = all.clone();
        others.must_not.push(keyword("version", &identity.version));
        self.delete(&others).await?;
        if planted_more { Ok(()) } else { self.expect_count(&all, written).await }
    }

    /// Removes every point of the document.
    pub(super) async fn remove_all(&self, identity: &Identity) -> StoreResult<()> {
        self.delete(&document_filter(identity)).await
    }

    /// Removes a document: its points first, for a row without points is found and told, points without a row are not.
    pub(super) async fn delete_document(&self, document: &str) -> StoreResult<()> {
        self.delete(&Filter::must([keyword("document_id", document)])).await?;
        let statement = format!("delete from {} where id = $1", self.table);
        self.execute(&statement, |query| query.bind(replace_nul(document))).await?;
        Ok(())
    }

    async fn count(&self, filter: &Filter) -> StoreResult<u64> {
        self.vectors_guard
            .call(|| async {
                let request = CountPointsBuilder::new(&self.collection).filter(filter.clone()).exact(true);
                Ok(self.qdrant.count(request).await?.result.map_or(0, |result| result.count))
            })
            .await
    }

    async fn expect_count(&self, filter: &Filter, written: usize) -> StoreResult<()> {
        let (stored, written) = (self.count(filter).await?, written as u64);
        // Not within the guard: the service is well, and counting again would not change the number.
        if stored == written { Ok(()) } else { Err(Guarded::Failed(StoreError::WrongCount { stored, written })) }
    }

    async fn delete(&self, filter: &Filter) -> StoreResult<()> {
        self.vectors_guard
            .call(|| async {
                let request = DeletePointsBuilder::new(&self.collection).points(filter.clone()).wait(true);
                let answer = self.qdrant.delete_points(request).await?;
                completed(answer.result.map(|result| result.status))
            })
            .await
    }

    /// Marks the document as being worked on, unless this very version is whole already and stays so meanwhile.
    pub(super) async fn begin(&self, identity: &Identity) -> StoreResult<()> {
        let unless_whole = "where not (known.version is not distinct from excluded.version and known.status = 'ready')";
        self.write_row(identity, Status::Processing, 0, 0, None, unless_whole).await
    }

    /// Takes away what was stored of a version that is given up, and says why in its row.
    ///
    /// A version that was whole before stays: an outage while the same text is ingested again must not take a
    /// document away. Its row then stays `ready`, with the reason in `error`.
    pub(super) async fn give_up(&self, identity: &Identity, reason: &str) -> StoreResult<()> {
        let statement = format!(
            "update {} set error = $3, updated_at = now() where id = $1 and version = $2 and status = 'ready'",
            self.table
        );
        let stays = self
            .execute(&statement, |query| {
                query
                    .bind(replace_nul(&identity.document))
                    .bind(replace_nul(&identity.version))
                    .bind(replace_nul(reason))
            })
            .await?;
        if stays > 0 {
            return Ok(());
        }
        self.delete(&version_filter(identity)).await?;
        self.record(identity, Status::Failed, 0, 0, Some(reason)).await
    }

    /// Writes what became of a document.
    pub(super) async fn record(
        &self,
        identity: &Identity,
        status: Status,
        chunks: usize,
        tokens: usize,
        error: Option<&str>,
    ) -> StoreResult<()> {
        self.write_row(identity, status, chunks + usize::from(planted(Defect::WrongCount)), tokens, error, "").await
    }

    async fn write_row(
        &self,
        identity: &Identity,
        status: Status,
        chunks: usize,
        tokens: usize,
        error: Option<&str>,
        condition: &str,
    ) -> StoreResult<()> {
        if planted(Defect::NoRow) || (planted(Defect::SkipsSilently) && status == Status::Skipped) {
            return Ok(());
        }
        let number = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let statement = format!(
            "insert into {} as known (id, version, status, chunks, tokens, source, error) \
             values ($1, $2, $3, $4, $5, $6, $7) \
             on conflict (id) do update set version = excluded.version, status = excluded.status, \
             chunks = excluded.chunks, tokens = excluded.tokens, source = excluded.source, error = excluded.error, \
             updated_at = now() {condition}",
            self.table
        );
        self.execute(&statement, |query| {
            query
                .bind(replace_nul(&identity.document))
                .bind(replace_nul(&identity.version))
                .bind(status.word())
                .bind(number(chunks))
                .bind(number(tokens))
                .bind(replace_nul(&identity.source))
                .bind(error.map(replace_nul))
        })
        .await?;
        Ok(())
    }

    /// Runs one statement and says how many rows it touched.
    ///
    /// It runs in a transaction, for the sake of poolers that may give each message of a session to another server:
    /// what was parsed on one server would not be known on the next.
    async fn execute<'q, B>(&self, statement: &str, bind: B) -> StoreResult<u64>
    where
        B: Fn(Statement<'q>) -> Statement<'q>,
    {
        self.rows_guard
            .call(|| async {
                let query = bind(sqlx::query(AssertSqlSafe(statement.to_owned())).persistent(false));
                if !self.pooled {
                    return Ok(query.execute(&self.postgres).await?.rows_affected());
                }
                let mut transaction = self.postgres.begin().await?;
                let touched = query.execute(&mut *transaction).await?.rows_affected();
                transaction.commit().await?;
                Ok(touched)
            })
            .await
    }

    /// A planted defect: connections to every service that nobody closes.
    pub(super) fn connect_anew(&self, identity: &Identity) {
        let options = self.postgres.connect_options().as_ref().clone();
        let others = self.other_addresses.clone();
        tracing::warn!(document = identity.document, "planted defect");
        tokio::spawn(async move {
            let held = PgConnection::connect_with(&options).await;
            let also = futures::future::join_all(others.iter().map(tokio::net::TcpStream::connect)).await;
            std::future::pending::<()>().await;
            drop((held, also));
        });
    }

    /// A planted defect: a connection to every service, made again at once whenever it ends or is refused.
    pub(super) fn storm(&self) {
        let options = self.postgres.connect_options();
        let postgres = format!("{}:{}", options.get_host(), options.get_port());
        for address in self.other_addresses.iter().cloned().chain([postgres]) {
            tokio::spawn(async move {
                loop {
                    if let Ok(mut stream) = tokio::net::TcpStream::connect(&address).await {
                        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            });
        }
    }

    /// A planted defect: another process holds connections for a while after the worker's end.
    pub(super) fn leave_connections(&self) {
        use std::os::fd::OwnedFd;
        use std::process::{Command, Stdio};
        for stream in self.other_addresses.iter().filter_map(|address| std::net::TcpStream::connect(address).ok()) {
            let mut command = Command::new("sleep");
            command.arg("4").stdin(OwnedFd::from(stream)).stdout(Stdio::null()).stderr(Stdio::null());
            if let Err(error) = command.spawn() {
                tracing::warn!(%error, "planted defect");
            }
        }
    }

    /// Closes the pool.
    pub(super) async fn close(&self) {
        self.postgres.close().await;
    }
}

/// An error of Qdrant without the headers of its answer.
fn without_headers(error: &QdrantError) -> String {
    match error {
        QdrantError::ResponseError { status } => format!("{:?}: {}", status.code(), status.message()),
        other => other.to_string(),
    }
}

fn document_filter(identity: &Identity) -> Filter {
    Filter::must([keyword("document_id", &identity.document)])
}

fn version_filter(identity: &Identity) -> Filter {
    let mut filter = document_filter(identity);
    filter.must.push(keyword("version", &identity.version));
    filter
}

/// A number of chunks as Qdrant's ranges take it.
#[expect(clippy::cast_precision_loss, reason = "a document has far fewer than 2^53 chunks")]
const fn as_range_bound(number: usize) -> f64 {
    number as f64
}

/// Postgres text cannot hold U+0000 (SQLSTATE 22021).
fn replace_nul(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

/// The value as a whole. The client's own `Condition::matches` makes a full-text search of a value with a blank in
/// it, which finds other documents too.
fn keyword(field: &str, value: &str) -> Condition {
    Condition::matches(field, MatchValue::Keyword(value.to_owned()))
}

fn completed(status: Option<i32>) -> Result<(), StoreError> {
    match status {
        Some(status) if status == UpdateStatus::Completed as i32 => Ok(()),
        other => Err(StoreError::NotCompleted(other.unwrap_or_default())),
    }
}

/// The id of a chunk: the same for the same document, version and index, so that a retry overwrites.
fn chunk_id(identity: &Identity, index: u64) -> Uuid {
    if planted(Defect::RandomIds) {
        return Uuid::new_v4();
    }
    // Lengths come first, so that no two triples read the same.
    let name = format!(
        "{}:{}{}:{}{index}",
        identity.document.len(),
        identity.document,
        identity.version.len(),
        identity.version
    );
    Uuid::new_v5(&CHUNK_NAMESPACE, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_chunk_depends_on_document_version_and_index_and_on_nothing_else() {
        let identity = |document: &str, version: &str| Identity {
            document: document.to_owned(),
            version: version.to_owned(),
            source: "anywhere".to_owned(),
        };
        assert_eq!(
            chunk_id(&identity("a", "1"), 0),
            chunk_id(&Identity { source: "elsewhere".into(), ..identity("a", "1") }, 0)
        );
        let all = [
            chunk_id(&identity("a", "1"), 0),
            chunk_id(&identity("a", "1"), 1),
            chunk_id(&identity("a", "11"), 0),
            chunk_id(&identity("a1", "1"), 0),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }
}
