//! Settings: the only reader of the environment and of `shakedown.toml`.

mod endpoint;

pub use endpoint::{
    Endpoints, JinaEndpoint, Names, PostgresEndpoint, QdrantEndpoint, RedisEndpoint, Variable, public_url,
};
