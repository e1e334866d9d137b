//! Whether a service is ready, asked by its own protocol, and what it says about itself.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Row};
use url::Url;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How to ask a service whether it is ready.
#[derive(Debug, Clone)]
pub(super) enum Readiness {
    /// `PING` with the URL's credentials.
    Redis { url: SecretString },
    /// When the server was started, asked with the URL's credentials.
    Postgres { url: SecretString },
    /// `/readyz`, a list of collections with the key, and a gRPC port that accepts connections.
    Qdrant { url: String, grpc_url: String, key: Option<SecretString> },
    /// The list of models with the key: the one request to an embeddings API that costs nothing.
    Jina { url: String, key: Option<SecretString> },
}

/// Which start of a service has answered: a server that is started, stopped and started again while its data is
/// prepared, as in every image of Postgres, is ready only once the last one answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StartId(String);

/// Answers in a row from one incarnation; three of them count as ready.
#[derive(Debug, Default)]
pub(super) struct ConsecutiveCount(Option<(StartId, u32)>);

impl ConsecutiveCount {
    /// How many answers in a row count as ready.
    const ENOUGH: u32 = 3;

    /// Takes note of an answer; tells whether the service is ready.
    pub(super) fn answered(&mut self, by: &StartId) -> bool {
        let count = match &self.0 {
            Some((before, count)) if before == by => count + 1,
            _ => 1,
        };
        self.0 = Some((by.clone(), count));
        count >= Self::ENOUGH
    }

    /// Takes note that there was none.
    pub(super) fn broken(&mut self) {
        self.0 = None;
    }
}

/// What a service says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Its version; empty when it does not say.
    pub(super) version: String,
    /// Parameters that matter for ingestion.
    pub(super) parameters: BTreeMap<String, String>,
}

impl Readiness {
    /// Whether there is anybody to ask.
    pub(super) fn has_address(&self) -> bool {
        match self {
            Self::Redis { url } | Self::Postgres { url } => !url.expose_secret().is_empty(),
            Self::Qdrant { url, .. } | Self::Jina { url, .. } => !url.is_empty(),
        }
    }

    /// Asks once who answers; the error says what was seen instead, without a secret.
    pub(super) async fn ask(&self) -> Result<StartId, String> {
        let question = async {
            match self {
                Self::Redis { url } => redis(url).await.map(|_| StartId::default()),
                Self::Postgres { url } => postgres(url).await.map(|(_, incarnation)| incarnation),
                Self::Qdrant { url, grpc_url, key } => {
                    qdrant(url, grpc_url, key.as_ref()).await.map(|()| StartId::default())
                }
                Self::Jina { url, key } => {
                    get(&client()?, &format!("{url}/models"), "authorization", bearer(key.as_ref()).as_ref())
                        .await
                        .map(|_| StartId::default())
                }
            }
        };
        tokio::time::timeout(PATIENCE, question)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
    }

    /// Asks for version and parameters.
    pub(super) async fn facts(&self) -> Result<Facts, String> {
        let question = async {
            match self {
                Self::Redis { url } => redis_facts(url).await,
                Self::Postgres { url } => postgres_facts(url).await,
                Self::Qdrant { url, .. } => {
                    let root: Value = get(&client()?, &format!("{url}/"), "api-key", None).await?;
                    let version = root["version"].as_str().unwrap_or_default().to_owned();
                    Ok(Facts { version, parameters: BTreeMap::new() })
                }
                Self::Jina { .. } => Ok(Facts::default()),
            }
        };
        tokio::time::timeout(PATIENCE, question)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
    }
}

async fn redis(url: &SecretString) -> Result<redis::aio::MultiplexedConnection, String> {
    let client = redis::Client::open(url.expose_secret()).map_err(|error| error.to_string())?;
    let mut connection = client.get_multiplexed_async_connection().await.map_err(|error| error.to_string())?;
    let answer: String = redis::cmd("PING").query_async(&mut connection).await.map_err(|error| error.to_string())?;
    if answer == "PONG" { Ok(connection) } else { Err(format!("PING was answered with {answer:?}")) }
}

