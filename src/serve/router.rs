//! The routes. Each answers from the status store within milliseconds, whatever the services do.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use super::circuit::CircuitState;
use super::health::{self, Health};
use super::hosts::Hosts;
use super::metrics::Form;
use super::status_store::StatusStore;
use super::{metrics, now_ms, page};
use crate::redaction::{redact_json, redacted};
use crate::report::{Format, write};

const HEALTH: &str = "application/health+json";
/// The shortest time between two events of the stream.
const DEBOUNCE: Duration = Duration::from_millis(500);

/// Access control, and links of the status page.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The token that a request must carry as bearer token, or as password of HTTP basic authentication, which browsers
    /// offer; `/health/live` needs none.
    pub token: Option<SecretString>,
    /// The hosts that requests may be for; all if there is none.
    pub hosts: Option<Hosts>,
    /// Address of bull-board, for a link on the status page.
    pub bull_board: Option<String>,
    /// Ends the event streams, which otherwise last as long as their clients.
    pub ending: CancellationToken,
}

#[derive(Clone)]
struct Served {
    status_store: StatusStore,
    access: Arc<Access>,
}

/// `/health/live`, `/health/ready`, `/health` and `/health/{service}`, for your own router.
pub fn health_routes<S: Clone + Send + Sync + 'static>(status_store: StatusStore) -> Router<S> {
    Router::new()
        .route("/health/live", get(live))
        .route(
            "/health/ready",
            get(async |State(status_store): State<StatusStore>| answer(health::ready(&status_store, now_ms()))),
        )
        .route(
            "/health",
            get(async |State(status_store): State<StatusStore>| answer(health::full(&status_store, now_ms()))),
        )
        .route("/health/{service}", get(service))
        .layer(from_fn(with_headers))
        .with_state(status_store)
}

/// Everything that `shakedown serve` serves.
pub fn routes(status_store: StatusStore, access: Access) -> Router {
    let served = Served { status_store: status_store.clone(), access: Arc::new(access) };
    Router::new()
        .route("/", get(status_page))
        .route("/events", get(events))
        .route("/metrics", get(scrape))
        .route("/report", get(async |State(served): State<Served>| report(&served, Format::Html)))
        .route("/report.json", get(async |State(served): State<Served>| report(&served, Format::Json)))
        .with_state(served.clone())
        .merge(health_routes(status_store))
        .fallback(async || {
            let there =
                "/, /health, /health/live, /health/ready, /health/{service}, /metrics, /report, /report.json, /events";
            (StatusCode::NOT_FOUND, format!("there is nothing here; there are {there}\n"))
        })
        .layer(from_fn_with_state(served, guard))
        .layer(from_fn(with_headers))
}

/// `/health/live`, `/health/ready` and `/metrics` of a worker; `readiness` gives why it takes no jobs, if it takes none, and
/// `circuits` what the circuit breakers before its services do.
pub fn worker_routes(
    readiness: impl Fn() -> Result<(), String> + Clone + Send + Sync + 'static,
    circuits: impl Fn() -> Vec<(&'static str, CircuitState)> + Clone + Send + Sync + 'static,
) -> Router {
    let ready = readiness.clone();
    let body = |readiness: Result<(), String>| {
        let (code, status) = if readiness.is_ok() { (200, "pass") } else { (503, "fail") };
        let mut body = json!({ "status": status, "version": "1", "releaseId": env!("CARGO_PKG_VERSION") });
        if let Err(why) = readiness {
            body["output"] = json!(why);
        }
        answer((code, body))
    };
    Router::new()
        .route("/health/live", get(async move || body(Ok(()))))
        .route("/health/ready", get(async move || body(readiness())))
        .route(
            "/metrics",
            get(async move |headers: HeaderMap| {
                scraped(&headers, |form| metrics::worker_text(ready().is_ok(), &circuits(), form))
            }),
        )
        .layer(from_fn(with_headers))
}

/// Adds security headers, and forbids caching: a caching proxy would answer for a dead service.
async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

async fn guard(State(served): State<Served>, request: Request, next: Next) -> Response {
    if let Some(Err(host)) = served.access.hosts.as_ref().map(|hosts| hosts.check(&request)) {
        let host = host.escape_debug();
        let why = format!("this server does not answer for the host `{host}`: allow it with --host NAME\n");
        return (StatusCode::MISDIRECTED_REQUEST, why).into_response();
    }
    let Some(token) = &served.access.token else { return next.run(request).await };
    if request.uri().path() == "/health/live" || carries(request.headers(), token) {
        return next.run(request).await;
    }
    let mut response = (StatusCode::UNAUTHORIZED, "this server requires a bearer token\n").into_response();
    let headers = response.headers_mut();
    headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"shakedown\""));
    headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"shakedown\""));
    response
}

