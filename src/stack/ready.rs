//! Readiness probes in the protocol of each service, and the facts that a service reports about itself.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Row};
use url::Url;

use crate::services::http_client::{self, BodyError};
use crate::settings::public_url;

/// The timeout of one probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The readiness probe of a service.
#[derive(Debug, Clone)]
pub(super) enum Readiness {
    /// `PING` with the credentials of the URL.
    Redis { url: SecretString },
    /// A query for the start time of the server, with the credentials of the URL.
    Postgres { url: SecretString },
    /// `/readyz`, the list of collections with the key, and a gRPC port that accepts connections.
    Qdrant { url: String, grpc_url: String, key: Option<SecretString> },
    /// The list of models with the key: the only request to an embeddings API that is free of charge.
    Jina { url: String, key: Option<SecretString> },
}

/// Identifies one start of a service. Images of Postgres start the server, stop it and start it again while they
/// prepare its data; it is ready only when the last start answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StartId(String);

/// Counts consecutive answers from one start of a service. After three the service is ready.
#[derive(Debug, Default)]
pub(super) struct ConsecutiveCount(Option<(StartId, u32)>);

impl ConsecutiveCount {
    /// The number of consecutive answers that count as ready.
    const REQUIRED: u32 = 3;

    /// Records an answer; returns whether the service is ready.
    pub(super) fn record_answer(&mut self, by: &StartId) -> bool {
        let count = match &self.0 {
            Some((before, count)) if before == by => count + 1,
            _ => 1,
        };
        self.0 = Some((by.clone(), count));
        count >= Self::REQUIRED
    }

    /// Starts over after a probe without an answer.
    pub(super) fn reset(&mut self) {
        self.0 = None;
    }
}

/// What a service reports about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Its version; empty if it does not report one.
    pub(super) version: String,
    /// Parameters that matter for ingestion.
    pub(super) parameters: BTreeMap<String, String>,
}

impl Readiness {
    /// Whether the service has an address.
    pub(super) fn has_address(&self) -> bool {
        match self {
            Self::Redis { url } | Self::Postgres { url } => !url.expose_secret().is_empty(),
            Self::Qdrant { url, .. } | Self::Jina { url, .. } => !url.is_empty(),
        }
    }

    /// The address without credentials.
    pub(super) fn public_address(&self) -> String {
        match self {
            Self::Redis { url } | Self::Postgres { url } => public_url(url),
            Self::Qdrant { url, .. } | Self::Jina { url, .. } => public_url(&url.as_str().into()),
        }
    }

    /// Probes once; returns which start of the service answered. The error contains no secret.
    pub(super) async fn probe(&self) -> Result<StartId, String> {
        let probe = async {
            match self {
                Self::Redis { url } => redis(url).await.map(|_| StartId::default()),
                Self::Postgres { url } => postgres(url).await.map(|(_, start_id)| start_id),
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
        tokio::time::timeout(PROBE_TIMEOUT, probe)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())))
    }

    /// Queries version and parameters.
    pub(super) async fn facts(&self) -> Result<Facts, String> {
        let query = async {
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
        tokio::time::timeout(PROBE_TIMEOUT, query)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())))
    }
}

async fn redis(url: &SecretString) -> Result<redis::aio::MultiplexedConnection, String> {
    let client = redis::Client::open(url.expose_secret()).map_err(|error| error.to_string())?;
    let mut connection = client.get_multiplexed_async_connection().await.map_err(|error| error.to_string())?;
    let answer: String = redis::cmd("PING").query_async(&mut connection).await.map_err(|error| error.to_string())?;
    if answer == "PONG" { Ok(connection) } else { Err(format!("unexpected answer to PING: {answer:?}")) }
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
    // The server closes its side anyway.
    let _ = connection.close().await;
    // Distributions append a suffix: "15.18 (Debian 15.18-0+deb12u1)".
    let version = parameters.remove("server_version").unwrap_or_default();
    let version = version.split_whitespace().next().unwrap_or_default().to_owned();
    Ok(Facts { version, parameters })
}

async fn qdrant(url: &str, grpc_url: &str, key: Option<&SecretString>) -> Result<(), String> {
    let client = client()?;
    let ready = client.get(format!("{url}/readyz")).send().await.map_err(error_text)?;
    if !ready.status().is_success() {
        return Err(format!("/readyz answered {}", ready.status()));
    }
    let collections = get(&client, &format!("{url}/collections"), "api-key", key).await?;
    if !collections["result"]["collections"].is_array() {
        return Err("/collections did not answer with a list".to_owned());
    }
    let grpc = Url::parse(grpc_url).map_err(|error| format!("gRPC URL: {error}"))?;
    let address = grpc.socket_addrs(|| Some(6334)).map_err(|error| format!("gRPC URL: {error}"))?;
    tokio::net::TcpStream::connect(address.as_slice()).await.map_err(|error| format!("gRPC port: {error}"))?;
    Ok(())
}

fn client() -> Result<reqwest::Client, String> {
    http_client::client(PROBE_TIMEOUT).map_err(|error| error.to_string())
}

fn bearer(key: Option<&SecretString>) -> Option<SecretString> {
    key.map(|key| SecretString::from(format!("Bearer {}", key.expose_secret())))
}

async fn get(client: &reqwest::Client, url: &str, header: &str, key: Option<&SecretString>) -> Result<Value, String> {
    let mut request = client.get(url);
    if let Some(key) = key {
        request = request.header(header, key.expose_secret());
    }
    let response = request.send().await.map_err(error_text)?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("{status}"));
    }
    let body = http_client::read_body(response, http_client::MAX_BODY).await.map_err(|error| match error {
        BodyError::Network(error) => error_text(error),
        too_long @ BodyError::TooLong(_) => too_long.to_string(),
    })?;
    serde_json::from_slice(&body).map_err(|error| format!("the answer is not JSON: {error}"))
}

/// The error with its causes, without the URL, which may contain credentials.
fn error_text(error: reqwest::Error) -> String {
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
    fn a_restarted_server_needs_three_answers_again() {
        let (first, second) = (StartId("10:00".to_owned()), StartId("10:01".to_owned()));
        let mut consecutive = ConsecutiveCount::default();
        assert!(!consecutive.record_answer(&first) && !consecutive.record_answer(&first));
        assert!(!consecutive.record_answer(&second) && !consecutive.record_answer(&second));
        consecutive.reset();
        assert!(!consecutive.record_answer(&second) && !consecutive.record_answer(&second));
        assert!(consecutive.record_answer(&second));
    }
}
