//! The REST protocol: routes, the envelope of every response, and how bodies are parsed.

mod aliases;
mod collections;
mod formula;
mod found;
mod metrics;
mod names;
mod points;
mod query;
mod read;
mod search;
mod service;
mod snapshots;
mod upload;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::codegen::Service;

use super::auth::{Auth, reads_rest};
use super::collection::Written;
use super::error::Error;
use super::storage::Storage;
use super::telemetry::{Protocol, Telemetry};

/// Largest accepted body, as in Qdrant's default configuration.
const BODY_LIMIT: usize = 32 * 1024 * 1024;
/// How much of an oversized body is read and discarded, so that the client receives the error.
const DRAIN_LIMIT: usize = 256 * 1024 * 1024;

/// The state of every handler.
#[derive(Clone)]
pub(super) struct App {
    pub(super) storage: Arc<Storage>,
    pub(super) telemetry: Arc<Telemetry>,
    auth: Auth,
}

/// All routes of the server.
pub(super) fn router(storage: Arc<Storage>, auth: Auth, telemetry: Arc<Telemetry>) -> Router {
    let app = App { storage, telemetry, auth };
    let routes = Router::new()
        .merge(service::routes())
        .merge(collections::routes())
        .merge(points::routes())
        .merge(search::routes())
        .merge(aliases::routes())
        .merge(snapshots::routes())
        .merge(names::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(middleware::from_fn_with_state(app.clone(), authenticate))
        .layer(middleware::from_fn_with_state(app.clone(), count))
        .layer(DefaultBodyLimit::disable())
        .with_state(app);
    // Trailing slashes are removed before routing, as in the real server.
    Router::new().fallback(any(move |mut request: Request| {
        let mut routes = routes.clone();
        async move {
            trim_path(request.uri_mut());
            Service::call(&mut routes, request).await
        }
    }))
}

fn trim_path(uri: &mut Uri) {
    let path = uri.path();
    let trimmed = path.trim_end_matches('/');
    if trimmed.len() == path.len() || trimmed.is_empty() {
        return;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(new) = format!("{trimmed}{query}").parse() {
        *uri = new;
    }
}

/// Counts the response under the real server's name of the endpoint.
async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let since = Instant::now();
    let endpoint = request.extensions().get::<MatchedPath>().map(|path| {
        let path = path.as_str().replacen("/collections/{name}", "/collections/{collection_name}", 1);
        format!("{} {path}", request.method())
    });
    let name = request.uri().path().strip_prefix("/collections/").and_then(|rest| rest.split('/').next());
    // Unknown names would add up without limit.
    let name = name.filter(|name| app.storage.get(name).is_ok()).map(str::to_owned);
    let response = next.run(request).await;
    if let Some(endpoint) = endpoint {
        let status = i32::from(response.status().as_u16());
        app.telemetry.add(Protocol::Rest, &endpoint, status, since, name.as_deref());
    }
    response
}

/// Paths that need no key.
const OPEN: [&str; 4] = ["/", "/healthz", "/livez", "/readyz"];

async fn authenticate(State(app): State<App>, request: Request, next: Next) -> Response {
    if OPEN.contains(&request.uri().path()) && request.method() == Method::GET {
        return next.run(request).await;
    }
    let headers = request.headers();
    let access = match app.auth.check(|name| headers.get(name).and_then(|value| value.to_str().ok())) {
        Ok(access) => access,
        // Plain text, unlike every other error of this server.
        Err(text) => return (StatusCode::UNAUTHORIZED, text).into_response(),
    };
    // Before the body is read: a client without write access must not fill the disk either.
    let path = request.uri().path();
    let known = request.extensions().get::<MatchedPath>().is_some() || not_yet(path).is_some();
    let allowed = access.check(!known || reads_rest(request.method(), path));
    // A connection may outlive the listener, and must not get "not found" for collections of a server that stops.
    match allowed.and_then(|()| app.storage.check_open()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Operations of the real server that are not implemented, by a part of their paths.
const NOT_YET: &[(&str, &str)] = &[
    ("/shards", "shards"),
    ("/snapshots/", "partial snapshots"),
    ("/cluster", "cluster"),
    ("/quotas", "quotas"),
    ("/stacktrace", "stacktrace"),
    ("/logger", "logger"),
    ("/profiler", "profiler"),
    ("/audit", "audit"),
    ("/debugger", "debugger"),
    ("/truncate_unapplied_wal", "truncate_unapplied_wal"),
];

fn not_yet(path: &str) -> Option<&'static str> {
    NOT_YET.iter().find(|(part, _)| path.contains(part)).map(|(_, name)| *name)
}

async fn unknown(method: Method, uri: Uri) -> Response {
    let path = uri.path();
    match not_yet(path) {
        Some(name) => refuse(Instant::now(), &Error::Unimplemented(format!("{name} ({method} {path})"))),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[derive(Serialize)]
struct Envelope<T> {
    result: T,
    status: &'static str,
    time: f64,
}

/// The response to a request that began at `since`.
pub(super) fn respond<T: Serialize>(since: Instant, result: Result<T, Error>) -> Response {
    match result {
        Ok(result) => {
            let body = Envelope { result, status: "ok", time: since.elapsed().as_secs_f64() };
            axum::Json(body).into_response()
        }
        Err(error) => refuse(since, &error),
    }
}

/// The response of a long operation: without `wait` only that it was accepted. `work` completes even if the client
/// disconnects.
pub(super) async fn respond_or_accept<T: Serialize + Send + 'static>(
    since: Instant,
    wait: bool,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Response {
    let task = tokio::spawn(async move { work.await.inspect_err(|error| tracing::debug!(%error, "work failed")) });
    if wait {
        let result = task.await.unwrap_or_else(|error| Err(Error::Internal(error.to_string())));
        return respond(since, result);
    }
    let body = serde_json::json!({ "status": "accepted", "time": since.elapsed().as_secs_f64() });
    (StatusCode::ACCEPTED, axum::Json(body)).into_response()
}

fn refuse(since: Instant, error: &Error) -> Response {
    let body = serde_json::json!({
        "status": { "error": error.to_string() },
        "time": since.elapsed().as_secs_f64(),
    });
    let mut response = (error.codes().0, axum::Json(body)).into_response();
    if let Some(seconds) = error.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        refuse(Instant::now(), &self)
    }
}

/// The result of a change.
#[derive(Serialize)]
pub(super) struct WriteResult {
    operation_id: u64,
    status: &'static str,
}

impl From<Written> for WriteResult {
    fn from(written: Written) -> Self {
        Self { operation_id: written.operation, status: if written.waited { "completed" } else { "acknowledged" } }
    }
}

/// A JSON body, with the real server's limits and error texts.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts) {
            return Err(Error::Format("Content type error".to_owned()));
        }
        let declared = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = read_body(body, declared).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| Error::unreadable(&error))
    }
}

