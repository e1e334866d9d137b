//! What is judged, reached only as a process: the embedded Qdrant, the reference worker, set-up and ingest.

pub mod ingest;
pub mod setup;
// pub mod worker;
