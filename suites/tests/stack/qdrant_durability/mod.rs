//! What the embedded Qdrant keeps when it is killed, when its files are damaged, and when the disk is full.
//!
//! `SHAKEDOWN_KILLS` says how many times the server is killed, `SHAKEDOWN_SEED` repeats a run.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod damage;
mod kills;
mod model;
mod room;
mod server;
