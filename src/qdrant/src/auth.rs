//! API keys, checked the same way for REST and gRPC, and what a read-only key may do.

use axum::http::Method;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::error::Error;

/// The answer to a request without a key.
pub(super) const NO_KEY: &str = "Must provide an API key or an Authorization bearer token";
/// The answer to a request with a wrong key.
pub(super) const WRONG_KEY: &str = "Invalid API key or JWT";

/// The access that a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everything.
    Full,
    /// Reads only.
    Read,
}

impl Access {
    /// Allows a request that only reads (`reads`), or one with full access.
    ///
    /// # Errors
    /// The request writes and its key is read-only.
    pub(super) fn check(self, reads: bool) -> Result<(), Error> {
        if reads || self == Self::Full {
            return Ok(());
        }
        Err(Error::Forbidden("Global manage access is required".to_owned()))
    }
}

/// The keys that requests must carry, if any. Only their digests are kept.
#[derive(Clone, Copy, Default)]
pub(super) struct Auth {
    full: Option<[u8; 32]>,
    read: Option<[u8; 32]>,
}

impl Auth {
    /// Requires `full` or, for reading, `read`; an empty key counts as no key, as in Qdrant.
    #[must_use]
    pub(super) fn new(full: Option<&SecretString>, read: Option<&SecretString>) -> Self {
        let stored =
            |key: Option<&SecretString>| key.map(ExposeSecret::expose_secret).filter(|key| !key.is_empty()).map(digest);
        Self { full: stored(full), read: stored(read) }
    }

    /// Whether requests must carry a key.
    #[must_use]
    pub(super) fn is_required(&self) -> bool {
        self.full.is_some() || self.read.is_some()
    }

    /// Checks the headers `api-key` and `authorization: Bearer …` of a request.
    ///
    /// # Errors
    /// The text for the 401 answer.
    pub(super) fn check<'a>(&self, header: impl Fn(&str) -> Option<&'a str>) -> Result<Access, &'static str> {
        if !self.is_required() {
            return Ok(Access::Full);
        }
        let given = header("api-key")
            .or_else(|| header("authorization").and_then(|value| value.strip_prefix("Bearer ")))
            .ok_or(NO_KEY)?;
        // Compares digests, so that the time taken reveals nothing about the key.
        let given = Some(digest(given));
        if given == self.full {
            Ok(Access::Full)
        } else if given == self.read {
            Ok(Access::Read)
        } else {
            Err(WRONG_KEY)
        }
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Paths with GET that the real server reserves for manage access.
const MANAGING: [&str; 4] = ["stacktrace", "profiler", "debugger", "audit"];
/// Endings of `/collections/{name}/points/…` that only read although they are POST.
const READING: [&str; 6] = ["scroll", "count", "search", "query", "recommend", "discover"];

/// Whether a REST request only reads.
pub(super) fn reads_rest(method: &Method, path: &str) -> bool {
    let mut parts = path.trim_matches('/').split('/');
    let first = parts.next().unwrap_or_default();
    match *method {
        Method::GET | Method::HEAD => {
            // Streaming a shard's snapshot counts as writing; listing and fetching snapshots does not.
            let streams = path.contains("/shards/") && path.ends_with("/snapshot");
            !streams && !MANAGING.contains(&first)
        }
        Method::POST if first == "collections" => match (parts.nth(1), parts.next()) {
            (Some("points"), what) => what.is_none_or(|what| READING.contains(&what)),
            (Some("facet"), None) => true,
            _ => false,
        },
        _ => false,
    }
}

