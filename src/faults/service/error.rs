//! Why a fault of a service could not be injected or reverted.

use crate::services::ServiceError;
use crate::stack::StackError;

/// Why a fault of a service could not be injected or reverted.
#[derive(Debug, thiserror::Error)]
pub enum ServiceFaultError {
    /// The service refused, or could not be reached.
    #[error("{what}: {source}")]
    Service {
        /// What was done.
        what: String,
        /// Why it did not work.
        source: ServiceError,
    },
    /// The provider could not do it.
    #[error("{what}: {source}")]
    Stack {
        /// What was done.
        what: String,
        /// Why it did not work.
        source: StackError,
    },
    /// The service accepted a command and did not follow it.
    #[error("{what}: {detail}")]
    Ineffective {
        /// What was done.
        what: String,
        /// What was seen instead.
        detail: String,
    },
}
