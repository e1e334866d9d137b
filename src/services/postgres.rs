//! Postgres client: a small pool that returns rows as JSON.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use secrecy::ExposeSecret;
use serde_json::Value;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Either, Executor, PgConnection, Row, SqlSafeStr, Statement};

use super::ServiceError;
use crate::settings::{PostgresEndpoint, public_url};
use crate::spec::read_only::{SqlKind, check_sql};

/// The message for every invalid URL: the client library's message may repeat the password.
const UNREADABLE: &str = "DATABASE_URL is not a postgres:// URL, or its sslmode is not one of disable, allow, prefer, require, \
                          verify-ca and verify-full";

const ACQUIRE: Duration = Duration::from_secs(8);
/// Timeout of the extra connection that finds out why the pool could not connect.
const REASON: Duration = Duration::from_secs(2);

/// Gives a statement with the expression that its argument gives for each parameter, by number from 1.
pub type BoundSql<'a> = dyn Fn(&dyn Fn(usize) -> String) -> String + Sync + 'a;

/// A pool of at most four connections.
#[derive(Clone, Debug)]
pub struct Postgres {
    pool: PgPool,
    endpoint: String,
    /// A connection that is kept for the next read: returning it to the pool costs a round trip.
    kept: Option<Arc<Mutex<Option<PoolConnection<sqlx::Postgres>>>>>,
}

/// Why a pool could not connect in time. The pool retries after some errors, such as too many connections, and does not
/// report them.
async fn connect_error(options: &PgConnectOptions) -> sqlx::Error {
    match tokio::time::timeout(REASON, PgConnection::connect_with(options)).await {
        Ok(Err(error)) => error,
        Ok(Ok(connection)) => {
            // A connection that cannot be closed ends with the process.
            let _ = connection.close().await;
            sqlx::Error::PoolTimedOut
        }
        Err(_) => sqlx::Error::PoolTimedOut,
    }
}

impl Postgres {
    /// Connects with the endpoint's credentials and checks that they are accepted.
    pub async fn connect(endpoint: &PostgresEndpoint) -> Result<Self, ServiceError> {
        Self::open(endpoint, None, 4).await
    }

    /// Like [`Postgres::connect`], with a single connection. A larger pool would open a second connection while the
    /// first is still being returned, and fail on a server that has no connection left.
    pub async fn connect_alone(endpoint: &PostgresEndpoint) -> Result<Self, ServiceError> {
        Self::open(endpoint, None, 1).await
    }

    /// Like [`Postgres::connect`], with one connection that [`Postgres::read_all`] keeps, so that consecutive reads
    /// wait neither for a new connection nor for the old one to be returned.
    ///
    /// The session itself is not made read-only: that would hide whether the server makes its sessions read-only.
    pub async fn connect_to_read(endpoint: &PostgresEndpoint) -> Result<Self, ServiceError> {
        Ok(Self { kept: Some(Arc::default()), ..Self::open(endpoint, None, 2).await? })
    }

    /// Connects with a wrong password, to see how the server treats unauthorised clients.
    pub async fn connect_with_wrong_password(endpoint: &PostgresEndpoint) -> Result<Self, ServiceError> {
        Self::open(endpoint, Some("not-the-password"), 1).await
    }

