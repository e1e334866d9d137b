//! Every fault of a service, on a stack of its own: it takes effect, and leaves no trace when it is reverted.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use rstest::rstest;
use serde_json::json;
use shakedown::faults::inject;
use shakedown::outcome::{Events, Word};
use shakedown::runner::{self, Selection};
use shakedown::services::ServiceError;
use shakedown::services::http::Http;
use shakedown::services::postgres::Postgres;
use shakedown::services::redis::Redis;
use shakedown::spec::{ServiceFault, Suites, Target};
use shakedown::stack::{ProviderKind, names_for};

use crate::support::harness::{SHAKEDOWN, TestStack, runtime};

/// The error of a client that writes; `Ok` when the write is accepted.
async fn write(stack: &TestStack, target: Target) -> Result<(), String> {
    let mut endpoints = stack.stack.endpoints().clone();
    endpoints.names = names_for("faults", "run");
    let written = async {
        match target {
            Target::Redis => {
                let redis = Redis::connect(&endpoints.redis).await?;
                redis.command(&["SET", "shakedown:written", "1"]).await.map(|_| ())
            }
            Target::Postgres => {
                let postgres = Postgres::connect(&endpoints.postgres).await?;
                let statement = format!(
                    "insert into {} (id, version, status) values (gen_random_uuid()::text, '1', 'ready')",
                    endpoints.names.table
                );
                postgres.execute(&statement).await
            }
            Target::Qdrant | Target::Jina => {
                let http = Http::qdrant(&endpoints.qdrant)?;
                let path = format!("/collections/{}/points?wait=true", endpoints.names.collection);
                let vector = vec![0.5; endpoints.jina.dimensions as usize];
                let points = json!({ "points": [{ "id": 1, "vector": vector }] });
                http.call("PUT", &path, Some(&points)).await.map(|_| ())
            }
        }
    };
    match tokio::time::timeout(Duration::from_secs(2), written).await {
        Ok(answer) => answer.map_err(|error: ServiceError| error.to_string()),
        Err(_) => Err("silence".to_owned()),
    }
}

#[rstest]
#[case::redis_read_only(Target::Redis, ServiceFault::ReadOnly, "ReadOnly")]
#[case::redis_full(Target::Redis, ServiceFault::OutOfMemory, "OOM")]
#[case::redis_cannot_save(Target::Redis, ServiceFault::Misconf, "MISCONF")]
#[case::redis_gone(Target::Redis, ServiceFault::Kill, "refused")]
#[case::redis_silent(Target::Redis, ServiceFault::Pause, "silence")]
#[case::postgres_read_only(Target::Postgres, ServiceFault::ReadOnly, "read-only")]
// The pool of this client retries.
#[case::postgres_full(Target::Postgres, ServiceFault::TooManyConnections, "silence")]
#[case::postgres_gone(Target::Postgres, ServiceFault::Kill, "")]
#[case::postgres_silent(Target::Postgres, ServiceFault::Pause, "silence")]
#[case::qdrant_limited(Target::Qdrant, ServiceFault::RateLimit { per_minute: 1 }, "429")]
#[case::qdrant_gone(Target::Qdrant, ServiceFault::Kill, "")]
#[case::qdrant_silent(Target::Qdrant, ServiceFault::Pause, "silence")]
fn a_fault_of_a_service_takes_effect_until_it_is_reverted(
    #[case] target: Target,
    #[case] fault: ServiceFault,
    #[case] says: &str,
) {
    runtime().block_on(async {
        let stack = TestStack::launch(ProviderKind::Native, "faults").await;
        let mut endpoints = stack.stack.endpoints().clone();
        endpoints.names = names_for("faults", "run");
        shakedown::scenario::set_up(&endpoints, &stack.options("faults").contract, SHAKEDOWN.as_ref()).await.unwrap();
        assert_eq!(write(&stack, target).await, Ok(()), "before");
        let injected = inject(Some(&stack.stack), &endpoints, target, fault).await.unwrap();
        // A limit of one permits the first write.
        if matches!(fault, ServiceFault::RateLimit { .. }) {
            let _ = write(&stack, target).await;
        }
        let refused = write(&stack, target).await.unwrap_err();
        assert!(refused.contains(says), "{refused}");
        injected.revert(Some(&stack.stack), &endpoints).await.unwrap();
        assert_eq!(write(&stack, target).await, Ok(()), "after");
        assert_eq!(stack.stop().await, Vec::<String>::new());
    });
}

