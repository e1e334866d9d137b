//! A thin Postgres client: a small pool, queries in, JSON out.

use std::str::FromStr;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Row};

use super::ServiceError;
use crate::settings::{PostgresEndpoint, public_url};

const ACQUIRE: Duration = Duration::from_secs(8);

/// A pool of at most four connections.
#[derive(Clone, Debug)]
pub struct Postgres {
    pool: PgPool,
    endpoint: String,
}

impl Postgres {
    /// Connects with the endpoint's credentials and checks that they are accepted.
    pub async fn connect(endpoint: &PostgresEndpoint) -> Result<Self, ServiceError> {
        Self::open(endpoint, None).await
    }

    /// Connects with a password that is not the right one: what a stranger gets.
    pub async fn connect_with_wrong_password(endpoint: &PostgresEndpoint) -> Result<Self, ServiceError> {
        Self::open(endpoint, Some("not-the-password")).await
    }

    async fn open(endpoint: &PostgresEndpoint, password: Option<&str>) -> Result<Self, ServiceError> {
        let shown = public_url(&endpoint.url);
        let options = PgConnectOptions::from_str(endpoint.url.expose_secret())
            .map_err(|error| failure(&shown, &error))?
            // Named prepared statements break on a transaction pooler (FAILURES c, txn-pooler-prepared).
            .statement_cache_capacity(0)
            .application_name("shakedown");
        let options = match password {
            Some(password) => options.password(password),
            None => options,
        };
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(ACQUIRE)
            .connect_with(options)
            .await
            .map_err(|error| failure(&shown, &error))?;
        Ok(Self { pool, endpoint: shown })
    }

    /// The rows of a SELECT as JSON objects.
    pub async fn rows(&self, query: &str) -> Result<Vec<Value>, ServiceError> {
        let wrapped = format!("select row_to_json(answer) from ({query}) as answer");
        let rows = sqlx::query(AssertSqlSafe(wrapped))
            .persistent(false)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| failure(&self.endpoint, &error))?;
        rows.iter().map(|row| row.try_get::<Value, _>(0).map_err(|error| failure(&self.endpoint, &error))).collect()
    }

    /// Runs statements that yield no rows; several may be separated by semicolons.
    pub async fn execute(&self, statements: &str) -> Result<(), ServiceError> {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&self.pool)
            .await
            .map(|_| ())
            .map_err(|error| failure(&self.endpoint, &error))
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn failure(endpoint: &str, error: &sqlx::Error) -> ServiceError {
    let service = "postgres";
    match error {
        sqlx::Error::Database(answer) => {
            let detail = answer.message().to_owned();
            match answer.code().as_deref() {
                Some("28P01" | "28000") => ServiceError::Unauthorised {
                    service,
                    endpoint: endpoint.to_owned(),
                    detail,
                    variable: "DATABASE_URL",
                },
                Some("42501") => ServiceError::Denied { service, detail },
                _ => ServiceError::Refused { service, detail },
            }
        }
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_) => {
            ServiceError::Unreachable { service, endpoint: endpoint.to_owned(), detail: error.to_string() }
        }
        // A configuration error may repeat the URL, and with it the password.
        sqlx::Error::Configuration(_) => {
            ServiceError::Refused { service, detail: "DATABASE_URL is no postgres:// URL".to_owned() }
        }
        other => ServiceError::Refused { service, detail: other.to_string() },
    }
}
