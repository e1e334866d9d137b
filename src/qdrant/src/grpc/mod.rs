//! The gRPC protocol: the same operations as REST, through the traits of the official client's crate.

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

/// The result of every operation.
type Reply<T> = Result<Response<T>, Status>;

/// Flow-control window of a request and of its connection, in bytes. With HTTP/2's default of 64 KiB an upload of some
/// megabytes would stop and wait dozens of times.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Bytes of one HTTP/2 frame, for the same reason.
const FRAME: u32 = 1024 * 1024;
/// Largest message, also after it was unpacked. The real server has no limit, but then a few bytes of gzip fill the memory.
const MESSAGE_LIMIT: usize = 256 * 1024 * 1024;
/// How the decoder's errors begin. It reports them as errors of the server, although the client sent the message.
const UNREADABLE: [&str; 2] = ["failed to decode Protobuf message", "Error decompressing: "];
/// Part of the decoder's error for a message that is nested too deeply.
const RECURSION: &str = "recursion limit reached";

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
    let guard = Guard { auth, storage };
    let routes = tonic::service::Routes::new(
        PointsServer::new(api.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip),
    )
    .add_service(
        CollectionsServer::new(api.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip),
    )
    .add_service(SnapshotsServer::new(api.clone()));
    let open = tonic::service::Routes::new(QdrantServer::new(api)).add_service(HealthServer::new(service::Health));
    let protected = routes.into_axum_router().layer(middleware::from_fn_with_state(guard, check));
    // The health check needs no key; everything else does.
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

/// The state of the authentication layer.
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
        // A connection may outlive the listener, and must not get "not found" for collections of a server that stops.
        .and_then(|()| Ok(guard.storage.check_open()?));
    match checked {
        Ok(()) => next.run(request).await,
        Err(status) => status.into_http(),
    }
}

/// Counts a response.
async fn count(
    State(telemetry): State<Arc<Telemetry>>,
    request: axum::extract::Request,
    next: Next,
) -> axum::response::Response {
    let since = Instant::now();
    let path = request.uri().path().to_owned();
    let response = blame(next.run(request).await);
    // A rejection has its code in the headers; any other response has not failed so far.
    let code = response.headers().get("grpc-status").and_then(|value| value.to_str().ok()?.parse().ok());
    let code = code.unwrap_or(if response.status().is_success() { Code::Ok } else { Code::Unknown } as i32);
    // Unknown paths would add up without limit.
    if code != Code::Unimplemented as i32 {
        telemetry.add(Protocol::Grpc, &path, code, since, None);
    }
    response
}

/// The response, with the client's code if its message could not be decoded.
fn blame(response: axum::response::Response) -> axum::response::Response {
    let status = Status::from_header_map(response.headers()).filter(|status| status.code() == Code::Internal);
    match status {
        Some(status) if UNREADABLE.iter().any(|beginning| status.message().starts_with(beginning)) => {
            let limit =
                if status.message().contains(RECURSION) { ": at most 100 messages within each other" } else { "" };
            Status::invalid_argument(format!("{}{limit}", status.message())).into_http()
        }
        _ => response,
    }
}

/// Rejects an unsupported operation.
fn not_yet<T>(operation: &str) -> Reply<T> {
    Err(Error::Unimplemented(operation.to_owned()).into())
}

/// Seconds since `since`, a part of every response.
fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// The value of a required message field.
///
/// # Errors
/// It is missing; the text names it.
fn required<T>(field: Option<T>, name: &str) -> Result<T, Error> {
    field.ok_or_else(|| Error::Format(format!("{name} is required")))
}
