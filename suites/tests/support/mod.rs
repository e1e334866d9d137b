//! What the test programs share.

pub mod certificates;
pub mod cli_sandbox;
pub mod client_packages;
pub mod fake_servers;
pub mod groups;
pub mod harness;
pub mod markdown;
pub mod pgbouncer;
pub mod recorder;
