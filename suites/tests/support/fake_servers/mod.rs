//! Servers that make things up, for what a real one cannot be made to say.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// An answer to every request whose path ends in this way.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The end of the path, without the query.
    pub path: String,
    /// Status.
    pub status: u16,
    /// Body.
    pub body: String,
    /// What the request's body must hold.
    #[serde(default)]
    pub holds: String,
    /// What one of the request's headers must hold: a key, for instance.
    #[serde(default)]
    pub key: String,
    /// Headers of the answer.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Milliseconds until the answer.
    #[serde(default)]
    pub delay_ms: u64,
}

/// A server that ends when it is dropped.
pub struct FakeServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl FakeServer {
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server that speaks just enough HTTP: the longest matching answer, else `{"result": true}`.
pub async fn http(mut answers: Vec<Answer>) -> FakeServer {
    answers.sort_by_key(|answer| std::cmp::Reverse(answer.path.len()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let path = request.uri().path().to_owned();
        let answers: Vec<Answer> = answers.iter().filter(|answer| path.ends_with(&answer.path)).cloned().collect();
        let headers: Vec<String> =
            request.headers().values().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
        async move {
            let asked = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap_or_default();
            let asked = String::from_utf8_lossy(&asked).into_owned();
            let found = answers.into_iter().find(|answer| {
                let carries = headers.iter().any(|value| value.contains(&answer.key));
                asked.contains(&answer.holds) && (answer.key.is_empty() || carries)
            });
            let delay = found.as_ref().map_or(0, |answer| answer.delay_ms);
            tokio::time::sleep(std::time::Duration::from_millis(delay)).await;
            let mut response = axum::http::Response::builder();
            for (name, value) in found.iter().flat_map(|answer| &answer.headers) {
                response = response.header(name, value);
            }
            let (status, body) = found
                .map_or((200, r#"{"result":true,"status":"ok"}"#.to_owned()), |answer| (answer.status, answer.body));
            response.status(status).body(axum::body::Body::from(body)).unwrap()
        }
    });
    let task = tokio::spawn(async move {
        let _ = axum::serve(listener, router).await;
    });
    FakeServer { address, task }
}

/// A server that speaks just enough RESP: an answer by the command's name, else `+OK`. An answer that begins with
/// `-`, `:`, `+` or `*` is sent as it stands; `~` and a number wait so many milliseconds; anything else is a bulk string.
pub async fn redis(answers: BTreeMap<String, String>) -> FakeServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answers = Arc::new(answers);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, Arc::clone(&answers)));
        }
    });
    FakeServer { address, task }
}

async fn converse(stream: TcpStream, answers: Arc<BTreeMap<String, String>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        if stream.read_line(&mut head).await? == 0 {
            return Ok(());
        }
        let count: usize = head.trim().trim_start_matches('*').parse().unwrap_or(0);
        let mut name = String::new();
        for number in 0..count {
            let mut length = String::new();
            stream.read_line(&mut length).await?;
            let length: usize = length.trim().trim_start_matches('$').parse().unwrap_or(0);
            let mut word = vec![0; length + 2];
            stream.read_exact(&mut word).await?;
            if number == 0 {
                name = String::from_utf8_lossy(&word[..length]).to_uppercase();
            }
        }
        let reply = match answers.get(&name) {
            Some(wait) if wait.starts_with('~') => {
                let wait = wait.trim_start_matches('~').parse().unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
                "+OK\r\n".to_owned()
            }
            Some(raw) if raw.starts_with(['-', ':', '+', '*']) => format!("{raw}\r\n"),
            Some(text) => format!("${}\r\n{text}\r\n", text.len()),
            None if name == "PING" => "+PONG\r\n".to_owned(),
            None => "+OK\r\n".to_owned(),
        };
        stream.get_mut().write_all(reply.as_bytes()).await?;
    }
}
