//! Settings: the only reader of the environment and of `shakedown.toml`.

mod endpoint;
mod machine;

pub use endpoint::{
    Endpoints, JinaEndpoint, Names, PostgresEndpoint, QdrantEndpoint, RedisEndpoint, Variable, public_url,
};
pub use machine::{find_program, inherited, search_path, state_dir};
