//! The containers provider: Redis, Postgres and Qdrant, each in its own container, started in parallel.
//!
//! `testcontainers` and its modules create and start the containers ([`launch`]); everything after that goes directly
//! to the engine. The containers carry [`labels`], by which they are found again however the run ended.

pub(super) mod clean;
pub(super) mod engine;
mod image_set;
pub(super) mod images;
pub(super) mod labels;
mod launch;
mod plan;
pub(super) mod service;
pub(super) mod services;
pub(super) mod start;
pub(super) mod sweep;
mod warm;
