//! Stacks of local processes: how they start, break and end, their service faults, and the embedded Qdrant.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests ask services themselves")]
#![allow(dead_code, reason = "each test program uses a part of `support`")]

mod native;
#[cfg(feature = "embedded-qdrant")]
mod qdrant_clients;
#[cfg(feature = "embedded-qdrant")]
mod qdrant_durability;
mod refused_requests;
mod service_faults;
mod supabase_js;
#[path = "../support/mod.rs"]
mod support;
