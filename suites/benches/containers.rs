//! Speed of the containers provider, as ratios measured in one run: the whole stack against the slowest container
//! started alone, and a whole run against the native one. Nothing here passes or fails: a benchmark is no test.
#![allow(clippy::disallowed_methods, reason = "a benchmark asks the services itself")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]
#![expect(clippy::disallowed_methods, reason = "a local request without redirects")]

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "a benchmark uses a part of it")]
mod support;

use std::time::{Duration, Instant};

use shakedown::outcome::Events;
use shakedown::runner::{self, Selection};
use shakedown::settings::docker_host;
use shakedown::spec::Suites;
use shakedown::stack::{POSTGRES_IMAGE, ProviderKind, QDRANT_IMAGE, REDIS_IMAGE, engine_answers};
use sqlx::{Connection, PgConnection};
use testcontainers::core::IntoContainerPort;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};

use support::harness::TestStack;

/// Times each figure is measured; the median is printed.
const ROUNDS: usize = 5;

fn main() {
    support::harness::runtime().block_on(async {
        if let Err(error) = engine_answers(&docker_host(), Duration::from_secs(5)).await {
            println!("nothing to measure: {error}");
            return;
        }
        let mut figures: [Vec<Duration>; 6] = Default::default();
        // Interleaved, so that whatever else the machine does slows all of them alike.
        for _ in 0..ROUNDS {
            figures[0].push(alone(REDIS_IMAGE, 6379, &[], &["redis-server", "--protected-mode", "no"]).await);
            figures[1].push(alone(POSTGRES_IMAGE, 5432, &[("POSTGRES_PASSWORD", "alone")], &[]).await);
            figures[2].push(alone(QDRANT_IMAGE, 6333, &[], &[]).await);
            let (native, _) = observations(ProviderKind::Native).await;
            let (containers, ready) = observations(ProviderKind::Containers).await;
            figures[3].push(ready);
            figures[4].push(native);
            figures[5].push(containers);
        }
        let [redis, postgres, qdrant, ready, native, containers] = figures.map(median);
        let slowest = redis.max(postgres).max(qdrant);
        println!("redis alone {redis:.2?}, postgres alone {postgres:.2?}, qdrant alone {qdrant:.2?}");
        let ratio = |one: Duration, other: Duration| one.as_secs_f64() / other.as_secs_f64();
        println!("all three ready   {ready:.2?} = {:.2} × the slowest alone (aim ≤ 1.15)", ratio(ready, slowest));
        println!(
            "a whole run       {containers:.2?} = {:.2} × native's {native:.2?} (aim ≤ 1.5)",
            ratio(containers, native)
        );
    });
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// One container, from asking for it until it answers by its own protocol; removed outside the time taken.
async fn alone(image: &str, port: u16, environment: &[(&str, &str)], command: &[&str]) -> Duration {
    let (name, tag) = image.rsplit_once(':').unwrap();
    let begun = Instant::now();
    let mut request =
        GenericImage::new(name, tag).with_exposed_port(port.tcp()).with_startup_timeout(Duration::from_secs(60));
    for (name, value) in environment {
        request = request.with_env_var(*name, *value);
    }
    if !command.is_empty() {
        request = request.with_cmd(command.iter().copied());
    }
    let container: ContainerAsync<GenericImage> = request.start().await.unwrap();
    let outside = container.get_host_port_ipv4(port).await.unwrap();
    let mut answers = 0;
    while answers < 3 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{image} does not answer");
        if answer(port, outside).await {
            answers += 1;
        } else {
            answers = 0;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let taken = begun.elapsed();
    container.rm().await.unwrap();
    taken
}

async fn answer(inside: u16, outside: u16) -> bool {
    match inside {
        5432 => {
            let url = format!("postgres://postgres:alone@127.0.0.1:{outside}/postgres");
            let Ok(mut connection) = PgConnection::connect(&url).await else { return false };
            sqlx::query("select 1").execute(&mut connection).await.is_ok()
        }
        6379 => {
            let client = redis::Client::open(format!("redis://127.0.0.1:{outside}/0")).unwrap();
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return false };
            redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
        }
        _ => reqwest::get(format!("http://127.0.0.1:{outside}/readyz"))
            .await
            .is_ok_and(|answer| answer.status().is_success()),
    }
}

/// A whole run, stack and clean-up included, and how long its stack took to be ready.
async fn observations(kind: ProviderKind) -> (Duration, Duration) {
    let begun = Instant::now();
    let stack = TestStack::launch(kind, "bench").await;
    let ready = begun.elapsed();
    let report = runner::run(
        &Suites::builtin().unwrap(),
        &Selection::default(),
        &stack.stack,
        &stack.options("bench"),
        &Events::silent(),
    )
    .await;
    assert_eq!(report.totals.pass, report.totals.cases);
    assert_eq!(stack.stop().await, Vec::<String>::new());
    (begun.elapsed(), ready)
}
