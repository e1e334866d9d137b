//! The server that answers in the place of a service: the same error to every request, or to some of them, over HTTP/1
//! and HTTP/2.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use axum::response::{Html, IntoResponse as _, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::AbortHandle;

use super::active::Effect;
use super::log::Log;
use crate::spec::Requests;

/// The longest body that is read to tell requests apart; of a longer one nothing counts.
const LONGEST: usize = 64 << 20;

/// Answers on a port of its own until it is aborted; every answer is an effect, and is written down. With `past` only
/// some requests are answered, and the others go on to the service at that `host:port`.
pub(super) fn start(
    status: u16,
    retry_after_s: Option<u64>,
    past: Option<(Requests, String)>,
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
    let past = past.map(|(only, upstream)| (only, Arc::new(Past::to(upstream))));
    let service = Router::new().fallback(move |request: Request| {
        let past = past.as_ref().filter(|(only, _)| !only.has(request.uri().path())).map(|(_, past)| Arc::clone(past));
        if past.is_none() {
            effect.hit();
        }
        let (headers, reason) = (headers.clone(), status.canonical_reason().unwrap_or("error"));
        let log = Arc::clone(&log);
        let speaks_grpc = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.starts_with("application/grpc")));
        async move {
            if let Some(past) = past {
                return past.pass(request).await;
            }
            log.answer(same(request).await, wait);
            if speaks_grpc {
                grpc(status, headers)
            } else if status.is_success() {
                // Nothing that a service would say: the page of a gateway that thinks all is well.
                (status, headers, Html("<html><body><h1>Back soon</h1></body></html>")).into_response()
            } else {
                (status, headers, reason).into_response()
            }
        }
    });
    let server = tokio::spawn(async move {
        // It ends by being aborted: there is nobody to tell of an error.
        let _ = axum::serve(listener, service).await;
    });
    Ok((address, server.abort_handle()))
}

/// The way to the service for requests that are not meant.
struct Past {
    upstream: String,
    http1: Client<HttpConnector, Body>,
    http2: Client<HttpConnector, Body>,
}

impl Past {
    fn to(upstream: String) -> Self {
        let client = |http2| Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
        Self { upstream, http1: client(false), http2: client(true) }
    }

    /// The service's own answer; what a gateway says when there is none.
    async fn pass(&self, mut request: Request) -> Response {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let Ok(uri) = format!("http://{}{path}", self.upstream).parse() else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        *request.uri_mut() = uri;
        let client = if request.version() == Version::HTTP_2 { &self.http2 } else { &self.http1 };
        match client.request(request).await {
            Ok(answer) => answer.map(Body::new),
            Err(_) => StatusCode::BAD_GATEWAY.into_response(),
        }
    }
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
