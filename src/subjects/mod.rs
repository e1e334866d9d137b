//! What is judged, reached only as a process: the embedded Qdrant, the reference worker, set-up and ingest; and what is
//! done to a database on request.

pub mod database;
pub mod ingest;
pub mod peer;
pub mod provision;
#[cfg(feature = "embedded-qdrant")]
pub mod qdrant;
pub mod queue;
pub mod worker;