/// Whether a request carries the token. Compares digests, so that the time reveals neither its text nor its length.
fn carries(headers: &HeaderMap, token: &SecretString) -> bool {
    let Some((scheme, given)) = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
    else {
        return false;
    };
    let given = match scheme.to_ascii_lowercase().as_str() {
        "bearer" => given.trim().as_bytes().to_vec(),
        "basic" => {
            let decoded = STANDARD.decode(given.trim()).unwrap_or_default();
            let password = decoded.iter().position(|byte| *byte == b':').map(|place| decoded[place + 1..].to_vec());
            password.unwrap_or_default()
        }
        _ => return false,
    };
    bool::from(Sha256::digest(&given).ct_eq(&Sha256::digest(token.expose_secret().as_bytes())))
}

fn answer((code, body): Health) -> Response {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, [(header::CONTENT_TYPE, HEALTH)], format!("{:#}\n", redact_json(body))).into_response()
}

async fn live(State(status_store): State<StatusStore>) -> Response {
    answer(health::live(&status_store))
}

async fn service(State(status_store): State<StatusStore>, Path(name): Path<String>) -> Response {
    answer(health::service(&status_store, &name, now_ms()))
}

async fn scrape(State(served): State<Served>, headers: HeaderMap) -> Response {
    scraped(&headers, |form| metrics::text(&served.status_store, form))
}

/// Metrics in the requested format.
fn scraped(headers: &HeaderMap, text: impl FnOnce(Form) -> Result<String, std::fmt::Error>) -> Response {
    let form = Form::accepted(headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()));
    match text(form) {
        Ok(text) => ([(header::CONTENT_TYPE, form.content_type())], redacted(text)).into_response(),
        Err(error) => broken(&error),
    }
}

fn broken(error: &dyn std::fmt::Display) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("internal error: {error}\n")).into_response()
}

async fn status_page(State(served): State<Served>) -> Response {
    match page::status(&served.status_store, served.access.bull_board.as_deref(), now_ms()) {
        Ok(page) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response(),
        Err(error) => broken(&error),
    }
}

fn report(served: &Served, format: Format) -> Response {
    let Some(report) = served.status_store.read().report.clone() else {
        let text = "no check has finished yet; try again in a moment\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "2")], text).into_response();
    };
    let kind = if format == Format::Html { "text/html; charset=utf-8" } else { "application/json" };
    let mut bytes = Vec::new();
    match write(&report, format, false, 110, &mut bytes) {
        Ok(()) => ([(header::CONTENT_TYPE, kind)], Body::from(bytes)).into_response(),
        Err(error) => broken(&error),
    }
}

/// A server-sent event for each change; the page then reloads itself.
async fn events(State(served): State<Served>) -> Sse<impl futures::Stream<Item = Result<Event, Infallible>>> {
    let ending = served.access.ending.clone();
    let heard = served.status_store.subscribe();
    let stream = futures::stream::unfold((heard, ending, true), async |(mut heard, ending, first)| {
        if !first {
            tokio::select! {
                changed = heard.changed() => changed.ok()?,
                () = ending.cancelled() => return None,
            }
            tokio::select! {
                () = tokio::time::sleep(DEBOUNCE) => {}
                () = ending.cancelled() => return None,
            }
        }
        let number = *heard.borrow_and_update();
        let event = Event::default().event("changed").id(number.to_string()).data(number.to_string());
        Some((Ok(event.retry(Duration::from_secs(2))), (heard, ending, false)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}
