//! One Postgres connection for several statements, over the simple protocol, so that it also works where statements
//! cannot be prepared; or for one statement that only reads.

use futures::TryStreamExt as _;
use sqlx::postgres::{PgDatabaseError, PgErrorPosition, PgRow};
use sqlx::{AssertSqlSafe, Column as _, Connection as _, Either, PgConnection, Row as _, ValueRef as _};

use super::ServiceError;
use super::postgres::{READ_ONLY_SESSION, READ_ONLY_TRANSACTION, failure, options};
use crate::settings::{PostgresEndpoint, public_url};
use crate::spec::read_only::{NotReadOnly, SqlKind, check_sql};

/// The result of a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Names of the columns, if there are rows.
    pub columns: Vec<String>,
    /// The rows, in Postgres' text format; null is `None`.
    pub rows: Vec<Vec<Option<String>>>,
    /// Number of rows changed or read.
    pub count: u64,
}

/// Why a statement failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionError {
    /// Postgres refused it.
    #[error("{message} (SQLSTATE {code}){}", hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}")))]
    Refused {
        /// SQLSTATE.
        code: String,
        /// Its message.
        message: String,
        /// Its hint or detail.
        hint: Option<String>,
        /// The position in the statement, in characters from 1.
        position: Option<usize>,
    },
    /// The SQL is not known to only read, and was not sent.
    #[error("{0}; nothing was sent")]
    NotReadOnly(#[from] NotReadOnly),
    /// The server did not respond.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl SessionError {
    /// The SQLSTATE, if Postgres refused the statement.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// The connection.
#[derive(Debug)]
pub struct Session {
    connection: PgConnection,
    endpoint: String,
}

impl Session {
    /// Connects.
    pub async fn open(endpoint: &PostgresEndpoint) -> Result<Self, ServiceError> {
        let shown = public_url(&endpoint.url);
        let failed = |error| failure(&shown, &error);
        let options = options(endpoint).map_err(failed)?;
        let connection = PgConnection::connect_with(&options).await.map_err(failed)?;
        Ok(Self { connection, endpoint: shown })
    }

    /// Like [`Session::open`]; the session is read-only if the server grants it.
    async fn open_to_read(endpoint: &PostgresEndpoint) -> Result<Self, ServiceError> {
        let shown = public_url(&endpoint.url);
        let failed = |error| failure(&shown, &error);
        let options = options(endpoint).map_err(failed)?.options([READ_ONLY_SESSION]);
        match PgConnection::connect_with(&options).await.map_err(failed) {
            // A pooler refuses the parameter; the transaction is read-only all the same.
            Err(ServiceError::Refused { .. }) => Self::open(endpoint).await,
            connected => Ok(Self { connection: connected?, endpoint: shown }),
        }
    }

    /// The result of one statement that only reads, from a read-only transaction.
    ///
    /// # Errors
    /// The text is not known to only read; Postgres refuses it, or does not respond.
    pub async fn read(endpoint: &PostgresEndpoint, text: &str) -> Result<Answer, SessionError> {
        let kind = check_sql(text)?;
        let mut session = Self::open_to_read(endpoint).await?;
        let read = session.read_in_transaction(text, kind).await;
        session.close().await;
        read
    }

    async fn read_in_transaction(&mut self, text: &str, kind: SqlKind) -> Result<Answer, SessionError> {
        let query = text.trim_end().trim_end_matches(';');
        self.run(READ_ONLY_TRANSACTION).await?;
        let answer = match kind {
            // SHOW and EXPLAIN yield texts, or JSON.
            SqlKind::Other => self.extended(query.to_owned()).await?,
            SqlKind::Query => {
                let names = self.column_names(query).await?;
                if names.is_empty() {
                    let count = self.extended(format!("select count(*)::text from ({query}\n) as answer")).await?;
                    let count = count.rows.into_iter().flatten().flatten().next();
                    Answer {
                        count: count.and_then(|count| count.parse().ok()).unwrap_or_default(),
                        ..Answer::default()
                    }
                } else {
                    // The extended protocol yields binary values: every value is read as text.
                    let aliases: Vec<String> = (0..names.len()).map(|place| format!("c{place}")).collect();
                    let values = aliases.iter().map(|name| format!("{name}::text")).collect::<Vec<_>>().join(", ");
                    let wrapped = format!("select {values} from ({query}\n) as answer ({})", aliases.join(", "));
                    Answer { columns: names, ..self.extended(wrapped).await? }
                }
            }
        };
        self.run("rollback").await?;
        Ok(answer)
    }

    /// The names of the columns of a query that has rows.
    ///
    /// They are read as the keys of a row as JSON: for a column of a type that the client does not know, it would look
    /// the type up with a statement of its own, which replaces the unnamed one that it is about to run.
    async fn column_names(&mut self, query: &str) -> Result<Vec<String>, SessionError> {
        let names = format!(
            "select field.key from (select row_to_json(answer) as row from ({query}\n) as answer limit 1) as first, \
             json_each_text(first.row) with ordinality as field (key, value, place) order by field.place"
        );
        Ok(self.extended(names).await?.rows.into_iter().flatten().flatten().collect())
    }

    /// Runs one statement over the extended protocol, where the server accepts no second one, without a name.
    async fn extended(&mut self, text: String) -> Result<Answer, SessionError> {
        let rows = sqlx::query(AssertSqlSafe(text))
            .persistent(false)
            .fetch_all(&mut self.connection)
            .await
            .map_err(|error| session_error(&self.endpoint, &error))?;
        let columns = rows.first().map(names).unwrap_or_default();
        Ok(Answer { columns, count: rows.len() as u64, rows: rows.iter().map(texts).collect() })
    }

    /// Runs statements and returns the result of the last one that returns rows.
    pub async fn run(&mut self, text: &str) -> Result<Answer, SessionError> {
        let mut answer = Answer::default();
        let mut stream = sqlx::raw_sql(AssertSqlSafe(text.to_owned())).fetch_many(&mut self.connection);
        let endpoint = &self.endpoint;
        let mut fresh = true;
        loop {
            match stream.try_next().await.map_err(|error| session_error(endpoint, &error))? {
                None => return Ok(answer),
                Some(Either::Left(done)) => {
                    if done.rows_affected() > 0 {
                        answer.count = done.rows_affected();
                    }
                    fresh = true;
                }
                Some(Either::Right(row)) => {
                    if fresh {
                        answer = Answer { columns: names(&row), ..Answer::default() };
                        fresh = false;
                    }
                    answer.rows.push(texts(&row));
                }
            }
        }
    }

    /// Runs `COPY … FROM STDIN` with these rows.
    pub async fn copy_in(&mut self, text: &str, rows: &[u8]) -> Result<Answer, SessionError> {
        let endpoint = &self.endpoint;
        let failed = |error| session_error(endpoint, &error);
        let mut copy = self.connection.copy_in_raw(text).await.map_err(failed)?;
        copy.send(rows).await.map_err(failed)?;
        let count = copy.finish().await.map_err(failed)?;
        Ok(Answer { count, ..Answer::default() })
    }

    /// Closes the connection.
    pub async fn close(self) {
        // A connection that cannot be closed ends with the process.
        let _ = self.connection.close().await;
    }
}

fn names(row: &PgRow) -> Vec<String> {
    row.columns().iter().map(|column| column.name().to_owned()).collect()
}

fn texts(row: &PgRow) -> Vec<Option<String>> {
    let text = |place: usize| {
        let value = row.try_get_raw(place).ok().filter(|value| !value.is_null())?;
        Some(value.as_bytes().map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(bytes).into_owned()))
    };
    (0..row.len()).map(text).collect()
}

fn session_error(endpoint: &str, error: &sqlx::Error) -> SessionError {
    let sqlx::Error::Database(answer) = error else {
        return failure(endpoint, error).into();
    };
    let postgres = answer.try_downcast_ref::<PgDatabaseError>();
    let position = postgres.and_then(|answer| match answer.position()? {
        PgErrorPosition::Original(at) => Some(at),
        PgErrorPosition::Internal { .. } => None,
    });
    // Postgres says where in the rows of a COPY an error is.
    let in_copy = postgres.and_then(PgDatabaseError::r#where).filter(|place| place.starts_with("COPY "));
    let hint = postgres.and_then(|answer| answer.hint().or_else(|| answer.detail())).or(in_copy);
    let hint = hint.and_then(|hint| hint.lines().next()).map(str::to_owned);
    SessionError::Refused {
        code: answer.code().unwrap_or_default().into_owned(),
        message: answer.message().to_owned(),
        hint,
        position,
    }
}
