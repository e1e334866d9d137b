//! Where the services of a stack that we started are.

use secrecy::SecretString;

use super::ready::Readiness;
use crate::settings::{PostgresEndpoint, QdrantEndpoint, RedisEndpoint};

/// Where Redis, Postgres and Qdrant are.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    pub(super) redis: RedisEndpoint,
    pub(super) postgres: PostgresEndpoint,
    pub(super) qdrant: QdrantEndpoint,
}

impl Addresses {
    /// Taken from how the three are asked whether they are ready.
    pub(super) fn of(services: [&Readiness; 3]) -> Self {
        let nowhere = || SecretString::from(String::new());
        let mut addresses = Self {
            redis: RedisEndpoint { url: nowhere() },
            postgres: PostgresEndpoint { url: nowhere() },
            qdrant: QdrantEndpoint { url: String::new(), grpc_url: String::new(), api_key: None, vector: None },
        };
        for readiness in services {
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