    async fn open(endpoint: &PostgresEndpoint, password: Option<&str>, most: u32) -> Result<Self, ServiceError> {
        let shown = public_url(&endpoint.url);
        let options = options(endpoint).map_err(|error| failure(&shown, &error))?;
        let options = match password {
            Some(password) => options.password(password),
            None => options,
        };
        let pool = PgPoolOptions::new()
            .max_connections(most)
            .acquire_timeout(ACQUIRE)
            // The next query notices a dead connection; testing it first would cost a round trip.
            .test_before_acquire(false)
            .connect_with(options.clone())
            .await;
        let pool = match pool {
            Err(sqlx::Error::PoolTimedOut) => return Err(failure(&shown, &connect_error(&options).await)),
            opened => opened.map_err(|error| failure(&shown, &error))?,
        };
        Ok(Self { pool, endpoint: shown, kept: None })
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

    /// The rows of several SELECTs as JSON objects, from one read-only transaction. If one fails, each is sent
    /// separately. A query that is not known to only read is refused and not sent.
    ///
    /// All are subqueries of one statement, which is sent over the extended protocol: the server accepts one statement
    /// there, whatever the texts contain. The statement is unnamed, so that it works through a transaction pooler.
    pub async fn read_all(&self, queries: &[String]) -> Vec<Result<Vec<Value>, ServiceError>> {
        let checked: Vec<Result<(), ServiceError>> = queries.iter().map(|query| check_query(query)).collect();
        let permitted: Vec<String> =
            queries.iter().zip(&checked).filter(|(_, check)| check.is_ok()).map(|(query, _)| query.clone()).collect();
        let mut answers =
            if permitted.is_empty() { Vec::new() } else { self.read_permitted(&permitted).await }.into_iter();
        let no_answer =
            || Err(ServiceError::Refused { service: "postgres", detail: "the query was not sent".to_owned() });
        checked.into_iter().map(|check| check.and_then(|()| answers.next().unwrap_or_else(no_answer))).collect()
    }

    async fn read_permitted(&self, queries: &[String]) -> Vec<Result<Vec<Value>, ServiceError>> {
        match self.read_at_once(queries).await {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(error)
                if queries.len() == 1
                    || matches!(error, ServiceError::Unreachable { .. } | ServiceError::OwnLimit { .. }) =>
            {
                queries.iter().map(|_| Err(error.clone())).collect()
            }
            Err(_) => {
                let mut answers = Vec::with_capacity(queries.len());
                for query in queries {
                    let answer = self.read_at_once(std::slice::from_ref(query)).await;
                    answers.push(answer.map(|mut rows| rows.pop().unwrap_or_default()));
                }
                answers
            }
        }
    }

    async fn read_at_once(&self, queries: &[String]) -> Result<Vec<Vec<Value>>, ServiceError> {
        let failed = |error| failure(&self.endpoint, &error);
        let kept = self.kept.as_ref().and_then(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner).take());
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.pool.acquire().await.map_err(failed)?,
        };
        let asked = async {
            sqlx::raw_sql(READ_ONLY_TRANSACTION).execute(&mut *connection).await?;
            let row =
                sqlx::query(AssertSqlSafe(together(queries))).persistent(false).fetch_one(&mut *connection).await?;
            sqlx::raw_sql("rollback").execute(&mut *connection).await?;
            (0..queries.len()).map(|place| row.try_get::<Value, _>(place)).collect::<Result<Vec<_>, _>>()
        };
        let answers = match asked.await {
            Ok(answers) => answers,
            Err(error) => {
                // The transaction failed; a connection that cannot be rolled back is closed.
                if sqlx::raw_sql("rollback").execute(&mut *connection).await.is_err() {
                    let _ = connection.close().await;
                }
                return Err(failed(error));
            }
        };
        if let Some(kept) = &self.kept {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        }
        let rows = |answer| if let Value::Array(rows) = answer { rows } else { Vec::new() };
        Ok(answers.into_iter().map(rows).collect())
    }

    /// Runs statements that yield no rows; several may be separated by semicolons.
    pub async fn execute(&self, statements: &str) -> Result<(), ServiceError> {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&self.pool)
            .await
            .map(|_| ())
            .map_err(|error| failure(&self.endpoint, &error))
    }

    /// Runs one statement with values as parameters. `sql` gives the statement with an expression for each parameter, whose
    /// numbers begin at 1. The server says which type each parameter has, and each value is given as a text that it
    /// converts to that type: a UUID or a number needs no cast in the statement.
    pub async fn execute_bound(&self, sql: &BoundSql<'_>, values: &[String]) -> Result<(), ServiceError> {
        let failed = |error| failure(&self.endpoint, &error);
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        let statement = (&mut *connection)
            .prepare(AssertSqlSafe(sql(&|number| format!("${number}"))).into_sql_str())
            .await
            .map_err(failed)?;
        let types: Vec<String> = match statement.parameters() {
            Some(Either::Left(types)) => types.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        };
        let converted = |number: usize| match types.get(number - 1) {
            Some(name) => format!("${number}::text::{name}"),
            None => format!("${number}"),
        };
        let converting = sql(&converted);
        let query = sqlx::query(AssertSqlSafe(converting)).persistent(false);
        let query = values.iter().fold(query, sqlx::query::Query::bind);
        query.execute(&mut *connection).await.map(|_| ()).map_err(failed)
    }

    /// Whether a connection keeps its server process from one transaction to the next. A pooler in transaction mode
    /// assigns any free one.
    ///
    /// Several connections query their server process at the same time, in separate transactions. If two have the same
    /// process, or one has a different process than before, there is a pooler. Every second round uses one connection
    /// fewer: otherwise a pooler that assigns processes in turn could assign the same ones again.
    pub async fn keeps_session(endpoint: &PostgresEndpoint) -> Result<bool, ServiceError> {
        tokio::time::timeout(SESSION_CHECK, Self::has_stable_backends(endpoint)).await.unwrap_or_else(|_| {
            let detail =
                format!("{SESSIONS} connections could not be opened and queried within {} s", SESSION_CHECK.as_secs());
            Err(ServiceError::TimedOut { service: "postgres", detail })
        })
    }

    async fn has_stable_backends(endpoint: &PostgresEndpoint) -> Result<bool, ServiceError> {
        let shown = public_url(&endpoint.url);
        let failed = |error: sqlx::Error| failure(&shown, &error);
        let options = options(endpoint).map_err(failed)?;
        let connections = (0..SESSIONS).map(|_| PgConnection::connect_with(&options));
        let mut connections = try_join_all(connections).await.map_err(failed)?;
        let mut servers = [None; SESSIONS];
        let mut kept = true;
        for spared in [0, 1, 0] {
            let asked = connections.iter_mut().skip(spared).map(server_of);
            let now = try_join_all(asked).await.map_err(failed)?;
            for (before, now) in servers.iter_mut().skip(spared).zip(now) {
                kept &= before.replace(now).is_none_or(|before| before == now);
            }
            kept &= servers.iter().collect::<BTreeSet<_>>().len() == SESSIONS;
            if !kept {
                break;
            }
        }
        // A connection that cannot be closed ends with the process.
        let _ = try_join_all(connections.into_iter().map(PgConnection::close)).await;
        Ok(kept)
    }

    /// Closes every connection.
    pub async fn close(&self) {
        let kept = self.kept.as_ref().and_then(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(connection) = kept {
            // What cannot be closed is closed already.
            let _ = connection.close().await;
        }
        self.pool.close().await;
    }
}

