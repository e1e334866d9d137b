//! A stand-in for a collector of traces: it takes what OTLP over HTTP brings, and keeps it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Uri};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio_util::task::AbortOnDropHandle;

/// A request as it came.
#[derive(Clone)]
pub struct Request {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A span, with the service that it is of.
#[derive(Clone)]
pub struct Seen {
    pub service: String,
    pub resource: Vec<KeyValue>,
    pub span: Span,
}

impl Seen {
    pub fn fact(&self, name: &str) -> Option<String> {
        text_of(&self.span.attributes, name)
    }

    pub fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// Why it failed, if it did.
    pub fn failed(&self) -> Option<String> {
        // 2 is STATUS_CODE_ERROR.
        self.span.status.as_ref().filter(|status| status.code == 2).map(|status| status.message.clone())
    }
}

/// What an attribute says, as text.
pub fn text_of(attributes: &[KeyValue], name: &str) -> Option<String> {
    let AnyValue { value } = attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?;
    Some(match value? {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(truth) => truth.to_string(),
        other => format!("{other:?}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// It listens until it is dropped.
pub struct Collector {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    _server: AbortOnDropHandle<()>,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let kept = Arc::clone(&requests);
        let take = async move |uri: Uri, headers: HeaderMap, body: Bytes| {
            kept.lock().unwrap().push(Request { path: uri.path().to_owned(), headers, body });
            Bytes::new()
        };
        let server = tokio::spawn(async move { axum::serve(listener, Router::new().fallback(take)).await.unwrap() });
        Self { url, requests, _server: AbortOnDropHandle::new(server) }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<Seen> {
        let spans = self.requests().into_iter().flat_map(|request| {
            let json = request.headers["content-type"].to_str().unwrap() == "application/json";
            let whole: ExportTraceServiceRequest = if json {
                serde_json::from_slice(&request.body).unwrap()
            } else {
                ExportTraceServiceRequest::decode(request.body).unwrap()
            };
            whole.resource_spans
        });
        spans
            .flat_map(|of_resource| {
                let resource = of_resource.resource.unwrap_or_default().attributes;
                let service = text_of(&resource, "service.name").unwrap_or_default();
                let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.map(move |span| Seen { service: service.clone(), resource: resource.clone(), span })
            })
            .collect()
    }

    /// The spans, once they are as they are to be.
    pub fn until(&self, what: &str, is: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let spans = self.spans();
            if is(&spans) {
                return spans;
            }
            assert!(Instant::now() < deadline, "never seen: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The only span of this name.
pub fn only<'a>(spans: &'a [Seen], name: &str) -> &'a Seen {
    let mut named = spans.iter().filter(|seen| seen.span.name == name);
    let first = named.next().unwrap_or_else(|| {
        let names: std::collections::BTreeSet<&str> = spans.iter().map(|seen| seen.span.name.as_str()).collect();
        panic!("there is no span {name}, but {names:?}")
    });
    assert!(named.next().is_none(), "there are several spans {name}");
    first
}

/// The spans right below another.
pub fn below<'a>(spans: &'a [Seen], above: &Seen) -> Vec<&'a Seen> {
    let id = above.id();
    spans.iter().filter(|seen| seen.parent() == id).collect()
}
