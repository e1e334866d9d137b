//! The server as its clients see it, over real sockets.

mod durability;
mod grpc;
mod limits;
mod names;
mod points;
mod queries;
mod rest;
mod service;
mod snapshots;
mod tls;

use std::path::Path;

use reqwest::{Client, Method, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Bound, Options, ServeError, serve};

const KEY: &str = "test-key";
const READ_KEY: &str = "reading-only";

/// A running server.
struct Server {
    bound: Bound,
    stop: CancellationToken,
    task: Option<JoinHandle<Result<(), ServeError>>>,
    client: Client,
    /// Removed with the server, unless the test owns the directory.
    directory: Option<TempDir>,
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut server = Self::start_in(directory.path()).await;
        server.directory = Some(directory);
        server
    }

    async fn start_in(path: &Path) -> Self {
        Self::start_with(Self::options(path)).await
    }

    fn options(path: &Path) -> Options {
        Options {
            host: [127, 0, 0, 1].into(),
            http_port: 0,
            grpc_port: 0,
            storage: path.to_owned(),
            api_key: Some(SecretString::from(KEY)),
            read_only_api_key: Some(SecretString::from(READ_KEY)),
            tls: None,
        }
    }

    async fn start_with(options: Options) -> Self {
        let stop = CancellationToken::new();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(serve(options, stop.clone(), move |bound| {
            sender.send(bound).expect("the test waits");
        }));
        let Ok(bound) = receiver.await else { panic!("the server does not start: {:?}", task.await) };
        Self { bound, stop, task: Some(task), client: Client::new(), directory: None }
    }

    async fn stop(mut self) {
        self.stop.cancel();
        self.task.take().expect("a running server").await.expect("no panic").expect("a clean end");
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.bound.http)
    }

    /// Sends `body`; returns the status and the response.
    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.client.request(method, self.url(path)).header("api-key", KEY);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status();
        let text = response.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send(Method::POST, path, Some(body)).await
    }

    async fn put(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send(Method::PUT, path, Some(body)).await
    }

    /// Creates a collection with an unnamed vector of four dimensions.
    async fn make(&self, name: &str) {
        let body = json!({ "vectors": { "size": 4, "distance": "Cosine" } });
        let (status, answer) = self.put(&format!("/collections/{name}"), body).await;
        assert_eq!((status, &answer["result"]), (StatusCode::OK, &json!(true)), "{answer}");
    }

    /// Points `ids`, each with its document.
    async fn fill(&self, name: &str, ids: std::ops::Range<u32>, document: &str) {
        let points: Vec<Value> = ids
            .map(|id| {
                let x = f64::from(id);
                json!({
                    "id": id,
                    "vector": [1.0, x, -x, 0.5],
                    "payload": { "document_id": document, "chunk_index": id },
                })
            })
            .collect();
        let path = format!("/collections/{name}/points?wait=true");
        let (status, answer) = self.put(&path, json!({ "points": points })).await;
        assert_eq!(answer["result"]["status"], "completed", "{status} {answer}");
    }

    async fn count(&self, name: &str) -> u64 {
        let (_, answer) = self.post(&format!("/collections/{name}/points/count"), json!({ "exact": true })).await;
        answer["result"]["count"].as_u64().expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