impl Postgres {
    /// Terminates all other connections to the server.
    pub async fn end_others(&self) -> Result<(), ServiceError> {
        self.execute(END_OTHERS).await
    }

    /// Terminates all other connections to the server except `ours`.
    pub async fn end_others_but(&self, ours: &Connections) -> Result<(), ServiceError> {
        let ours: Vec<String> = ours.pids.iter().map(i32::to_string).collect();
        self.execute(&format!("{END_OTHERS} and not pid = any(array[{}]::int[])", ours.join(","))).await
    }
}

/// The parameter that makes the transactions of a session read-only.
pub(super) const READ_ONLY_SESSION: (&str, &str) = ("default_transaction_read_only", "on");

/// Begins a transaction that can only read, in which a backslash in a text is a backslash, as the parser reads it.
pub(super) const READ_ONLY_TRANSACTION: &str =
    "begin read only; set local statement_timeout = 8000; set local standard_conforming_strings = on";

/// Refuses a query that is not known to only read.
fn check_query(query: &str) -> Result<(), ServiceError> {
    let detail = match check_sql(query) {
        Ok(SqlKind::Query) => return Ok(()),
        Ok(SqlKind::Other) => "the query is not a SELECT".to_owned(),
        Err(reason) => reason.to_string(),
    };
    Err(ServiceError::Refused { service: "postgres", detail })
}

/// One statement that yields the rows of each query as a JSON array, in a column of its own.
fn together(queries: &[String]) -> String {
    let columns = queries.iter().map(|query| {
        let query = query.trim_end().trim_end_matches(';');
        // The query may end with a comment, which ends with the line.
        format!("(select coalesce(json_agg(row_to_json(shakedown_row)), '[]') from ({query}\n) as shakedown_row)")
    });
    format!("select {}", columns.collect::<Vec<_>>().join(", "))
}

/// The options in a URL, without a cache of prepared statements: named ones break on a transaction pooler. The client would resolve a bracketed IPv6 address as a name, so the brackets are removed;
/// `no-verify` of node-postgres is `require` elsewhere.
pub(super) fn options(endpoint: &PostgresEndpoint) -> Result<PgConnectOptions, sqlx::Error> {
    let url = endpoint.url.expose_secret().replace("sslmode=no-verify", "sslmode=require");
    let options = PgConnectOptions::from_str(&url)?.statement_cache_capacity(0);
    let name = options.get_application_name().unwrap_or("shakedown").to_owned();
    let options = options.application_name(&name);
    let address = options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']')).map(ToOwned::to_owned);
    Ok(match address {
        Some(address) => options.host(&address),
        None => options,
    })
}

