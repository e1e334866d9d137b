//! `answer`: every HTTP request gets the same error, as from a gateway before an overloaded service.
//!
//! A server on a port of its own answers in place of the service, over HTTP/1 and HTTP/2, so that gRPC clients are
//! affected too; connections that lead to the service are reset. Without such a server every connection is reset.
//! Evidence: every request that it answered.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

use super::{Effect, NetworkKind, StartContext, Started, value};
use crate::faults::NetworkFault;
use crate::faults::proxy::Log;
use crate::spec::Requests;

/// The longest body that is read to distinguish requests; a longer one counts as empty.
const MAX_BODY: usize = 64 << 20;

#[derive(Debug)]
struct Answer {
    /// The server that answers; `None` if it could not be started.
    server: Option<SocketAddr>,
}

impl NetworkKind for Answer {
    fn resets(&self) -> bool {
        self.server.is_none()
    }

    fn replacement(&self) -> Option<SocketAddr> {
        self.server
    }
}

/// What is answered, and to which requests.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after_s: Option<u64>,
    /// By how much later a request reaches the service, if it is not answered in its place.
    pub(super) held: Option<Duration>,
    pub(super) only: Option<Requests>,
}

/// Starts the server.
pub(super) fn start(reply: &Reply, context: &StartContext<'_>) -> Started {
    let started = listen(reply, context.upstream, Arc::clone(context.effect), Arc::clone(context.log)).ok();
    let server = started.as_ref().map(|(address, _)| *address);
    (Arc::new(Answer { server }), started.map(|(_, task)| task))
}

pub(super) fn parse(text: Option<&str>) -> Result<NetworkFault, String> {
    let status = value("answer", text, "503")?;
    match status.parse().ok().filter(|status| (400..600).contains(status)) {
        Some(status) => Ok(NetworkFault::Answer { status, retry_after_s: None, only: None }),
        None => Err(format!("invalid HTTP error status `{status}`: expected a number from 400 to 599")),
    }
}

/// Answers on a port of its own until it is aborted. Every answer counts as an effect and is logged. Requests that are
/// not meant go on to the service at `upstream`.
fn listen(
    reply: &Reply,
    upstream: &str,
    effect: Arc<Effect>,
    log: Arc<Log>,
) -> std::io::Result<(SocketAddr, AbortHandle)> {
    let Reply { status, retry_after_s, held, only } = *reply;
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
    let forward = Arc::new(Forward::new(upstream));
    let service = Router::new().fallback(move |request: Request| {
        let is_meant = only.is_none_or(|only| only.has(request.method().as_str(), request.uri().path()));
        let forward = Arc::clone(&forward);
        if is_meant {
            effect.count_connection();
        } else {
            effect.count_other();
        }
        let (headers, reason) = (headers.clone(), status.canonical_reason().unwrap_or("error"));
        let log = Arc::clone(&log);
        let speaks_grpc = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.starts_with("application/grpc")));
        async move {
            if !is_meant {
                return forward.send(request).await;
            }
            if let Some(held) = held {
                return forward.send_later(request, held).await;
            }
            log.answer(fingerprint(request).await, wait);
            if speaks_grpc {
                grpc_answer(status, headers)
            } else if status.is_success() {
                // What no service sends: a gateway's page with a status of success.
                (status, headers, Html("<html><body><h1>Back soon</h1></body></html>")).into_response()
            } else {
                (status, headers, reason).into_response()
            }
        }
    });
    let server = tokio::spawn(async move {
        // It ends by being aborted: no caller is left to receive an error.
        let _ = axum::serve(listener, service).await;
    });
    Ok((address, server.abort_handle()))
}

/// Forwards requests that are not meant to the service.
struct Forward {
    upstream: String,
    http1: Client<HttpConnector, Body>,
    http2: Client<HttpConnector, Body>,
}

impl Forward {
    fn new(upstream: &str) -> Self {
        let client = |http2| Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
        Self { upstream: upstream.to_owned(), http1: client(false), http2: client(true) }
    }

