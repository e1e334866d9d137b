//! How a service can fail to answer; the same five ways for all of them.

/// Why there is no answer. Texts come from the service and never hold a credential of ours.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServiceError {
    /// Nothing answered at that address.
    #[error("{service} at {endpoint} is unreachable: {detail}; check that it runs and that the address is right")]
    Unreachable {
        /// `redis`, `postgres`, `qdrant`, `jina`.
        service: &'static str,
        /// Where, without credentials.
        endpoint: String,
        /// What the network said.
        detail: String,
    },
    /// It answered that the credentials are wrong or missing.
    #[error("{service} at {endpoint} refused the credentials: {detail}; check {variable}")]
    Unauthorised {
        /// The service.
        service: &'static str,
        /// Where, without credentials.
        endpoint: String,
        /// What it said.
        detail: String,
        /// The variable that holds the credentials.
        variable: &'static str,
    },
    /// The credentials are right, and may not do this.
    #[error("{service} denied permission: {detail}")]
    Denied {
        /// The service.
        service: &'static str,
        /// What it said.
        detail: String,
    },
    /// It began to answer, and gave up for want of time.
    #[error("{service} did not answer in time: {detail}")]
    TimedOut {
        /// The service.
        service: &'static str,
        /// What it said.
        detail: String,
    },
    /// It answered with an error.
    #[error("{service} answered with an error: {detail}")]
    Refused {
        /// The service.
        service: &'static str,
        /// What it said.
        detail: String,
    },
}