async fn redis_facts(url: &SecretString) -> Result<Facts, String> {
    let mut connection = redis(url).await?;
    let info: String =
        redis::cmd("INFO").query_async(&mut connection).await.map_err(|error| format!("INFO: {error}"))?;
    let fields: BTreeMap<&str, &str> = info.lines().filter_map(|line| line.split_once(':')).collect();
    let field = |name: &str| fields.get(name).map(|value| (*value).trim().to_owned());
    let mut parameters = BTreeMap::new();
    for name in ["maxmemory_policy", "aof_enabled", "redis_mode"] {
        if let Some(value) = field(name) {
            parameters.insert(name.to_owned(), value);
        }
    }
    let version = field("valkey_version").or_else(|| field("redis_version")).unwrap_or_default();
    Ok(Facts { version, parameters })
}

async fn postgres(url: &SecretString) -> Result<(PgConnection, StartId), String> {
    let options: PgConnectOptions = url.expose_secret().parse().map_err(|error: sqlx::Error| error.to_string())?;
    let mut connection = options.disable_statement_logging().connect().await.map_err(|error| error.to_string())?;
    let started: String = sqlx::query_scalar("select pg_postmaster_start_time()::text")
        .fetch_one(&mut connection)
        .await
        .map_err(|error| error.to_string())?;
    Ok((connection, StartId(started)))
}

async fn postgres_facts(url: &SecretString) -> Result<Facts, String> {
    let (mut connection, _) = postgres(url).await?;
    let rows = sqlx::query(
        "select name, setting from pg_settings
         where name in ('server_version', 'max_connections', 'fsync', 'default_transaction_isolation')",
    )
    .fetch_all(&mut connection)
    .await
    .map_err(|error| error.to_string())?;
    let mut parameters: BTreeMap<String, String> =
        rows.iter().filter_map(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?))).collect();
    // The server closes its side in any case.
    let _ = connection.close().await;
    // Distributions append their own words: "15.18 (Debian 15.18-0+deb12u1)".
    let version = parameters.remove("server_version").unwrap_or_default();
    let version = version.split_whitespace().next().unwrap_or_default().to_owned();
    Ok(Facts { version, parameters })
}

async fn qdrant(url: &str, grpc_url: &str, key: Option<&SecretString>) -> Result<(), String> {
    let client = client()?;
    let ready = client.get(format!("{url}/readyz")).send().await.map_err(no_secret)?;
    if !ready.status().is_success() {
        return Err(format!("/readyz was answered with {}", ready.status()));
    }
    let collections = get(&client, &format!("{url}/collections"), "api-key", key).await?;
    if !collections["result"]["collections"].is_array() {
        return Err("/collections was answered with something else than a list".to_owned());
    }
    let grpc = Url::parse(grpc_url).map_err(|error| format!("gRPC URL: {error}"))?;
    let address = grpc.socket_addrs(|| Some(6334)).map_err(|error| format!("gRPC URL: {error}"))?;
    tokio::net::TcpStream::connect(address.as_slice()).await.map_err(|error| format!("gRPC port: {error}"))?;
    Ok(())
}

fn client() -> Result<reqwest::Client, String> {
    reqwest::Client::builder().timeout(PATIENCE).build().map_err(|error| error.to_string())
}

fn bearer(key: Option<&SecretString>) -> Option<SecretString> {
    key.map(|key| SecretString::from(format!("Bearer {}", key.expose_secret())))
}

async fn get(client: &reqwest::Client, url: &str, header: &str, key: Option<&SecretString>) -> Result<Value, String> {
    let mut request = client.get(url);
    if let Some(key) = key {
        request = request.header(header, key.expose_secret());
    }
    let response = request.send().await.map_err(no_secret)?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("{status}"));
    }
    response.json().await.map_err(no_secret)
}

/// What went wrong, down to its cause; the URL, which may carry credentials, is left out.
fn no_secret(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_was_started_again_has_to_answer_as_often_as_a_new_one() {
        let (first, second) = (|| StartId("10:00".to_owned()), || StartId("10:01".to_owned()));
        let mut consecutive = ConsecutiveCount::default();
        assert!(!consecutive.answered(&first()) && !consecutive.answered(&first()));
        assert!(!consecutive.answered(&second()) && !consecutive.answered(&second()));
        consecutive.broken();
        assert!(
            !consecutive.answered(&second()) && !consecutive.answered(&second()) && consecutive.answered(&second())
        );
    }
}
