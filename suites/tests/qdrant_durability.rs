//! What the embedded Qdrant keeps when it is killed, when its files are damaged, and when the disk is full.
//!
//! `SHAKEDOWN_KILLS` says how many times the server is killed, `SHAKEDOWN_SEED` repeats a run.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "durability/damage.rs"]
mod damage;
#[path = "durability/kills.rs"]
mod kills;
#[path = "durability/model.rs"]
mod model;
#[path = "durability/room.rs"]
mod room;
#[path = "durability/server.rs"]
mod server;
