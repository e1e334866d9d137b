//! Redis client: one managed connection that returns replies as JSON.

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, Value as Reply};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::ServiceError;
use crate::settings::{RedisEndpoint, public_url};

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);

/// A connection to Redis that reconnects by itself.
#[derive(Clone)]
pub struct Redis {
    manager: ConnectionManager,
    endpoint: String,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Redis {
    /// Connects with the endpoint's credentials.
    pub async fn connect(endpoint: &RedisEndpoint) -> Result<Self, ServiceError> {
        Self::open(&endpoint.url).await
    }

    /// Connects to the same server without credentials, to its first database: a refused SELECT would hide that the
    /// credentials are the reason.
    pub async fn connect_anonymously(endpoint: &RedisEndpoint) -> Result<Self, ServiceError> {
        let shown = public_url(&endpoint.url);
        let anonymous = Url::parse(&shown).map_or(shown, |mut url| {
            url.set_path("");
            url.to_string()
        });
        Self::open(&SecretString::from(anonymous)).await
    }

    async fn open(url: &SecretString) -> Result<Self, ServiceError> {
        let endpoint = public_url(url);
        let client = client(url).map_err(|error| failure(&endpoint, &error))?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        let manager =
            ConnectionManager::new_with_config(client, config).await.map_err(|error| failure(&endpoint, &error))?;
        Ok(Self { manager, endpoint })
    }

    /// Sends one command and returns its reply in the client library's type.
    pub async fn send(&self, command: &redis::Cmd) -> Result<Reply, ServiceError> {
        let mut manager = self.manager.clone();
        let reply = manager.send_packed_command(command).await.map_err(|error| failure(&self.endpoint, &error))?;
        // An error may also come as a reply.
        match reply {
            Reply::ServerError(error) => Err(failure(&self.endpoint, &error.into())),
            reply => Ok(reply),
        }
    }

    /// Sends a command given as words and returns its reply as JSON.
    pub async fn command<S: AsRef<str>>(&self, words: &[S]) -> Result<Value, ServiceError> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word.as_ref());
        }
        self.send(&command).await.map(|reply| json(&reply))
    }

    /// Sends a command and reads the reply as `T`.
    pub async fn get<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, ServiceError> {
        let reply = self.send(command).await?;
        T::from_redis_value(reply)
            .map_err(|error| ServiceError::Refused { service: "redis", detail: format!("unexpected reply: {error}") })
    }

    /// Sends several commands at once and reads their replies as `T`.
    pub async fn pipeline<T: redis::FromRedisValue>(&self, pipeline: &redis::Pipeline) -> Result<T, ServiceError> {
        let mut manager = self.manager.clone();
        pipeline.query_async(&mut manager).await.map_err(|error| failure(&self.endpoint, &error))
    }

    /// Sends several commands at once and returns each reply, including error replies.
    pub async fn all(&self, pipeline: &redis::Pipeline) -> Result<Vec<Reply>, ServiceError> {
        let mut manager = self.manager.clone();
        let count = pipeline.cmd_iter().count();
        manager.send_packed_commands(pipeline, 0, count).await.map_err(|error| failure(&self.endpoint, &error))
    }

    /// Queues commands in a transaction and discards it. The replies tell whether the user may run each command; none
    /// is run. `None` if the server does not queue commands.
    ///
    /// Uses a separate connection that never reconnects: on a new connection the commands would run at once.
    pub async fn queue_and_discard(
        endpoint: &RedisEndpoint,
        commands: redis::Pipeline,
    ) -> Result<Option<Vec<Reply>>, ServiceError> {
        let shown = public_url(&endpoint.url);
        let failed = |error: &RedisError| failure(&shown, error);
        let client = client(&endpoint.url).map_err(|error| failed(&error))?;
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(ANSWER));
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| failed(&error))?;
        let mut first = redis::pipe();
        first.cmd("MULTI").cmd("PING");
        let begun = connection.send_packed_commands(&first, 0, 2).await.map_err(|error| failed(&error))?;
        let is_status =
            |reply: Option<&Reply>, word: &str| matches!(reply, Some(Reply::SimpleString(text)) if text == word);
        if !matches!(begun.first(), Some(Reply::Okay)) || !is_status(begun.get(1), "QUEUED") {
            return Ok(None);
        }
        let count = commands.cmd_iter().count();
        let mut rest = commands;
        rest.cmd("DISCARD");
        let mut replies = connection.send_packed_commands(&rest, 0, count + 1).await.map_err(|error| failed(&error))?;
        replies.truncate(count);
        Ok(Some(replies))
    }

    /// The keys that match `pattern` among about `most` keys, by SCAN in steps of 1,000; and whether all keys were
    /// scanned.
    pub async fn scan_some(&self, pattern: &str, most: usize) -> Result<(Vec<String>, bool), ServiceError> {
        const STEP: usize = 1000;
        let mut keys = Vec::new();
        let mut cursor = 0_u64;
        for _ in 0..most.div_ceil(STEP) {
            let command = redis::cmd("SCAN").arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(STEP).to_owned();
            let (next, mut page): (u64, Vec<String>) = self.get(&command).await?;
            keys.append(&mut page);
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        keys.sort();
        keys.dedup();
        Ok((keys, cursor == 0))
    }

    /// Every key that matches `pattern`, by SCAN in steps of 500; KEYS would block the server.
    pub async fn scan(&self, pattern: &str) -> Result<Vec<String>, ServiceError> {
        let mut keys = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let command = redis::cmd("SCAN").arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(500).to_owned();
            let (next, mut page): (u64, Vec<String>) = self.get(&command).await?;
            keys.append(&mut page);
            if next == 0 {
                keys.sort();
                keys.dedup();
                return Ok(keys);
            }
            cursor = next;
        }
    }
}