/// Whether a gRPC request only reads; `path` is `/package.Service/Method`.
pub(super) fn reads_grpc(path: &str) -> bool {
    let Some((service, method)) = path.trim_start_matches('/').split_once('/') else { return false };
    match service.strip_prefix("qdrant.") {
        Some("Points") => ["Get", "Scroll", "Count", "Search", "Query", "Recommend", "Discover", "Facet"]
            .iter()
            .any(|prefix| method.starts_with(prefix)),
        Some("Collections") => {
            ["Get", "List", "CollectionExists", "CollectionClusterInfo"].iter().any(|prefix| method.starts_with(prefix))
        }
        Some("Snapshots") => method.starts_with("List"),
        Some("Qdrant") => true,
        Some(_) => false,
        None => service.starts_with("grpc."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &'static str, value: &'static str) -> impl Fn(&str) -> Option<&'static str> {
        move |asked| (asked == name).then_some(value)
    }

    #[test]
    fn an_empty_key_means_no_key() {
        let empty = SecretString::from("");
        let auth = Auth::new(Some(&empty), Some(&empty));
        assert!(!auth.is_required());
        assert_eq!(auth.check(|_| None), Ok(Access::Full));
    }

    #[test]
    fn both_headers_are_accepted_and_anything_else_is_not() {
        let auth = Auth::new(Some(&SecretString::from("k")), None);
        assert_eq!(auth.check(header("api-key", "k")), Ok(Access::Full));
        assert_eq!(auth.check(header("authorization", "Bearer k")), Ok(Access::Full));
        assert_eq!(auth.check(header("authorization", "k")), Err(NO_KEY));
        assert_eq!(auth.check(header("api-key", "K")), Err(WRONG_KEY));
        assert_eq!(auth.check(header("api-key", "")), Err(WRONG_KEY));
        assert_eq!(auth.check(|_| None), Err(NO_KEY));
    }

    #[test]
    fn a_read_only_key_alone_rejects_other_keys_and_writes() {
        let auth = Auth::new(None, Some(&SecretString::from("r")));
        assert_eq!(auth.check(header("api-key", "r")), Ok(Access::Read));
        assert_eq!(auth.check(|_| None), Err(NO_KEY));
        assert_eq!(Access::Read.check(true), Ok(()));
        assert!(matches!(Access::Read.check(false), Err(Error::Forbidden(_))));
        assert_eq!(Access::Full.check(false), Ok(()));
    }

    #[test]
    fn reads_and_writes_are_classified_as_by_the_real_server() {
        for path in [
            "/collections/c/points",
            "/collections/c/points/query/batch",
            "/collections/c/points/search/matrix/pairs",
            "/collections/c/facet",
            "/collections/points/points/scroll",
        ] {
            assert!(reads_rest(&Method::POST, path), "{path}");
        }
        for path in [
            "/collections/c/points/delete",
            "/collections/c/points/payload",
            "/collections/c/points/batch",
            "/collections/c/snapshots",
            "/collections/aliases",
            "/collections/points",
            "/snapshots",
            "/logger",
            "/collections/c/snapshots/upload",
            "/collections/c/cluster",
        ] {
            assert!(!reads_rest(&Method::POST, path), "{path}");
        }
        for path in ["/metrics", "/telemetry", "/collections/c/snapshots/s", "/cluster", "/issues", "/logger"] {
            assert!(reads_rest(&Method::GET, path), "{path}");
        }
        assert!(!reads_rest(&Method::GET, "/stacktrace"));
        assert!(!reads_rest(&Method::GET, "/collections/c/shards/0/snapshot"));
        assert!(!reads_rest(&Method::PUT, "/collections/c/points"));
        assert!(!reads_rest(&Method::DELETE, "/issues"));

        for path in [
            "/qdrant.Points/QueryBatch",
            "/qdrant.Points/Get",
            "/qdrant.Collections/ListAliases",
            "/qdrant.Snapshots/ListFull",
            "/grpc.health.v1.Health/Watch",
        ] {
            assert!(reads_grpc(path), "{path}");
        }
        for path in [
            "/qdrant.Points/Upsert",
            "/qdrant.Points/UpdateBatch",
            "/qdrant.Points/CreateVectorName",
            "/qdrant.Collections/UpdateAliases",
            "/qdrant.Snapshots/Create",
            "/qdrant.PointsInternal/Sync",
        ] {
            assert!(!reads_grpc(path), "{path}");
        }
    }
}
