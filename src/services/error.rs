//! The error of a request to a service, the same for all services.

use nix::errno::Errno;

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
    /// A limit of this process prevented the request, so it says nothing about the service.
    #[error("{service} was not asked: {detail}; raise the limit of open files with ulimit -n")]
    OwnLimit {
        /// The service.
        service: &'static str,
        /// The error of the operating system.
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

impl ServiceError {
    /// The error of a request that got no answer: the service is unreachable, unless this process or this machine has no
    /// file descriptors left.
    #[must_use]
    pub fn no_answer(service: &'static str, endpoint: &str, detail: String) -> Self {
        if is_out_of_descriptors(&detail) {
            return Self::OwnLimit { service, detail };
        }
        Self::Unreachable { service, endpoint: endpoint.to_owned(), detail }
    }
}

/// Whether an error text is that of a missing file descriptor. Clients of services pass the error on as text only; every
/// error of the operating system ends with its number.
fn is_out_of_descriptors(detail: &str) -> bool {
    [Errno::EMFILE, Errno::ENFILE].iter().any(|errno| detail.contains(&format!("(os error {})", *errno as i32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_descriptor_is_no_outage_of_the_service() {
        let error = |errno: Errno| {
            let cause = std::io::Error::from_raw_os_error(errno as i32);
            ServiceError::no_answer("redis", "redis://127.0.0.1:1", format!("error in the connection: {cause}"))
        };
        for own in [Errno::EMFILE, Errno::ENFILE] {
            assert!(matches!(error(own), ServiceError::OwnLimit { .. }), "{own}");
        }
        assert!(error(Errno::EMFILE).to_string().starts_with("redis was not asked: "), "{}", error(Errno::EMFILE));
        assert!(matches!(error(Errno::ECONNREFUSED), ServiceError::Unreachable { .. }));
    }
}