/// A client that trusts the authorities of this machine, including those in `SSL_CERT_FILE`; if the machine has none,
/// those of browsers.
fn client(url: &SecretString) -> redis::RedisResult<Client> {
    let url = url.expose_secret();
    if !url.starts_with("rediss:") || TRUSTED.is_empty() {
        return Client::open(url);
    }
    let certificates = redis::TlsCertificates { client_tls: None, root_cert: Some(TRUSTED.clone().into_bytes()) };
    Client::build_with_tls(url, certificates)
}

/// The authorities that this machine trusts, in PEM. Invalid certificates are left out, because one would make the
/// client reject all.
///
/// Read once: there are hundreds, and every connection needs them.
static TRUSTED: LazyLock<String> = LazyLock::new(|| {
    let mut usable = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs().certs;
    let found = found.into_iter().filter(|certificate| usable.add(certificate.clone()).is_ok());
    found.fold(String::new(), |all, certificate| {
        let text = base64::engine::general_purpose::STANDARD.encode(&certificate);
        format!("{all}-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    })
});

fn failure(endpoint: &str, error: &RedisError) -> ServiceError {
    let detail = error.to_string();
    let service = "redis";
    match error.kind() {
        ErrorKind::AuthenticationFailed => unauthorised(endpoint, detail),
        _ => match error.code() {
            Some("NOAUTH" | "WRONGPASS") => unauthorised(endpoint, detail),
            Some("NOPERM") => ServiceError::Denied { service, detail },
            Some(_) => ServiceError::Refused { service, detail },
            None if error.is_io_error() || error.is_timeout() => ServiceError::no_answer(service, endpoint, detail),
            None => ServiceError::Refused { service, detail },
        },
    }
}

fn unauthorised(endpoint: &str, detail: String) -> ServiceError {
    ServiceError::Unauthorised { service: "redis", endpoint: endpoint.to_owned(), detail, variable: "REDIS_URL" }
}

/// A reply as JSON; invalid UTF-8 becomes text with replacement characters.
fn json(reply: &Reply) -> Value {
    match reply {
        Reply::Nil => Value::Null,
        Reply::Int(number) => Value::from(*number),
        Reply::Double(number) => Value::from(*number),
        Reply::Boolean(flag) => Value::from(*flag),
        Reply::Okay => Value::from("OK"),
        Reply::SimpleString(text) => Value::from(text.as_str()),
        Reply::BulkString(bytes) => Value::from(String::from_utf8_lossy(bytes)),
        Reply::VerbatimString { text, .. } => Value::from(text.as_str()),
        Reply::Array(items) | Reply::Set(items) => Value::Array(items.iter().map(json).collect()),
        Reply::Map(pairs) => pairs
            .iter()
            .map(|(key, value)| {
                (json(key).as_str().map_or_else(|| json(key).to_string(), ToOwned::to_owned), json(value))
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Reply::ServerError(error) => Value::from(error.to_string()),
        other => Value::from(format!("{other:?}")),
    }
}

/// The value of `field` in an INFO-like text, or in a flat list of names and values.
#[must_use]
pub fn field(reply: &Value, field: &str) -> Value {
    match reply {
        Value::String(text) => text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| *name == field)
            .map_or(Value::Null, |(_, value)| Value::from(value.trim())),
        Value::Array(items) => items
            .chunks_exact(2)
            .find(|pair| pair[0].as_str() == Some(field))
            .map_or(Value::Null, |pair| pair[1].clone()),
        Value::Object(table) => table.get(field).cloned().unwrap_or(Value::Null),
        _ => Value::Null,
    }
}
