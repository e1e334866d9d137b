//! The operations that a user runs on a stack: set it up, migrate its database, inspect its queue, ingest documents.

pub mod database;
pub mod ingest;
pub mod provision;
pub mod queue;
