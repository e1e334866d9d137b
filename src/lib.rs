//! Shakedown: integration-test harness and conformance suite for document-ingestion stacks.
//!
//! The rooms, from the top: a room may use anything below it, never above or beside.
//!
//! | room | what it does |
//! |---|---|
//! | [`cli`] | arguments, verbs, terminal progress; the only room that prints |
//! | [`serve`] | health, metrics and a status page of an environment, looked at on a schedule |
//! | [`testing`] | the harness in other people's `cargo test` |
//! | [`runner`] | plan and run cases: case × stack × worker → verdicts |
//! | [`telemetry`] | spans of what is done go to a collector |
//! | [`guide`] | the user guide and the failure catalogue (leaf) |
//! | [`report`] | render the result: terminal, JSON, JUnit, Markdown |
//! | [`project`] | reads the sources and manifests of a worker's project, for `shakedown init` (leaf) |
//! | [`probe`], [`scenario`] | observe a service; drive a worker and judge what it left behind |
//! | [`faults`] | what is broken on purpose: the proxy, and what it records |
//! | [`worker`] | start, signal and watch the process under test |
//! | [`stack`] | native processes, the Jina mock, clean-up |
//! | [`services`] | thin typed clients |
//! | [`settings`] | the only reader of the environment and of `shakedown.toml` |
//! | [`spec`], [`outcome`] | suites as typed cases; verdicts and evidence (leaves) |
//! | [`redaction`] | masks secrets, and makes foreign text printable (leaf) |
//! | [`operations`] | what a user does to a stack: set it up, migrate its database, inspect its queue, ingest documents |
//! | [`reference_worker`] | the ingestion worker that the suites run; it is started as a process |
//! | [`interop_peer`] | the Rust peer of the BullMQ interop suite; it is started as a process |
//!
//! The embedded Qdrant is the crate `shakedown-qdrant` in `src/qdrant`; only [`cli`] uses it.

pub mod cli;
pub mod faults;
pub mod guide;
pub mod interop_peer;
pub mod operations;
pub mod outcome;
pub mod probe;
pub mod project;
pub mod redaction;
pub mod reference_worker;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod serve;
pub mod services;
pub mod settings;
pub mod spec;
pub mod stack;
pub mod telemetry;
pub mod testing;
pub mod worker;
