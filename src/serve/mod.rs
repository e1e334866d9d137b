//! Health, metrics and status page of an environment: `shakedown serve`, and routes for your own service.
//!
//! Requests are answered from the results of the last checks and heartbeats; no request touches a service. A *check*
//! runs every selected case. A *heartbeat* asks one service, every two seconds, whether it answers.
//!
//! ```no_run
//! use std::sync::Arc;
//! use shakedown::runner::{EnvironmentCheck, Selection};
//! use shakedown::serve::{self, StatusStore, Intervals, Watch};
//! use shakedown::settings::{Settings, Source};
//! use shakedown::spec::{Suites, Verb};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = Settings::load(Source::process())?;
//! let selection = Selection::default().for_verb(Verb::Check).only_reading(true);
//! let check = EnvironmentCheck::new(settings, Suites::builtin()?, selection, ".".as_ref(), "shakedown".into())?;
//! let status_store = StatusStore::new(&check, Intervals::default());
//! let watch = Watch::start(Arc::new(check), status_store.clone(), None);
//!
//! let own = axum::Router::new().route("/", axum::routing::get(|| async { "my service" }));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! axum::serve(listener, own.merge(serve::health_routes(status_store))).await?;
//! drop(watch); // ends checks and heartbeats
//! # Ok(())
//! # }
//! ```

mod circuit;
mod health;
mod heartbeat;
mod history;
mod history_file;
mod hosts;
mod metrics;
pub mod monitoring;
mod page;
mod router;
mod server;
mod status;
mod status_store;
mod watch;

pub use circuit::CircuitState;
pub use heartbeat::Heartbeat;
pub use history::{BLOCK_MS, Block, History, Incident};
pub use history_file::{HistoryFile, HistoryFileError};
pub use hosts::Hosts;
pub(crate) use hosts::parse as parse_host;
pub use router::{Access, health_routes, routes, worker_routes};
pub use server::{ServerLimits, listen};
pub use status::Status;
pub use status_store::{Intervals, StatusStore};
pub use watch::Watch;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// A time as RFC 3339, to the second.
pub(crate) fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| String::new(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
