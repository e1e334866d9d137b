//! The steps of a set-up: always the same ones for a worker, and the same over processes and containers.

use std::fs;

use serde_json::{Value, json};
use shakedown::stack::ProviderKind;

use crate::provision_sandbox::{DESCRIBED, ProvisionSandbox};
use crate::support::harness::{TestStack, runtime};

const OLD: &str = "unchanged";
const NEW: &str = "created";

/// Each step of `setup --worker` as `service step action`.
fn steps_for_a_worker(sandbox: &ProvisionSandbox, environment: &[(&str, &str)]) -> (Option<i32>, Vec<String>, Value) {
    let mut command = sandbox.command(&["setup", "--worker", "--format", "json"]);
    command.envs(environment.iter().copied());
    let output = command.output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let word = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
    let line = |step: &Value| format!("{} {} {}", word(step, "service"), word(step, "step"), word(step, "action"));
    (output.status.code(), answer["steps"].as_array().unwrap().iter().map(line).collect(), answer)
}

pub fn for_a_worker(stack: &TestStack) {
    // Whatever is described; and in a database of its own.
    let sandbox = ProvisionSandbox::new(stack, "forworker", DESCRIBED);
    let own =
        [("DOCUMENTS_TABLE", "forworker.documents"), ("QDRANT_COLLECTION", "forworker"), ("EMBEDDING_DIMENSIONS", "8")];
    let made = |words: [&str; 9]| {
        let stages = [
            "redis connection",
            "bullmq queue",
            "postgres connection",
            "postgres schema",
            "postgres table",
            "postgres access",
            "qdrant connection",
            "qdrant collection",
            "qdrant indexes",
        ];
        stages.iter().zip(words).map(|(stage, word)| format!("{stage} {word}")).collect::<Vec<_>>()
    };
    let (code, steps, _) = steps_for_a_worker(&sandbox, &own);
    assert_eq!((code, steps), (Some(0), made([OLD, NEW, OLD, NEW, NEW, NEW, OLD, NEW, NEW])));
    let (code, steps, _) = steps_for_a_worker(&sandbox, &own);
    assert_eq!((code, steps), (Some(0), made([OLD; 9])));
    let served = runtime().block_on(sandbox.postgres.rows(
        "select relrowsecurity and has_table_privilege('service_role', oid, 'insert') and not \
         has_table_privilege('anon', oid, 'select') as well from pg_class where oid = to_regclass('forworker.documents')",
    ));
    assert_eq!(served.unwrap()[0]["well"], true);

    // A difference is corrected where that harms no user, and reported as drift where it may be intended.
    sandbox.redis(&["HDEL", "bull:NAME:meta", "opts.maxLenEvents"]);
    sandbox.redis(&["HSET", "bull:NAME:meta", "version", "bullmq:6.0.0"]);
    sandbox.sql("grant select on forworker.documents to anon");
    sandbox.qdrant("DELETE", "/collections/NAME/index/version?wait=true", Value::Null);
    sandbox.qdrant("PATCH", "/collections/NAME", json!({ "hnsw_config": { "m": 8 } }));
    let (code, steps, answer) = steps_for_a_worker(&sandbox, &own);
    let changed = "changed";
    assert_eq!((code, steps), (Some(0), made([OLD, changed, OLD, OLD, OLD, changed, OLD, OLD, changed])));
    assert_eq!(answer["steps"][7]["notes"], json!(["hnsw m is 8 (default 16); left unchanged"]));
    assert_eq!(sandbox.redis(&["HGET", "bull:NAME:meta", "version"]), "bullmq:6.0.0");
    sandbox
        .sql("create policy all_see on forworker.documents using (true); grant select on forworker.documents to anon");
    let (_, steps, answer) = steps_for_a_worker(&sandbox, &own);
    assert_eq!(steps, made([OLD; 9]));
    assert!(answer["steps"][5]["notes"][0].as_str().unwrap().contains("policies give anon"), "{answer:#}");

    // Another shape is an error, and what comes after it is not tried.
    let other = [own[0], own[1], ("EMBEDDING_DIMENSIONS", "64")];
    let (code, steps, answer) = steps_for_a_worker(&sandbox, &other);
    assert_eq!((code, steps), (Some(1), made([OLD, OLD, OLD, OLD, OLD, OLD, OLD, "failed", "skipped"])));
    assert_eq!(
        answer["steps"][7]["problem"],
        "collection forworker has vectors of 8 dimensions with distance Cosine, but one unnamed vector of 64 dimensions \
         with distance Cosine is required"
    );
    sandbox.sql("alter table forworker.documents alter column chunks type text");
    let (code, steps, answer) = steps_for_a_worker(&sandbox, &own);
    let skipped = "skipped";
    assert_eq!((code, steps), (Some(1), made([OLD, OLD, OLD, OLD, "failed", skipped, skipped, skipped, skipped])));
    let problem = answer["steps"][4]["problem"].as_str().unwrap();
    assert!(
        problem.starts_with("table forworker.documents has column chunks of type text instead of integer, but"),
        "{problem}"
    );
    assert_eq!(answer["steps"][5]["prerequisite"], "postgres table");
}

/// The same description over processes and over containers.
pub fn same_result_on_both_providers() {
    let set_up = |kind: ProviderKind, run: &str| {
        let stack = runtime().block_on(TestStack::launch(kind, run));
        let sandbox = ProvisionSandbox::new(&stack, "parity", DESCRIBED);
        let plan = sandbox.plan();
        let output = sandbox.command(&["setup", "--format", "json"]).output().unwrap();
        let steps: Value = serde_json::from_slice(&output.stdout).unwrap();
        let word = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
        let line = |step: &Value| match word(step, "step").as_str() {
            // Versions and addresses differ between providers.
            "connection" => word(step, "service"),
            name => format!("{} {name} {} {}", word(step, "service"), word(step, "action"), word(step, "what")),
        };
        let steps: Vec<String> = steps["steps"].as_array().unwrap().iter().map(line).collect();
        let work = fs::canonicalize(sandbox.cli.path("work")).unwrap().display().to_string();
        let lines = format!("{plan:#?}\n{steps:#?}").replace(&work, "WORK");
        let (again, mut state) = (sandbox.plan(), sandbox.state());
        // The providers may differ in settings of a collection that the description omits, and in the owner of a table.
        let vectors = state["collections"][0][1]["vectors"].take();
        state["collections"][0][1] = vectors;
        let rows = "select relname, relrowsecurity, has_table_privilege('parity', oid, 'insert') as may from pg_class \
                    where oid = to_regclass('public.docs')";
        state["tables"] = json!(runtime().block_on(sandbox.postgres.rows(rows)).unwrap());
        assert_eq!(again, (0, Vec::new()));
        drop(sandbox);
        assert_eq!(runtime().block_on(stack.stop()), Vec::<String>::new());
        (lines, state)
    };
    let processes = set_up(ProviderKind::Native, "parity-native");
    let containers = set_up(ProviderKind::Containers, "parity-containers");
    assert_eq!(containers.0, processes.0);
    assert_eq!(containers.1, processes.1);
}