#[test]
fn a_server_without_a_free_connection_is_not_reported_as_unreachable() {
    runtime().block_on(async {
        let stack = TestStack::launch(ProviderKind::Native, "full").await;
        let endpoints = stack.stack.endpoints();
        let fault = ServiceFault::TooManyConnections;
        let injected = inject(Some(&stack.stack), endpoints, Target::Postgres, fault).await.unwrap();
        let refused = Postgres::connect(&endpoints.postgres).await.unwrap_err();
        assert!(matches!(refused, ServiceError::Refused { .. }), "{refused}");
        // The first for a role that may use reserved connections.
        let texts = ["too many clients", "connection slots"];
        assert!(texts.iter().any(|text| refused.to_string().contains(text)), "{refused}");
        injected.revert(Some(&stack.stack), endpoints).await.unwrap();
        assert_eq!(stack.stop().await, Vec::<String>::new());
    });
}

#[rstest]
#[case(Target::Redis)]
#[case(Target::Postgres)]
fn connections_that_a_service_drops_are_reopened(#[case] target: Target) {
    runtime().block_on(async {
        let stack = TestStack::launch(ProviderKind::Native, "drops").await;
        let endpoints = stack.stack.endpoints();
        let (redis, postgres) =
            (Redis::connect(&endpoints.redis).await.unwrap(), Postgres::connect(&endpoints.postgres).await.unwrap());
        let id = async || match target {
            Target::Redis => redis.command(&["CLIENT", "ID"]).await.map(|id| id.to_string()),
            _ => postgres.rows("select pg_backend_pid() as pid").await.map(|rows| rows[0].to_string()),
        };
        let before = id().await.unwrap();
        let injected = inject(None, endpoints, target, ServiceFault::DropConnections).await.unwrap();
        injected.revert(None, endpoints).await.unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        let after = loop {
            match id().await {
                Ok(after) => break after,
                Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
            }
        };
        assert_ne!(before, after);
        assert_eq!(stack.stop().await, Vec::<String>::new());
    });
}

/// Faults that are planned and meet nothing, so that they prove nothing about the worker.
const IDLE: &[(&str, &str)] = &[
    // The network in front of Redis, at a time when every document is stored long since.
    ("late", "{ at = \"20s\", for = \"1s\", network = { on = [\"redis\"], fault = \"refuse\" } }"),
    // A worker without work sends no request.
    ("answered", "{ at = \"20s\", for = \"1s\", jina = [{ answer = { status = { code = 500 } } }] }"),
    ("never", "{ at = \"10000 rows\", for = \"1s\", network = { on = [\"postgres\"], fault = \"cut\" } }"),
    ("after", "{ at = \"20s\", worker = \"kill\" }"),
    // In force until the end, and without an effect.
    (
        "spared",
        "{ at = \"0ms\", for = \"1ms\", network = { on = [\"redis\"], fault = { limit_data = { bytes = 1000000000 } } } }",
    ),
];

/// Faults whose time is over before a worker that has just begun can meet them, so that they wait for it.
const EARLY: &[(&str, &str)] = &[
    ("answered", "{ at = \"0ms\", for = \"1ms\", jina = [{ answer = { status = { code = 500 } } }] }"),
    ("refused", "{ at = \"0ms\", for = \"1ms\", network = { on = [\"qdrant\"], fault = \"refuse\" } }"),
];

#[test]
fn a_fault_that_affects_nothing_leaves_the_case_unknown() {
    run_scenario(IDLE, Word::Unknown);
}

#[test]
fn a_fault_without_an_effect_yet_waits_for_one() {
    run_scenario(EARLY, Word::Pass);
}

/// Runs a scenario with each of these faults; each ends with this verdict.
fn run_scenario(faults: &[(&str, &str)], verdict: Word) {
    let mut text = "suite = \"idle\"\ntitle = \"Faults\"\n".to_owned();
    for (id, fault) in faults {
        text.push_str(&format!(
            "[[case]]\nid = \"idle.{id}\"\ntitle = \"t\"\nlevel = \"must\"\nwhy = \"w\"\nremedy = \"r\"\nsource = \"s\"\n\
             scenario = {{ documents = {{ generated = 2 }}, faults = [{fault}] }}\nexpect = {{ documents = \"intact\" }}\n"
        ));
    }
    let suites = Suites::from_texts(&[("idle.toml".into(), text)]).unwrap();
    let selection = Selection::new(&[], &[], None).unwrap();
    runtime().block_on(async {
        let stack = TestStack::launch(ProviderKind::Native, "idle").await;
        let report = runner::run(&suites, &selection, &stack.stack, &stack.options("idle"), &Events::silent()).await;
        assert_eq!(report.cases.len(), faults.len());
        for case in &report.cases {
            assert_eq!(case.verdict.word(), verdict, "{}: {:?}", case.id, case.verdict);
        }
        assert_eq!(stack.stop().await, Vec::<String>::new());
    });
}
