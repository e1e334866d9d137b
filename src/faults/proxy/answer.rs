//! The server that answers in the place of a service: the same error to every request, over HTTP/1 and HTTP/2.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::task::AbortHandle;

use super::log::Log;
use super::weather::Effect;

/// The longest body that is read to tell requests apart; of a longer one nothing counts.
const LONGEST: usize = 64 << 20;

/// Answers on a port of its own until it is aborted; every answer is an effect, and is written down.
pub(super) fn start(
    status: u16,
    retry_after_s: Option<u64>,
    effect: Arc<Effect>,
    log: Arc<Log>,
) -> std::io::Result<(SocketAddr, AbortHandle)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let mut headers = HeaderMap::new();
    if let Some(seconds) = retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    headers.insert(HeaderName::from_static("x-shakedown-fault"), HeaderValue::from_static("answer"));
    let wait = retry_after_s.map(Duration::from_secs);
    let service = Router::new().fallback(move |request: Request| {
        effect.hit();
        let (headers, reason) = (headers.clone(), status.canonical_reason().unwrap_or("error"));
        let log = Arc::clone(&log);
        let speaks_grpc = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.starts_with("application/grpc")));
        async move {
            log.answer(same(request).await, wait);
            if speaks_grpc { grpc(status, headers) } else { (status, headers, reason).into_response() }
        }
    });
    let server = tokio::spawn(async move {
        // It ends by being aborted: there is nobody to tell of an error.
        let _ = axum::serve(listener, service).await;
    });
    Ok((address, server.abort_handle()))
}

/// What a gateway tells a client of gRPC: the status is in a header, and there is no message.
fn grpc(status: StatusCode, mut headers: HeaderMap) -> Response {
    // As the servers say it themselves: Qdrant's limits are RESOURCE_EXHAUSTED with `retry-after`. The rest is the
    // mapping of gRPC's own documentation, http-grpc-status-mapping.md.
    let code = match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 => 8,
        502..=504 => 14,
        _ => 2,
    };
    headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(code));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    (headers, "").into_response()
}

/// The same for requests of the same method, path and body. Clients write the fields of a map in another order each time:
/// bodies are the same when they have each byte as often.
async fn same(request: Request) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.method().hash(&mut hasher);
    request.uri().path_and_query().map(ToString::to_string).hash(&mut hasher);
    let body = to_bytes(request.into_body(), LONGEST).await.unwrap_or_default();
    let mut times = [0_u32; 256];
    for byte in &body {
        times[usize::from(*byte)] += 1;
    }
    times.hash(&mut hasher);
    hasher.finish()
}
