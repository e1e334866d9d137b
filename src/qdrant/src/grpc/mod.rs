//! The gRPC protocol: the same operations as REST, through the traits of the client's own crate.

mod change;
mod collections;
mod config;
mod convert;
mod filter;
mod formula;
mod index;
mod names;
mod points;
mod query;
mod service;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::middleware::{self, Next};
use qdrant_client::qdrant::collections_server::CollectionsServer;
use qdrant_client::qdrant::points_server::PointsServer;
use qdrant_client::qdrant::qdrant_server::QdrantServer;
use qdrant_client::qdrant::snapshots_server::SnapshotsServer;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Response, Status};
use tonic_health::pb::health_server::HealthServer;

use super::auth::{Auth, reads_grpc};
use super::error::{Error, ServeError};
use super::listen::Incoming;
use super::storage::Storage;
use super::telemetry::{Protocol, Telemetry};

/// The answer of every operation.
type Reply<T> = Result<Response<T>, Status>;

/// Bytes that a client may send of one request, and of all on its connection, before the server has read any. With
/// HTTP/2's own 64 KiB an upload of some megabytes would stop and wait dozens of times.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Bytes of one HTTP/2 frame, for the same reason.
const FRAME: u32 = 1024 * 1024;

/// The operations, over one storage.
#[derive(Clone)]
struct Api {
    storage: Arc<Storage>,
}

/// Serves until `stop` is cancelled.
///
/// # Errors
/// The listener fails.
pub(super) async fn serve(
    incoming: Incoming,
    storage: Arc<Storage>,
    auth: Auth,
    telemetry: Arc<Telemetry>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let api = Api { storage: Arc::clone(&storage) };
    // The body limit of REST does not exist here: the real server decodes messages of any size.
    let limit = usize::MAX;
    let guard = Guard { auth, storage };
    let routes = tonic::service::Routes::new(
        PointsServer::new(api.clone())
            .max_decoding_message_size(limit)
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip),
    )
    .add_service(
        CollectionsServer::new(api.clone())
            .max_decoding_message_size(limit)
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip),
    )
    .add_service(SnapshotsServer::new(api.clone()));
    let open = tonic::service::Routes::new(QdrantServer::new(api)).add_service(HealthServer::new(service::Health));
    let protected = routes.into_axum_router().layer(middleware::from_fn_with_state(guard, check));
    // Health answers without a key; whatever else there is wants one first.
    let routes = open.into_axum_router().reset_fallback().merge(protected);
    let routes = tonic::service::Routes::from(routes.layer(middleware::from_fn_with_state(telemetry, count)));
    tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await
        .map_err(|error| ServeError::Serve { protocol: "gRPC", reason: error.to_string() })
}

/// What every request is checked with.
#[derive(Clone)]
struct Guard {
    auth: Auth,
    storage: Arc<Storage>,
}

async fn check(State(guard): State<Guard>, request: axum::extract::Request, next: Next) -> axum::response::Response {
    let headers = request.headers();
    let checked = guard
        .auth
        .check(|name| headers.get(name).and_then(|value| value.to_str().ok()))
        .map_err(Status::unauthenticated)
        .and_then(|access| Ok(access.check(reads_grpc(request.uri().path()))?))
        // A connection may outlive the listener; it must not be told that collections do not exist.
        .and_then(|()| Ok(guard.storage.check_open()?));
    match checked {
        Ok(()) => next.run(request).await,
        Err(status) => status.into_http(),
    }
}

/// Counts the answer.
async fn count(
    State(telemetry): State<Arc<Telemetry>>,
    request: axum::extract::Request,
    next: Next,
) -> axum::response::Response {
    let since = Instant::now();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    // A refusal carries its code in front; whatever else began to answer has not failed so far.
    let code = response.headers().get("grpc-status").and_then(|value| value.to_str().ok()?.parse().ok());
    let code = code.unwrap_or(if response.status().is_success() { Code::Ok } else { Code::Unknown } as i32);
    // Paths that are not there would add up without end.
    if code != Code::Unimplemented as i32 {
        telemetry.add(Protocol::Grpc, &path, code, since, None);
    }
    response
}

/// Refuses an operation that does not exist here.
fn not_yet<T>(operation: &str) -> Reply<T> {
    Err(Error::Unimplemented(operation.to_owned()).into())
}

/// Seconds since `since`, which every answer carries.
fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// The inner value of a message field that must be there.
///
/// # Errors
/// It is not; the text names it.
fn required<T>(field: Option<T>, name: &str) -> Result<T, Error> {
    field.ok_or_else(|| Error::Format(format!("{name} is required")))
}
