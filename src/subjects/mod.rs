//! What is judged, reached only as a process: the embedded Qdrant and the reference worker.

#[cfg(feature = "embedded-qdrant")]
pub mod qdrant;
