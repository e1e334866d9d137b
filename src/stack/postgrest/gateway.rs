//! The gateway before a real PostgREST. Supabase serves it under `/rest/v1`, and takes the key from the header `apikey`
//! too: <https://supabase.com/docs/guides/api/api-keys>.

use std::net::TcpListener;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use reqwest::Client;
use serde_json::json;
use tokio::task::AbortHandle;

use super::MAX_BODY;
use crate::services::http_client;
use crate::stack::error::StackError;

/// How long an answer may take: longer than Supabase's gateway waits.
const TIMEOUT: Duration = Duration::from_secs(70);
/// Headers that hold for one connection, and those that the client computes itself.
const OF_CONNECTION: [HeaderName; 4] =
    [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH];

/// Forwards requests to the PostgREST at `upstream` until the task is aborted; returns the port too.
pub(super) fn serve(listener: TcpListener, upstream: String) -> Result<(u16, AbortHandle), StackError> {
    let client = http_client::client(TIMEOUT)
        .map_err(|error| StackError::FreshData { service: "postgrest", reason: error.to_string() })?;
    super::serve(
        listener,
        Router::new().fallback(move |request: Request| forward(client.clone(), upstream.clone(), request)),
    )
}

async fn forward(client: Client, upstream: String, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let url = format!("{upstream}{}", path.strip_prefix("/rest/v1").unwrap_or(path));
    let Some(headers) = to_send(parts.headers) else {
        return refused(StatusCode::UNAUTHORIZED, "No API key found in request: send it as `apikey`");
    };
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 64 MiB");
    };
    let answer = match client.request(parts.method, url).headers(headers).body(body).send().await {
        Ok(answer) => answer,
        Err(error) => return refused(StatusCode::BAD_GATEWAY, &error.without_url().to_string()),
    };
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    for name in &OF_CONNECTION {
        headers.remove(name);
    }
    match http_client::read_body(answer, MAX_BODY).await {
        Ok(body) => (status, headers, body).into_response(),
        Err(error) => refused(StatusCode::BAD_GATEWAY, &error.to_string()),
    }
}

/// The headers for PostgREST, with the key as a token; nothing if there is no key.
fn to_send(mut headers: HeaderMap) -> Option<HeaderMap> {
    for name in &OF_CONNECTION {
        headers.remove(name);
    }
    if !headers.contains_key(header::AUTHORIZATION) {
        let key = headers.get("apikey").and_then(|key| key.to_str().ok());
        let token = HeaderValue::from_str(&format!("Bearer {}", key?)).ok()?;
        headers.insert(header::AUTHORIZATION, token);
    }
    Some(headers)
}

fn refused(status: StatusCode, message: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], json!({ "message": message }).to_string()).into_response()
}
