//! One Postgres connection for several statements, over the simple protocol, so that it also works where statements
//! cannot be prepared.

use std::str::FromStr;

use futures::TryStreamExt as _;
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgErrorPosition, PgRow};
use sqlx::{AssertSqlSafe, Column as _, Connection as _, Either, PgConnection, Row as _, ValueRef as _};

use super::ServiceError;
use crate::settings::{PostgresEndpoint, public_url};

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
    /// The server did not respond.
    #[error(transparent)]
    Service(#[from] ServiceError),
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
        let options = PgConnectOptions::from_str(endpoint.url.expose_secret())
            .map_err(|error| super::postgres::failure(&shown, &error))?
            .statement_cache_capacity(0)
            .application_name("shakedown");
        let connection =
            PgConnection::connect_with(&options).await.map_err(|error| super::postgres::failure(&shown, &error))?;
        Ok(Self { connection, endpoint: shown })
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
        return super::postgres::failure(endpoint, error).into();
    };
    let postgres = answer.try_downcast_ref::<PgDatabaseError>();
    let position = postgres.and_then(|answer| match answer.position()? {
        PgErrorPosition::Original(at) => Some(at),
        PgErrorPosition::Internal { .. } => None,
    });
    let hint = postgres.and_then(|answer| answer.hint().or_else(|| answer.detail())).map(str::to_owned);
    SessionError::Refused {
        code: answer.code().unwrap_or_default().into_owned(),
        message: answer.message().to_owned(),
        hint,
        position,
    }
}