fn is_json(parts: &Parts) -> bool {
    let value = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mime = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    mime == "application/json" || mime.ends_with("+json")
}

async fn read_body(body: Body, declared: Option<usize>) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(declared.unwrap_or_default().min(BODY_LIMIT));
    let mut seen = 0;
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let chunk =
            chunk.map_err(|error| Error::Format(format!("Error that occur during reading payload: {error}")))?;
        seen += chunk.len();
        if seen > DRAIN_LIMIT {
            break;
        }
        if declared.unwrap_or_default() <= BODY_LIMIT && seen <= BODY_LIMIT {
            bytes.extend_from_slice(&chunk);
        }
    }
    match declared {
        Some(length) if length > BODY_LIMIT => Err(Error::Format(format!(
            "JSON payload ({length} bytes) is larger than allowed (limit: {BODY_LIMIT} bytes)."
        ))),
        _ if seen > BODY_LIMIT => Err(Error::Format(format!("JSON payload has exceeded limit ({BODY_LIMIT} bytes)."))),
        _ => Ok(bytes),
    }
}

/// A query string, with the real server's error texts.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|query| Self(query.0))
            .map_err(|error| Error::Format(format!("Deserialize error in query parameters: {}", error.body_text())))
    }
}

/// The ordering of changes by several clients. There is one shard, so all of them are equivalent.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ordering {
    /// Any.
    Weak,
    /// Through one leader.
    Medium,
    /// Through the permanent leader.
    Strong,
}

/// Query string of every change.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
pub(super) struct WriteParams {
    /// Whether to answer only when the change is applied.
    #[serde(default)]
    pub(super) wait: bool,
    #[serde(default, rename = "ordering")]
    _ordering: Option<Ordering>,
}

/// Query string of every read.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
pub(super) struct ReadParams {
    /// Seconds that the read may take.
    #[serde(default)]
    pub(super) timeout: Option<NonZeroU64>,
}
