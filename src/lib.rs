//! Shakedown: integration-test harness and conformance suite for document-ingestion stacks.
//!
//! The rooms, from the top: a room may use anything below it, never above or beside.
//!
//! | room | what it does |
//! |---|---|
//! | [`runner`] | plan and run cases: case × stack × worker → verdicts |
//! | [`probe`], [`scenario`] | observe a service; drive a worker and judge what it left behind |
//! | [`worker`] | start, signal and watch the process under test |
//! | [`stack`] | native processes, the Jina mock, clean-up |
//! | [`services`] | thin typed clients |
//! | [`settings`] | the only reader of the environment and of `shakedown.toml` |
//! | [`spec`], [`outcome`] | suites as typed cases; verdicts and evidence (leaves) |

pub mod outcome;
pub mod probe;
pub mod runner;
pub mod scenario;
pub mod services;
pub mod settings;
pub mod spec;
pub mod stack;
pub mod subjects;
pub mod worker;
