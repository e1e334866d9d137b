//! What the harness costs the worker that it watches: the throughput of the good Node worker in a scenario without
//! faults, against the same worker started by hand on the same services, as ratios measured in one run. Nothing here
//! passes or fails: a benchmark is no test.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

#[allow(dead_code, reason = "shared with targets that use other parts of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use shakedown::outcome::Events;
use shakedown::scenario::{Document, Harness, run_scenario, set_up};
use shakedown::services::queue::{NewJob, QueueClient, QueueEvent};
use shakedown::settings::{Contract, Settings, Source};
use shakedown::spec::Suites;
use shakedown::stack::jina::{JinaConfig, JinaMock};
use shakedown::stack::{ProviderKind, names_for};
use shakedown::worker::{Worker, WorkerEnv};

use support::harness::{SHAKEDOWN, TestStack};

/// Documents of one measurement, and measurements of each kind; the medians are compared.
const DOCUMENTS: usize = 1200;
const ROUNDS: usize = 5;

const SUITE: &str = r#"
suite = "overhead"
title = "A run without faults"

[scenario.long-baseline]
title = "Many documents"
documents = { generated = 1200 }
env = { WORKER_CONCURRENCY = "8" }

[[case]]
id = "overhead.delivered"
title = "All are stored"
level = "must"
scenario = "long-baseline"
expect = { delivered = "all" }
why = "It is measured how long that takes."
remedy = "None."
source = "suites/benches/overhead.rs"
"#;

fn main() {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/workers/node/build");
    let built = match Command::new(build).arg("5.81").output() {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).unwrap(),
        other => panic!("nothing to measure, the Node worker cannot be built: {other:?}"),
    };
    let config = PathBuf::from(built.lines().last().unwrap()).join("shakedown.toml");
    let settings = Settings::load(Source { config: Some(config), ..Source::default() }).unwrap();
    let contract = Arc::new(settings.config().contract.clone().unwrap());
    support::harness::runtime().block_on(async {
        let stack = TestStack::launch(ProviderKind::Native, "overhead").await;
        let (mut watched, mut by_hand) = (Vec::new(), Vec::new());
        // Interleaved, so that whatever else the machine does slows both alike.
        for round in 0..ROUNDS {
            let (documents, rate) = under_the_harness(&stack, &contract, round).await;
            watched.push(rate);
            by_hand.push(alone(&stack, &contract, &documents, round).await);
        }
        let (watched, by_hand) = (median(watched), median(by_hand));
        println!("by hand            {by_hand:.0} documents a second");
        println!("under the harness  {watched:.0} = {:.2} of that (aim ≥ 0.9)", watched / by_hand);
        assert_eq!(stack.stop().await, Vec::<String>::new());
    });
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Documents a second, by the queue's own clock: from the first that was added to the last that completed.
fn rate(events: &[QueueEvent]) -> f64 {
    let at = |what: &str| events.iter().filter(|event| event.what == what).map(QueueEvent::at_ms).collect::<Vec<_>>();
    let (added, completed) = (at("added"), at("completed"));
    assert_eq!(completed.len(), DOCUMENTS, "not every document was ingested");
    let took = completed.iter().max().unwrap() - added.iter().min().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "a few thousand, and a few seconds")]
    let rate = DOCUMENTS as f64 / (took as f64 / 1000.0);
    rate
}

async fn under_the_harness(stack: &TestStack, contract: &Arc<Contract>, round: usize) -> (Vec<Document>, f64) {
    let suites = Suites::from_texts(&[(PathBuf::from("overhead.toml"), SUITE.to_owned())]).unwrap();
    let mut endpoints = stack.stack.endpoints().clone();
    endpoints.names = names_for("overhead", &format!("watched{round}"));
    let harness = Harness {
        endpoints,
        shakedown: PathBuf::from(SHAKEDOWN),
        contract: Arc::clone(contract),
        variables: BTreeMap::new(),
        directory: stack.directory(),
        ledger: stack.stack.ledger().unwrap().clone(),
        seed: 1,
        events: Events::silent(),
        stack: None,
    };
    let scenario = &suites.scenarios["long-baseline"];
    let observations = Box::pin(run_scenario(&format!("watched{round}"), scenario, &harness)).await.unwrap();
    let events: Vec<QueueEvent> = observations.queue.events.iter().map(|(_, event)| event.clone()).collect();
    (observations.steps[0].documents.clone(), rate(&events))
}

async fn alone(stack: &TestStack, contract: &Arc<Contract>, documents: &[Document], round: usize) -> f64 {
    let mut endpoints = stack.stack.endpoints().clone();
    endpoints.names = names_for("overhead", &format!("alone{round}"));
    let mock = JinaMock::start(JinaConfig {
        model: endpoints.jina.model.clone(),
        dimensions: endpoints.jina.dimensions,
        seed: 1,
        ..JinaConfig::default()
    })
    .await
    .unwrap();
    endpoints.jina = mock.endpoint();
    set_up(&endpoints, contract, Path::new(SHAKEDOWN)).await.unwrap();
    let names = endpoints.names.clone();
    let queue = QueueClient::open(&endpoints.redis, &names.queue, &names.prefix).await.unwrap();
    let scenario = [("WORKER_CONCURRENCY".to_owned(), "8".to_owned())].into();
    let surroundings =
        WorkerEnv { endpoints, supabase: None, scenario, variables: BTreeMap::new(), sidecar_port: None };
    let (grace, directory, ledger) = (Duration::from_secs(5), stack.directory(), stack.stack.ledger().unwrap());
    let worker = Worker::start(contract, &surroundings, grace, &directory, &format!("alone{round}"), ledger).unwrap();
    let deadline = Instant::now() + Duration::from_mins(2);
    let waits = |until: Instant| assert!(Instant::now() < until, "the worker took too long: {}", worker.tail());
    while queue.workers().await.unwrap().all() == 0 {
        waits(deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let job = |document: &Document| NewJob {
        queue: None,
        id: format!("s0-{}", document.id),
        name: contract.queue.job.name.clone(),
        data: json!({ "documentId": document.id, "text": document.text, "source": "bench", "version": "1" }),
        attempts: 5,
        backoff: None,
        options: serde_json::Map::new(),
    };
    queue.add(documents.iter().map(job).collect()).await.unwrap();
    while queue.counts().await.unwrap().completed < DOCUMENTS as u64 {
        waits(deadline);
        // As rarely as a client that only waits would ask.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let mut events = Vec::new();
    loop {
        let after = events.last().map(|event: &QueueEvent| event.id.clone());
        let more = queue.events(after.as_deref(), 1000).await.unwrap();
        if more.is_empty() {
            break;
        }
        events.extend(more);
    }
    worker.terminate().await;
    queue.close().await;
    rate(&events)
}
