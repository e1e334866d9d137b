//! How each service is run as a local process.

use nix::sys::signal::Signal;
use secrecy::SecretString;

use crate::stack::process::Launch;
use crate::stack::ready::Readiness;
use crate::stack::service::Service;

/// How to run one service.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) service: Service,
    /// The program: `redis-server`, `embedded qdrant`, …
    pub(super) kind: String,
    pub(super) launch: Launch,
    pub(super) readiness: Readiness,
    /// The signal for an orderly shutdown that saves all data.
    pub(super) stop_signal: Signal,
}

/// The base environment of every service, without any setting of the user.
pub(in crate::stack) fn launch_environment() -> Vec<(String, SecretString)> {
    [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LC_ALL", "C"), ("TZ", "UTC")]
        .map(|(name, value)| (name.to_owned(), SecretString::from(value)))
        .to_vec()
}
