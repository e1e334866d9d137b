//! The endpoints of a stack: URLs, credentials and names. Secrets stay in `secrecy` types.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::redaction::{self, public_address};

/// A Redis server and the queue on it.
#[derive(Debug, Clone)]
pub struct RedisEndpoint {
    /// `redis://[user]:password@host:port/db`; a secret because it holds the password.
    pub url: SecretString,
}

/// A Postgres server or pooler.
#[derive(Debug, Clone)]
pub struct PostgresEndpoint {
    /// `postgres://user:password@host:port/database`; a secret because it holds the password.
    pub url: SecretString,
}

impl PostgresEndpoint {
    /// The same server, with this `application_name` for all sessions of ours, by which they are found in
    /// `pg_stat_activity`.
    #[must_use]
    pub fn with_session_name(&self, name: &str) -> Self {
        let Ok(mut url) = Url::parse(self.url.expose_secret()) else { return self.clone() };
        // Of two, the last one counts.
        url.query_pairs_mut().append_pair("application_name", name);
        Self { url: SecretString::from(url.to_string()) }
    }
}

/// A Qdrant server.
#[derive(Debug, Clone)]
pub struct QdrantEndpoint {
    /// Base URL of the REST API, such as `http://127.0.0.1:6333`, without a trailing slash.
    pub url: String,
    /// Base URL of the gRPC API, such as `http://127.0.0.1:6334`.
    pub grpc_url: String,
    /// API key, if the server requires one.
    pub api_key: Option<SecretString>,
    /// Name of the collection's vector; `None` for the unnamed vector.
    pub vector: Option<String>,
}

/// An embeddings API that is compatible with Jina's.
#[derive(Debug, Clone)]
pub struct JinaEndpoint {
    /// Base URL with version, such as `https://api.jina.ai/v1`; requests go to `{base_url}/embeddings`.
    pub base_url: String,
    /// API key, sent as `Authorization: Bearer`.
    pub api_key: Option<SecretString>,
    /// Model, such as `jina-embeddings-v3`.
    pub model: String,
    /// Requested vector size.
    pub dimensions: u32,
}

/// The REST API of a Supabase project, for workers that use supabase-js.
#[derive(Debug, Clone)]
pub struct SupabaseEndpoint {
    /// The URL of the project; tables are at `{url}/rest/v1/{table}`.
    pub url: String,
    /// The key of the role `anon`.
    pub anon_key: SecretString,
    /// The key of the role `service_role`.
    pub service_key: SecretString,
}

impl SupabaseEndpoint {
    /// The value of a placeholder such as `supabase.url`.
    #[must_use]
    pub fn place(&self, place: &str) -> Option<String> {
        match place {
            "supabase.url" => Some(self.url.clone()),
            "supabase.anon_key" => Some(self.anon_key.expose_secret().to_owned()),
            "supabase.service_key" => Some(self.service_key.expose_secret().to_owned()),
            _ => None,
        }
    }
}

/// The names under which a worker stores its data. Each case has its own, so that cases do not share data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Names {
    /// BullMQ queue name.
    pub queue: String,
    /// BullMQ key prefix.
    pub prefix: String,
    /// Qdrant collection.
    pub collection: String,
    /// Postgres table of documents, `schema.table`.
    pub table: String,
}

impl Names {
    /// The schema of the table.
    #[must_use]
    pub fn schema(&self) -> &str {
        self.table.split_once('.').map_or("public", |(schema, _)| schema)
    }
}

/// The endpoints of a stack, for a worker and for probes.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// Redis.
    pub redis: RedisEndpoint,
    /// Postgres.
    pub postgres: PostgresEndpoint,
    /// Qdrant.
    pub qdrant: QdrantEndpoint,
    /// Jina or its mock.
    pub jina: JinaEndpoint,
    /// Queue, collection and table.
    pub names: Names,
}

/// An environment variable for a process.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Environment variable name, from [`crate::settings::TABLE`].
    pub name: &'static str,
    /// Its value.
    pub value: SecretString,
    /// Whether reports mask it.
    pub secret: bool,
}

impl Endpoints {
    /// The names of the variables that [`Endpoints::environment`] may return.
    pub const VARIABLES: &[&str] = &[
        "REDIS_URL",
        "DATABASE_URL",
        "DOCUMENTS_TABLE",
        "QDRANT_URL",
        "QDRANT_GRPC_URL",
        "QDRANT_API_KEY",
        "QDRANT_COLLECTION",
        "QDRANT_VECTOR",
        "JINA_BASE_URL",
        "JINA_API_KEY",
        "JINA_MODEL",
        "EMBEDDING_DIMENSIONS",
        "QUEUE_NAME",
        "QUEUE_PREFIX",
    ];

