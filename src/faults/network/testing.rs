//! What tests of network faults share: real sockets, a proxy before a server that echoes, and what a client sees.

pub(in crate::faults) use std::net::SocketAddr;
pub(in crate::faults) use std::time::Duration;

pub(in crate::faults) use tokio::io::{AsyncReadExt, AsyncWriteExt};
pub(in crate::faults) use tokio::net::{TcpListener, TcpStream};

use std::sync::Arc;

use tokio::sync::watch;

use super::{Active, ActiveFaults, Effect, StartContext};
use crate::faults::proxy::Log;

pub(in crate::faults) use crate::faults::{ClosedBy, Connection, Direction, NetworkFault, Proxy};

/// A server that sends back what it receives, and closes when the client does.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

pub(in crate::faults) async fn proxy() -> Proxy {
    let upstream = echo().await;
    Proxy::start("127.0.0.1:0".parse().unwrap(), upstream.to_string(), None).await.unwrap()
}

pub(in crate::faults) async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

/// Sends bytes and waits until they come back.
pub(in crate::faults) async fn round_trip(stream: &mut TcpStream, sent: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(sent).await?;
    let mut received = vec![0; sent.len()];
    stream.read_exact(&mut received).await?;
    Ok(received)
}

/// Whether nothing arrives for a while.
pub(in crate::faults) async fn is_silent(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    tokio::time::timeout(ms(150), stream.read(&mut byte)).await.is_err()
}

/// Reads until the connection ends. Returns how many bytes arrived, and whether it ended with a reset.
pub(in crate::faults) async fn read_to_end(stream: &mut TcpStream) -> (usize, bool) {
    let mut all = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut all))
        .await
        .expect("the connection never ended");
    (all.len(), end.is_err())
}

pub(in crate::faults) fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// Waits until connection `nth` is closed.
pub(in crate::faults) async fn closed(proxy: &Proxy, nth: usize) -> Connection {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        let connections = proxy.connections();
        if let Some(connection) = connections.get(nth).filter(|connection| connection.closed.is_some()) {
            return connection.clone();
        }
        assert!(tokio::time::Instant::now() < deadline, "connection {nth} never closed: {connections:?}");
        tokio::time::sleep(ms(2)).await;
    }
}

/// The fault in this text, in force.
pub(in crate::faults) fn refusing(fault: &str) -> ActiveFaults {
    #[derive(serde::Deserialize)]
    struct Written {
        fault: NetworkFault,
    }
    let Written { fault } = toml::from_str(&format!("fault = {fault}")).unwrap();
    let effect = Arc::new(Effect::default());
    let (log, active_faults) = (Arc::new(Log::new(None)), watch::Sender::new(Arc::default()));
    let context = StartContext { upstream: "", effect: &effect, log: &log, active_faults: &active_faults };
    let (kind, _) = super::start(fault, &context);
    let active = Active { id: 1, fault, direction: Direction::Both, kind, effect };
    ActiveFaults { active: vec![active], cuts: Vec::new() }
}
