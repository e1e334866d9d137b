//! Fresh data for a scenario that has a throwaway stack to itself and a worker with fixed names: whatever the scenario
//! before left under those names, or beside them, must not be there any more.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use url::Url;

use super::error::StackError;
use super::names::{answer_within, connect, quote_identifier};
use crate::services::http_client;
use crate::settings::{Endpoints, PostgresEndpoint};

/// How long a service may take for one answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts to copy a database while a session that was just ended is still there.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// The endpoints of a stack with a database of their own, copied from the one of the stack.
///
/// # Errors
/// Postgres refuses the copy, or does not answer.
pub async fn with_fresh_database(endpoints: &Endpoints, database: &str) -> Result<Endpoints, StackError> {
    let fail = |reason| StackError::FreshData { service: "postgres", reason };
    let mut url =
        Url::parse(endpoints.postgres.url.expose_secret()).map_err(|_| fail("its URL is invalid".to_owned()))?;
    let template = url.path().trim_start_matches('/').to_owned();
    let mut connection = connect(&endpoints.postgres, TIMEOUT).await.map_err(fail)?;
    let (copy, original) = (quote_identifier(database), quote_identifier(&template));
    let others = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}' and pid <> pg_backend_pid()",
        template.replace('\'', "''")
    );
    let mut copied = Ok(());
    for _ in 0..ATTEMPTS {
        // A copy is refused while another session uses the original.
        copied = run(&mut connection, format!("create database {copy} template {original}")).await;
        if copied.is_ok() {
            break;
        }
        run(&mut connection, others.clone()).await.map_err(fail)?;
        tokio::time::sleep(PAUSE).await;
    }
    // The server closes its side anyway.
    let _ = answer(connection.close()).await;
    copied.map_err(fail)?;
    url.set_path(&format!("/{database}"));
    let postgres = PostgresEndpoint { url: SecretString::from(url.to_string()) };
    Ok(Endpoints { postgres, ..endpoints.clone() })
}

/// Removes all data of a throwaway stack: the database of [`with_fresh_database`], every key and every collection.
///
/// # Errors
/// One per service that failed; the data in the other services is removed all the same.
pub async fn remove_all_data(endpoints: &Endpoints, database: &str) -> Result<(), Vec<StackError>> {
    let (redis, qdrant, postgres) =
        tokio::join!(flush(endpoints), drop_collections(endpoints), drop_database(endpoints, database));
    let fail = |service| move |reason| StackError::FreshData { service, reason };
    let results = [redis.map_err(fail("redis")), qdrant.map_err(fail("qdrant")), postgres.map_err(fail("postgres"))];
    let errors: Vec<StackError> = results.into_iter().filter_map(Result::err).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

async fn flush(endpoints: &Endpoints) -> Result<(), String> {
    let client = redis::Client::open(endpoints.redis.url.expose_secret()).map_err(|error| error.to_string())?;
    let mut connection = answer(client.get_multiplexed_async_connection()).await?;
    answer(redis::cmd("FLUSHALL").query_async::<()>(&mut connection)).await
}

async fn drop_collections(endpoints: &Endpoints) -> Result<(), String> {
    let qdrant = &endpoints.qdrant;
    let client = http_client::client(TIMEOUT).map_err(|error| error.to_string())?;
    let key = |request: reqwest::RequestBuilder| match &qdrant.api_key {
        Some(key) => request.header("api-key", key.expose_secret()),
        None => request,
    };
    let listed = answer(key(client.get(format!("{}/collections", qdrant.url))).send()).await?;
    let listed: Value = answer(listed.json()).await?;
    for collection in listed["result"]["collections"].as_array().into_iter().flatten() {
        let Some(name) = collection["name"].as_str() else { continue };
        let status = answer(key(client.delete(format!("{}/collections/{name}", qdrant.url))).send()).await?.status();
        if !status.is_success() && status != reqwest::StatusCode::NOT_FOUND {
            return Err(format!("collection {name}: {status}"));
        }
    }
    Ok(())
}

async fn drop_database(endpoints: &Endpoints, database: &str) -> Result<(), String> {
    let mut connection = connect(&endpoints.postgres, TIMEOUT).await?;
    let dropped =
        run(&mut connection, format!("drop database if exists {} with (force)", quote_identifier(database))).await;
    // The server closes its side anyway.
    let _ = answer(connection.close()).await;
    dropped
}

async fn run(connection: &mut PgConnection, sql: String) -> Result<(), String> {
    answer(sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection)).await.map(drop)
}

/// The answer of a service, if it comes in time.
async fn answer<T, E: std::fmt::Display>(answer: impl IntoFuture<Output = Result<T, E>>) -> Result<T, String> {
    answer_within(TIMEOUT, answer, |error| error.to_string()).await
}
