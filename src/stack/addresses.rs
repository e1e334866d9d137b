//! The addresses of the services of a stack that we started.

use secrecy::SecretString;

use super::ready::Readiness;
use crate::settings::{PostgresEndpoint, QdrantEndpoint, RedisEndpoint};

/// The addresses of Redis, Postgres and Qdrant.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    pub(super) redis: RedisEndpoint,
    pub(super) postgres: PostgresEndpoint,
    pub(super) qdrant: QdrantEndpoint,
}

impl Addresses {
    /// The addresses that the three readiness probes use.
    pub(super) fn from_probes(probes: [&Readiness; 3]) -> Self {
        let empty = || SecretString::from(String::new());
        let mut addresses = Self {
            redis: RedisEndpoint { url: empty() },
            postgres: PostgresEndpoint { url: empty() },
            qdrant: QdrantEndpoint { url: String::new(), grpc_url: String::new(), api_key: None, vector: None },
        };
        for readiness in probes {
            match readiness {
                Readiness::Redis { url } => addresses.redis.url = url.clone(),
                Readiness::Postgres { url } => addresses.postgres.url = url.clone(),
                Readiness::Qdrant { url, grpc_url, key } => {
                    addresses.qdrant = QdrantEndpoint {
                        url: url.clone(),
                        grpc_url: grpc_url.clone(),
                        api_key: key.clone(),
                        vector: None,
                    };
                }
                Readiness::Jina { .. } => {}
            }
        }
        addresses
    }
}
