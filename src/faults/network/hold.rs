//! `hold`: HTTP requests reach the service later, and others overtake them, as behind a gateway with a queue.
//!
//! A server on a port of its own forwards them; connections that lead to the service are reset. Evidence: every request
//! that it held.

use std::time::Duration;

use super::answer::{self, Reply};
use super::{StartContext, Started, millis, value};
use crate::faults::NetworkFault;
use crate::spec::Requests;

/// Starts the server.
pub(super) fn start(ms: u64, only: Option<Requests>, context: &StartContext<'_>) -> Started {
    let held = Some(Duration::from_millis(ms));
    answer::start(&Reply { status: 503, retry_after_s: None, held, only }, context)
}

pub(super) fn parse(text: Option<&str>) -> Result<NetworkFault, String> {
    Ok(NetworkFault::Hold { ms: millis(value("hold", text, "2s")?)?, only: None })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::super::testing::*;
    use super::*;
    use crate::faults::Proxy;
    use crate::services::http_client;

    #[tokio::test]
    async fn a_held_removal_is_overtaken_and_arrives_although_the_client_gives_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap().to_string();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let arrived = Arc::clone(&seen);
        let record = move |request: axum::extract::Request| {
            let arrived = Arc::clone(&arrived);
            async move { arrived.lock().unwrap_or_else(PoisonError::into_inner).push(request.uri().path().to_owned()) }
        };
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, axum::Router::new().fallback(record)).await;
        });
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), upstream, None).await.unwrap();
        let applied = proxy.apply(NetworkFault::Hold { ms: 600, only: Some(Requests::Removals) }, Direction::Both);
        let send = |path: &str, within: u64| {
            let client = http_client::builder().no_proxy().timeout(Duration::from_millis(within)).build().unwrap();
            client.post(format!("http://{}/collections/a/{path}", proxy.address())).body("{}").send()
        };
        let (removal, upsert) = tokio::join!(send("points/delete", 200), send("points", 5000));
        assert!(removal.is_err() && upsert.unwrap().status().is_success());
        let paths = || seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert_eq!(paths(), ["/collections/a/points"]);
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert_eq!(paths(), ["/collections/a/points", "/collections/a/points/delete"]);
        assert_eq!(proxy.revert(applied).connections(), 1, "what is forwarded at once is no effect");
        serving.abort();
    }
}
