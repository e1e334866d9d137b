//! What is judged, reached only as a process: the embedded Qdrant, the reference worker, set-up and ingest.

pub mod ingest;
#[cfg(feature = "embedded-qdrant")]
pub mod qdrant;
pub mod setup;
pub mod worker;