    /// The service's own answer, or a gateway's 502 without one.
    async fn send(&self, mut request: Request) -> Response {
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

    /// Like [`Self::send`], after `held`. A request that has arrived is sent even if the client has given up by then.
    async fn send_later(self: Arc<Self>, request: Request, held: Duration) -> Response {
        let (head, body) = request.into_parts();
        let Ok(body) = to_bytes(body, MAX_BODY).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
        let request = Request::from_parts(head, Body::from(body));
        let sending = tokio::spawn(async move {
            tokio::time::sleep(held).await;
            self.send(request).await
        });
        sending.await.unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
    }
}

/// What a gateway answers to a gRPC client: the status is in a header, and there is no message.
fn grpc_answer(status: StatusCode, mut headers: HeaderMap) -> Response {
    // 413, 429 and 500 as servers of gRPC answer: a message that is too large and a limit are RESOURCE_EXHAUSTED, an error of
    // the server is INTERNAL. The other codes are the mapping of gRPC's documentation, http-grpc-status-mapping.md.
    let code = match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        413 | 429 => 8,
        500 => 13,
        502..=504 => 14,
        _ => 2,
    };
    headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(code));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    (headers, "").into_response()
}

/// Equal for requests with the same method, path and body. A request without a body equals no other: it names no
/// document, so that several jobs may have sent it. Clients may write the fields of a map in another order each
/// time, so two bodies count as equal when each byte occurs equally often in both.
async fn fingerprint(request: Request) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.method().hash(&mut hasher);
    request.uri().path_and_query().map(ToString::to_string).hash(&mut hasher);
    let body = to_bytes(request.into_body(), MAX_BODY).await.unwrap_or_default();
    if body.is_empty() {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        NUMBER.fetch_add(1, Ordering::Relaxed).hash(&mut hasher);
    }
    let mut times = [0_u32; 256];
    for byte in &body {
        times[usize::from(*byte)] += 1;
    }
    times.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::faults::Proxy;
    use crate::services::http_client;
    use crate::spec::Requests;

    #[tokio::test]
    async fn an_answer_replaces_the_service_over_http_1_and_2() {
        let proxy = proxy().await;
        let mut before = connect(&proxy).await;
        assert_eq!(round_trip(&mut before, b"hello").await.unwrap(), b"hello");
        let applied =
            proxy.apply(NetworkFault::Answer { status: 503, retry_after_s: Some(7), only: None }, Direction::Both);
        assert_eq!(read_to_end(&mut before).await, (0, true), "connections to the service are reset");
        let url = format!("http://{}/any/path", proxy.address());
        let plain = http_client::builder().no_proxy();
        for client in
            [plain.build().unwrap(), http_client::builder().no_proxy().http2_prior_knowledge().build().unwrap()]
        {
            let answer = client.post(&url).body("anything").send().await.unwrap();
            assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"7".parse().unwrap()));
        }
        assert_eq!(proxy.revert(applied).connections(), 2);
        let [first, second] = proxy.answered().try_into().unwrap();
        assert_eq!((first.request, first.wait), (second.request, Some(Duration::from_secs(7))));
        let mut after = connect(&proxy).await;
        assert_eq!(round_trip(&mut after, b"hello").await.unwrap(), b"hello");
    }

    #[tokio::test]
    async fn an_answer_to_some_requests_lets_the_others_through_over_http_1_and_2() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap().to_string();
        let echo = |request: axum::extract::Request| async move { format!("{} {}", request.method(), request.uri()) };
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, axum::Router::new().fallback(echo)).await;
        });
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), upstream, None).await.unwrap();
        let fault = NetworkFault::Answer { status: 503, retry_after_s: None, only: Some(Requests::Removals) };
        let applied = proxy.apply(fault, Direction::Both);
        let base = format!("http://{}", proxy.address());
        let clients = [
            http_client::builder().no_proxy().build().unwrap(),
            http_client::builder().no_proxy().http2_prior_knowledge().build().unwrap(),
        ];
        for client in &clients {
            for (path, status) in [
                ("/collections/a/points/delete?wait=true", 503),
                ("/qdrant.Points/Delete", 503),
                ("/collections/a/points/batch", 503),
                ("/collections/a/points/count", 200),
                ("/collections/delete/points?wait=true", 200),
            ] {
                let answer = client.post(format!("{base}{path}")).body("{}").send().await.unwrap();
                assert_eq!(answer.status().as_u16(), status, "{path}");
                let text = answer.text().await.unwrap();
                assert!(status == 503 || text.ends_with(path), "{path}: {text}");
            }
        }
        // A forwarded request is no effect.
        let effect = proxy.revert(applied);
        assert_eq!((effect.connections(), effect.others()), (6, 4));
        assert_eq!(proxy.answered().len(), 6);
        serving.abort();
    }
}
