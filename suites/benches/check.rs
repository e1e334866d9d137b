//! How long `shakedown check` takes on a healthy stack, as a process: next to the services, and 100 ms away from them,
//! where sequential round trips dominate. It prints a table and asserts no time.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "a benchmark uses a part of it")]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use shakedown::faults::Proxy;
use shakedown::settings::Endpoints;
use shakedown::spec::{Direction, NetworkFault};
use shakedown::stack::{ProviderKind, names_for};
use url::Url;

use support::harness::{SHAKEDOWN, TestStack, runtime};

const ROUNDS: usize = 9;
/// Milliseconds by which each answer comes later.
const AWAY: u64 = 100;

fn main() {
    runtime().block_on(async {
        let stack = TestStack::launch(ProviderKind::Native, "bench-check").await;
        let mut near = stack.stack.endpoints().clone();
        near.names = names_for("bench-check", "run");
        let contract = stack.options("bench-check").contract;
        shakedown::scenario::set_up(&near, &contract, Path::new(SHAKEDOWN)).await.unwrap();
        let mut far = near.clone();
        let mut proxies = Vec::new();
        let redis = moved(near.redis.url.expose_secret(), &mut proxies).await;
        far.redis.url = redis.into();
        let postgres = moved(near.postgres.url.expose_secret(), &mut proxies).await;
        far.postgres.url = postgres.into();
        far.qdrant.url = moved(&near.qdrant.url, &mut proxies).await;
        far.qdrant.grpc_url = moved(&near.qdrant.grpc_url, &mut proxies).await;
        far.jina.base_url = moved(&near.jina.base_url, &mut proxies).await;
        for proxy in &proxies {
            let _ = proxy.apply(NetworkFault::Latency { ms: AWAY, jitter_ms: 0 }, Direction::Down);
        }
        let (mut beside, mut away) = (Vec::new(), Vec::new());
        // Interleaved, so that whatever else the machine does slows both alike.
        for _ in 0..ROUNDS {
            beside.push(check(&near).await);
            away.push(check(&far).await);
        }
        let (beside, away) = (median(beside), median(away));
        println!("beside the services       {:>5} ms (aim ≤ 400 ms)", beside.as_millis());
        println!("{AWAY} ms away from them    {:>5} ms (aim ≤ 1500 ms)", away.as_millis());
        let trips = away.saturating_sub(beside).as_secs_f64() * 1000.0 / 100.0;
        println!("round trips in sequence   {trips:>8.1} (aim ≤ 12)");
        drop(proxies);
        assert_eq!(stack.stop().await, Vec::<String>::new());
    });
}

/// The same address with a proxy before it.
async fn moved(address: &str, proxies: &mut Vec<Proxy>) -> String {
    let mut url = Url::parse(address).unwrap();
    let upstream = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), upstream, None).await.unwrap();
    url.set_port(Some(proxy.address().port())).unwrap();
    proxies.push(proxy);
    url.to_string()
}

async fn check(endpoints: &Endpoints) -> Duration {
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new(SHAKEDOWN);
    command.args(["check", "--quiet"]).current_dir(&place).stdin(Stdio::null()).stdout(Stdio::null());
    for variable in endpoints.environment() {
        command.env(variable.name, variable.value.expose_secret());
    }
    let begun = Instant::now();
    let ended = tokio::task::spawn_blocking(move || command.status()).await.unwrap().unwrap();
    let took = begun.elapsed();
    assert!(ended.success(), "the check of a healthy stack failed");
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
