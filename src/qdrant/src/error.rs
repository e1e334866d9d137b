//! The error type of both protocols, with the table of its status codes.

use axum::http::StatusCode;
use qdrant_edge::OperationError;
use tonic::Code;

/// Prefix of a serde error for a request that is not implemented.
pub(super) const UNIMPLEMENTED: &str = "not implemented: ";

/// Part of serde's error for a body that is nested too deeply.
const RECURSION: &str = "recursion limit exceeded";

/// Why a request was rejected. Clients read the text, which follows Qdrant's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request is well-formed, but its values do not fit the collection.
    #[error("Wrong input: {0}")]
    BadInput(String),
    /// The request is not allowed, e.g. by strict mode.
    #[error("Bad request: {0}")]
    BadRequest(String),
    /// The body, path or query string could not be read.
    #[error("{0}")]
    Format(String),
    /// The body was read, but one of its values is out of range.
    #[error("{0}")]
    Invalid(String),
    /// The name is taken.
    #[error("Wrong input: {0}")]
    AlreadyExists(String),
    /// There is no such collection or point.
    #[error("Not found: {0}")]
    NotFound(String),
    /// The key is read-only, or the file must not be used.
    #[error("Forbidden: {0}")]
    Forbidden(String),
    /// The operation needs a cluster.
    #[error("Qdrant is running in standalone mode")]
    Standalone,
    /// The embedded server does not offer this operation.
    #[error("not implemented by the embedded Qdrant: {0}; use a Qdrant server for it")]
    Unimplemented(String),
    /// The request exceeded its timeout.
    #[error("Timeout: Timeout error: Operation '{0}' timed out after {1:?}")]
    Timeout(&'static str, std::time::Duration),
    /// There were too many requests. Retry after this time; `None` if the request can never be allowed.
    #[error("Rate limiting exceeded: {0}")]
    RateLimited(String, Option<std::time::Duration>),
    /// The engine or the disk failed.
    #[error("Service internal error: {0}")]
    Internal(String),
    /// The server is stopping, or the collection is being deleted.
    #[error("Service internal error: {0}")]
    Unavailable(String),
}

impl Error {
    /// HTTP status and gRPC code of the error: the only such table.
    #[must_use]
    pub fn codes(&self) -> (StatusCode, Code) {
        match self {
            Self::BadInput(_) | Self::BadRequest(_) | Self::Format(_) => {
                (StatusCode::BAD_REQUEST, Code::InvalidArgument)
            }
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, Code::InvalidArgument),
            Self::AlreadyExists(_) => (StatusCode::CONFLICT, Code::AlreadyExists),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, Code::NotFound),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, Code::PermissionDenied),
            Self::Standalone => (StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented),
            Self::Unimplemented(_) => (StatusCode::NOT_IMPLEMENTED, Code::Unimplemented),
            Self::RateLimited(..) => (StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted),
            Self::Timeout(..) => (StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
        }
    }

    /// Whole seconds until the request may be retried, rounded up so that no client retries too early.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited(_, Some(after)) => Some(after.as_secs() + u64::from(after.subsec_nanos() > 0)),
            _ => None,
        }
    }

    /// The error for a body that serde cannot read. A valid body that this server does not support fails while it is
    /// read, and is recognised by [`UNIMPLEMENTED`].
    #[must_use]
    pub(super) fn unreadable(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        if let Some((_, what)) = text.split_once(UNIMPLEMENTED) {
            return Self::Unimplemented(what.split(" at line ").next().unwrap_or(what).to_owned());
        }
        let limit = if text.contains(RECURSION) { "; at most 127 levels of JSON are allowed" } else { "" };
        Self::Format(format!("Format error in JSON body: {text}{limit}"))
    }

    /// The error for a collection that does not exist.
    #[must_use]
    pub fn no_collection(name: &str) -> Self {
        Self::NotFound(format!("Collection `{name}` doesn't exist!"))
    }

    /// The error for a vector name that the collection does not have.
    #[must_use]
    pub fn no_vector(name: &str) -> Self {
        Self::BadInput(format!("Not existing vector name error: {name}"))
    }

    /// The error for a vector of the wrong size; `name` is empty for the unnamed vector.
    #[must_use]
    pub fn dimension(expected: usize, got: usize, name: &str) -> Self {
        let place = if name.is_empty() { String::new() } else { format!(" for vector '{name}'") };
        Self::BadInput(format!("Vector dimension error: expected dim: {expected}, got {got}{place}"))
    }
}

impl From<OperationError> for Error {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::PointIdError { missed_point_id } => {
                Self::NotFound(format!("No point with id {missed_point_id} found"))
            }
            OperationError::WrongVectorDimension { .. }
            | OperationError::VectorNameNotExists { .. }
            | OperationError::TypeError { .. }
            | OperationError::TypeInferenceError { .. }
            | OperationError::ValidationError { .. }
            | OperationError::MissingRangeIndexForOrderBy { .. }
            | OperationError::MissingMapIndexForFacet { .. }
            | OperationError::VariableTypeError { .. }
            | OperationError::NonFiniteNumber { .. } => Self::BadInput(error.to_string()),
            OperationError::WrongSparse => {
                Self::BadInput("Conversion between sparse and regular vectors failed".to_owned())
            }
            OperationError::WrongMulti => {
                Self::BadInput("Conversion between multi and regular vectors failed".to_owned())
            }
            OperationError::ServiceError { description, .. } => Self::Internal(description),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        let mut status = Self::new(error.codes().1, error.to_string());
        if let Some(seconds) = error.retry_after() {
            status.metadata_mut().insert("retry-after", seconds.into());
        }
        status
    }
}

/// Why the server could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The storage directory is unusable; the text names it and the remedy.
    #[error("storage directory {path}: {reason}; {remedy}")]
    Storage {
        /// The directory, as given.
        path: String,
        /// The problem.
        reason: String,
        /// The remedy.
        remedy: &'static str,
    },
    /// A TLS file is unusable; the text names it and the remedy.
    #[error("TLS file {path}: {reason}; {remedy}")]
    Tls {
        /// The file, as given.
        path: String,
        /// The problem.
        reason: String,
        /// The remedy.
        remedy: &'static str,
    },
    /// A port cannot be bound.
    #[error("cannot listen on {address}: {source}; choose another port, or 0 for a free one")]
    Bind {
        /// The requested address.
        address: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The server's threads cannot be started, or one of them failed.
    #[error("the server's threads failed: {reason}; check the limit on processes (`ulimit -u`)")]
    Threads {
        /// The error.
        reason: String,
    },
    /// A listener failed while serving.
    #[error("the {protocol} server failed: {reason}")]
    Serve {
        /// `REST` or `gRPC`.
        protocol: &'static str,
        /// The error.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wrong_size_reads_as_qdrant_says_it() {
        let error = Error::dimension(1024, 768, "");
        assert_eq!(error.to_string(), "Wrong input: Vector dimension error: expected dim: 1024, got 768");
        assert_eq!(error.codes(), (StatusCode::BAD_REQUEST, Code::InvalidArgument));
    }

    #[test]
    fn a_missing_point_is_not_found() {
        let error = Error::from(OperationError::PointIdError { missed_point_id: 7.into() });
        assert_eq!(error.to_string(), "Not found: No point with id 7 found");
    }
}
