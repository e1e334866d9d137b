//! The error of a request to a service, the same for all services.

/// Why a request failed. Details come from the service and never contain our credentials.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServiceError {
    /// Nothing responded at the address.
    #[error(
        "{service} at {endpoint} is unreachable: {detail}; check that it is running and that the address is correct"
    )]
    Unreachable {
        /// `redis`, `postgres`, `qdrant`, `jina`.
        service: &'static str,
        /// The address, without credentials.
        endpoint: String,
        /// The network error.
        detail: String,
    },
    /// The credentials are wrong or missing.
    #[error("{service} at {endpoint} refused the credentials: {detail}; check {variable}")]
    Unauthorised {
        /// The service.
        service: &'static str,
        /// The address, without credentials.
        endpoint: String,
        /// The message of the service.
        detail: String,
        /// The variable that holds the credentials.
        variable: &'static str,
    },
    /// The credentials are valid but lack the permission.
    #[error("{service} denied permission: {detail}")]
    Denied {
        /// The service.
        service: &'static str,
        /// The message of the service.
        detail: String,
    },
    /// The request timed out at the service.
    #[error("{service} did not answer in time: {detail}")]
    TimedOut {
        /// The service.
        service: &'static str,
        /// The message of the service.
        detail: String,
    },
    /// The service returned an error.
    #[error("{service} answered with an error: {detail}")]
    Refused {
        /// The service.
        service: &'static str,
        /// The message of the service.
        detail: String,
    },
}