    /// The environment a worker needs to reach this stack.
    #[must_use]
    pub fn environment(&self) -> Vec<Variable> {
        let plain = |name, value: &str| Variable { name, value: SecretString::from(value), secret: false };
        let secret = |name, value: &SecretString| Variable { name, value: value.clone(), secret: true };
        let mut variables = vec![
            secret("REDIS_URL", &self.redis.url),
            secret("DATABASE_URL", &self.postgres.url),
            plain("QDRANT_URL", &self.qdrant.url),
            plain("QDRANT_GRPC_URL", &self.qdrant.grpc_url),
            plain("QDRANT_COLLECTION", &self.names.collection),
            plain("JINA_BASE_URL", &self.jina.base_url),
            plain("JINA_MODEL", &self.jina.model),
            plain("EMBEDDING_DIMENSIONS", &self.jina.dimensions.to_string()),
            plain("QUEUE_NAME", &self.names.queue),
            plain("QUEUE_PREFIX", &self.names.prefix),
            plain("DOCUMENTS_TABLE", &self.names.table),
        ];
        if let Some(key) = &self.qdrant.api_key {
            variables.push(secret("QDRANT_API_KEY", key));
        }
        if let Some(vector) = &self.qdrant.vector {
            variables.push(plain("QDRANT_VECTOR", vector));
        }
        if let Some(key) = &self.jina.api_key {
            variables.push(secret("JINA_API_KEY", key));
        }
        variables
    }
}

impl Endpoints {
    /// The value of a placeholder such as `redis.host`; `None` for one that is not of an endpoint, such as `env.NAME`.
    ///
    /// A missing part of a URL has the value that clients use instead: the default port, database `0`. A missing key is
    /// empty, so that the worker's variable still exists.
    #[must_use]
    pub fn place(&self, place: &str) -> Option<String> {
        let secret = |value: &SecretString| value.expose_secret().to_owned();
        let key = |value: &Option<SecretString>| value.as_ref().map_or_else(String::new, secret);
        let part = |url: &str, default_port: u16, part: &str| {
            let url = Url::parse(url).ok()?;
            let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
            Some(match part {
                "host" => url.host_str()?.to_owned(),
                "scheme" => url.scheme().to_owned(),
                "port" | "grpc_port" => url.port_or_known_default().unwrap_or(default_port).to_string(),
                "user" => decoded(url.username()),
                "password" => decoded(url.password().unwrap_or_default()),
                "database" => decoded(url.path().trim_start_matches('/')),
                "db" => Some(url.path().trim_start_matches('/')).filter(|db| !db.is_empty()).unwrap_or("0").to_owned(),
                _ => return None,
            })
        };
        let (service, what) = place.split_once('.')?;
        match (service, what) {
            ("redis", "url") => Some(secret(&self.redis.url)),
            ("redis", what) => part(self.redis.url.expose_secret(), 6379, what),
            ("postgres", "url") => Some(secret(&self.postgres.url)),
            ("postgres", "table") => Some(self.names.table.clone()),
            ("postgres", "schema") => Some(self.names.schema().to_owned()),
            ("postgres", what) => part(self.postgres.url.expose_secret(), 5432, what),
            ("qdrant", "url") => Some(self.qdrant.url.clone()),
            ("qdrant", "grpc_url") => Some(self.qdrant.grpc_url.clone()),
            ("qdrant", "key") => Some(key(&self.qdrant.api_key)),
            ("qdrant", "collection") => Some(self.names.collection.clone()),
            // The rest of a JSON pointer (RFC 6901): empty for the unnamed vector.
            ("qdrant", "vector_path") => Some(
                self.qdrant
                    .vector
                    .as_ref()
                    .map_or_else(String::new, |vector| format!("/{}", vector.replace('~', "~0").replace('/', "~1"))),
            ),
            ("qdrant", "grpc_port") => part(&self.qdrant.grpc_url, 6334, what),
            ("qdrant", what) => part(&self.qdrant.url, 6333, what),
            ("jina", "url") => Some(self.jina.base_url.clone()),
            ("jina", "key") => Some(key(&self.jina.api_key)),
            ("jina", "model") => Some(self.jina.model.clone()),
            ("jina", "dimensions") => Some(self.jina.dimensions.to_string()),
            ("queue", "name") => Some(self.names.queue.clone()),
            ("queue", "prefix") => Some(self.names.prefix.clone()),
            _ => None,
        }
    }
}

impl Endpoints {
    /// Lets the redactor of the process know the secrets of these endpoints.
    pub fn learn(&self) {
        let variables = self.environment();
        let named = |secret: bool| {
            let chosen = variables.iter().filter(move |variable| variable.secret == secret);
            chosen.map(|variable| (variable.name, &variable.value))
        };
        redaction::learn(named(true));
        // The other addresses may hold a password too.
        redaction::learn_environment(named(false));
    }
}

/// The address `url` for logs and reports: see [`public_address`].
#[must_use]
pub fn public_url(url: &SecretString) -> String {
    public_address(url.expose_secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_sessions_is_added_to_the_url_and_not_shown() {
        let url = "postgres://user:p%40ss@host:5432/db?sslmode=require&application_name=mine";
        let endpoint = PostgresEndpoint { url: SecretString::from(url) };
        let named = endpoint.with_session_name("sd_run");
        assert_eq!(named.url.expose_secret(), &format!("{url}&application_name=sd_run"));
        assert_eq!(public_url(&named.url), public_url(&endpoint.url));
        let odd = PostgresEndpoint { url: SecretString::from("not a url") };
        assert_eq!(odd.with_session_name("sd_run").url.expose_secret(), "not a url");
    }
}
