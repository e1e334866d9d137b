//! The server that answers in the place of a service: the same error to every request, over HTTP/1 and HTTP/2.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::task::AbortHandle;

use super::weather::Effect;

/// Answers on a port of its own until it is aborted; every answer is an effect.
pub(super) fn start(
    status: u16,
    retry_after_s: Option<u64>,
    effect: Arc<Effect>,
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
    let service = Router::new().fallback(move || {
        effect.hit();
        let (headers, reason) = (headers.clone(), status.canonical_reason().unwrap_or("error"));
        async move { (status, headers, reason) }
    });
    let server = tokio::spawn(async move {
        // It ends by being aborted: there is nobody to tell of an error.
        let _ = axum::serve(listener, service).await;
    });
    Ok((address, server.abort_handle()))
}