/// Connections that check their server process at the same time.
const SESSIONS: usize = 5;
/// Timeout of the check: seven round trips, on any network.
const SESSION_CHECK: Duration = Duration::from_secs(5);

/// The server process of a connection at the moment.
async fn server_of(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let rows = sqlx::raw_sql("select pg_backend_pid()").fetch_all(connection).await?;
    rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get(0)
}

const END_OTHERS: &str = "select pg_terminate_backend(pid) from pg_stat_activity \
                          where backend_type = 'client backend' and pid <> pg_backend_pid()";

/// Connections that are held to exhaust `max_connections`; closed when dropped.
#[derive(Debug, Default)]
pub struct Connections {
    held: Vec<PgConnection>,
    pids: Vec<i32>,
}

impl Connections {
    /// Opens connections until Postgres refuses more.
    pub async fn take_all(endpoint: &PostgresEndpoint) -> Result<Self, ServiceError> {
        let mut connections = Self::default();
        connections.take_more(endpoint).await?;
        Ok(connections)
    }

    /// Takes connections that have become free since.
    pub async fn take_more(&mut self, endpoint: &PostgresEndpoint) -> Result<(), ServiceError> {
        let shown = public_url(&endpoint.url);
        let options = PgConnectOptions::from_str(endpoint.url.expose_secret())
            .map_err(|error| failure(&shown, &error))?
            .application_name("shakedown-crowd");
        let connect = async || {
            let mut connection = PgConnection::connect_with(&options).await?;
            let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await?;
            Ok((connection, pid))
        };
        let mut refused = 0;
        while self.held.len() < MOST_CONNECTIONS {
            let mut none_left = false;
            for connected in futures::future::join_all((0..AT_ONCE).map(|_| connect())).await {
                match connected {
                    Ok((connection, pid)) => {
                        self.pids.push(pid);
                        self.held.push(connection);
                    }
                    // too_many_connections: the limit is reached, as intended.
                    Err(sqlx::Error::Database(answer)) if answer.code().as_deref() == Some("53300") => none_left = true,
                    Err(error) => return Err(failure(&shown, &error)),
                }
            }
            if none_left {
                // A connection that was just terminated may still occupy its slot.
                refused += 1;
                if refused == REFUSED {
                    return Ok(());
                }
                tokio::time::sleep(SETTLES).await;
            }
        }
        Err(ServiceError::Refused {
            service: "postgres",
            detail: format!("it still accepts connections after {MOST_CONNECTIONS}: max_connections is higher"),
        })
    }

    /// Closes them all.
    pub async fn release(self) {
        futures::future::join_all(self.held.into_iter().map(PgConnection::close)).await;
    }
}

/// Connections that are opened at the same time.
const AT_ONCE: usize = 8;
/// Refusals, with a pause in between, after which no connection is considered left.
const REFUSED: u32 = 3;
const SETTLES: Duration = Duration::from_millis(30);
/// Most connections that are taken.
const MOST_CONNECTIONS: usize = 600;

pub(super) fn failure(endpoint: &str, error: &sqlx::Error) -> ServiceError {
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
                // query_canceled: by statement_timeout, ours or the role's.
                Some("57014") => ServiceError::TimedOut { service, detail },
                _ => ServiceError::Refused { service, detail },
            }
        }
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_) => {
            ServiceError::no_answer(service, endpoint, error.to_string())
        }
        // A configuration error may repeat the URL, and with it the password.
        sqlx::Error::Configuration(_) => ServiceError::Refused { service, detail: UNREADABLE.to_owned() },
        other => ServiceError::Refused { service, detail: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("postgres://u:p@[::1]:5433/d", "::1")]
    #[case("postgres://u:p@db.example.com/d?sslmode=no-verify", "db.example.com")]
    fn an_ipv6_address_is_not_a_name(#[case] url: &str, #[case] host: &str) {
        let endpoint = PostgresEndpoint { url: url.into() };
        assert_eq!(options(&endpoint).unwrap().get_host(), host);
    }
}
