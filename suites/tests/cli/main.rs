//! What a user meets at the command line: errors, gates, reports, contracts, and what rests on files alone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests ask services themselves")]
#![allow(dead_code, reason = "each test program uses a part of `support`")]

mod browser;
mod browser_driver;
mod completions;
mod contract;
mod docs;
mod errors;
mod fixtures;
mod gate;
#[cfg(target_os = "linux")]
mod hostile_workers;
mod init;
#[cfg(feature = "defects")]
mod interop;
mod limits;
mod paths;
mod preflight;
mod redaction;
mod report;
mod rooms;
mod sources;
mod supabase_cli;
#[path = "../support/mod.rs"]
mod support;
