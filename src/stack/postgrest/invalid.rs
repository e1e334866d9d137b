//! Requests that cannot be served.

/// Why a request cannot be served, in PostgREST's words where it has some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Invalid(pub(super) String);
