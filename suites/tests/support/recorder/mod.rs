//! A proxy that records what clients send: which commands, statements and requests a service was sent.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

type Received = Arc<Mutex<Vec<Vec<u8>>>>;

/// A recording proxy; it ends when it is dropped.
pub struct Recorder {
    pub address: SocketAddr,
    received: Received,
    task: JoinHandle<()>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Recorder {
    /// Before `upstream`; without one, connections are taken and nothing is ever answered.
    pub async fn start(listen: &str, upstream: Option<String>) -> Self {
        let listener = TcpListener::bind(listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Received::default();
        let kept = Arc::clone(&received);
        let task = tokio::spawn(async move {
            while let Ok((down, _)) = listener.accept().await {
                let place = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(Vec::new());
                    kept.len() - 1
                };
                tokio::spawn(carry(down, upstream.clone(), Arc::clone(&kept), place));
            }
        });
        Self { address, received, task }
    }

    /// The bytes that clients sent, for each connection.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.received.lock().unwrap().clone()
    }

    /// Every Redis command, as words.
    pub fn redis(&self) -> Vec<Vec<String>> {
        self.received().iter().flat_map(|bytes| resp(bytes)).collect()
    }

    /// Every statement that Postgres was sent.
    pub fn statements(&self) -> Vec<String> {
        self.received().iter().flat_map(|bytes| statements(bytes)).collect()
    }

    /// Every HTTP request: method, path without its query, body.
    pub fn requests(&self) -> Vec<(String, String, String)> {
        self.received().iter().flat_map(|bytes| requests(bytes)).collect()
    }
}

async fn carry(down: TcpStream, upstream: Option<String>, received: Received, place: usize) {
    let (mut from, mut back) = down.into_split();
    let up = match upstream {
        Some(upstream) => match TcpStream::connect(upstream).await {
            Ok(up) => Some(up.into_split()),
            Err(_) => return,
        },
        None => None,
    };
    let (mut answers, mut up) = match up {
        Some((answers, up)) => (Some(answers), Some(up)),
        None => (None, None),
    };
    let there = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            received.lock().unwrap()[place].extend_from_slice(&buffer[..count]);
            if let Some(up) = &mut up
                && up.write_all(&buffer[..count]).await.is_err()
            {
                break;
            }
        }
        if let Some(up) = &mut up {
            let _ = up.shutdown().await;
        }
    };
    let here = async {
        if let Some(answers) = &mut answers {
            let _ = tokio::io::copy(answers, &mut back).await;
            let _ = back.shutdown().await;
        }
    };
    tokio::join!(there, here);
}

/// The part of `bytes` up to the next line break, and what follows it.
fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 2..]))
}

fn resp(mut bytes: &[u8]) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    while let Some((head, mut rest)) = line(bytes) {
        let count: usize = head.strip_prefix('*').unwrap_or_else(|| panic!("no command: {head}")).parse().unwrap();
        let mut words = Vec::new();
        for _ in 0..count {
            let Some((length, after)) = line(rest) else { return commands };
            let length: usize = length[1..].parse().unwrap();
            if after.len() < length + 2 {
                return commands;
            }
            words.push(String::from_utf8_lossy(&after[..length]).into_owned());
            rest = &after[length + 2..];
        }
        commands.push(words);
        bytes = rest;
    }
    commands
}

/// Messages of the frontend: those without a type come first (TLS request, start-up), then each has one.
fn statements(mut bytes: &[u8]) -> Vec<String> {
    let mut statements = Vec::new();
    while bytes.first() == Some(&0) {
        let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        bytes = &bytes[length.min(bytes.len())..];
    }
    while bytes.len() >= 5 {
        let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
        let Some(body) = bytes.get(5..=length) else { break };
        let texts: Vec<String> =
            body.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect();
        match bytes[0] {
            b'Q' => statements.push(texts[0].clone()),
            b'P' => statements.push(texts[1].clone()),
            b'B' | b'D' | b'E' | b'S' | b'X' | b'p' | b'C' | b'H' => {}
            other => panic!("an unknown message of Postgres' protocol: {:?}", other as char),
        }
        bytes = &bytes[length + 1..];
    }
    statements
}

fn requests(mut bytes: &[u8]) -> Vec<(String, String, String)> {
    let mut requests = Vec::new();
    while let Some((head, mut rest)) = line(bytes) {
        let mut words = head.split(' ');
        let (Some(method), Some(path)) = (words.next(), words.next()) else { break };
        let mut length = 0;
        while let Some((header, after)) = line(rest) {
            rest = after;
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').unwrap();
            assert!(!name.eq_ignore_ascii_case("transfer-encoding"), "bodies in pieces are not read here");
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap();
            }
        }
        let body = String::from_utf8_lossy(&rest[..length.min(rest.len())]).into_owned();
        requests.push((method.to_owned(), path.split('?').next().unwrap().to_owned(), body));
        bytes = &rest[length.min(rest.len())..];
    }
    requests
}
